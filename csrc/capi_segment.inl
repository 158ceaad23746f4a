// What the functions of pa3d.h do once their handles are known: checks of arguments, text to vectors, encoding, labels.
// Included only by capi.cpp.

namespace {

std::vector<std::string> names_of(const char* const* parts, int64_t count) {
  require_given(parts, "parts");
  require(count >= 1 && count < INT32_MAX, "count is " + std::to_string(count) + "; expected at least one part");
  std::vector<std::string> names;
  for (int64_t i = 0; i < count; ++i) {
    require_given(parts[i], "a part name");
    names.emplace_back(parts[i]);
  }
  pa3d::check_names(names);
  return names;
}

// Points could not be told apart by two names with one vector.
void check_distinct(const std::vector<std::string>& parts, const float* vectors, int64_t width) {
  std::map<std::string_view, size_t> seen;
  for (size_t i = 0; i < parts.size(); ++i) {
    const std::string_view bytes(reinterpret_cast<const char*>(vectors + i * width), width * sizeof(float));
    const auto [other, fresh] = seen.emplace(bytes, i);
    auto quoted = [&](size_t k) {
      return "'" + (parts[k].size() < 200 ? parts[k] : parts[k].substr(0, 197) + "...") + "'";
    };
    require(fresh, "part names " + quoted(other->second) + " and " + quoted(i) +
                       " are the same for the text encoder, which ignores accents, invisible characters, words that it "
                       "does not know and what follows its first few hundred tokens; rename one");
  }
}

void embed(const pa3d_text& text, const std::vector<std::string>& parts, const char* category, std::string_view mode,
           int threads, float* vectors) {
  std::vector<int32_t> ids;
  std::vector<int64_t> lengths, ends;
  const auto object = category ? std::optional<std::string>(category) : std::nullopt;
  for (const std::string& part : parts) {
    for (const std::string& prompt : pa3d::part_prompts(part, object, mode)) {
      const std::vector<int32_t> tokens = text.tokenizer.encode(prompt);
      ids.insert(ids.end(), tokens.begin(), tokens.end());
      lengths.push_back(static_cast<int64_t>(tokens.size()));
    }
    ends.push_back(static_cast<int64_t>(lengths.size()));
  }
  const int64_t width = text.encoder->config().width;
  std::vector<float> rows(lengths.size() * width);
  const auto workspace = text.workspaces.acquire([&] { return text.encoder->workspace(); });
  text.encoder->encode(ids.data(), lengths.data(), static_cast<int64_t>(lengths.size()), threads, *workspace,
                       rows.data());
  int64_t start = 0;
  for (size_t i = 0; i < parts.size(); start = ends[i++])
    pa3d::unit_mean(rows.data() + start * width, ends[i] - start, width, vectors + i * width);
  check_distinct(parts, vectors, width);
}

void check_threads(int threads) {
  require(threads >= 0 && threads <= kMaxThreads, "threads is " + std::to_string(threads) + "; expected 0 or more");
}

// C lets an enum hold any number; in C++ it would be undefined to read one that the enum does not name.
template <class Enum>
int number_of(const Enum& value) {
  static_assert(sizeof(Enum) == sizeof(int));
  int number;
  std::memcpy(&number, &value, sizeof number);
  return number;
}

pa3d_options checked(const pa3d_options* given) {
  const pa3d_options o = given ? *given : pa3d_default_options();
  const int up = number_of(o.up), assign = number_of(o.assign);
  require(up >= PA3D_UP_X && up <= PA3D_UP_MINUS_Z, "up is not one of PA3D_UP_X to PA3D_UP_MINUS_Z");
  require(assign == PA3D_NEAREST || assign == PA3D_MEMBERSHIP || assign == PA3D_SMOOTH || assign == PA3D_OWN,
          "assign is not one of PA3D_NEAREST, PA3D_MEMBERSHIP, PA3D_SMOOTH, PA3D_OWN");
  require(o.none >= 0 && o.none <= 1, "none is " + std::to_string(o.none) + "; expected a probability between 0 and 1");
  require(o.sample >= 0, "sample is " + std::to_string(o.sample) + "; expected 0 for every point, or more");
  check_threads(o.threads);
  return o;
}

void check_points(const float* points, int64_t n) {
  require_given(points, "points");
  require(n >= 1 && n < INT32_MAX, "n is " + std::to_string(n) + "; expected at least one point, and fewer than 2^31");
  int64_t bad = 0;
  bool equal = true;
  for (int64_t i = 0; i < n; ++i) {
    const float* p = points + 3 * i;
    bad += !(std::isfinite(p[0]) && std::isfinite(p[1]) && std::isfinite(p[2]));
    equal = equal && p[0] == points[0] && p[1] == points[1] && p[2] == points[2];
  }
  require(bad == 0, std::to_string(bad) + " of " + std::to_string(n) +
                        " points have NaN or infinite coordinates; remove them first");
  require(!equal, "all " + std::to_string(n) + " points are equal; a shape needs an extent");
}

struct Shape {
  const float* points;  // (n, 3)
  int64_t n;
  const int32_t* faces = nullptr;  // (n_faces, 3) of a mesh
  int64_t n_faces = 0;
  bool is_mesh = false;
};

struct Outputs {
  int32_t* labels;
  float* scores;
  int32_t* face_labels = nullptr;
  float* face_scores = nullptr;
  float* presence = nullptr;
};

void check_shape(const Shape& shape) {
  check_points(shape.points, shape.n);
  if (!shape.is_mesh) return;
  require_given(shape.faces, "faces");
  require(shape.n_faces >= 1 && shape.n_faces < INT32_MAX,
          "n_faces is " + std::to_string(shape.n_faces) + "; expected at least one face, and fewer than 2^31");
  require(pa3d::all_within(shape.faces, 3 * shape.n_faces, 0, shape.n),
          "faces refer to vertices outside 0.." + std::to_string(shape.n - 1));
}

// Runs the encoder. Fills the session with the points that the encoder gets, in its frame, and with its outputs.
void encode(const pa3d_model& model, const Shape& shape, const pa3d_options& o, Session& s, bool with_tokens) {
  const auto& c = model.config;
  const float* chosen = shape.points;
  int64_t count = shape.n;
  s.sample_idx.clear();
  if (o.sample > 0 && (shape.is_mesh || o.sample < shape.n)) {
    require(o.sample < INT32_MAX, "sample is " + std::to_string(o.sample) + "; expected fewer than 2^31 points");
    count = o.sample;
    s.sampled.resize(3 * count);
    if (shape.is_mesh) {
      s.sampled_face.resize(count);
      require(pa3d::sample_surface(shape.points, shape.faces, shape.n_faces, count, o.seed, s.sampled.data(),
                                   s.sampled_face.data()),
              "every face has zero area; a shape needs a surface");
    } else {
      s.sample_idx.resize(count);
      pa3d::sample_cloud(shape.points, shape.n, count, o.seed, s.sample_idx.data());
      for (int64_t i = 0; i < count; ++i) std::copy_n(shape.points + 3 * s.sample_idx[i], 3, &s.sampled[3 * i]);
    }
    chosen = s.sampled.data();
  }
  if (model.outliers > 0) {
    s.outlier.resize(count);
    if (pa3d::find_outliers(chosen, count, model.outliers, o.threads, s.outlier.data()) > 0) {
      s.sampled.resize(3 * count);
      s.inlier_idx.clear();
      for (int64_t i = 0; i < count; ++i) {
        if (s.outlier[i]) continue;
        std::copy_n(chosen + 3 * i, 3, &s.sampled[3 * s.inlier_idx.size()]);
        s.inlier_idx.push_back(s.sample_idx.empty() ? i : s.sample_idx[i]);
      }
      s.sample_idx.swap(s.inlier_idx);
      chosen = s.sampled.data();
      count = static_cast<int64_t>(s.sample_idx.size());
    }
  }
  s.frame = pa3d::normalization(chosen, count);
  require(s.frame.radius > 0, "all sampled points are equal; a shape needs an extent");
  s.encoder_points.resize(3 * count);
  pa3d::normalize(chosen, count, s.frame, kModelAxes[o.up], o.threads, s.encoder_points.data());
  s.passes = pa3d::passes_for(c, count);
  const int64_t patches = s.passes.total();
  s.center_idx.resize(patches);
  s.centers.resize(3 * patches);
  s.members.resize(patches * c.patch_size);
  s.features.resize(patches * c.text_dim);
  if (with_tokens) s.tokens.resize(patches * c.dim);
  model.encoder->forward(s.encoder_points.data(), count, o.threads, *s.workspace, s.center_idx.data(), s.members.data(),
                         with_tokens ? s.tokens.data() : nullptr, s.features.data(), nullptr);
  for (int64_t i = 0; i < patches; ++i) std::copy_n(&s.encoder_points[3 * s.center_idx[i]], 3, &s.centers[3 * i]);
}

const float* levels_or_null(const std::vector<float>& levels) { return levels.empty() ? nullptr : levels.data(); }

// The levels (count) of vectors; empty if the model has no bank.
void find_levels(const pa3d_model& model, const std::vector<float>& vectors, int threads, std::vector<float>& levels) {
  const int64_t dim = model.config.text_dim, count = static_cast<int64_t>(vectors.size()) / dim;
  levels.resize(model.bank.empty() ? 0 : count);
  if (!model.bank.empty())
    pa3d::name_levels(model.bank.data(), static_cast<int64_t>(model.bank.size()) / dim, vectors.data(), count, dim,
                      threads, levels.data());
}

// Fills the session with what depends on the names alone. Comes before `encode`.
void read_names(const pa3d_model& model, const float* vectors, int64_t count, const pa3d_options& o, Session& s) {
  const int64_t dim = model.config.text_dim, size = count * dim;
  if (static_cast<int64_t>(s.last_vectors.size()) == size &&
      std::equal(vectors, vectors + size, s.last_vectors.begin()))
    return;
  s.last_vectors.clear();  // until all is computed
  s.fits.clear();
  s.has_unknown = false;
  s.names.assign(vectors, vectors + size);
  if (!model.lexicon_rows.empty()) {
    s.nearest.resize(count);
    pa3d::read_through_lexicon(model.lexicon(), vectors, count, dim, o.threads, s.names.data(), s.nearest.data());
    if (model.kinds.num_kinds > 0 && !pa3d::all_known(s.nearest.data(), count)) {
      const pa3d::LexiconNames& known = model.lexicon_names(o.threads);
      s.closeness.resize(count * known.count);
      pa3d::closeness_to_names(model.lexicon(), known.name_of.data(), known.count, vectors, count, dim, o.threads,
                               s.closeness.data());
      s.has_unknown = true;
    }
  }
  find_levels(model, s.names, o.threads, s.levels);
  s.last_vectors.assign(vectors, vectors + size);
}

// Whether the session's names need the tokens of the shape.
bool needs_tokens(const pa3d_model& model, const Session& s, bool needs_presence) {
  return s.has_unknown || (needs_presence && model.uses_kinds());
}

// The session's vector of the shape and the fits of the names with the kinds of things.
void find_kinds(const pa3d_model& model, int64_t count, const pa3d_options& o, Session& s) {
  if (s.fits.empty()) {
    std::vector<float> fits(model.kinds.num_kinds * count);
    pa3d::kind_fits(model.kinds, s.names.data(), count, model.config.text_dim, o.threads, fits.data());
    s.fits.swap(fits);
  }
  s.shape.resize(model.config.text_dim);
  pa3d::shape_vector(s.tokens.data(), s.passes.total(), model.shape_head, o.threads, s.shape.data());
  require(std::all_of(s.shape.begin(), s.shape.end(), [](float v) { return std::isfinite(v); }),
          "the shape head gives numbers that are not finite; make it again");
}

// The session's logits (patches, count) of the encoded shape, after `read_names`.
void compare(const pa3d_model& model, int64_t count, const pa3d_options& o, bool needs_presence, Session& s) {
  const int64_t dim = model.config.text_dim, patches = s.passes.total();
  if (needs_tokens(model, s, needs_presence)) find_kinds(model, count, o, s);
  if (s.has_unknown) {
    const pa3d::LexiconNames& known = model.lexicon_names(o.threads);
    const pa3d::Words words{count,         s.last_vectors.data(), s.names.data(),    levels_or_null(s.levels),
                            s.fits.data(), s.nearest.data(),      s.closeness.data()};
    s.names_here.resize(count * dim);
    pa3d::read_on_shape({known.vectors.data(), known.fits.data(), known.count}, model.kinds, words,
                        {s.shape.data(), s.features.data(), patches}, dim, model.temperature, o.threads,
                        s.names_here.data());
    find_levels(model, s.names_here, o.threads, s.levels_here);
  }
  const auto& names = s.has_unknown ? s.names_here : s.names;
  const auto& levels = s.has_unknown ? s.levels_here : s.levels;
  s.logits.resize(patches * count);
  pa3d::cosine_logits(s.features.data(), patches, names.data(), count, dim, model.temperature, s.logits.data(),
                      levels_or_null(levels));
}

// The session's presence (count) of the names, after `compare`; empty if the model has no calibration.
void find_presence(const pa3d_model& model, int64_t count, Session& s) {
  s.presence.resize(model.has_presence ? count : 0);
  if (!model.has_presence) return;
  if (model.uses_kinds()) {
    s.expected.resize(count);
    pa3d::expectation(model.kinds, s.shape.data(), s.fits.data(), count, model.config.text_dim, s.expected.data());
  }
  const auto& fit = model.presence;
  pa3d::presence(s.logits.data(), s.passes.total(), count, fit.slope, fit.offset, fit.weight,
                 model.uses_kinds() ? s.expected.data() : nullptr, s.presence.data());
}

// Labels and scores of the shape's points, and of the centroids of its faces if these are wanted.
void label(const pa3d_model& model, const Shape& shape, const float* vectors, int64_t count, const pa3d_options& o,
           Session& s, const Outputs& out) {
  const auto& c = model.config;
  const bool needs_presence = model.has_presence && (o.none > 0 || out.presence);
  read_names(model, vectors, count, o, s);
  encode(model, shape, o, s, needs_tokens(model, s, needs_presence));
  compare(model, count, o, needs_presence, s);
  s.presence.clear();
  if (needs_presence) find_presence(model, count, s);
  const float* const presence = s.presence.empty() ? nullptr : s.presence.data();
  const pa3d::Patches patches{s.centers.data(),        s.passes.total(),
                              s.members.data(),        c.patch_size,
                              s.encoder_points.data(), static_cast<int64_t>(s.encoder_points.size()) / 3};
  const pa3d::Assign assign = o.assign == PA3D_NEAREST      ? pa3d::Assign::nearest
                              : o.assign == PA3D_MEMBERSHIP ? pa3d::Assign::membership
                              : o.assign == PA3D_SMOOTH     ? pa3d::Assign::smooth
                                                            : model.assign;
  auto label_at = [&](const float* points, int64_t n, int32_t* labels, float* scores) {
    s.query_points.resize(3 * n);
    pa3d::normalize(points, n, s.frame, kModelAxes[o.up], o.threads, s.query_points.data());
    require(std::all_of(s.query_points.begin(), s.query_points.end(),
                        [](float x) { return std::fabs(x) < kMaxCoordinate; }),
            "the sampled points are so near to each other that float32 cannot hold the others in their scale; remove "
            "outliers or give a larger sample");
    pa3d::label_points(s.query_points.data(), n, patches, s.logits.data(), count, assign, o.none, o.threads, labels,
                       scores, presence);
  };
  if (out.presence) std::copy(s.presence.begin(), s.presence.end(), out.presence);
  if (out.labels || out.scores) label_at(shape.points, shape.n, out.labels, out.scores);
  if (!out.face_labels && !out.face_scores) return;
  s.centroids.resize(3 * shape.n_faces);
  for (int64_t f = 0; f < shape.n_faces; ++f)
    for (int a = 0; a < 3; ++a) {
      double sum = 0;
      for (int j = 0; j < 3; ++j) sum += shape.points[3 * int64_t{shape.faces[3 * f + j]} + a];
      s.centroids[3 * f + a] = static_cast<float>(sum / 3);
    }
  label_at(s.centroids.data(), shape.n_faces, out.face_labels, out.face_scores);
}

// Fills the session's vectors, one per part, from part names.
void embed_for(const pa3d_model& model, const pa3d_text* text, const char* const* parts, int64_t count,
               const char* category, int threads, Session& s) {
  require_given(text, "text");
  const auto names = names_of(parts, count);
  const int64_t width = text->encoder->config().width;
  require(model.text_space == kTextSpace && model.config.text_dim == width,
          "the model uses the text space " + model.text_space + " of " + std::to_string(model.config.text_dim) +
              " dimensions, pa3d_text uses " + kTextSpace + "; use the function that takes vectors");
  s.vectors.resize(count * width);
  embed(*text, names, category, model.prompts, threads, s.vectors.data());
}

// unit (count, D): the caller's vectors, normalised.
void use_vectors(const pa3d_model& model, const float* vectors, int64_t count, std::vector<float>& unit) {
  require_given(vectors, "vectors");
  require(count >= 1 && count < INT32_MAX, "count is " + std::to_string(count) + "; expected at least one vector");
  unit.resize(count * model.config.text_dim);
  require(pa3d::unit_rows(vectors, count, model.config.text_dim, unit.data()),
          "vectors: NaN, infinite or zero rows; expected unit vectors");
}

// fill(threads, session) writes the session's vectors, one per part.
template <class Fill>
pa3d_status segment(const pa3d_model* model, const Shape& shape, int64_t count, const pa3d_options* options,
                    const Outputs& out, const Fill& fill) {
  return guarded([&] {
    require_given(model, "model");
    if (!shape.is_mesh) require_given(out.labels, "labels");
    const pa3d_options o = checked(options);
    check_shape(shape);
    const auto s = model->session();
    fill(o.threads, *s);
    label(*model, shape, s->vectors.data(), count, o, *s, out);
  });
}

void segment_batch(const pa3d_model& model, const pa3d_shape* shapes, int64_t n_shapes, const float* vectors,
                   int64_t count, const pa3d_options& options, const pa3d_result* results) {
  std::vector<std::string> problems(n_shapes);
  auto run = [&](int64_t i, int threads) {
    pa3d_options o = options;
    o.threads = threads;
    const pa3d_shape& given = shapes[i];
    const Shape shape{given.points, given.n, given.faces, given.n_faces, given.faces != nullptr};
    const pa3d_result& out = results[i];
    try {
      require(shape.is_mesh || !(out.face_labels || out.face_scores), "results of faces, but no faces");
      require(!out.presence || model.has_presence, "the model has no calibration of presence");
      check_shape(shape);
      const auto s = model.session();
      label(model, shape, vectors, count, o, *s,
            {out.labels, out.scores, out.face_labels, out.face_scores, out.presence});
    } catch (const std::invalid_argument& error) {
      problems[i] = error.what();
    }
  };
  if (n_shapes < pa3d::resolve_threads(options.threads)) {
    for (int64_t i = 0; i < n_shapes; ++i) run(i, options.threads);
  } else {
    pa3d::parallel_for(n_shapes, 1, options.threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) run(i, 1);
    });
  }
  for (int64_t i = 0; i < n_shapes; ++i)
    require(problems[i].empty(), "shapes[" + std::to_string(i) + "]: " + problems[i]);
}

}  // namespace
