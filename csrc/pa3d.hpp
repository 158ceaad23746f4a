// pa3d in C++17: pa3d.h with handles that free themselves, vectors for results, and exceptions. Header only; link with
// libpa3d.
//
//     const pa3d::Model model("model.safetensors");
//     const pa3d::Text text("weights/minilm-l6-v2.safetensors", "weights/minilm-tokenizer.json");
//     const pa3d::Segmentation result = pa3d::segment(model, text, {points.data(), n}, {"seat", "back", "leg"});
//
// Every function that can fail throws pa3d::Error. Model, Text and TextVectors may be used by several threads at once.
#ifndef PA3D_HPP
#define PA3D_HPP

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "pa3d.h"

namespace pa3d {

class Error : public std::runtime_error {
 public:
  Error(pa3d_status status, const char* message) : std::runtime_error(message), status_(status) {}
  pa3d_status status() const noexcept { return status_; }

 private:
  pa3d_status status_;
};

namespace detail {

inline void check(pa3d_status status) {
  if (status != PA3D_OK) throw Error(status, pa3d_error_message());
}

inline std::vector<const char*> pointers(const std::vector<std::string>& texts) {
  std::vector<const char*> out;
  for (const std::string& text : texts) out.push_back(text.c_str());
  return out;
}

inline const char* pointer(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }

}  // namespace detail

struct Options : pa3d_options {
  Options() : pa3d_options(pa3d_default_options()) {}
};

// precision: fp32, bf16, int8 or auto.
class Model {
 public:
  explicit Model(const std::string& path, const std::string& precision = "auto") {
    pa3d_model* model = nullptr;
    detail::check(pa3d_model_load(path.c_str(), precision.c_str(), &model));
    handle_.reset(model);
    detail::check(pa3d_model_info(model, &info_));
  }
  const pa3d_info& info() const noexcept { return info_; }
  const pa3d_model* get() const noexcept { return handle_.get(); }

 private:
  struct Free {
    void operator()(pa3d_model* model) const noexcept { pa3d_model_free(model); }
  };
  std::unique_ptr<pa3d_model, Free> handle_;
  pa3d_info info_{};
};

// The text encoder that comes with pa3d.
class Text {
 public:
  Text(const std::string& weights, const std::string& tokenizer) {
    pa3d_text* text = nullptr;
    detail::check(pa3d_text_load(weights.c_str(), tokenizer.c_str(), &text));
    handle_.reset(text);
  }
  const pa3d_text* get() const noexcept { return handle_.get(); }

  // (parts, D): unit vectors for this model. category: what the object is; empty if unknown.
  std::vector<float> embed(const Model& model, const std::vector<std::string>& parts, const std::string& category = "",
                           int threads = 0) const {
    if (std::string(model.info().text_space) != "all-MiniLM-L6-v2")
      throw Error(PA3D_INVALID, "the model uses another text space than pa3d::Text; give vectors of that space");
    std::vector<float> out(parts.size() * model.info().text_width);
    detail::check(pa3d_embed_text(get(), detail::pointers(parts).data(), static_cast<int64_t>(parts.size()),
                                  detail::pointer(category), model.info().prompts, threads, out.data()));
    return out;
  }

 private:
  struct Free {
    void operator()(pa3d_text* text) const noexcept { pa3d_text_free(text); }
  };
  std::unique_ptr<pa3d_text, Free> handle_;
};

// A file that `pa3d embed-text` writes.
class TextVectors {
 public:
  explicit TextVectors(const std::string& path) {
    pa3d_vectors* vectors = nullptr;
    detail::check(pa3d_vectors_load(path.c_str(), &vectors));
    handle_.reset(vectors);
    detail::check(pa3d_vectors_get_info(vectors, &info_));
  }
  const pa3d_vectors_info& info() const noexcept { return info_; }
  const pa3d_vectors* get() const noexcept { return handle_.get(); }

  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (int64_t i = 0; i < info_.count; ++i) out.emplace_back(pa3d_vectors_name(get(), i));
    return out;
  }

