// csrc/pa3d.h on the same kernels and the same arithmetic as the Python package.
#include "pa3d.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "cpu/cpuid.h"
#include "cpu/encoder.h"
#include "cpu/json.h"
#include "cpu/pool.h"
#include "cpu/prompts.h"
#include "cpu/safetensors.h"
#include "cpu/sample.h"
#include "cpu/segment.h"
#include "cpu/text.h"
#include "cpu/wordpiece.h"

namespace {

constexpr const char* kTextSpace = "all-MiniLM-L6-v2";
constexpr int64_t kFormat = 1;
constexpr int kMaxThreads = 4096;

// Rows are the model's axes: the official code swaps y and z of its y-up data.
constexpr int kModelAxes[3][3] = {{1, 2, 0}, {0, 2, 1}, {0, 1, 2}};

struct Unsupported : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// A fixed buffer: there must be a message when memory is out, too.
thread_local char t_message[1024];

pa3d_status failed(pa3d_status status, const char* message) {
  std::snprintf(t_message, sizeof t_message, "%s", message);
  return status;
}

// Runs body; whatever it throws becomes a status and a message.
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

// verified: what the checkpoint's labels were checked at, fastest first; "auto" takes the first that runs here, or
// fp32.
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
    throw Unsupported("precision " + name + " needs AVX-512 with BF16 and VNNI; the level in use is " +
                      pa3d::isa_name(pa3d::isa()) + "; use fp32 or auto");
  return name;
}

pa3d::Precision precision_of(const std::string& name) {
  return std::find_if(std::begin(kPrecisions), std::end(kPrecisions), [&](const auto& p) { return name == p.first; })
      ->second;
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
    } else if (key == "min_sq_norm") {
      c.min_sq_norm = static_cast<float>(value.number("min_sq_norm"));
    } else if (key != "drop_path") {  // which is for training alone
      throw pa3d::FileError("the configuration has an unknown field " + key + "; written by a newer pa3d?");
    }
  }
  for (const auto& [name, value] : sizes)
    if (*value < 1 || *value > (1 << 20)) throw pa3d::FileError(std::string(name) + " is out of range");
  for (int64_t width : c.embed)
    if (width < 1 || width > (1 << 20)) throw pa3d::FileError("embed is out of range");
  return c;
}

// What one call needs; kept for the next.
struct Session {
  std::unique_ptr<pa3d::Encoder::Workspace> workspace;
  std::vector<int64_t> drawn, center_index, members;
  std::vector<int32_t> sampled_face;
  std::vector<float> sampled, used, centers, features, vectors, logits, at, centroids;
  pa3d::Normalization frame;
};

}  // namespace

