// Implements csrc/pa3d.h with the kernels and the arithmetic that the Python package uses too.
#include "pa3d.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "cpu/cpuid.h"
#include "cpu/encoder.h"
#include "cpu/json.h"
#include "cpu/outliers.h"
#include "cpu/pool.h"
#include "cpu/prompts.h"
#include "cpu/safetensors.h"
#include "cpu/sample.h"
#include "cpu/segment.h"
#include "cpu/text.h"
#include "cpu/wordpiece.h"

#include "capi_model.inl"

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
};

void check_shape(const Shape& shape) {
  check_points(shape.points, shape.n);
  if (!shape.is_mesh) return;
  require_given(shape.faces, "faces");
  require(shape.n_faces >= 1 && shape.n_faces < INT32_MAX,
          "n_faces is " + std::to_string(shape.n_faces) + "; expected at least one face, and fewer than 2^31");
  for (int64_t i = 0; i < 3 * shape.n_faces; ++i)
    require(shape.faces[i] >= 0 && shape.faces[i] < shape.n,
            "faces refer to vertices outside 0.." + std::to_string(shape.n - 1));
}

// Runs the encoder. Fills the session with the points that the encoder gets, in its frame, and with its outputs.
void encode(const pa3d_model& model, const Shape& shape, const pa3d_options& o, Session& s, float* tokens) {
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
      pa3d::sample_indices(shape.n, count, o.seed, s.sample_idx.data());
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
  s.center_idx.resize(c.patches);
  s.centers.resize(3 * c.patches);
  s.members.resize(c.patches * c.patch_size);
  s.features.resize(c.patches * c.text_dim);
  model.encoder->forward(s.encoder_points.data(), count, o.threads, *s.workspace, s.center_idx.data(), s.members.data(),
                         tokens, s.features.data(), nullptr);
  for (int64_t i = 0; i < c.patches; ++i) std::copy_n(&s.encoder_points[3 * s.center_idx[i]], 3, &s.centers[3 * i]);
}

// The session's logits (patches, count) of the encoded shape, and the presence (count) of the names if the model has one.
void compare(const pa3d_model& model, const float* vectors, int64_t count, const pa3d_options& o, Session& s) {
  const auto& c = model.config;
  const float* levels = nullptr;
  if (!model.bank.empty()) {
    const int64_t size = count * c.text_dim, rows = static_cast<int64_t>(model.bank.size()) / c.text_dim;
    if (static_cast<int64_t>(s.levels.size()) != count ||
        !std::equal(vectors, vectors + size, s.level_vectors.begin(), s.level_vectors.end())) {
      s.level_vectors.assign(vectors, vectors + size);
      s.levels.resize(count);
      pa3d::name_levels(model.bank.data(), rows, vectors, count, c.text_dim, o.threads, s.levels.data());
    }
    levels = s.levels.data();
  }
  s.logits.resize(c.patches * count);
  pa3d::cosine_logits(s.features.data(), c.patches, vectors, count, c.text_dim, model.temperature, s.logits.data(),
                      levels);
  s.presence.resize(model.has_presence ? count : 0);
  if (model.has_presence)
    pa3d::presence(s.logits.data(), c.patches, count, model.presence[0], model.presence[1], s.presence.data());
}

