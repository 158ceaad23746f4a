// A block of the transformer in training, forward and backward:
//
//   resid_in  = x + pos
//   resid_mid = resid_in + drop_path_scale[0] proj(attention(LayerNorm1(resid_in)))
//   y         = resid_mid + drop_path_scale[1] fc2(gelu(fc1(LayerNorm2(resid_mid))))
//
// These three are float32 at every precision. The two sums of the block are its branches: attention and MLP. Shapes are
// independent except for the gradients of weights. So a task takes its shapes through a whole branch, four at a time.
// A branch is skipped for shapes whose drop-path scale is 0. SavedActivations keeps resid_in, resid_mid, q, k, v and
// the outputs of attention and of fc1. The backward pass computes the rest again.
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

// Gradients of the weights of the same names; all null when no weight gradient is needed.
struct BlockGradients {
  float *gamma1, *beta1, *qkv, *proj, *proj_bias, *gamma2, *beta2, *fc1, *fc1_bias, *fc2, *fc2_bias;
};

// What the forward pass of one block saves for its backward pass.
struct SavedActivations {
  virtual ~SavedActivations() = default;
  int64_t batch = 0, tokens = 0, dim = 0, heads = 0, hidden_size = 0;  // 0 before the first pass
};

// Runs one block at a time and owns the working memory that all blocks share. Not thread-safe.
class BlockTrainer {
 public:
  virtual ~BlockTrainer() = default;
  virtual std::unique_ptr<SavedActivations> new_activations() const = 0;
  // x, pos, y (batch, tokens, dim); drop_path_scale (2, batch) or null for ones.
  virtual void forward(const BlockWeights& weights, const float* x, const float* pos, const float* drop_path_scale,
                       int64_t batch, int64_t tokens, int threads, SavedActivations& saved, float* y) = 0;
  // saved: what the forward pass saved; both must run on the same instruction set (ISA), else std::bad_cast. dx: the
  // gradient of resid_in, which is also that of x and of pos.
  virtual void backward(const BlockWeights& weights, const float* dy, int threads, SavedActivations& saved, float* dx,
                        const BlockGradients& out) = 0;
};

std::unique_ptr<BlockTrainer> make_block_trainer(Precision precision);

}  // namespace pa3d
