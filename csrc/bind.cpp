// The Python side of the native kernels: checks arrays, drops the GIL, calls pa3d::. No rule of the method lives here.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "bind.h"
#include "cpu/cpuid.h"
#include "cpu/encoder.h"
#include "cpu/fps.h"
#include "cpu/interpolate.h"
#include "cpu/knn.h"
#include "cpu/parallel.h"
#include "cpu/pool.h"

namespace py = pybind11;
using pa3d::Floats;

namespace {

void require(bool ok, const std::string& message) {
  if (!ok) throw py::value_error(message);
}

// (B, N, 3): checked in Python already; this guards memory against a direct call.
void require_cloud(const Floats& a, int rank, const char* name) {
  require(a.ndim() == rank && a.shape(rank - 1) == 3 && a.shape(rank - 2) >= 1,
          std::string(name) + ": expected a non-empty float32 array with a last axis of 3");
}

py::array_t<int64_t> farthest_point_sample(const Floats& points, int64_t k, int64_t start, float min_sq_norm,
                                           int threads) {
  require_cloud(points, 3, "points");
  const int64_t batch = points.shape(0), n = points.shape(1);
  require(k >= 1 && start >= 0 && start < n && n < INT32_MAX, "farthest_point_sample: k or start out of range");
  py::array_t<int64_t> index({batch, k});
  const float* in = points.data();
  int64_t* out = index.mutable_data();
  {
    py::gil_scoped_release release;
    pa3d::parallel_for(batch, 1, threads, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b)
        pa3d::farthest_point_sample(in + b * n * 3, n, k, start, min_sq_norm, out + b * k);
    });
  }
  return index;
}

py::tuple knn(const Floats& queries, const Floats& points, int64_t k, int threads) {
  require_cloud(points, 3, "points");
  require_cloud(queries, 3, "queries");
  const int64_t batch = points.shape(0), n = points.shape(1), q = queries.shape(1);
  require(queries.shape(0) == batch && k >= 1 && k <= n && n < INT32_MAX, "knn: batch or k out of range");
  py::array_t<int64_t> index({batch, q, k});
  py::array_t<float> distance({batch, q, k});
  const float *a = queries.data(), *p = points.data();
  int64_t* out = index.mutable_data();
  float* far = distance.mutable_data();
  {
    py::gil_scoped_release release;
    for (int64_t b = 0; b < batch; ++b)
      pa3d::knn(a + b * q * 3, q, p + b * n * 3, n, k, threads, out + b * q * k, far + b * q * k);
  }
  return py::make_tuple(index, distance);
}

py::tuple sample_and_group(const Floats& points, int64_t k, int64_t m, int64_t start, float min_sq_norm, int threads) {
  require_cloud(points, 3, "points");
  const int64_t batch = points.shape(0), n = points.shape(1);
  require(k >= 1 && m >= 1 && m <= n && start >= 0 && start < n && n < INT32_MAX,
          "sample_and_group: k, m or start out of range");
  py::array_t<int64_t> index({batch, k}), members({batch, k, m});
  const float* in = points.data();
  int64_t *out = index.mutable_data(), *near = members.mutable_data();
  {
    py::gil_scoped_release release;
    pa3d::parallel_for(batch, 1, threads, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b)
        pa3d::sample_and_group(in + b * n * 3, n, k, m, start, min_sq_norm, out + b * k, near + b * k * m, nullptr);
    });
  }
  return py::make_tuple(index, members);
}

py::array_t<float> interpolate(const Floats& points, const Floats& centers, const Floats& values, int64_t k,
                               int threads) {
  require_cloud(points, 2, "points");
  require_cloud(centers, 2, "centers");
  const int64_t n = points.shape(0), g = centers.shape(0);
  require(values.ndim() == 2 && values.shape(0) == g && k >= 1 && k <= 3 && k <= g,
          "interpolate: values or k out of range");
  const int64_t c = values.shape(1);
  py::array_t<float> out({n, c});
  const float *p = points.data(), *at = centers.data(), *v = values.data();
  float* result = out.mutable_data();
  {
    py::gil_scoped_release release;
    pa3d::interpolate(p, n, at, g, v, c, k, threads, result);
  }
  return out;
}

py::tuple nearest_centers(const Floats& points, const Floats& centers, int64_t k, int threads) {
  require_cloud(points, 2, "points");
  require_cloud(centers, 2, "centers");
  const int64_t n = points.shape(0), g = centers.shape(0);
  require(k >= 1 && k <= 3 && k <= g, "nearest_centers: k out of range");
  py::array_t<int32_t> index({n, k});
  py::array_t<float> distance({n, k});
  const float *p = points.data(), *at = centers.data();
  int32_t* out = index.mutable_data();
  float* far = distance.mutable_data();
  {
    py::gil_scoped_release release;
    pa3d::nearest_centers(p, n, at, g, k, threads, out, far);
  }
  return py::make_tuple(index, distance);
}

pa3d::Precision precision_of(const std::string& name) {
  if (name == "fp32") return pa3d::Precision::fp32;
  if (name == "bf16") return pa3d::Precision::bf16;
  if (name == "int8") return pa3d::Precision::int8;
  throw py::value_error("precision: expected fp32, bf16 or int8, got " + name);
}

