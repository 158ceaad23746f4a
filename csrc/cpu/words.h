// What the words mean that a user asks for. A word that the model was not trained with is read through a lexicon of
// those that it was: by its vector alone, or by what the shape is as well ("trunk" is a torso on a person, a lid on a
// car). Every sum has a fixed order, so results do not depend on the threads or the processor.
#pragma once

#include <cstdint>
#include <vector>

#include "segment.h"

namespace pa3d {

// Vectors of texts (num_rows, dim), and for each text the row of the name that it means: "legs" and "part it stands on"
// mean "leg". No row is zero.
struct Lexicon {
  const int8_t* rows;
  const int32_t* meaning;
  int64_t num_rows;
};
// Of a vector v, the kLexiconNearest texts with the largest cosines c_i give name = sum_i w_i name_i, w = softmax(c /
// scale), and out = 0.2 v + 0.8 name, both of length 1, normalised. A word is known if the lexicon has nearly the same
// text, nearest >= kKnownWord; its scale is 0.01, so that it means what that text means. That of other words is 0.05.
// vectors and out (num_words, dim); no row of them is zero. nearest (num_words), which may be null: the largest cosine.
constexpr int64_t kLexiconNearest = 32;
constexpr float kLexiconShare = 0.8f, kKnownWord = 0.92f;
bool all_known(const float* nearest, int64_t num_words);
void read_through_lexicon(const Lexicon& lexicon, const float* vectors, int64_t num_words, int64_t dim, int threads,
                          float* out, float* nearest = nullptr);

// The names that the texts of a lexicon mean, each once, in the order of their rows.
struct LexiconNames {
  std::vector<int32_t> name_of;  // (num_rows) the name that a text means
  std::vector<float> vectors;    // (count, dim), unit vectors
  std::vector<float> fits;       // (num_kinds, count), of kind_fits
  int64_t count = 0;
};
LexiconNames lexicon_names(const Lexicon& lexicon, const Kinds& kinds, int64_t dim, int threads);

// closeness (num_words, count) of vectors (num_words, dim) to the `count` names that name_of (num_rows) numbers: the
// logarithm of the sum over the texts of a name of exp((cosine - largest cosine) / scale).
void closeness_to_names(const Lexicon& lexicon, const int32_t* name_of, int64_t count, const float* vectors,
                        int64_t num_words, int64_t dim, int threads, float* closeness);

// Words that are asked for together.
struct Words {
  int64_t count;
  const float* vectors;    // (count, dim) unit vectors
  const float* read;       // (count, dim) of read_through_lexicon
  const float* levels;     // (count) levels of `read`; null for ones
  const float* fits;       // (num_kinds, count) of `read`, of kind_fits
  const float* nearest;    // (count), of read_through_lexicon
  const float* closeness;  // (count, number of names), of closeness_to_names
};
// One encoded shape: its vector (dim), of shape_vector, and features of patches (num_centers, dim).
struct SeenShape {
  const float *vector, *features;
  int64_t num_centers;
};
// The names of a lexicon as read_on_shape needs them: vectors (count, dim), fits (num_kinds, count).
struct NamesView {
  const float *vectors, *fits;
  int64_t count;
};
// out (count, dim): what words mean on a shape. Known words are `read` as they are. The others take one of the names
// that such a shape has, where none of the other words means that already:
//   1. Kinds: p = softmax over kinds of cosine(kind, shape) / 0.05 + 0.5 sum over known words of log(0.03 + fit).
//   2. Names: prior = log(0.03 + sum_k p_k fit_k) + log(0.001 + share of the shape). Shares are the softmax over the 64
//      most likely names of cosine / temperature + the first term, at each patch times 1 - what the known words explain
//      there: the sum of their softmax among themselves and "none of them", whose logit is 0. Their mean counts.
//   3. Each word has weights of names, softmax(closeness + trust * prior) over the largest 32, trust = (nearest - 0.5)
//   /
//      0.15 within 0 and 1: of a word that no text is near, a shape says nothing. Known words have no prior.
//   4. Three times, for words that are not known: a weight is multiplied by the share that this word has of all weights
//      of such names, those of other names times max(0, cosine)^4, and those of a word are scaled to a sum of 1 again.
//   5. out = 0.2 v + 0.8 sum of weights * names, both of length 1, normalised.
void read_on_shape(const NamesView& names, const Kinds& kinds, const Words& words, const SeenShape& shape, int64_t dim,
                   float temperature, int threads, float* out);

}  // namespace pa3d
