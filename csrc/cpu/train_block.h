// A block of the transformer in training, forward and backward:
//
//   u = x + pos                               the residual stream is float32 whatever the operands of products are
//   v = u + s0 proj(attention(LayerNorm1(u)))   s0, s1: drop-path scales
//   y = v + s1 fc2(gelu(fc1(LayerNorm2(v))))
//
// Shapes are independent except for the gradients of weights, so a thread takes its shapes through a whole branch, four
// at a time. A branch whose drop-path scale is 0 is not computed. The tape keeps u, v, the operands q, k, v, the output
// of attention and that of fc1. The backward pass computes the rest again.
#pragma once

#include <cstdint>
#include <memory>

#include "encoder.h"

namespace pa3d {

struct BlockWeights {
  int64_t dim, heads, hidden;  // dim, hidden and dim / heads are multiples of 32
  float eps;
  const float *gamma1, *beta1;    // (dim)
  const float* qkv;               // (3 dim, dim)
  const float *proj, *proj_bias;  // (dim, dim)
  const float *gamma2, *beta2;    // (dim)
  const float *fc1, *fc1_bias;    // (hidden, dim)
  const float *fc2, *fc2_bias;    // (dim, hidden)
};

// Gradients of the weights of the same names; all null when the weights are frozen.
struct BlockGradients {
  float *gamma1, *beta1, *qkv, *proj, *proj_bias, *gamma2, *beta2, *fc1, *fc1_bias, *fc2, *fc2_bias;
};

// What the forward pass of one block saves for its backward pass.
struct BlockTape {
  virtual ~BlockTape() = default;
  int64_t shapes = 0, tokens = 0, dim = 0, heads = 0, hidden_size = 0;  // 0 before the first pass
};

// Owns the working memory that all blocks use in turn. Not thread-safe.
class BlockTraining {
 public:
  virtual ~BlockTraining() = default;
  virtual std::unique_ptr<BlockTape> tape() const = 0;
  // x, pos, y (shapes, tokens, dim); drop_path_scale (2, shapes) or null for ones.
  virtual void forward(const BlockWeights& weights, const float* x, const float* pos, const float* drop_path_scale,
                       int64_t shapes, int64_t tokens, int threads, BlockTape& tape, float* y) = 0;
  // The tape is that of the forward pass, at the same level of instructions (std::bad_cast). dx: gradient at u, which
  // is that of x and that of pos.
  virtual void backward(const BlockWeights& weights, const float* dy, int threads, BlockTape& tape, float* dx,
                        const BlockGradients& out) = 0;
};

std::unique_ptr<BlockTraining> make_block_training(Precision precision);

}  // namespace pa3d
