// Python bindings of cpu/train_embed.h and cpu/train_block.h. The callers in pa3d/ops have already checked what users
// can get wrong, such as dtypes. Here only the size of every array is checked against what the kernels read or write.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "bind.h"
#include "cpu/train_block.h"
#include "cpu/train_embed.h"

namespace py = pa3d::py;
using namespace pa3d::py::literals;

namespace {

using pa3d::Doubles;
using pa3d::Floats;

pa3d::Precision training_precision(const std::string& name) {
  if (name == "fp32") return pa3d::Precision::fp32;
  if (name == "bf16") return pa3d::Precision::bf16;
  throw py::value_error("precision: expected fp32 or bf16, got " + name);
}

const float* floats(const Floats& array, int64_t count, const char* name) {
  if (array.size() != count)
    throw py::value_error(std::string(name) + ": expected " + std::to_string(count) + " values, got " +
                          std::to_string(array.size()));
  return array.data();
}

// An array that starts at a cache line. torch's sums over it have an order that depends on the alignment of the memory,
// and the same seed must give the same result.
template <class X>
py::array_t<X, py::array::c_style> aligned_array(const std::vector<py::ssize_t>& shape) {
  constexpr size_t kLine = 64;
  size_t bytes = sizeof(X);
  for (const py::ssize_t side : shape) bytes *= static_cast<size_t>(side);
  void* const memory = std::aligned_alloc(kLine, (bytes + kLine) / kLine * kLine);
  if (memory == nullptr) throw std::bad_alloc();
  const py::capsule owner(memory, [](void* pointer) { std::free(pointer); });
  return py::array_t<X, py::array::c_style>(shape, static_cast<X*>(memory), owner);
}

void require_multiple(int64_t size, int64_t divisor, const char* name) {
  if (size < divisor || size % divisor != 0)
    throw py::value_error(std::string(name) + ": expected a multiple of " + std::to_string(divisor) + ", got " +
                          std::to_string(size));
}

class EmbedStep {
 public:
  explicit EmbedStep(const std::string& precision) : step_(pa3d::make_embed_trainer(training_precision(precision))) {}

  Doubles moments(const Floats& patches, const Floats& w1, const Floats& b1, const Floats& w2, const Floats& w3_local,
                  const Floats& w3_max, const Floats& w4, const Floats& b4, int threads) {
    const pa3d::EmbedWeights weights = check_weights(patches, w1, b1, w2, w3_local, w3_max, w4, b4);
    Doubles sums = aligned_array<double>({2, width_[2]});
    double* out = sums.mutable_data();
    {
      py::gil_scoped_release release;
      step_->moments({patches_.data(), count_, size_}, weights, threads, out);
    }
    phase_ = Phase::finish;
    return sums;
  }

  Floats finish(const Floats& scale, const Floats& shift) {
    require(Phase::finish);
    const float *a = floats(scale, width_[2], "scale"), *b = floats(shift, width_[2], "shift");
    Floats out = aligned_array<float>({count_, width_[3]});
    float* to = out.mutable_data();
    {
      py::gil_scoped_release release;
      step_->finish(a, b, to);
    }
    phase_ = Phase::backward_sums;
    return out;
  }

  Floats infer(const Floats& patches, const Floats& w1, const Floats& b1, const Floats& w2, const Floats& w3_local,
               const Floats& w3_max, const Floats& w4, const Floats& b4, const Floats& scale, const Floats& shift,
               int threads) {
    const pa3d::EmbedWeights weights = check_weights(patches, w1, b1, w2, w3_local, w3_max, w4, b4);
    const float *a = floats(scale, width_[2], "scale"), *b = floats(shift, width_[2], "shift");
    Floats out = aligned_array<float>({count_, width_[3]});
    float* to = out.mutable_data();
    {
      py::gil_scoped_release release;
      step_->infer({patches_.data(), count_, size_}, weights, a, b, threads, to);
    }
    phase_ = Phase::moments;
    patches_ = Floats();
    return out;
  }