// Labels and scores of the shape's points, and of the centroids of its faces if these are wanted.
void label(const pa3d_model& model, const Shape& shape, const float* vectors, int64_t count, const pa3d_options& o,
           Session& s, const Outputs& out) {
  const auto& c = model.config;
  encode(model, shape, o, s, nullptr);
  compare(model, vectors, count, o, s);
  const float* const presence = s.presence.empty() ? nullptr : s.presence.data();
  const pa3d::Patches patches{s.centers.data(),        c.patches,
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
  label_at(shape.points, shape.n, out.labels, out.scores);
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

// Fills the session's vectors, one per part, from the caller's vectors.
void use_vectors(const pa3d_model& model, const float* vectors, int64_t count, Session& s) {
  require_given(vectors, "vectors");
  require(count >= 1 && count < INT32_MAX, "count is " + std::to_string(count) + "; expected at least one vector");
  s.vectors.resize(count * model.config.text_dim);
  require(pa3d::unit_rows(vectors, count, model.config.text_dim, s.vectors.data()),
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

}  // namespace

extern "C" {

const char* pa3d_error_message(void) { return t_message; }

const char* pa3d_version(void) { return PA3D_VERSION; }

pa3d_status pa3d_model_load(const char* path, const char* precision, pa3d_model** model) {
  return guarded([&] {
    require_given(model, "model");
    *model = nullptr;
    require_given(path, "path");
    *model = new pa3d_model(path, precision ? precision : "auto");
  });
}

void pa3d_model_free(pa3d_model* model) { delete model; }

pa3d_status pa3d_text_load(const char* weights, const char* tokenizer, pa3d_text** text) {
  return guarded([&] {
    require_given(text, "text");
    *text = nullptr;
    require_given(weights, "weights");
    require_given(tokenizer, "tokenizer");
    *text = new pa3d_text(weights, tokenizer);
  });
}

void pa3d_text_free(pa3d_text* text) { delete text; }

pa3d_status pa3d_model_info(const pa3d_model* model, pa3d_info* info) {
  return guarded([&] {
    require_given(model, "model");
    require_given(info, "info");
    const auto& c = model->config;
    *info = {c.patches,
             c.patch_size,
             c.dim,
             c.text_dim,
             model->temperature,
             model->text_space.c_str(),
             model->prompts.c_str(),
             model->precision.c_str()};
  });
}

pa3d_status pa3d_center(const double* points, int64_t n, float* centered, double* origin) {
  return guarded([&] {
    require_given(points, "points");
    require_given(centered, "centered");
    require_given(origin, "origin");
    require(n >= 1 && n < INT32_MAX,
            "n is " + std::to_string(n) + "; expected at least one point, and fewer than 2^31");
    constexpr double kFarAway = 16, kInfinity = std::numeric_limits<double>::infinity();  // as in pa3d/shape.py
    double low[3] = {kInfinity, kInfinity, kInfinity}, high[3] = {-kInfinity, -kInfinity, -kInfinity};
    for (const double* p = points; p < points + 3 * n; p += 3) {
      if (!(std::isfinite(p[0]) && std::isfinite(p[1]) && std::isfinite(p[2]))) continue;
      for (int a = 0; a < 3; ++a) low[a] = std::min(low[a], p[a]), high[a] = std::max(high[a], p[a]);
    }
    double extent = 0, largest = 0;
    for (int a = 0; a < 3; ++a) {
      extent = std::max(extent, high[a] - low[a]);
      largest = std::max({largest, std::abs(low[a]), std::abs(high[a])});
      origin[a] = 0;
    }
    if (std::isfinite(largest) && extent > 0 && largest > kFarAway * extent) {
      const double grid = std::exp2(std::floor(std::log2(extent)));
      for (int a = 0; a < 3; ++a) origin[a] = std::nearbyint((low[a] + high[a]) / 2 / grid) * grid;
    }
    constexpr double kLargest = std::numeric_limits<float>::max();
    for (int64_t i = 0; i < 3 * n; ++i) {
      const double moved = points[i] - origin[i % 3];
      // A double beyond float32 becomes infinite, which the other functions refuse.
      centered[i] = std::abs(moved) <= kLargest ? static_cast<float>(moved)
                    : std::isnan(moved)
                        ? std::numeric_limits<float>::quiet_NaN()
                        : std::copysign(std::numeric_limits<float>::infinity(), static_cast<float>(moved > 0 ? 1 : -1));
    }
  });
}

pa3d_options pa3d_default_options(void) { return {PA3D_UP_Y, PA3D_OWN, 0.0f, 2048, 0, 0}; }

pa3d_status pa3d_embed_text(const pa3d_text* text, const char* const* parts, int64_t count, const char* category,
                            const char* prompts, int threads, float* vectors) {
  return guarded([&] {
    require_given(text, "text");
    require_given(vectors, "vectors");
    check_threads(threads);
    embed(*text, names_of(parts, count), category, prompts ? prompts : "auto", threads, vectors);
  });
}

pa3d_status pa3d_encode(const pa3d_model* model, const float* points, int64_t n, const pa3d_options* options,
                        float* centers, int64_t* members, float* tokens, float* features) {
  return guarded([&] {
    require_given(model, "model");
    const pa3d_options o = checked(options);
    check_points(points, n);
    const auto s = model->session();
    encode(*model, {points, n}, o, *s, tokens);
    if (centers) std::copy(s->centers.begin(), s->centers.end(), centers);
    if (features) std::copy(s->features.begin(), s->features.end(), features);
    if (members)
      std::transform(s->members.begin(), s->members.end(), members,
                     [&](int64_t i) { return s->sample_idx.empty() ? i : s->sample_idx[i]; });
  });
}

pa3d_status pa3d_segment(const pa3d_model* model, const pa3d_text* text, const float* points, int64_t n,
                         const char* const* parts, int64_t count, const char* category, const pa3d_options* options,
                         int32_t* labels, float* scores) {
  return segment(model, {points, n}, count, options, {labels, scores},
                 [&](int threads, Session& s) { embed_for(*model, text, parts, count, category, threads, s); });
}

pa3d_status pa3d_segment_vectors(const pa3d_model* model, const float* points, int64_t n, const float* vectors,
                                 int64_t count, const pa3d_options* options, int32_t* labels, float* scores) {
  return segment(model, {points, n}, count, options, {labels, scores},
                 [&](int, Session& s) { use_vectors(*model, vectors, count, s); });
}

pa3d_status pa3d_segment_mesh(const pa3d_model* model, const pa3d_text* text, const float* vertices, int64_t n,
                              const int32_t* faces, int64_t n_faces, const char* const* parts, int64_t count,
                              const char* category, const pa3d_options* options, int32_t* labels, float* scores,
                              int32_t* face_labels, float* face_scores) {
  return segment(model, {vertices, n, faces, n_faces, true}, count, options, {labels, scores, face_labels, face_scores},
                 [&](int threads, Session& s) { embed_for(*model, text, parts, count, category, threads, s); });
}

pa3d_status pa3d_segment_mesh_vectors(const pa3d_model* model, const float* vertices, int64_t n, const int32_t* faces,
                                      int64_t n_faces, const float* vectors, int64_t count, const pa3d_options* options,
                                      int32_t* labels, float* scores, int32_t* face_labels, float* face_scores) {
  return segment(model, {vertices, n, faces, n_faces, true}, count, options, {labels, scores, face_labels, face_scores},
                 [&](int, Session& s) { use_vectors(*model, vectors, count, s); });
}

pa3d_status pa3d_presence(const pa3d_model* model, const pa3d_text* text, const float* points, int64_t n,
                          const int32_t* faces, int64_t n_faces, const char* const* parts, int64_t count,
                          const char* category, const pa3d_options* options, float* presence) {
  return guarded([&] {
    require_given(model, "model");
    require_given(presence, "presence");
    require(model->has_presence, "the model has no calibration of presence");
    const pa3d_options o = checked(options);
    const Shape shape{points, n, faces, n_faces, faces != nullptr};
    check_shape(shape);
    const auto s = model->session();
    embed_for(*model, text, parts, count, category, o.threads, *s);
    encode(*model, shape, o, *s, nullptr);
    compare(*model, s->vectors.data(), count, o, *s);
    std::copy(s->presence.begin(), s->presence.end(), presence);
  });
}

}  // extern "C"
