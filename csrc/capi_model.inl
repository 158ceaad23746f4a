// The structs behind the handles of pa3d.h (pa3d_model, pa3d_text), and the conversion of exceptions to status codes.
// Included only by capi.cpp.

namespace pa3d::capi {

constexpr const char* kTextSpace = "all-MiniLM-L6-v2";
constexpr int64_t kFormat = 1;
constexpr int kMaxThreads = 4096;

// One row per up axis: which of the caller's axes become the model's x, y and z; ~i is minus axis i. As TO_MODEL_AXES
// in pa3d/frames.py.
constexpr int kModelAxes[6][3] = {{1, 2, 0}, {0, 2, 1}, {0, 1, 2}, {~1, 2, ~0}, {0, ~2, ~1}, {0, ~1, ~2}};
// Of normalised points: float32 holds the squares of their distances.
constexpr float kMaxCoordinate = 1e18f;

struct Unsupported : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A fixed buffer, so that there is a message even when no memory is left.
thread_local char t_message[1024];

pa3d_status failed(pa3d_status status, const char* message) {
  std::snprintf(t_message, sizeof t_message, "%s", message);
  return status;
}

// Runs body and converts its exceptions to a status and a message.
template <class Body>
pa3d_status guarded(const Body& body) noexcept {
  try {
    body();
    return PA3D_OK;
  } catch (const std::invalid_argument& error) {
    return failed(PA3D_INVALID, error.what());
  } catch (const pa3d::FileError& error) {
    return failed(PA3D_FILE, error.what());
  } catch (const Unsupported& error) {
    return failed(PA3D_UNSUPPORTED, error.what());
  } catch (const std::bad_alloc&) {
    return failed(PA3D_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return failed(PA3D_INTERNAL, error.what());
  } catch (...) {
    return failed(PA3D_INTERNAL, "an unknown exception");
  }
}

void require(bool good, const std::string& message) {
  if (!good) throw std::invalid_argument(message);
}

void require_given(const void* pointer, const char* name) {
  if (pointer == nullptr) throw std::invalid_argument(std::string(name) + " is NULL");
}

constexpr std::pair<const char*, pa3d::Precision> kPrecisions[] = {
    {"fp32", pa3d::Precision::fp32}, {"bf16", pa3d::Precision::bf16}, {"int8", pa3d::Precision::int8}};

pa3d::Precision precision_of(const std::string& name) {
  return std::find_if(std::begin(kPrecisions), std::end(kPrecisions), [&](const auto& p) { return name == p.first; })
      ->second;
}

// verified: the precisions at which the checkpoint's labels were checked, fastest first. "auto" takes the first one
// that runs on this processor, or fp32.
std::string resolve_precision(const std::string& name, const std::vector<std::string>& verified) {
  auto runs = [](const std::string& wanted) {
    return std::any_of(std::begin(kPrecisions), std::end(kPrecisions),
                       [&](const auto& p) { return wanted == p.first && pa3d::supports(p.second); });
  };
  if (name == "auto") {
    const auto first = std::find_if(verified.begin(), verified.end(), runs);
    return first == verified.end() ? "fp32" : *first;
  }
  require(name == "fp32" || name == "bf16" || name == "int8",
          "precision '" + name + "' is not one of auto, fp32, bf16, int8");
  if (!runs(name))
    throw Unsupported("precision " + name + " needs " + pa3d::requirement(precision_of(name)) +
                      "; the instruction set in use is " + pa3d::isa_name(pa3d::isa()) + "; use fp32 or auto");
  return name;
}

pa3d::EncoderConfig parse_config(const pa3d::Json& json) {
  pa3d::EncoderConfig c;
  const std::pair<const char*, int64_t*> sizes[] = {
      {"patches", &c.patches},       {"patch_size", &c.patch_size}, {"dim", &c.dim},
      {"depth", &c.depth},           {"heads", &c.heads},           {"mlp_hidden", &c.mlp_hidden},
      {"pos_hidden", &c.pos_hidden}, {"text_dim", &c.text_dim}};
  for (const auto& [key, value] : json.object("the configuration")) {
    const auto size =
        std::find_if(std::begin(sizes), std::end(sizes), [&key = key](const auto& s) { return key == s.first; });
    if (size != std::end(sizes)) {
      *size->second = value.integer(size->first);
    } else if (key == "embed") {
      const auto& widths = value.array("embed");
      if (widths.size() != 4) throw pa3d::FileError("embed does not have four widths");
      for (int i = 0; i < 4; ++i) c.embed[i] = widths[i].integer("embed");
    } else if (key == "pass_points") {
      c.pass_points = value.integer("pass_points");
    } else if (key == "min_sq_norm") {
      c.min_sq_norm = static_cast<float>(value.number("min_sq_norm"));
    } else if (key != "drop_path") {  // only training uses it
      throw pa3d::FileError("the configuration has an unknown field " + key + "; written by a newer pa3d?");
    }
  }
  for (const auto& [name, value] : sizes)
    if (*value < 1 || *value > (1 << 20)) throw pa3d::FileError(std::string(name) + " is out of range");
  if (c.pass_points < 0 || c.pass_points > (1 << 20)) throw pa3d::FileError("pass_points is out of range");
  if (c.pass_points > 0 && c.patches % 2 != 0) throw pa3d::FileError("patches is odd, but there are pass_points");
  for (int64_t width : c.embed)
    if (width < 1 || width > (1 << 20)) throw pa3d::FileError("embed is out of range");
  return c;
}

// The working memory of one call. It is kept for later calls.
struct Session {
  std::unique_ptr<pa3d::Encoder::Workspace> workspace;
  pa3d::Passes passes{};                                             // of the encoded shape
  std::vector<int64_t> sample_idx, inlier_idx, center_idx, members;  // sample_idx: the used points; empty for all
  std::vector<int32_t> sampled_face;
  std::vector<uint8_t> outlier;
  std::vector<float> sampled, encoder_points, centers, tokens, features, vectors, logits, presence, query_points,
      centroids;
  // Of the last names: vectors, those by the lexicon, their levels; what cpu/words.h says of their closeness, where
  // some of them are not known; fits with the kinds of things, which may be empty until they are needed.
  std::vector<float> last_vectors, names, levels, nearest, closeness, fits;
  bool has_unknown = false;
  std::vector<float> names_here, levels_here;  // of these names, as they are read on the shape
  std::vector<float> shape, expected;          // the vector of the shape; of each name (pa3d::expectation)
  pa3d::Normalization frame;
};

}  // namespace pa3d::capi

using namespace pa3d::capi;

struct pa3d_model {
  pa3d_model(const std::string& path, const std::string& wanted) {
    if (const char* rejected = pa3d::rejected_isa())
      throw Unsupported(std::string("PA3D_ISA=") + rejected + ": this processor has " +
                        pa3d::isa_name(pa3d::best_isa()) + "; expected " + pa3d::kIsaChoices + ", not above that");
    const pa3d::SafeTensors file(path);
    if (!file.has_metadata("pa3d")) file.fail("safetensors, but not a checkpoint of pa3d");
    std::vector<std::string> verified;
    try {
      const pa3d::Json meta = pa3d::Json::parse(file.metadata("pa3d"));
      if (meta.at("format", "it").integer("format") != kFormat) throw pa3d::FileError("another version's format");
      text_space = meta.at("text_space", "it").string("text_space");
      prompts = meta.at("prompts", "it").string("prompts");
      if (const pa3d::Json* own = meta.find("assign")) assign = assign_of(own->string("assign"));
      if (const pa3d::Json* factor = meta.find("outliers")) outliers = static_cast<float>(factor->number("outliers"));
      if (!(outliers >= 0 && std::isfinite(outliers))) throw pa3d::FileError("outliers is below 0");
      if (const pa3d::Json* fit = meta.find("presence")) {
        const pa3d::Json::Array& values = fit->array("presence");
        if (values.size() != 3 && values.size() != 4) throw pa3d::FileError("presence does not have 3 or 4 numbers");
        has_presence = true;
        presence.slope = values[0].number("presence");
        presence.offset = values[1].number("presence");
        values[2].number("presence");  // the threshold, which the caller applies
        if (values.size() == 4) presence.weight = values[3].number("presence");
        if (!std::isfinite(presence.slope + presence.offset + presence.weight))
          throw pa3d::FileError("presence is not finite");
      }
      temperature = static_cast<float>(meta.at("temperature", "it").number("temperature"));
      if (!(temperature > 0)) throw pa3d::FileError("temperature is not above 0");
      for (const pa3d::Json& name : meta.at("precisions", "it").array("precisions"))
        verified.push_back(name.string("a precision"));
      config = parse_config(meta.at("config", "it"));
    } catch (const pa3d::FileError& error) {
      file.fail(std::string("its metadata is damaged (") + error.what() + ")");
    }
    precision = resolve_precision(wanted, verified);
    std::vector<std::vector<float>> fp32_weights;  // F16 tensors converted; alive until everything is packed
    size_t read = 0;
    auto weights = [&](const std::string& name, int64_t count) -> const float* {
      const auto& tensor = file.tensor(name, count);
      ++read;
      if (tensor.dtype != "F32" && tensor.dtype != "F16")
        file.fail(name + " is " + tensor.dtype + ", expected F32 or F16");
      const float* values = reinterpret_cast<const float*>(tensor.data);
      if (tensor.dtype == "F16") {
        fp32_weights.emplace_back(count);
        pa3d::half_to_float(reinterpret_cast<const uint16_t*>(tensor.data), count, fp32_weights.back().data());
        values = fp32_weights.back().data();
      }
      if (!std::all_of(values, values + count, [](float v) { return std::isfinite(v); }))
        file.fail(name + " has NaN or infinite values");
      return values;
    };
    try {
      encoder = pa3d::make_encoder(config, precision_of(precision), weights);
    } catch (const std::invalid_argument& error) {
      file.fail(error.what());
    }
    if (file.tensors().count("bank") != 0) {
      bank = int8_rows(file, "bank", config.text_dim);
      ++read;
    }
    if (file.tensors().count("lexicon.rows") + file.tensors().count("lexicon.meaning") == 1)
      file.fail("lexicon.rows and lexicon.meaning belong together; one of them is missing");
    if (file.tensors().count("lexicon.rows") != 0) {
      lexicon_rows = int8_rows(file, "lexicon.rows", config.text_dim);
      lexicon_meaning = meanings_of(file, static_cast<int64_t>(lexicon_rows.size()) / config.text_dim);
      read += 2;
    }
    const auto heads = std::count_if(file.tensors().begin(), file.tensors().end(),
                                     [](const auto& t) { return t.first.rfind("shape_head.", 0) == 0; });
    if (read_kinds(file)) {
      read += 3;
      read_shape_head(file, weights);  // counts its four tensors
      if (heads != 4) file.fail("kinds.rows needs the four tensors of a shape head");
    } else {
      read += heads;  // it is not used here without kinds
      if (presence.weight != 0) file.fail("its presence needs kinds.rows, kinds.parts, kinds.has, which are missing");
    }
    if (read != file.tensors().size()) file.fail("it holds tensors that are not this encoder's");
  }