  py::tuple backward_sums(const Floats& grad) {
    require(Phase::backward_sums);
    const float* from = floats(grad, count_ * width_[3], "grad");
    Doubles sums = aligned_array<double>({2, width_[2]});
    Floats w4 = aligned_array<float>({width_[3], width_[2]}), b4 = aligned_array<float>({width_[3]});
    double* s = sums.mutable_data();
    float *w4_data = w4.mutable_data(), *b4_data = b4.mutable_data();
    {
      py::gil_scoped_release release;
      step_->backward_sums(from, s, w4_data, b4_data);
    }
    phase_ = Phase::backward;
    return py::make_tuple(sums, w4, b4);
  }

  py::tuple backward(const Floats& grad, const Floats& a, const Floats& b, const Floats& c) {
    require(Phase::backward);
    const float* from = floats(grad, count_ * width_[3], "grad");
    const float *va = floats(a, width_[2], "a"), *vb = floats(b, width_[2], "b"), *vc = floats(c, width_[2], "c");
    Floats w1 = aligned_array<float>({width_[0], 3}), b1 = aligned_array<float>({width_[0]});
    Floats w2 = aligned_array<float>({width_[1], width_[0]}), w3_local = aligned_array<float>({width_[2], width_[0]});
    Floats pooled = aligned_array<float>({count_, width_[1]}),
           grad_max_term = aligned_array<float>({count_, width_[2]});
    const pa3d::EmbedGradients out = {w1.mutable_data(),       b1.mutable_data(),     w2.mutable_data(),
                                      w3_local.mutable_data(), pooled.mutable_data(), grad_max_term.mutable_data()};
    {
      py::gil_scoped_release release;
      step_->backward(from, va, vb, vc, out);
    }
    phase_ = Phase::moments;
    patches_ = Floats();
    return py::make_tuple(w1, b1, w2, w3_local, pooled, grad_max_term);
  }

 private:
  enum class Phase { moments, finish, backward_sums, backward };

  void require(Phase call) const {
    if (phase_ != call) throw py::value_error("a step is moments, finish, backward_sums, backward, in this order");
  }

  pa3d::EmbedWeights check_weights(const Floats& patches, const Floats& w1, const Floats& b1, const Floats& w2,
                                   const Floats& w3_local, const Floats& w3_max, const Floats& w4, const Floats& b4) {
    if (patches.ndim() != 3 || patches.shape(2) != 3 || patches.size() == 0)
      throw py::value_error("patches: expected (P, M, 3) with no empty axis");
    phase_ = Phase::moments;  // also when a check below fails
    patches_ = patches;
    count_ = patches.shape(0), size_ = patches.shape(1);
    require_multiple(size_, 2, "patches: points of each");
    const int64_t widths[4] = {b1.size(), w2.size() / std::max<int64_t>(1, b1.size()),
                               w3_local.size() / std::max<int64_t>(1, b1.size()), b4.size()};
    for (int i = 0; i < 4; ++i) require_multiple(width_[i] = widths[i], 32, "widths of the mini-PointNet");
    pa3d::EmbedWeights w{};
    std::copy_n(width_, 4, w.width);
    w.w1 = floats(w1, width_[0] * 3, "w1");
    w.b1 = floats(b1, width_[0], "b1");
    w.w2 = floats(w2, width_[1] * width_[0], "w2");
    w.w3_local = floats(w3_local, width_[2] * width_[0], "w3_local");
    w.w3_max = floats(w3_max, width_[2] * width_[1], "w3_max");
    w.w4 = floats(w4, width_[3] * width_[2], "w4");
    w.b4 = floats(b4, width_[3], "b4");
    return w;
  }

  std::unique_ptr<pa3d::EmbedTrainer> step_;
  Phase phase_ = Phase::moments;
  Floats patches_;  // read again by the backward pass
  int64_t count_ = 0, size_ = 0, width_[4] = {};
};

// The weights of a block, in the order of BlockGradients.
using Weights = std::vector<Floats>;

class BlockStep {
 public:
  explicit BlockStep(const std::string& precision) : step_(pa3d::make_block_trainer(training_precision(precision))) {}

