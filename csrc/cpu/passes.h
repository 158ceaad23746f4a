// A cloud of any density, encoded at the density that the model was trained with.
//
// A patch is a centre and its nearest points: the denser the cloud, the smaller the patch. So a model with
// EncoderConfig.pass_points encodes a cloud in several passes. Each pass gets about so many points, spread over the
// whole cloud, and cuts them into half of EncoderConfig.patches; the patches of all passes together are the result.
// There are at least two passes, which share points if the cloud has few.
#pragma once

#include <cstdint>
#include <memory>

#include "encoder.h"

namespace pa3d {

struct Passes {
  int64_t count;    // S
  int64_t points;   // of each pass
  int64_t patches;  // of each pass
  int64_t total() const { return count * patches; }
};

// The passes for n points; a single one for a model without pass_points.
Passes passes_for(const EncoderConfig& config, int64_t n);

// index (count, points): the points of each pass. The points are put into the order of the fractional parts of
// i * 0.618..., in which neighbours are spread evenly over 0..n-1, whatever pattern the cloud's order has. Every pass
// is a run of that order, which begins anew at its end; every point is in at least one.
void pass_indices(const Passes& passes, int64_t n, int64_t* index);

// inner: an encoder of one pass. config.pass_points > 0, and config.patches is even.
std::unique_ptr<Encoder> encoder_of_passes(const EncoderConfig& config, std::unique_ptr<Encoder> inner);

}  // namespace pa3d