  // Whether presence depends on the kinds of things, and so on the tokens.
  bool uses_kinds() const { return presence.weight != 0; }

  pa3d::Lexicon lexicon() const {
    return {lexicon_rows.data(), lexicon_meaning.data(), static_cast<int64_t>(lexicon_meaning.size())};
  }
  // Of the lexicon and the kinds, which must be there. Computed when the first word comes that is not known.
  const pa3d::LexiconNames& lexicon_names(int threads) const {
    std::call_once(names_once, [&] { names = pa3d::lexicon_names(lexicon(), kinds, config.text_dim, threads); });
    return names;
  }

  pa3d::Pool<Session>::Lease session() const {
    return sessions.acquire([&] {
      auto made = std::make_unique<Session>();
      made->workspace = encoder->workspace();
      return made;
    });
  }

  // The tensor `name`, int8 (rows, width), none of them zero.
  static std::vector<int8_t> int8_rows(const pa3d::SafeTensors& file, const std::string& name, int64_t width) {
    const auto& tensor = file.tensors().at(name);
    if (tensor.dtype != "I8" || tensor.shape.size() != 2 || tensor.shape[0] < 1 || tensor.shape[1] != width)
      file.fail(name + " is not I8 with rows of " + std::to_string(width));
    std::vector<int8_t> rows(tensor.count);
    std::memcpy(rows.data(), tensor.data, rows.size());
    for (int64_t i = 0; i < tensor.count; i += width)
      if (std::all_of(&rows[i], &rows[i] + width, [](int8_t v) { return v == 0; })) file.fail(name + " has a zero row");
    return rows;
  }