  std::unique_ptr<pa3d::SavedActivations> new_activations() const { return step_->new_activations(); }

  Floats forward(const Weights& weights, int64_t heads, float eps, const Floats& x, const Floats& pos,
                 const py::object& drop_path_scale, pa3d::SavedActivations& saved, int threads) {
    const pa3d::BlockWeights w = check_weights(weights, heads, eps);
    if (x.ndim() != 3 || x.shape(2) != w.dim || x.size() == 0)
      throw py::value_error("x: expected (B, T, C) with C as wide as the weights and no empty axis");
    const float *x_data = x.data(), *pos_data = floats(pos, x.size(), "pos"), *scales = nullptr;
    const Floats scale_array = drop_path_scale.is_none() ? Floats() : drop_path_scale.cast<Floats>();
    if (!drop_path_scale.is_none()) scales = floats(scale_array, 2 * x.shape(0), "drop_path_scale");
    Floats y = aligned_array<float>({x.shape(0), x.shape(1), x.shape(2)});
    float* out = y.mutable_data();
    const int64_t batch = x.shape(0), tokens = x.shape(1);
    py::gil_scoped_release release;
    step_->forward(w, x_data, pos_data, scales, batch, tokens, threads, saved, out);
    return y;
  }

  // Gradients at x (and pos), and of the weights if weight_grads.
  py::tuple backward(const Weights& weights, int64_t heads, float eps, const Floats& dy, pa3d::SavedActivations& saved,
                     bool weight_grads, int threads) {
    const pa3d::BlockWeights w = check_weights(weights, heads, eps);
    if (saved.dim != w.dim || saved.heads != w.heads || saved.hidden_size != w.hidden || dy.ndim() != 3 ||
        dy.shape(0) != saved.batch || dy.shape(1) != saved.tokens || dy.shape(2) != saved.dim)
      throw py::value_error("dy: expected the shape of the forward pass that saved these activations");
    Floats dx = aligned_array<float>({dy.shape(0), dy.shape(1), dy.shape(2)});
    Weights weight_gradients;
    float* outputs[11] = {};
    if (weight_grads)
      for (size_t i = 0; i < weights.size(); ++i) {
        weight_gradients.push_back(aligned_array<float>({weights[i].shape(), weights[i].shape() + weights[i].ndim()}));
        outputs[i] = weight_gradients.back().mutable_data();
      }
    const pa3d::BlockGradients out = {outputs[0], outputs[1], outputs[2], outputs[3], outputs[4], outputs[5],
                                      outputs[6], outputs[7], outputs[8], outputs[9], outputs[10]};
    const float* from = dy.data();
    float* to = dx.mutable_data();
    {
      py::gil_scoped_release release;
      step_->backward(w, from, threads, saved, to, out);
    }
    return py::make_tuple(dx, weight_gradients);
  }

 private:
  static pa3d::BlockWeights check_weights(const Weights& w, int64_t heads, float eps) {
    if (w.size() != 11) throw py::value_error("weights: expected 11 arrays");
    pa3d::BlockWeights out{};
    const int64_t dim = w[0].size(), hidden = w[8].size();
    if (heads < 1 || dim % heads != 0) throw py::value_error("heads: expected a divisor of the width");
    require_multiple(dim / heads, 32, "width of a head");
    require_multiple(hidden, 32, "width of the hidden layer");
    out.dim = dim, out.heads = heads, out.hidden = hidden, out.eps = eps;
    out.gamma1 = floats(w[0], dim, "gamma1");
    out.beta1 = floats(w[1], dim, "beta1");
    out.qkv = floats(w[2], 3 * dim * dim, "qkv");
    out.proj = floats(w[3], dim * dim, "proj");
    out.proj_bias = floats(w[4], dim, "proj_bias");
    out.gamma2 = floats(w[5], dim, "gamma2");
    out.beta2 = floats(w[6], dim, "beta2");
    out.fc1 = floats(w[7], hidden * dim, "fc1");
    out.fc1_bias = floats(w[8], hidden, "fc1_bias");
    out.fc2 = floats(w[9], dim * hidden, "fc2");
    out.fc2_bias = floats(w[10], dim, "fc2_bias");
    return out;
  }

