// The arithmetic around the encoders, shared by Python and C: scaling points to the unit sphere, cosine logits, and
// labels at any points. Every sum has a fixed order, so results do not depend on the threads or the processor.
#pragma once

#include <cstdint>

namespace pa3d {

// The mean of points, and the largest distance from it.
struct Normalization {
  double center[3] = {0, 0, 0}, radius = 1;
};

// That of points (n, 3): center 0 and radius 1 if the points are already normalised up to rounding; radius 0 if all
// points are equal.
Normalization normalization(const float* points, int64_t n);
// out (n, 3): column a is axis axes[a] of (points - center) / radius; an axis of ~i is minus axis i.
void normalize(const float* points, int64_t n, const Normalization& norm, const int axes[3], int threads, float* out);

// Divides rows (n, dim) by their norms. Returns false if a row is zero or not finite.
bool unit_rows(const float* in, int64_t n, int64_t dim, float* out);
// The mean of the normalised rows (n, dim), normalised again: out (dim). It makes a part's vector from its prompts.
void unit_mean(const float* rows, int64_t n, int64_t dim, float* out);
// out (count, num_rows): cosines of unit vectors (count, dim) with rows (num_rows, dim), none of which is zero.
void row_cosines(const int8_t* rows, int64_t num_rows, const float* vectors, int64_t count, int64_t dim, int threads,
                 float* out);
// Some names lie near the features of almost every patch and would win where they should not. The level of a name says
// by how much: levels (num_parts) = 1 + 10 max(0, q). q is the cosine of vectors (num_parts, dim) that 95 % of the rows
// of bank (bank_rows, dim) do not exceed; the bank holds features of patches of many shapes. No row of it is zero.
void name_levels(const int8_t* bank, int64_t bank_rows, const float* vectors, int64_t num_parts, int64_t dim,
                 int threads, float* levels);
// out (num_centers, num_parts) = features (num_centers, dim) @ vectors (num_parts, dim)^T / temperature / levels
// (num_parts). levels may be null, for ones.
void cosine_logits(const float* features, int64_t num_centers, const float* vectors, int64_t num_parts, int64_t dim,
                   float temperature, float* out, const float* levels = nullptr);

// The vector of a whole shape, a unit vector in the space of the text: mean, largest value and standard deviation of
// each channel over tokens (num_tokens, width) go through one hidden layer of ReLU (pa3d/shape_head.py).
struct ShapeHead {
  const float *hidden_weight, *hidden_bias;  // (hidden, 3 width), (hidden)
  const float *out_weight, *out_bias;        // (dim, hidden), (dim)
  int64_t width, hidden, dim;
};
void shape_vector(const float* tokens, int64_t num_tokens, const ShapeHead& head, int threads, float* out);
// Kinds of things and which parts they have. No row is zero; `has` holds pairs (kind, part).
struct Kinds {
  const int8_t* rows;  // (num_kinds, dim) vectors of the kinds' names
  int64_t num_kinds;
  const int8_t* parts;  // (num_parts, dim) vectors of names of parts
  int64_t num_parts;
  const int32_t* has;  // (num_pairs, 2)
  int64_t num_pairs;
};
// fits (num_kinds, count): how well each of `count` names, unit vectors (count, dim), fits things of each kind: the
// largest cosine with one of their parts, to the power of 8; 0 where it is negative.
void kind_fits(const Kinds& kinds, const float* vectors, int64_t count, int64_t dim, int threads, float* fits);
// probabilities (num_kinds): the softmax over kinds of the cosine with the vector of the shape (dim) / 0.05, plus
// support (num_kinds), which may be null.
void kind_probabilities(const Kinds& kinds, const float* shape, const float* support, int64_t dim,
                        float* probabilities);
// out (count): the logarithm of how well each name fits things of these kinds, log(0.03 + sum_k probability_k fits_k).
constexpr float kLeastFit = 0.03f;
void expected_names(const float* probabilities, int64_t num_kinds, const float* fits, int64_t count, float* out);
// Both: how well each name fits what the shape seems to be.
void expectation(const Kinds& kinds, const float* shape, const float* fits, int64_t count, int64_t dim, float* out);
// How sure it is that a part occurs at all: presence (num_parts), 0 to 1, from logits (num_centers, num_parts) of the
// patches. The candidates at a patch are the names and "none of them", whose logit is 0. With the odds of a name at the
// patch where they are highest, presence = 1 / (1 + exp(-(slope * log(odds) + offset + weight * expected))). expected
// (num_parts): of `expectation`; null for zeros.
void presence(const float* logits, int64_t num_centers, int64_t num_parts, double slope, double offset, double weight,
              const float* expected, float* out);

// softmax over each of rows (n, num_parts), in place.
void softmax(float* rows, int64_t n, int64_t num_parts);

// How a point gets its logits from those of the patches; see label_points.
enum class Assign { nearest, membership, smooth };

// The encoder's patches of one shape, in the same frame as the query points.
struct Patches {
  const float* centers;  // (num_centers, 3) coordinates
  int64_t num_centers;
  const int64_t* members;  // (num_centers, group_size) indices into points; used only by Assign::membership
  int64_t group_size;
  const float* points;  // (n, 3) the points that the encoder got; used only by Assign::membership
  int64_t n;
};

// Labels (n) and scores (n, num_parts) at query_points (n, 3), from the logits (num_centers, num_parts) of the patches.
// A label is the part with the largest logit, the first if several are equal, or -1 if its probability is below `none`.
// With presence (num_parts), this is the probability among the names and "none of them", whose logit is 0, times the
// presence of the name. labels, scores and presence may be null. The logits of a point are
//   nearest: those of the nearest centre
//   membership: the mean over the patches that contain the encoded point nearest to it; if there are none, those of
//     the centre nearest to that encoded point
//   smooth: those of the three nearest centres, weighted by inverse distance
void label_points(const float* query_points, int64_t n, const Patches& patches, const float* logits, int64_t num_parts,
                  Assign assign, float none, int threads, int32_t* labels, float* scores,
                  const float* presence = nullptr);

}  // namespace pa3d
