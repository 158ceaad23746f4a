// The mini-PointNet with batch statistics, forward and backward, for training.
//
// A training step is four calls. Between them the caller sums the moments over all processes:
//
//   moments          h = w3_local x1 + w3_max max(w2 x1), x1 = relu(w1 r + b1); sums of h and h^2
//   finish           out = max(w4 relu(scale h + shift)) + b4
//   backward_sums    sums of dy and dy h, where dy is the gradient of scale h + shift
//   backward         dh = a dy + b h + c, then the gradients of everything that h depends on
//
// r is a row of a patch: a point relative to the patch's centre. max is the maximum over the rows of a patch. Its
// gradient is non-zero in only one row. So the gradient of the last layer's input is a sum of scaled rows of w4, which
// takes a thirtieth of the operations of automatic differentiation with dense products.
#pragma once

#include <cstdint>
#include <memory>

#include "encoder.h"

namespace pa3d {

struct PatchBatch {
  const float* rows;  // (patches, size, 3) relative to the patch's centre
  int64_t patches, size;
};

struct EmbedWeights {
  int64_t width[4];       // multiples of 32
  const float* w1;        // (width[0], 3), with its normalisation folded in
  const float* b1;        // (width[0])
  const float* w2;        // (width[1], width[0])
  const float* w3_local;  // (width[2], width[0])
  const float* w3_max;    // (width[2], width[1])
  const float* w4;        // (width[3], width[2])
  const float* b4;        // (width[3])
};

struct EmbedGradients {
  float* w1;             // (width[0], 3)
  float* b1;             // (width[0])
  float* w2;             // (width[1], width[0])
  float* w3_local;       // (width[2], width[0])
  float* pooled;         // (patches, width[1]): the maxima
  float* grad_max_term;  // (patches, width[2]): gradient of w3_max max(w2 x1); that of w3_max is grad_max_term^T pooled
};

// Keeps what the forward pass of a step saves for its backward pass. Not thread-safe.
class EmbedTrainer {
 public:
  virtual ~EmbedTrainer() = default;
  // sums: (2, width[2]) of h and of h^2.
  virtual void moments(const PatchBatch& batch, const EmbedWeights& weights, int threads, double* sums) = 0;
  virtual void finish(const float* scale, const float* shift, float* out) = 0;
  // sums: (2, width[2]) of dy and of dy h. w4 (width[3], width[2]), b4 (width[3]): gradients.
  virtual void backward_sums(const float* grad, double* sums, float* w4, float* b4) = 0;
  virtual void backward(const float* grad, const float* a, const float* b, const float* c,
                        const EmbedGradients& out) = 0;
  // moments and finish in one call, for inference with fixed statistics. Nothing is saved.
  virtual void infer(const PatchBatch& batch, const EmbedWeights& weights, const float* scale, const float* shift,
                     int threads, float* out) = 0;
};

// Sizes: every width a multiple of 32, an even number of points per patch.
std::unique_ptr<EmbedTrainer> make_embed_trainer(Precision precision);

}  // namespace pa3d