// One set of packed weights and the workspaces of the calls in flight; calls from several threads do not wait.
class Engine {
 public:
  Engine(const py::dict& config, const std::string& precision, const py::dict& weights) {
    pa3d::EncoderConfig c;
    auto size = [&](const char* key) { return config[key].cast<int64_t>(); };
    c.patches = size("patches");
    c.patch_size = size("patch_size");
    c.dim = size("dim");
    c.depth = size("depth");
    c.heads = size("heads");
    c.mlp_hidden = size("mlp_hidden");
    const auto embed = config["embed"].cast<std::vector<int64_t>>();
    require(embed.size() == 4, "config: embed must have four widths");
    std::copy(embed.begin(), embed.end(), c.embed);
    c.pos_hidden = size("pos_hidden");
    c.text_dim = size("text_dim");
    c.min_sq_norm = config["min_sq_norm"].cast<float>();
    std::vector<Floats> held;  // keeps converted arrays alive while they are packed
    encoder_ = pa3d::make_encoder(c, precision_of(precision), [&](const std::string& name, int64_t count) {
      require(weights.contains(name.c_str()), "weights: no tensor named " + name);
      held.push_back(weights[name.c_str()].cast<Floats>());
      require(held.back().size() == count, "weights: " + name + " has " + std::to_string(held.back().size()) +
                                               " values, expected " + std::to_string(count));
      return held.back().data();
    });
  }

  py::tuple forward(const Floats& points, int threads) {
    Call call = prepare(points);
    {
      py::gil_scoped_release release;
      run(call, threads);
    }
    return result(call);
  }

  // Clouds of any sizes. With at least as many clouds as threads each has one thread to itself, which spares them
  // waiting for each other; what comes out is the same.
  py::list forward_many(const std::vector<Floats>& clouds, int threads) {
    std::vector<Call> calls;
    for (const Floats& points : clouds) calls.push_back(prepare(points));
    const int64_t n = static_cast<int64_t>(calls.size());
    {
      py::gil_scoped_release release;
      if (n < pa3d::resolve_threads(threads)) {
        for (Call& call : calls) run(call, threads);
      } else {
        pa3d::parallel_for(n, 1, threads, [&](int64_t begin, int64_t end) {
          for (int64_t i = begin; i < end; ++i) run(calls[i], 1);
        });
      }
    }
    py::list out;
    for (const Call& call : calls) out.append(result(call));
    return out;
  }

 private:
  // One cloud, the arrays its results go to, and their memory, which can be reached without the GIL.
  struct Call {
    py::array_t<int64_t> centers, members;
    py::array_t<float> tokens, features;
    const float* points;
    int64_t n;
    int64_t *center, *member;
    float *token, *feature;
    pa3d::EncoderTimes times;
  };

  Call prepare(const Floats& points) const {
    require_cloud(points, 2, "points");
    require(points.shape(0) < INT32_MAX, "points: too many");
    const auto& c = encoder_->config();
    Call call;
    call.centers = py::array_t<int64_t>(c.patches);
    call.members = py::array_t<int64_t>({c.patches, c.patch_size});
    call.tokens = py::array_t<float>({c.patches, c.dim});
    call.features = py::array_t<float>({c.patches, c.text_dim});
    call.points = points.data();
    call.n = points.shape(0);
    call.center = call.centers.mutable_data();
    call.member = call.members.mutable_data();
    call.token = call.tokens.mutable_data();
    call.feature = call.features.mutable_data();
    return call;
  }

  void run(Call& call, int threads) {
    const auto space = pool_.take([&] { return encoder_->workspace(); });
    encoder_->forward(call.points, call.n, threads, *space, call.center, call.member, call.token, call.feature,
                      &call.times);
  }

  static py::tuple result(const Call& call) {
    py::dict spent;
    spent["sample"] = call.times.sample;
    spent["embed"] = call.times.embed;
    spent["blocks"] = call.times.blocks;
    spent["project"] = call.times.project;
    return py::make_tuple(call.centers, call.members, call.tokens, call.features, spent);
  }

  std::unique_ptr<pa3d::Encoder> encoder_;
  pa3d::Pool<pa3d::Encoder::Workspace> pool_;
};

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "Native kernels of pa3d.";
  using namespace pybind11::literals;
  m.def("isa", [] { return pa3d::isa_name(pa3d::isa()); });
  m.def("best_isa", [] { return pa3d::isa_name(pa3d::best_isa()); });
  m.def("rejected_isa", [] { return pa3d::rejected_isa(); });
  m.def("set_isa", [](const std::string& name) { return pa3d::set_isa(name.c_str()); }, "name"_a);
  m.def("max_threads", [] { return pa3d::resolve_threads(0); });
  m.def(
      "supports", [](const std::string& precision) { return pa3d::supports(precision_of(precision)); }, "precision"_a);
  m.def("farthest_point_sample", &farthest_point_sample, "points"_a, "k"_a, "start"_a, "min_sq_norm"_a,
        "threads"_a = 0);
  m.def("knn", &knn, "queries"_a, "points"_a, "k"_a, "threads"_a = 0);
  m.def("sample_and_group", &sample_and_group, "points"_a, "k"_a, "m"_a, "start"_a, "min_sq_norm"_a, "threads"_a = 0);
  m.def("interpolate", &interpolate, "points"_a, "centers"_a, "values"_a, "k"_a, "threads"_a = 0);
  m.def("nearest_centers", &nearest_centers, "points"_a, "centers"_a, "k"_a, "threads"_a = 0);
  py::class_<Engine>(m, "Engine")
      .def(py::init<const py::dict&, const std::string&, const py::dict&>(), "config"_a, "precision"_a, "weights"_a)
      .def("forward", &Engine::forward, "points"_a, "threads"_a = 0)
      .def("forward_many", &Engine::forward_many, "clouds"_a, "threads"_a = 0);
  pa3d::bind_backproject(m);
  pa3d::bind_rasterize(m);
  pa3d::bind_sample(m);
  pa3d::bind_segment(m);
  pa3d::bind_text(m);
  pa3d::bind_train(m);
}
