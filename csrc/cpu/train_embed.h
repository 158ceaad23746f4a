// The mini-PointNet with batch statistics, forward and backward, for training.
//
// A step is four calls. Between them the caller sums the moments over all processes:
//
//   moments          h = merged x1 + pooling max(second x1), x1 = relu(first r + first_bias); sums of h and h^2
//   finish           out = max(last relu(scale h + shift)) + last_bias
//   backward_sums    sums of dy and dy h, where dy is the gradient at scale h + shift
//   backward         dh = a dy + b h + c, and through it all the rest
//
// The gradient of a maximum reaches only one row of a patch. So the gradient at the input of the last layer is a sum of
// scaled rows of its weights, a thirtieth of the operations of the dense products of automatic differentiation.
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
  int64_t width[4];         // multiples of 32
  const float* first;       // (w0, 3), its normalisation folded in
  const float* first_bias;  // (w0)
  const float* second;      // (w1, w0)
  const float* merged;      // (w2, w0)
  const float* pooling;     // (w2, w1)
  const float* last;        // (w3, w2)
  const float* last_bias;   // (w3)
};

struct EmbedGradients {
  float* first;       // (w0, 3)
  float* first_bias;  // (w0)
  float* second;      // (w1, w0)
  float* merged;      // (w2, w0)
  float* pooled;      // (patches, w1): the maxima
  float* sums;        // (patches, w2): gradient at the pooling product; the gradient of `pooling` is sums^T pooled
};

// Keeps what one step saves for its backward pass. Not thread-safe.
class EmbedTraining {
 public:
  virtual ~EmbedTraining() = default;
  // sums: (2, w2) of h and of h^2.
  virtual void moments(const PatchBatch& batch, const EmbedWeights& weights, int threads, double* sums) = 0;
  virtual void finish(const float* scale, const float* shift, float* out) = 0;
  // sums: (2, w2) of dy and of dy h. last (w3, w2), last_bias (w3): gradients.
  virtual void backward_sums(const float* grad, double* sums, float* last, float* last_bias) = 0;
  virtual void backward(const float* grad, const float* a, const float* b, const float* c,
                        const EmbedGradients& out) = 0;
  // moments and finish in one call, nothing is saved: for frozen statistics.
  virtual void infer(const PatchBatch& batch, const EmbedWeights& weights, const float* scale, const float* shift,
                     int threads, float* out) = 0;
};

// Sizes: every width a multiple of 32, an even number of points per patch.
std::unique_ptr<EmbedTraining> make_embed_training(Precision precision);

}  // namespace pa3d
