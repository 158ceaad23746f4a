// The arithmetic around the encoders, one implementation for Python and C: normalising points to the unit
// sphere, cosines, and labels at any points. Every sum has one order, so results do not depend on threads or processor.
#pragma once

#include <cstdint>

namespace pa3d {

struct Normalization {
  double center[3] = {0, 0, 0}, radius = 1;
};

// Mean of points (n, 3) and the largest distance from it; (0, 1) for points that are normalised up to rounding already;
// a radius of 0 when all are equal.
Normalization normalization(const float* points, int64_t n);
// out (n, 3): column a is axis axes[a] of (points - center) / radius.
void normalize(const float* points, int64_t n, const Normalization& norm, const int axes[3], int threads, float* out);

// Rows (n, d) divided by their norms; false when a row is zero or not finite.
bool unit_rows(const float* in, int64_t n, int64_t d, float* out);
// The mean of the rows' directions, as a unit vector (d): one part from its prompts.
void unit_mean(const float* rows, int64_t n, int64_t d, float* out);
// Some names lie near the features of almost every patch and would win where they should not. The level of a name says
// by how much: levels (k) = 1 + 10 max(0, q), where q is the cosine of vectors (k, d) that 95 % of the rows of
// bank (r, d), features of patches of many shapes, do not exceed. No row of the bank is zero.
void name_levels(const int8_t* bank, int64_t r, const float* vectors, int64_t k, int64_t d, int threads, float* levels);
// out (g, k) = features (g, d) . vectors (k, d) / temperature / levels (k). levels may be null, for ones.
void cosine_logits(const float* features, int64_t g, const float* vectors, int64_t k, int64_t d, float temperature,
                   float* out, const float* levels = nullptr);
// How sure it is that a part occurs at all, from logits (g, k) of the patches: presence (k), 0 to 1. The candidates at
// a patch are the names and "none of them", whose logit is 0; with the odds of a name at the patch where they are
// highest, presence = 1 / (1 + exp(-(slope * log(odds) + offset))).
void presence(const float* logits, int64_t g, int64_t k, double slope, double offset, float* out);

// softmax over rows (n, k), in place.
void softmax(float* rows, int64_t n, int64_t k);

enum class Assign { nearest, membership, smooth };

// The encoder's patches of one shape, in the same frame as the query points.
struct Patches {
  const float* centers;  // (g, 3)
  int64_t g;
  const int64_t* members;  // (g, m) indices into points; members and points are needed only for membership
  int64_t m;
  const float* points;  // (n, 3) the points that the encoder saw
  int64_t n;
};

// Logits (g, k) of the patches to labels (n) and scores (n, k) at query_points (n, 3). A label is the first of the
// largest logits, or -1 where its probability is below `none`. With presence (k), this probability is that among the
// names and "none of them", whose logit is 0, times the presence of the name. labels, scores, presence may be null.
//   nearest: of the nearest centre
//   membership: the mean over the patches that contain the nearest encoded point, or its nearest centre's logits if
//     there are none
//   smooth: of the three nearest centres, weighted by inverse distance
void label_points(const float* query_points, int64_t n, const Patches& patches, const float* logits, int64_t k,
                  Assign assign, float none, int threads, int32_t* labels, float* scores,
                  const float* presence = nullptr);

}  // namespace pa3d