  static std::vector<int32_t> meanings_of(const pa3d::SafeTensors& file, int64_t rows) {
    const auto& tensor = file.tensors().at("lexicon.meaning");
    if (tensor.dtype != "I32" || tensor.shape != std::vector<int64_t>{rows})
      file.fail("lexicon.meaning is not I32 with " + std::to_string(rows) + " numbers");
    std::vector<int32_t> meaning(rows);
    std::memcpy(meaning.data(), tensor.data, rows * sizeof(int32_t));
    if (!pa3d::all_within(meaning.data(), rows, 0, rows)) file.fail("lexicon.meaning has a number that is no row");
    return meaning;
  }

  // Whether the file has kinds of things. The shape head is read next.
  bool read_kinds(const pa3d::SafeTensors& file) {
    const char* const names[] = {"kinds.rows", "kinds.parts", "kinds.has"};
    const auto there = [&](const char* name) { return file.tensors().count(name) != 0; };
    if (std::none_of(std::begin(names), std::end(names), there)) return false;
    for (const char* name : names)
      if (!there(name))
        file.fail(std::string(name) + " is missing; kinds.rows, kinds.parts, kinds.has belong together");
    kind_rows = int8_rows(file, "kinds.rows", config.text_dim);
    kind_parts = int8_rows(file, "kinds.parts", config.text_dim);
    const auto& has = file.tensors().at("kinds.has");
    if (has.dtype != "I32" || has.shape.size() != 2 || has.shape[1] != 2)
      file.fail("kinds.has is not I32 with rows of 2");
    kind_has.resize(has.count);
    std::memcpy(kind_has.data(), has.data, kind_has.size() * sizeof(int32_t));
    kinds = {kind_rows.data(),  static_cast<int64_t>(kind_rows.size()) / config.text_dim,
             kind_parts.data(), static_cast<int64_t>(kind_parts.size()) / config.text_dim,
             kind_has.data(),   has.shape[0]};
    for (int64_t i = 0; i < kinds.num_pairs; ++i)
      if (!pa3d::all_within(kinds.has + 2 * i, 1, 0, kinds.num_kinds) ||
          !pa3d::all_within(kinds.has + 2 * i + 1, 1, 0, kinds.num_parts))
        file.fail("kinds.has has a number that is no row");
    return true;
  }