struct pa3d_model {
  pa3d_model(const std::string& path, const std::string& wanted) {
    if (const char* rejected = pa3d::rejected_isa())
      throw Unsupported(std::string("PA3D_ISA=") + rejected + ": this processor has " +
                        pa3d::isa_name(pa3d::best_isa()) +
                        "; expected generic, avx2, avx512 or avx512_bf16, not above that");
    const pa3d::SafeTensors file(path);
    if (!file.has_metadata("pa3d")) file.fail("safetensors, but not a checkpoint of pa3d");
    std::vector<std::string> verified;
    try {
      const pa3d::Json meta = pa3d::Json::parse(file.metadata("pa3d"));
      if (meta.at("format", "it").integer("format") != kFormat) throw pa3d::FileError("another version's format");
      text_space = meta.at("text_space", "it").string("text_space");
      prompts = meta.at("prompts", "it").string("prompts");
      if (const pa3d::Json* own = meta.find("assign")) assign = assign_of(own->string("assign"));
      temperature = static_cast<float>(meta.at("temperature", "it").number("temperature"));
      if (!(temperature > 0)) throw pa3d::FileError("temperature is not above 0");
      for (const pa3d::Json& name : meta.at("precisions", "it").array("precisions"))
        verified.push_back(name.string("a precision"));
      config = parse_config(meta.at("config", "it"));
    } catch (const pa3d::FileError& error) {
      file.fail(std::string("its metadata is damaged (") + error.what() + ")");
    }
    precision = resolve_precision(wanted, verified);
    std::vector<std::vector<float>> widened;  // alive until all is packed
    size_t read = 0;
    auto weights = [&](const std::string& name, int64_t count) -> const float* {
      const auto& tensor = file.tensor(name, count);
      ++read;
      if (tensor.dtype != "F32" && tensor.dtype != "F16")
        file.fail(name + " is " + tensor.dtype + ", expected F32 or F16");
      const float* values = reinterpret_cast<const float*>(tensor.data);
      if (tensor.dtype == "F16") {
        widened.emplace_back(count);
        pa3d::half_to_float(reinterpret_cast<const uint16_t*>(tensor.data), count, widened.back().data());
        values = widened.back().data();
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
    if (read != file.tensors().size()) file.fail("it holds tensors that are not this encoder's");
  }

  pa3d::Pool<Session>::Lease session() const {
    return sessions.acquire([&] {
      auto made = std::make_unique<Session>();
      made->workspace = encoder->workspace();
      return made;
    });
  }

  static pa3d::Assign assign_of(const std::string& name) {
    if (name == "nearest") return pa3d::Assign::nearest;
    if (name == "membership") return pa3d::Assign::membership;
    if (name == "smooth") return pa3d::Assign::smooth;
    throw pa3d::FileError("assign " + name);
  }

  std::string text_space, prompts, precision;
  pa3d::Assign assign = pa3d::Assign::nearest;
  float temperature = 1;
  pa3d::EncoderConfig config;
  std::unique_ptr<pa3d::Encoder> encoder;
  mutable pa3d::Pool<Session> sessions;
};

struct pa3d_text {
  pa3d_text(const std::string& weights, const std::string& tokenizer) : file(weights), words(tokenizer) {
    const pa3d::TextConfig config;
    if (words.size() > config.vocabulary || words.max_tokens() > config.max_tokens)
      throw pa3d::FileError(tokenizer + ": its vocabulary or length does not fit the text encoder");
    const pa3d::TextWeights source{[&](const std::string& name, int64_t count) { return file.integers(name, count); },
                                   [&](const std::string& name, int64_t count) { return file.floats(name, count); }};
    encoder = pa3d::make_text_encoder(config, source, 0);
  }

  pa3d::SafeTensors file;  // word vectors are read from it
  pa3d::WordPiece words;
  std::unique_ptr<pa3d::TextEncoder> encoder;
  mutable pa3d::Pool<pa3d::TextEncoder::Workspace> workspaces;
};

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

void embed(const pa3d_text& text, const std::vector<std::string>& parts, const char* category, std::string_view mode,
           int threads, float* vectors) {
  std::vector<int32_t> ids;
  std::vector<int64_t> lengths, ends;
  const auto object = category ? std::optional<std::string>(category) : std::nullopt;
  for (const std::string& part : parts) {
    for (const std::string& prompt : pa3d::part_prompts(part, object, mode)) {
      const std::vector<int32_t> tokens = text.words.encode(prompt);
      ids.insert(ids.end(), tokens.begin(), tokens.end());
      lengths.push_back(static_cast<int64_t>(tokens.size()));
    }
    ends.push_back(static_cast<int64_t>(lengths.size()));
  }
  const int64_t width = text.encoder->config().width;
  std::vector<float> rows(lengths.size() * width);
  const auto space = text.workspaces.acquire([&] { return text.encoder->workspace(); });
  text.encoder->encode(ids.data(), lengths.data(), static_cast<int64_t>(lengths.size()), threads, *space, rows.data());
  int64_t start = 0;
  for (size_t i = 0; i < parts.size(); start = ends[i++])
    pa3d::unit_mean(rows.data() + start * width, ends[i] - start, width, vectors + i * width);
}

void check_threads(int threads) {
  require(threads >= 0 && threads <= kMaxThreads, "threads is " + std::to_string(threads) + "; expected 0 or more");
}

pa3d_options checked(const pa3d_options* given) {
  const pa3d_options o = given ? *given : pa3d_default_options();
  require(o.up == PA3D_UP_X || o.up == PA3D_UP_Y || o.up == PA3D_UP_Z,
          "up is not one of PA3D_UP_X, PA3D_UP_Y, PA3D_UP_Z");
  require(o.assign == PA3D_NEAREST || o.assign == PA3D_MEMBERSHIP || o.assign == PA3D_SMOOTH || o.assign == PA3D_OWN,
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

// A cloud, or a mesh: then faces (n_faces, 3) are not null.
struct Shape {
  const float* points;  // (n, 3)
  int64_t n;
  const int32_t* faces = nullptr;
  int64_t n_faces = 0;
};

void check_mesh(const Shape& shape) {
  check_points(shape.points, shape.n);
  require_given(shape.faces, "faces");
  require(shape.n_faces >= 1 && shape.n_faces < INT32_MAX,
          "n_faces is " + std::to_string(shape.n_faces) + "; expected at least one face, and fewer than 2^31");
  for (int64_t i = 0; i < 3 * shape.n_faces; ++i)
    require(shape.faces[i] >= 0 && shape.faces[i] < shape.n,
            "faces refer to vertices outside 0.." + std::to_string(shape.n - 1));
}

// Fills the session with the points the encoder sees, in its frame, and what it makes of them.
void encode(const pa3d_model& model, const Shape& shape, const pa3d_options& o, Session& s, float* tokens) {
  const auto& c = model.config;
  const float* chosen = shape.points;
  int64_t count = shape.n;
  s.drawn.clear();
  if (o.sample > 0 && (shape.faces || o.sample < shape.n)) {
    require(o.sample < INT32_MAX, "sample is " + std::to_string(o.sample) + "; expected fewer than 2^31 points");
    count = o.sample;
    s.sampled.resize(3 * count);
    if (shape.faces) {
      s.sampled_face.resize(count);
      require(pa3d::sample_surface(shape.points, shape.faces, shape.n_faces, count, o.seed, s.sampled.data(),
                                   s.sampled_face.data()),
              "every face has zero area; a shape needs a surface");
    } else {
      s.drawn.resize(count);
      pa3d::sample_indices(shape.n, count, o.seed, s.drawn.data());
      for (int64_t i = 0; i < count; ++i) std::copy_n(shape.points + 3 * s.drawn[i], 3, &s.sampled[3 * i]);
    }
    chosen = s.sampled.data();
  }
  s.frame = pa3d::normalization(chosen, count);
  require(s.frame.radius > 0, "all sampled points are equal; a shape needs an extent");
  s.used.resize(3 * count);
  pa3d::normalize(chosen, count, s.frame, kModelAxes[o.up], o.threads, s.used.data());
  s.center_index.resize(c.patches);
  s.centers.resize(3 * c.patches);
  s.members.resize(c.patches * c.patch_size);
  s.features.resize(c.patches * c.text_dim);
  model.encoder->forward(s.used.data(), count, o.threads, *s.workspace, s.center_index.data(), s.members.data(), tokens,
                         s.features.data(), nullptr);
  for (int64_t i = 0; i < c.patches; ++i) std::copy_n(&s.used[3 * s.center_index[i]], 3, &s.centers[3 * i]);
}

// Labels and scores of `shape`'s points, and of the centroids of its faces where they are asked for.
void label(const pa3d_model& model, const Shape& shape, const float* vectors, int64_t count, const pa3d_options& o,
           Session& s, int32_t* labels, float* scores, int32_t* face_labels = nullptr, float* face_scores = nullptr) {
  const auto& c = model.config;
  encode(model, shape, o, s, nullptr);
  s.logits.resize(c.patches * count);
  pa3d::cosine_logits(s.features.data(), c.patches, vectors, count, c.text_dim, model.temperature, s.logits.data());
  const pa3d::Patches patches{s.centers.data(), c.patches,     s.members.data(),
                              c.patch_size,     s.used.data(), static_cast<int64_t>(s.used.size()) / 3};
  const pa3d::Assign assign = o.assign == PA3D_NEAREST      ? pa3d::Assign::nearest
                              : o.assign == PA3D_MEMBERSHIP ? pa3d::Assign::membership
                              : o.assign == PA3D_SMOOTH     ? pa3d::Assign::smooth
                                                            : model.assign;
  auto label_at = [&](const float* points, int64_t n, int32_t* out_labels, float* out_scores) {
    s.at.resize(3 * n);
    pa3d::normalize(points, n, s.frame, kModelAxes[o.up], o.threads, s.at.data());
    pa3d::label_points(s.at.data(), n, patches, s.logits.data(), count, assign, o.none, o.threads, out_labels,
                       out_scores);
  };
  label_at(shape.points, shape.n, labels, scores);
  if (!face_labels && !face_scores) return;
  s.centroids.resize(3 * shape.n_faces);
  for (int64_t f = 0; f < shape.n_faces; ++f)
    for (int a = 0; a < 3; ++a) {
      double sum = 0;
      for (int j = 0; j < 3; ++j) sum += shape.points[3 * int64_t{shape.faces[3 * f + j]} + a];
      s.centroids[3 * f + a] = static_cast<float>(sum / 3);
    }
  label_at(s.centroids.data(), shape.n_faces, face_labels, face_scores);
}

// The session's vectors, one per part, from names.
void embed_for(const pa3d_model& model, const pa3d_text* text, const char* const* parts, int64_t count,
               const char* category, int threads, Session& s) {
  require_given(text, "text");
  const auto names = names_of(parts, count);
  const int64_t width = text->encoder->config().width;
  require(model.text_space == kTextSpace && model.config.text_dim == width,
          "the model lives in the text space " + model.text_space + " of " + std::to_string(model.config.text_dim) +
              " dimensions, pa3d_text in " + kTextSpace + "; use the function that takes vectors");
  s.vectors.resize(count * width);
  embed(*text, names, category, model.prompts, threads, s.vectors.data());
}

// The session's vectors, one per part, from the caller's.
void use_vectors(const pa3d_model& model, const float* vectors, int64_t count, Session& s) {
  require_given(vectors, "vectors");
  require(count >= 1 && count < INT32_MAX, "count is " + std::to_string(count) + "; expected at least one vector");
  s.vectors.resize(count * model.config.text_dim);
  require(pa3d::unit_rows(vectors, count, model.config.text_dim, s.vectors.data()),
          "vectors: NaN, infinite or zero rows; expected unit vectors");
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
                     [&](int64_t i) { return s->drawn.empty() ? i : s->drawn[i]; });
  });
}

pa3d_status pa3d_segment(const pa3d_model* model, const pa3d_text* text, const float* points, int64_t n,
                         const char* const* parts, int64_t count, const char* category, const pa3d_options* options,
                         int32_t* labels, float* scores) {
  return guarded([&] {
    require_given(model, "model");
    require_given(labels, "labels");
    const pa3d_options o = checked(options);
    check_points(points, n);
    const auto s = model->session();
    embed_for(*model, text, parts, count, category, o.threads, *s);
    label(*model, {points, n}, s->vectors.data(), count, o, *s, labels, scores);
  });
}

pa3d_status pa3d_segment_vectors(const pa3d_model* model, const float* points, int64_t n, const float* vectors,
                                 int64_t count, const pa3d_options* options, int32_t* labels, float* scores) {
  return guarded([&] {
    require_given(model, "model");
    require_given(labels, "labels");
    const pa3d_options o = checked(options);
    check_points(points, n);
    const auto s = model->session();
    use_vectors(*model, vectors, count, *s);
    label(*model, {points, n}, s->vectors.data(), count, o, *s, labels, scores);
  });
}

pa3d_status pa3d_segment_mesh(const pa3d_model* model, const pa3d_text* text, const float* vertices, int64_t n,
                              const int32_t* faces, int64_t n_faces, const char* const* parts, int64_t count,
                              const char* category, const pa3d_options* options, int32_t* labels, float* scores,
                              int32_t* face_labels, float* face_scores) {
  return guarded([&] {
    require_given(model, "model");
    const pa3d_options o = checked(options);
    const Shape shape{vertices, n, faces, n_faces};
    check_mesh(shape);
    const auto s = model->session();
    embed_for(*model, text, parts, count, category, o.threads, *s);
    label(*model, shape, s->vectors.data(), count, o, *s, labels, scores, face_labels, face_scores);
  });
}

pa3d_status pa3d_segment_mesh_vectors(const pa3d_model* model, const float* vertices, int64_t n, const int32_t* faces,
                                      int64_t n_faces, const float* vectors, int64_t count, const pa3d_options* options,
                                      int32_t* labels, float* scores, int32_t* face_labels, float* face_scores) {
  return guarded([&] {
    require_given(model, "model");
    const pa3d_options o = checked(options);
    const Shape shape{vertices, n, faces, n_faces};
    check_mesh(shape);
    const auto s = model->session();
    use_vectors(*model, vectors, count, *s);
    label(*model, shape, s->vectors.data(), count, o, *s, labels, scores, face_labels, face_scores);
  });
}

}  // extern "C"
