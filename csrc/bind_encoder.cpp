// Python bindings of cpu/encoder.h.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "bind.h"
#include "cpu/encoder.h"
#include "cpu/parallel.h"
#include "cpu/passes.h"
#include "cpu/pool.h"

namespace py = pa3d::py;
using pa3d::Floats;
using pa3d::require;
using pa3d::require_points;

namespace {

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
    c.pass_points = size("pass_points");
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

  // Clouds of any sizes. With at least as many clouds as threads, each cloud gets one thread, without barriers. The
  // results are the same.
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
  // One cloud, its result arrays, and pointers to their memory, which can be written without the GIL.
  struct Call {
    py::array_t<int64_t> center_idx, members;
    py::array_t<float> tokens, features;
    const float* points;
    int64_t n;
    int64_t *center, *member;
    float *token, *feature;
    pa3d::StageSeconds seconds;
  };

  Call prepare(const Floats& points) const {
    require_points(points, 2, "points");
    require(points.shape(0) < INT32_MAX, "points: too many");
    const auto& c = encoder_->config();
    const int64_t patches = pa3d::passes_for(c, points.shape(0)).total();
    Call call;
    call.center_idx = py::array_t<int64_t>(patches);
    call.members = py::array_t<int64_t>({patches, c.patch_size});
    call.tokens = py::array_t<float>({patches, c.dim});
    call.features = py::array_t<float>({patches, c.text_dim});
    call.points = points.data();
    call.n = points.shape(0);
    call.center = call.center_idx.mutable_data();
    call.member = call.members.mutable_data();
    call.token = call.tokens.mutable_data();
    call.feature = call.features.mutable_data();
    return call;
  }

  void run(Call& call, int threads) {
    const auto workspace = pool_.acquire([&] { return encoder_->workspace(); });
    encoder_->forward(call.points, call.n, threads, *workspace, call.center, call.member, call.token, call.feature,
                      &call.seconds);
  }

  static py::tuple result(const Call& call) {
    py::dict seconds;
    seconds.set("sample", call.seconds.sample);
    seconds.set("embed", call.seconds.embed);
    seconds.set("blocks", call.seconds.blocks);
    seconds.set("project", call.seconds.project);
    return py::make_tuple(call.center_idx, call.members, call.tokens, call.features, seconds);
  }

  std::unique_ptr<pa3d::Encoder> encoder_;
  pa3d::Pool<pa3d::Encoder::Workspace> pool_;
};

}  // namespace

PA3D_BINDINGS(m) {
  using namespace pa3d::py::literals;
  m.def(
      "supports", [](const std::string& precision) { return pa3d::supports(precision_of(precision)); }, "precision"_a);
  m.def(
      "requirement", [](const std::string& precision) { return pa3d::requirement(precision_of(precision)); },
      "precision"_a);
  py::class_<Engine>(m, "Engine")
      .def(py::init<const py::dict&, const std::string&, const py::dict&>(), "config"_a, "precision"_a, "weights"_a)
      .def("forward", &Engine::forward, "points"_a, "threads"_a = 0)
      .def("forward_many", &Engine::forward_many, "clouds"_a, "threads"_a = 0);
}

/* pa3d/_C.pyi:
def supports(precision: str) -> bool: ...
def requirement(precision: str) -> str: ...  # what a processor needs for it, for messages

class Engine:
    def __init__(self, config: dict[str, Any], precision: str, weights: dict[str, Floats]) -> None: ...
    def forward(
        self,
        points: Floats,  # (N, 3)
        threads: int = 0,
    ) -> tuple[Indices, Indices, Floats, Floats, dict[str, float]]: ...
    # centre indices (G,), member indices (G, M), tokens (G, C), features (G, D), seconds per stage; G of all passes
    def forward_many(
        self,
        clouds: list[Floats],  # (N, 3), N of any size
        threads: int = 0,
    ) -> list[tuple[Indices, Indices, Floats, Floats, dict[str, float]]]: ...  # as forward, per cloud
*/