  // weights: gives the values of a tensor of the file.
  template <class Weights>
  void read_shape_head(const pa3d::SafeTensors& file, const Weights& weights) {
    const auto bias = file.tensors().find("shape_head.hidden.bias");
    if (bias == file.tensors().end()) file.fail("kinds.rows without a shape head");
    auto& h = shape_head;
    h.width = config.dim, h.hidden = bias->second.count, h.dim = config.text_dim;
    if (h.hidden < 1) file.fail("shape_head.hidden.bias is empty");
    const auto kept = [&](const std::string& part, const std::vector<int64_t>& shape) {
      const std::string name = "shape_head." + part;
      const int64_t count = std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
      const float* const values = weights(name, count);
      if (file.tensors().at(name).shape != shape) file.fail(name + " has another shape than the model needs");
      return shape_head_weights.emplace_back(values, values + count).data();
    };
    h.hidden_weight = kept("hidden.weight", {h.hidden, 3 * h.width});
    h.hidden_bias = kept("hidden.bias", {h.hidden});
    h.out_weight = kept("out.weight", {h.dim, h.hidden});
    h.out_bias = kept("out.bias", {h.dim});
  }

  static pa3d::Assign assign_of(const std::string& name) {
    if (name == "nearest") return pa3d::Assign::nearest;
    if (name == "membership") return pa3d::Assign::membership;
    if (name == "smooth") return pa3d::Assign::smooth;
    throw pa3d::FileError("assign " + name);
  }

  std::string text_space, prompts, precision;
  pa3d::Assign assign = pa3d::Assign::nearest;
  float temperature = 1, outliers = 0;  // outliers: the factor of find_outliers, 0 to keep all points
  bool has_presence = false;
  struct {
    double slope = 0, offset = 0, weight = 0;
  } presence;
  std::vector<int8_t> bank;          // features of patches of many shapes, (rows, text_dim): the levels of names
  std::vector<int8_t> lexicon_rows;  // (rows, text_dim), or empty
  std::vector<int32_t> lexicon_meaning;
  std::vector<int8_t> kind_rows, kind_parts;
  std::vector<int32_t> kind_has;
  pa3d::Kinds kinds{};  // of the three above; num_kinds is 0 if there are none
  pa3d::ShapeHead shape_head{};
  std::vector<std::vector<float>> shape_head_weights;
  pa3d::EncoderConfig config;
  std::unique_ptr<pa3d::Encoder> encoder;
  mutable pa3d::Pool<Session> sessions;
  mutable std::once_flag names_once;
  mutable pa3d::LexiconNames names;
};

struct pa3d_text {
  pa3d_text(const std::string& weights_path, const std::string& tokenizer_path)
      : file(weights_path), tokenizer(tokenizer_path) {
    const pa3d::TextConfig config;
    if (tokenizer.size() > config.vocabulary || tokenizer.max_tokens() > config.max_tokens)
      throw pa3d::FileError(tokenizer_path + ": its vocabulary or length does not fit the text encoder");
    const pa3d::TextWeights source{[&](const std::string& name, int64_t count) { return file.integers(name, count); },
                                   [&](const std::string& name, int64_t count) { return file.floats(name, count); }};
    encoder = pa3d::make_text_encoder(config, source, 0);
  }

  pa3d::SafeTensors file;  // token embeddings are read from it
  pa3d::WordPiece tokenizer;
  std::unique_ptr<pa3d::TextEncoder> encoder;
  mutable pa3d::Pool<pa3d::TextEncoder::Workspace> workspaces;
};