  std::unique_ptr<pa3d::BlockTrainer> step_;
};

}  // namespace

PA3D_BINDINGS(m) {
  py::class_<EmbedStep>(m, "EmbedTrainer")
      .def(py::init<const std::string&>(), "precision"_a)
      .def("moments", &EmbedStep::moments, "patches"_a, "w1"_a, "b1"_a, "w2"_a, "w3_local"_a, "w3_max"_a, "w4"_a,
           "b4"_a, "threads"_a = 0)
      .def("finish", &EmbedStep::finish, "scale"_a, "shift"_a)
      .def("infer", &EmbedStep::infer, "patches"_a, "w1"_a, "b1"_a, "w2"_a, "w3_local"_a, "w3_max"_a, "w4"_a, "b4"_a,
           "scale"_a, "shift"_a, "threads"_a = 0)
      .def("backward_sums", &EmbedStep::backward_sums, "grad"_a)
      .def("backward", &EmbedStep::backward, "grad"_a, "a"_a, "b"_a, "c"_a);
  py::class_<pa3d::SavedActivations>(m, "SavedActivations");
  py::class_<BlockStep>(m, "BlockTrainer")
      .def(py::init<const std::string&>(), "precision"_a)
      .def("new_activations", &BlockStep::new_activations)
      .def("forward", &BlockStep::forward, "weights"_a, "heads"_a, "eps"_a, "x"_a, "pos"_a, "drop_path_scale"_a,
           "saved"_a, "threads"_a = 0)
      .def("backward", &BlockStep::backward, "weights"_a, "heads"_a, "eps"_a, "dy"_a, "saved"_a, "weight_grads"_a,
           "threads"_a = 0);
}

/* pa3d/_C.pyi:

class EmbedTrainer:
    """One training step of pa3d.ops.train_embed: moments, finish, backward_sums, backward, in this order; or infer."""

    def __init__(self, precision: str) -> None: ...
    def moments(
        self,
        patches: Floats,  # (P, M, 3)
        w1: Floats,  # (W0, 3)
        b1: Floats,
        w2: Floats,  # (W1, W0)
        w3_local: Floats,  # (W2, W0)
        w3_max: Floats,  # (W2, W1)
        w4: Floats,  # (W3, W2)
        b4: Floats,
        threads: int = 0,
    ) -> NDArray[np.float64]: ...  # (2, W2)
    def finish(self, scale: Floats, shift: Floats) -> Floats: ...  # (P, W3)
    def infer(
        self,
        patches: Floats,  # as in moments
        w1: Floats,
        b1: Floats,
        w2: Floats,
        w3_local: Floats,
        w3_max: Floats,
        w4: Floats,
        b4: Floats,
        scale: Floats,  # (W2,)
        shift: Floats,
        threads: int = 0,
    ) -> Floats: ...  # (P, W3)
    def backward_sums(self, grad: Floats) -> tuple[NDArray[np.float64], Floats, Floats]: ...
    def backward(self, grad: Floats, a: Floats, b: Floats, c: Floats) -> tuple[Floats, ...]: ...

class SavedActivations: ...

class BlockTrainer:
    """Runs the forward and backward pass of one block at a time in its working memory; see pa3d.ops.train_block."""

    def __init__(self, precision: str) -> None: ...
    def new_activations(self) -> SavedActivations: ...
    def forward(
        self,
        weights: list[Floats],
        heads: int,
        eps: float,
        x: Floats,  # (B, T, C)
        pos: Floats,
        drop_path_scale: Floats | None,  # (2, B)
        saved: SavedActivations,
        threads: int = 0,
    ) -> Floats: ...
    def backward(
        self,
        weights: list[Floats],
        heads: int,
        eps: float,
        dy: Floats,
        saved: SavedActivations,
        weight_grads: bool,
        threads: int = 0,
    ) -> tuple[Floats, list[Floats]]: ...
*/