  // (parts, D), for this model.
  std::vector<float> select(const Model& model, const std::vector<std::string>& parts,
                            const std::string& category = "") const {
    std::vector<float> out(parts.size() * model.info().text_width);
    detail::check(pa3d_vectors_select(get(), model.get(), detail::pointers(parts).data(),
                                      static_cast<int64_t>(parts.size()), detail::pointer(category), out.data()));
    return out;
  }

 private:
  struct Free {
    void operator()(pa3d_vectors* vectors) const noexcept { pa3d_vectors_free(vectors); }
  };
  std::unique_ptr<pa3d_vectors, Free> handle_;
  pa3d_vectors_info info_{};
};

// A mesh, or a cloud if faces is null; the memory is the caller's.
struct Shape : pa3d_shape {
  Shape(const float* points, int64_t n, const int32_t* faces = nullptr, int64_t n_faces = 0)
      : pa3d_shape{points, n, faces, n_faces} {}
};

struct Segmentation {
  int64_t parts = 0;                 // K
  std::vector<int32_t> labels;       // (n): an index into the parts, -1 for none
  std::vector<float> scores;         // (n, K)
  std::vector<int32_t> face_labels;  // (n_faces) of a mesh
  std::vector<float> face_scores;    // (n_faces, K) of a mesh
  std::vector<float> presence;       // (K) of a model with a calibration
};

struct Patches {
  std::vector<float> centers;    // (G, 3) in the model's axes, scaled to the unit sphere
  std::vector<int64_t> members;  // (G, M): indices into the points
  std::vector<float> features;   // (G, D): unit vectors in the text space
};

// vectors (K, D), of Text::embed or TextVectors::select; all shapes get the same names. presence: whether to compute
// it; only models with a calibration have it.
inline std::vector<Segmentation> segment(const Model& model, const std::vector<Shape>& shapes,
                                         const std::vector<float>& vectors, const Options& options = {},
                                         bool presence = false) {
  const int64_t width = model.info().text_width, parts = static_cast<int64_t>(vectors.size()) / width;
  if (vectors.empty() || vectors.size() % width != 0)
    throw Error(PA3D_INVALID, "vectors: expected rows of the model's text width, at least one");
  std::vector<Segmentation> out(shapes.size());
  std::vector<pa3d_shape> given(shapes.begin(), shapes.end());
  std::vector<pa3d_result> results;
  for (size_t i = 0; i < shapes.size(); ++i) {
    Segmentation& to = out[i];
    const pa3d_shape& shape = given[i];
    if (shape.n < 0 || shape.n_faces < 0) throw Error(PA3D_INVALID, "a shape has a negative size");
    to.parts = parts;
    to.labels.resize(shape.n), to.scores.resize(shape.n * parts);
    const bool is_mesh = shape.faces != nullptr;
    if (is_mesh) to.face_labels.resize(shape.n_faces), to.face_scores.resize(shape.n_faces * parts);
    if (presence) to.presence.resize(parts);
    results.push_back({to.labels.data(), to.scores.data(), is_mesh ? to.face_labels.data() : nullptr,
                       is_mesh ? to.face_scores.data() : nullptr, presence ? to.presence.data() : nullptr});
  }
  detail::check(pa3d_segment_batch(model.get(), given.data(), static_cast<int64_t>(given.size()), vectors.data(), parts,
                                   &options, results.data()));
  return out;
}

inline Segmentation segment(const Model& model, const Text& text, const Shape& shape,
                            const std::vector<std::string>& parts, const std::string& category = "",
                            const Options& options = {}) {
  return std::move(segment(model, {shape}, text.embed(model, parts, category, options.threads), options)[0]);
}

inline Patches encode(const Model& model, const float* points, int64_t n, const Options& options = {}) {
  const pa3d_info& info = model.info();
  Patches out;
  out.centers.resize(3 * info.patches);
  out.members.resize(info.patches * info.patch_size);
  out.features.resize(info.patches * info.text_width);
  detail::check(pa3d_encode(model.get(), points, n, &options, out.centers.data(), out.members.data(), nullptr,
                            out.features.data()));
  return out;
}

}  // namespace pa3d

#endif  // PA3D_HPP
