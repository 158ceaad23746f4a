// A block of the transformer in training, forward and backward:
//
//   u = x + pos                               the residual stream is float32 whatever the operands of products are
//   v = u + kept0 proj(attention(LayerNorm1(u)))
//   y = v + kept1 fc2(gelu(fc1(LayerNorm2(v))))
//
// Shapes are independent of each other but for the gradients of weights: a thread takes its shapes through a whole
// branch, four at a time. A branch that stochastic depth drops (kept = 0) is not computed. Kept for the backward pass
// are u and v, and as operands q, k, v, what attention gave, and fc1's output; the rest is made again from them.
#pragma once

#include <cstdint>
#include <memory>

#include "encoder.h"

namespace pa3d {

struct BlockWeights {
  int64_t dim, heads, hidden;  // dim, hidden and dim / heads are multiples of 32
  float eps;
  const float *gain1, *shift1;    // (dim)
  const float* qkv;               // (3 dim, dim)
  const float *proj, *proj_bias;  // (dim, dim)
  const float *gain2, *shift2;    // (dim)
  const float *fc1, *fc1_bias;    // (hidden, dim)
  const float *fc2, *fc2_bias;    // (dim, hidden)
};

// Of the weights, by their names; all null when they are frozen.
struct BlockGradients {
  float *gain1, *shift1, *qkv, *proj, *proj_bias, *gain2, *shift2, *fc1, *fc1_bias, *fc2, *fc2_bias;
};

// What one block's forward pass leaves for its backward pass.
struct BlockTape {
  virtual ~BlockTape() = default;
  int64_t shapes = 0, tokens = 0, dim = 0, heads = 0, hidden_size = 0;  // 0 before the first pass
};

// Holds memory that all blocks work in, one after the other; not for several threads at once.
class BlockTraining {
 public:
  virtual ~BlockTraining() = default;
  virtual std::unique_ptr<BlockTape> tape() const = 0;
  // x, pos, y (shapes, tokens, dim); kept (2, shapes) or null for ones.
  virtual void forward(const BlockWeights& weights, const float* x, const float* pos, const float* kept, int64_t shapes,
                       int64_t tokens, int threads, BlockTape& tape, float* y) = 0;
  // The tape is that of the forward pass, at the same level of instructions (std::bad_cast). dx: gradient at u, which
  // is that of x and that of pos.
  virtual void backward(const BlockWeights& weights, const float* dy, int threads, BlockTape& tape, float* dx,
                        const BlockGradients& out) = 0;
};

std::unique_ptr<BlockTraining> make_block_training(Precision precision);

}  // namespace pa3d
