// Python's side of cpu/train_embed.h and cpu/train_block.h. The callers in pa3d/ops have checked kinds and sizes that
// users can get wrong; here every array must be as long as the kernels read or write it.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

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

namespace py = pybind11;
using namespace pybind11::literals;

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

// Memory that starts with a cache line: what torch then does with it must not depend, in the order of its sums, on
// where the allocator happened to put it.
template <class X>
py::array_t<X, py::array::c_style> aligned_array(const std::vector<py::ssize_t>& shape) {
  constexpr size_t kLine = 64;
  size_t bytes = sizeof(X);
  for (const py::ssize_t side : shape) bytes *= static_cast<size_t>(side);
  void* const memory = std::aligned_alloc(kLine, (bytes + kLine) / kLine * kLine);
  if (memory == nullptr) throw std::bad_alloc();
  const py::capsule owner(memory, [](void* taken) { std::free(taken); });
  return py::array_t<X, py::array::c_style>(shape, static_cast<X*>(memory), owner);
}

void require_multiple(int64_t size, int64_t of, const char* name) {
  if (size < of || size % of != 0)
    throw py::value_error(std::string(name) + ": expected a multiple of " + std::to_string(of) + ", got " +
                          std::to_string(size));
}

class EmbedStep {
 public:
  explicit EmbedStep(const std::string& precision) : step_(pa3d::make_embed_training(training_precision(precision))) {}

  Doubles moments(const Floats& patches, const Floats& first, const Floats& first_bias, const Floats& second,
                  const Floats& merged, const Floats& pooling, const Floats& last, const Floats& last_bias,
                  int threads) {
    const pa3d::EmbedWeights weights =
        check_weights(patches, first, first_bias, second, merged, pooling, last, last_bias);
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

  Floats infer(const Floats& patches, const Floats& first, const Floats& first_bias, const Floats& second,
               const Floats& merged, const Floats& pooling, const Floats& last, const Floats& last_bias,
               const Floats& scale, const Floats& shift, int threads) {
    const pa3d::EmbedWeights weights =
        check_weights(patches, first, first_bias, second, merged, pooling, last, last_bias);
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
    Floats last = aligned_array<float>({width_[3], width_[2]}), bias = aligned_array<float>({width_[3]});
    double* s = sums.mutable_data();
    float *l = last.mutable_data(), *b = bias.mutable_data();
    {
      py::gil_scoped_release release;
      step_->backward_sums(from, s, l, b);
    }
    phase_ = Phase::backward;
    return py::make_tuple(sums, last, bias);
  }

  py::tuple backward(const Floats& grad, const Floats& a, const Floats& b, const Floats& c) {
    require(Phase::backward);
    const float* from = floats(grad, count_ * width_[3], "grad");
    const float *va = floats(a, width_[2], "a"), *vb = floats(b, width_[2], "b"), *vc = floats(c, width_[2], "c");
    Floats first = aligned_array<float>({width_[0], 3}), first_bias = aligned_array<float>({width_[0]});
    Floats second = aligned_array<float>({width_[1], width_[0]}), merged = aligned_array<float>({width_[2], width_[0]});
    Floats pooled = aligned_array<float>({count_, width_[1]}), sums = aligned_array<float>({count_, width_[2]});
    const pa3d::EmbedGradients out = {first.mutable_data(),  first_bias.mutable_data(), second.mutable_data(),
                                      merged.mutable_data(), pooled.mutable_data(),     sums.mutable_data()};
    {
      py::gil_scoped_release release;
      step_->backward(from, va, vb, vc, out);
    }
    phase_ = Phase::moments;
    patches_ = Floats();
    return py::make_tuple(first, first_bias, second, merged, pooled, sums);
  }

 private:
  enum class Phase { moments, finish, backward_sums, backward };

  void require(Phase call) const {
    if (phase_ != call) throw py::value_error("a step is moments, finish, backward_sums, backward, in this order");
  }

  pa3d::EmbedWeights check_weights(const Floats& patches, const Floats& first, const Floats& first_bias,
                                   const Floats& second, const Floats& merged, const Floats& pooling,
                                   const Floats& last, const Floats& last_bias) {
    if (patches.ndim() != 3 || patches.shape(2) != 3 || patches.size() == 0)
      throw py::value_error("patches: expected (P, M, 3) with no empty axis");
    phase_ = Phase::moments;  // also when a check below fails
    patches_ = patches;
    count_ = patches.shape(0), size_ = patches.shape(1);
    require_multiple(size_, 2, "patches: points of each");
    const int64_t widths[4] = {first_bias.size(), second.size() / std::max<int64_t>(1, first_bias.size()),
                               merged.size() / std::max<int64_t>(1, first_bias.size()), last_bias.size()};
    for (int i = 0; i < 4; ++i) require_multiple(width_[i] = widths[i], 32, "widths of the mini-PointNet");
    pa3d::EmbedWeights w{};
    std::copy_n(width_, 4, w.width);
    w.first = floats(first, width_[0] * 3, "first");
    w.first_bias = floats(first_bias, width_[0], "first_bias");
    w.second = floats(second, width_[1] * width_[0], "second");
    w.merged = floats(merged, width_[2] * width_[0], "merged");
    w.pooling = floats(pooling, width_[2] * width_[1], "pooling");
    w.last = floats(last, width_[3] * width_[2], "last");
    w.last_bias = floats(last_bias, width_[3], "last_bias");
    return w;
  }

  std::unique_ptr<pa3d::EmbedTraining> step_;
  Phase phase_ = Phase::moments;
  Floats patches_;  // read again by the backward pass
  int64_t count_ = 0, size_ = 0, width_[4] = {};
};

// The weights of a block, in the order of BlockGradients.
using Weights = std::vector<Floats>;

class BlockStep {
 public:
  explicit BlockStep(const std::string& precision) : step_(pa3d::make_block_training(training_precision(precision))) {}

