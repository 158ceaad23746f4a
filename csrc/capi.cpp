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
#include <mutex>
#include <new>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "cpu/cpuid.h"
#include "cpu/encoder.h"
#include "cpu/indices.h"
#include "cpu/json.h"
#include "cpu/outliers.h"
#include "cpu/parallel.h"
#include "cpu/passes.h"
#include "cpu/pool.h"
#include "cpu/prompts.h"
#include "cpu/safetensors.h"
#include "cpu/refine.h"
#include "cpu/sample.h"
#include "cpu/segment.h"
#include "cpu/text.h"
#include "cpu/wordpiece.h"
#include "cpu/words.h"

#include "capi_model.inl"
#include "capi_vectors.inl"
#include "capi_segment.inl"

extern "C" {

const char* pa3d_error_message(void) { return t_message; }

const char* pa3d_version(void) { return PA3D_VERSION; }

int pa3d_thread_count(void) { return pa3d::resolve_threads(0); }

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

pa3d_status pa3d_vectors_load(const char* path, pa3d_vectors** vectors) {
  return guarded([&] {
    require_given(vectors, "vectors");
    *vectors = nullptr;
    require_given(path, "path");
    *vectors = new pa3d_vectors(path);
  });
}

void pa3d_vectors_free(pa3d_vectors* vectors) { delete vectors; }

pa3d_status pa3d_vectors_get_info(const pa3d_vectors* vectors, pa3d_vectors_info* info) {
  return guarded([&] {
    require_given(vectors, "vectors");
    require_given(info, "info");
    *info = {static_cast<int64_t>(vectors->names.size()), vectors->width, vectors->text_space.c_str(),
             vectors->category ? vectors->category->c_str() : nullptr};
  });
}

const char* pa3d_vectors_name(const pa3d_vectors* vectors, int64_t i) {
  const bool found = vectors != nullptr && i >= 0 && i < static_cast<int64_t>(vectors->names.size());
  return found ? vectors->names[i].c_str() : nullptr;
}

pa3d_status pa3d_vectors_select(const pa3d_vectors* vectors, const pa3d_model* model, const char* const* parts,
                                int64_t count, const char* category, float* out) {
  return guarded([&] {
    require_given(vectors, "vectors");
    require_given(model, "model");
    require_given(out, "out");
    require(model->text_space == vectors->text_space && model->config.text_dim == vectors->width,
            vectors->path + ": vectors of text space " + vectors->text_space + " with " +
                std::to_string(vectors->width) + " dimensions, but the model needs " + model->text_space + " with " +
                std::to_string(model->config.text_dim));
    vectors->select(names_of(parts, count), clean_category(category), out);
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
    encode(*model, {points, n}, o, *s, tokens != nullptr);
    if (members && !s->sample_idx.empty())
      for (int64_t& member : s->members) member = s->sample_idx[member];
    // The caller's arrays have room for info.patches: of more, the first of every pass, which are the farthest apart.
    const auto& c = model->config;
    for (int64_t pass = 0; pass < s->passes.count; ++pass) {
      int64_t from, to;
      pa3d::partition(c.patches, pass, s->passes.count, &from, &to);
      const auto copy = [&](const auto& rows, int64_t width, auto* out) {
        if (out) std::copy_n(&rows[pass * s->passes.patches * width], (to - from) * width, out + from * width);
      };
      copy(s->centers, 3, centers);
      copy(s->members, c.patch_size, members);
      copy(s->tokens, c.dim, tokens);
      copy(s->features, c.text_dim, features);
    }
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
                 [&](int, Session& s) { use_vectors(*model, vectors, count, s.vectors); });
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
                 [&](int, Session& s) { use_vectors(*model, vectors, count, s.vectors); });
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
    read_names(*model, s->vectors.data(), count, o, *s);
    encode(*model, shape, o, *s, needs_tokens(*model, *s, true));
    compare(*model, count, o, true, *s);
    find_presence(*model, count, *s);
    std::copy(s->presence.begin(), s->presence.end(), presence);
  });
}

pa3d_status pa3d_segment_batch(const pa3d_model* model, const pa3d_shape* shapes, int64_t n_shapes,
                               const float* vectors, int64_t count, const pa3d_options* options,
                               const pa3d_result* results) {
  return guarded([&] {
    require_given(model, "model");
    require_given(shapes, "shapes");
    require_given(results, "results");
    require(n_shapes >= 1, "n_shapes is " + std::to_string(n_shapes) + "; expected at least one");
    const pa3d_options o = checked(options);
    std::vector<float> unit;
    use_vectors(*model, vectors, count, unit);
    segment_batch(*model, shapes, n_shapes, unit.data(), count, o, results);
  });
}

pa3d_status pa3d_refine(const float* points, int64_t n, const int32_t* faces, int64_t n_faces, int64_t count,
                        int threads, int32_t* labels, float* scores, int32_t* face_labels, float* face_scores) {
  return guarded([&] {
    const Shape shape{points, n, faces, n_faces, faces != nullptr};
    check_shape(shape);
    require(n < INT32_MAX, "n is " + std::to_string(n) + "; expected fewer than 2^31 points");
    require(n_faces < (int64_t{1} << 28), "n_faces is " + std::to_string(n_faces) + "; expected fewer than 2^28");
    require(count >= 1 && count < INT32_MAX, "count is " + std::to_string(count) + "; expected at least one part");
    require(threads >= 0 && threads <= kMaxThreads, "threads is " + std::to_string(threads) + "; expected 0 to 4096");
    float* const table = faces ? face_scores : scores;
    require_given(table, faces ? "face_scores" : "scores");
    const int64_t rows = faces ? n_faces : n;
    require(std::all_of(table, table + rows * count, [](float p) { return p >= 0 && std::isfinite(p); }),
            "the scores have negative, NaN or infinite values; expected probabilities");
    pa3d::RefineInput in{};
    in.points = points, in.n = n, in.faces = faces, in.n_faces = n_faces, in.reach = pa3d::kRefineReach;
    pa3d::refine(in, table, count, threads);
    if (faces && scores) pa3d::mean_at_vertices(points, n, faces, n_faces, face_scores, count, scores);
    const auto best = [&](const float* row, int64_t size, int32_t* out) {
      for (int64_t i = 0; i < size && out && row; ++i)
        out[i] = static_cast<int32_t>(std::max_element(row + i * count, row + (i + 1) * count) - (row + i * count));
    };
    best(scores, n, labels);
    if (faces) best(face_scores, n_faces, face_labels);
  });
}

}  // extern "C"