  std::unique_ptr<pa3d::BlockTape> tape() const { return step_->tape(); }

  Floats forward(const Weights& weights, int64_t heads, float eps, const Floats& x, const Floats& pos,
                 const py::object& drop_path_scale, pa3d::BlockTape& tape, int threads) {
    const pa3d::BlockWeights w = check_weights(weights, heads, eps);
    if (x.ndim() != 3 || x.shape(2) != w.dim || x.size() == 0)
      throw py::value_error("x: expected (B, T, C) with C as wide as the weights and no empty axis");
    const float *x_data = x.data(), *pos_data = floats(pos, x.size(), "pos"), *scales = nullptr;
    const Floats held = drop_path_scale.is_none() ? Floats() : drop_path_scale.cast<Floats>();
    if (!drop_path_scale.is_none()) scales = floats(held, 2 * x.shape(0), "drop_path_scale");
    Floats y = aligned_array<float>({x.shape(0), x.shape(1), x.shape(2)});
    float* out = y.mutable_data();
    const int64_t shapes = x.shape(0), tokens = x.shape(1);
    py::gil_scoped_release release;
    step_->forward(w, x_data, pos_data, scales, shapes, tokens, threads, tape, out);
    return y;
  }

  // Gradients at x (and pos), and of the weights if weight_grads.
  py::tuple backward(const Weights& weights, int64_t heads, float eps, const Floats& dy, pa3d::BlockTape& tape,
                     bool weight_grads, int threads) {
    const pa3d::BlockWeights w = check_weights(weights, heads, eps);
    if (tape.dim != w.dim || tape.heads != w.heads || tape.hidden_size != w.hidden || dy.ndim() != 3 ||
        dy.shape(0) != tape.shapes || dy.shape(1) != tape.tokens || dy.shape(2) != tape.dim)
      throw py::value_error("dy: expected the shape of the forward pass that this tape is of");
    Floats dx = aligned_array<float>({dy.shape(0), dy.shape(1), dy.shape(2)});
    Weights found;
    float* places[11] = {};
    if (weight_grads)
      for (size_t i = 0; i < weights.size(); ++i) {
        found.push_back(aligned_array<float>({weights[i].shape(), weights[i].shape() + weights[i].ndim()}));
        places[i] = found.back().mutable_data();
      }
    const pa3d::BlockGradients out = {places[0], places[1], places[2], places[3], places[4], places[5],
                                      places[6], places[7], places[8], places[9], places[10]};
    const float* from = dy.data();
    float* to = dx.mutable_data();
    {
      py::gil_scoped_release release;
      step_->backward(w, from, threads, tape, to, out);
    }
    return py::make_tuple(dx, found);
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

  std::unique_ptr<pa3d::BlockTraining> step_;
};

}  // namespace

PA3D_BINDINGS(m) {
  py::class_<EmbedStep>(m, "EmbedTraining")
      .def(py::init<const std::string&>(), "precision"_a)
      .def("moments", &EmbedStep::moments, "patches"_a, "first"_a, "first_bias"_a, "second"_a, "merged"_a, "pooling"_a,
           "last"_a, "last_bias"_a, "threads"_a = 0)
      .def("finish", &EmbedStep::finish, "scale"_a, "shift"_a)
      .def("infer", &EmbedStep::infer, "patches"_a, "first"_a, "first_bias"_a, "second"_a, "merged"_a, "pooling"_a,
           "last"_a, "last_bias"_a, "scale"_a, "shift"_a, "threads"_a = 0)
      .def("backward_sums", &EmbedStep::backward_sums, "grad"_a)
      .def("backward", &EmbedStep::backward, "grad"_a, "a"_a, "b"_a, "c"_a);
  py::class_<pa3d::BlockTape>(m, "BlockTape");
  py::class_<BlockStep>(m, "BlockTraining")
      .def(py::init<const std::string&>(), "precision"_a)
      .def("tape", &BlockStep::tape)
      .def("forward", &BlockStep::forward, "weights"_a, "heads"_a, "eps"_a, "x"_a, "pos"_a,
           "drop_path_scale"_a.none(true), "tape"_a, "threads"_a = 0)
      .def("backward", &BlockStep::backward, "weights"_a, "heads"_a, "eps"_a, "dy"_a, "tape"_a, "weight_grads"_a,
           "threads"_a = 0);
}

/* pa3d/_C.pyi:

class EmbedTraining:
    """A step of pa3d.ops.train_embed: moments, finish, backward_sums, backward, in this order; or infer."""

    def __init__(self, precision: str) -> None: ...
    def moments(
        self,
        patches: Floats,  # (P, M, 3)
        first: Floats,  # (W0, 3)
        first_bias: Floats,
        second: Floats,  # (W1, W0)
        merged: Floats,  # (W2, W0)
        pooling: Floats,  # (W2, W1)
        last: Floats,  # (W3, W2)
        last_bias: Floats,
        threads: int = 0,
    ) -> NDArray[np.float64]: ...  # (2, W2)
    def finish(self, scale: Floats, shift: Floats) -> Floats: ...  # (P, W3)
    def infer(
        self,
        patches: Floats,  # as in moments
        first: Floats,
        first_bias: Floats,
        second: Floats,
        merged: Floats,
        pooling: Floats,
        last: Floats,
        last_bias: Floats,
        scale: Floats,  # (W2,)
        shift: Floats,
        threads: int = 0,
    ) -> Floats: ...  # (P, W3)
    def backward_sums(self, grad: Floats) -> tuple[NDArray[np.float64], Floats, Floats]: ...
    def backward(self, grad: Floats, a: Floats, b: Floats, c: Floats) -> tuple[Floats, ...]: ...

class BlockTape: ...

class BlockTraining:
    """Memory to take blocks forward and back in, one at a time; see pa3d.ops.train_block."""

    def __init__(self, precision: str) -> None: ...
    def tape(self) -> BlockTape: ...
    def forward(
        self,
        weights: list[Floats],
        heads: int,
        eps: float,
        x: Floats,  # (B, T, C)
        pos: Floats,
        drop_path_scale: Floats | None,  # (2, B)
        tape: BlockTape,
        threads: int = 0,
    ) -> Floats: ...
    def backward(
        self,
        weights: list[Floats],
        heads: int,
        eps: float,
        dy: Floats,
        tape: BlockTape,
        weight_grads: bool,
        threads: int = 0,
    ) -> tuple[Floats, list[Floats]]: ...
*/
