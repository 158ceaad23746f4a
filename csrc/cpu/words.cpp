#include "words.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "parallel.h"
#include "unit.h"

namespace pa3d {
namespace {

void unit_row(const int8_t* row, int64_t dim, float* unit) {
  const float norm = norm_of(row, dim);
  for (int64_t j = 0; j < dim; ++j) unit[j] = static_cast<float>(row[j]) / norm;
}

// cosine (num_words, num_rows) of words with the texts of a lexicon.
std::vector<float> cosines(const Lexicon& lexicon, const float* vectors, int64_t num_words, int64_t dim, int threads) {
  const int64_t rows = lexicon.num_rows;
  std::vector<float> cosine(rows * num_words);
  row_cosines(lexicon.rows, rows, vectors, num_words, dim, threads, cosine.data());
  return cosine;
}

// The first `count` of n indices by falling value, equal ones by index; `order` (n) holds them first.
void largest(const float* values, int64_t n, int64_t count, std::vector<int64_t>& order) {
  order.resize(n);
  std::iota(order.begin(), order.end(), int64_t{0});
  std::partial_sort(order.begin(), order.begin() + count, order.end(),
                    [&](int64_t a, int64_t b) { return values[a] > values[b] || (values[a] == values[b] && a < b); });
}

float scale_of(float nearest) { return nearest >= kKnownWord ? 0.01f : 0.05f; }

// out (dim) = 0.2 v + 0.8 sum, both of length 1, normalised. A sum of 0 counts as nothing. `sum` is changed.
void mix(const float* v, std::vector<float>& sum, float* out) {
  const auto dim = static_cast<int64_t>(sum.size());
  const float length = std::sqrt(dot(sum.data(), sum.data(), dim));
  const float share = length > 0 ? kLexiconShare / length : 0;
  const float own = (1 - kLexiconShare) / std::sqrt(dot(v, v, dim));
  for (int64_t j = 0; j < dim; ++j) sum[j] = own * v[j] + share * sum[j];
  const float norm = std::sqrt(dot(sum.data(), sum.data(), dim));
  for (int64_t j = 0; j < dim; ++j) out[j] = sum[j] / norm;
}

// How likely each name is on a shape, as logarithms: steps 1 and 2.
std::vector<float> prior_of(const NamesView& names, const Kinds& kinds, const Words& words, const SeenShape& shape,
                            int64_t dim, float temperature, int threads) {
  constexpr float kSupport = 0.5f, kLeastShare = 0.001f;
  constexpr int64_t kCandidates = 64;
  std::vector<int64_t> known;
  for (int64_t k = 0; k < words.count; ++k)
    if (words.nearest[k] >= kKnownWord) known.push_back(k);

  std::vector<float> support(kinds.num_kinds), probabilities(kinds.num_kinds), prior(names.count);
  for (int64_t c = 0; c < kinds.num_kinds; ++c)
    for (int64_t k : known) support[c] += kSupport * std::log(kLeastFit + words.fits[c * words.count + k]);
  kind_probabilities(kinds, shape.vector, support.data(), dim, probabilities.data());
  expected_names(probabilities.data(), kinds.num_kinds, names.fits, names.count, prior.data());

  const int64_t count = std::min(kCandidates, names.count), patches = shape.num_centers;
  std::vector<int64_t> candidates;
  largest(prior.data(), names.count, count, candidates);
  std::vector<float> seen(patches * count);  // softmax of the candidates at each patch, of what is not explained
  parallel_for(patches, 16, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const float* const feature = shape.features + i * dim;
      float* const row = &seen[i * count];
      for (int64_t n = 0; n < count; ++n)
        row[n] = dot(feature, names.vectors + candidates[n] * dim, dim) / temperature + prior[candidates[n]];
      softmax(row, 1, count);
      std::vector<float> logits(known.size() + 1, 0.0f);  // the last is that of "none of them"
      for (size_t k = 0; k < known.size(); ++k) {
        logits[k] = dot(feature, words.read + known[k] * dim, dim) / temperature;
        if (words.levels) logits[k] /= words.levels[known[k]];
      }
      softmax(logits.data(), 1, static_cast<int64_t>(logits.size()));
      for (int64_t n = 0; n < count; ++n) row[n] *= logits.back();
    }
  });
  std::vector<float> share(names.count);
  for (int64_t i = 0; i < patches; ++i)
    for (int64_t n = 0; n < count; ++n) share[candidates[n]] += seen[i * count + n];
  for (int64_t n = 0; n < names.count; ++n) prior[n] += std::log(kLeastShare + share[n] / static_cast<float>(patches));
  return prior;
}

}  // namespace

void read_through_lexicon(const Lexicon& lexicon, const float* vectors, int64_t num_words, int64_t dim, int threads,
                          float* out, float* nearest) {
  const int64_t rows = lexicon.num_rows, count = std::min(kLexiconNearest, rows);
  const std::vector<float> cosine = cosines(lexicon, vectors, num_words, dim, threads);
  std::vector<int64_t> order;
  std::vector<float> unit(dim), sum(dim);
  for (int64_t k = 0; k < num_words; ++k) {
    const float* const c = cosine.data() + k * rows;
    largest(c, rows, count, order);
    const float best = c[order[0]], scale = scale_of(best);
    if (nearest) nearest[k] = best;
    std::fill(sum.begin(), sum.end(), 0.0f);
    for (int64_t i = 0; i < count; ++i) {
      const float weight = exp_nonpositive((c[order[i]] - best) / scale);
      unit_row(lexicon.rows + lexicon.meaning[order[i]] * dim, dim, unit.data());
      for (int64_t j = 0; j < dim; ++j) sum[j] += weight * unit[j];
    }
    mix(vectors + k * dim, sum, out + k * dim);
  }
}

LexiconNames lexicon_names(const Lexicon& lexicon, const Kinds& kinds, int64_t dim, int threads) {
  std::vector<int32_t> rows(lexicon.meaning, lexicon.meaning + lexicon.num_rows);
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  LexiconNames names;
  names.count = static_cast<int64_t>(rows.size());
  for (int64_t i = 0; i < lexicon.num_rows; ++i) {
    const auto at = std::lower_bound(rows.begin(), rows.end(), lexicon.meaning[i]) - rows.begin();
    names.name_of.push_back(static_cast<int32_t>(at));
  }
  names.vectors.resize(names.count * dim);
  for (int64_t n = 0; n < names.count; ++n) unit_row(lexicon.rows + rows[n] * dim, dim, &names.vectors[n * dim]);
  names.fits.resize(kinds.num_kinds * names.count);
  kind_fits(kinds, names.vectors.data(), names.count, dim, threads, names.fits.data());
  return names;
}

void closeness_to_names(const Lexicon& lexicon, const int32_t* name_of, int64_t count, const float* vectors,
                        int64_t num_words, int64_t dim, int threads, float* closeness) {
  const int64_t rows = lexicon.num_rows;
  const std::vector<float> cosine = cosines(lexicon, vectors, num_words, dim, threads);
  for (int64_t k = 0; k < num_words; ++k) {
    const float* const c = cosine.data() + k * rows;
    float* const sum = closeness + k * count;
    const float nearest = *std::max_element(c, c + rows), scale = scale_of(nearest);
    std::fill_n(sum, count, 0.0f);
    for (int64_t i = 0; i < rows; ++i) sum[name_of[i]] += exp_nonpositive((c[i] - nearest) / scale);
    for (int64_t n = 0; n < count; ++n) sum[n] = std::log(sum[n]);
  }
}

bool all_known(const float* nearest, int64_t num_words) {
  return std::all_of(nearest, nearest + num_words, [](float c) { return c >= kKnownWord; });
}

void read_on_shape(const NamesView& names, const Kinds& kinds, const Words& words, const SeenShape& shape, int64_t dim,
                   float temperature, int threads, float* out) {
  constexpr float kStranger = 0.5f, kFriend = 0.65f;  // `nearest` of words without trust, and with all of it
  constexpr int kRounds = 3;
  std::copy_n(words.read, words.count * dim, out);
  if (all_known(words.nearest, words.count)) return;
  const std::vector<float> prior = prior_of(names, kinds, words, shape, dim, temperature, threads);

  // What each word may mean: `kept` names, and their weights.
  const int64_t kept = std::min(kLexiconNearest, names.count);
  std::vector<int64_t> meant(words.count * kept), order;
  std::vector<float> weights(words.count * kept), value(names.count);
  const auto known = [&](int64_t k) { return words.nearest[k] >= kKnownWord; };
  for (int64_t k = 0; k < words.count; ++k) {
    const float trust =
        known(k) ? 0.0f : std::clamp((words.nearest[k] - kStranger) / (kFriend - kStranger), 0.0f, 1.0f);
    for (int64_t n = 0; n < names.count; ++n) value[n] = words.closeness[k * names.count + n] + trust * prior[n];
    largest(value.data(), names.count, kept, order);
    std::copy_n(order.begin(), kept, &meant[k * kept]);
    for (int64_t i = 0; i < kept; ++i) weights[k * kept + i] = value[order[i]];
    softmax(&weights[k * kept], 1, kept);
  }

  std::vector<int64_t> active(meant), place(meant.size());  // the names of all words, and where each entry is there
  std::sort(active.begin(), active.end());
  active.erase(std::unique(active.begin(), active.end()), active.end());
  for (size_t e = 0; e < meant.size(); ++e)
    place[e] = std::lower_bound(active.begin(), active.end(), meant[e]) - active.begin();
  const auto count = static_cast<int64_t>(active.size());
  std::vector<float> alike(count * count);
  parallel_for(count, 16, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int64_t j = 0; j < count; ++j) {
        const float c = dot(names.vectors + active[i] * dim, names.vectors + active[j] * dim, dim);
        alike[i * count + j] = c > 0 ? (c * c) * (c * c) : 0;
      }
  });

  std::vector<double> of_name(count), total(count), changed(kept);
  for (int round = 0; round < kRounds; ++round) {
    std::fill(of_name.begin(), of_name.end(), 0.0);
    for (size_t e = 0; e < weights.size(); ++e) of_name[place[e]] += weights[e];
    for (int64_t i = 0; i < count; ++i) {
      total[i] = 0;
      for (int64_t j = 0; j < count; ++j) total[i] += of_name[j] * alike[i * count + j];
    }
    for (int64_t k = 0; k < words.count; ++k) {
      if (known(k)) continue;
      float* const weight = &weights[k * kept];
      const int64_t* const at = &place[k * kept];
      double sum = 0;
      for (int64_t i = 0; i < kept; ++i) {
        double own = 0;
        for (int64_t j = 0; j < kept; ++j) own += static_cast<double>(weight[j]) * alike[at[i] * count + at[j]];
        changed[i] = total[at[i]] > 0 ? weight[i] * (own / total[at[i]]) : 0;
        sum += changed[i];
      }
      for (int64_t i = 0; i < kept && sum > 0; ++i) weight[i] = static_cast<float>(changed[i] / sum);
    }
  }

  std::vector<float> mean(dim);
  for (int64_t k = 0; k < words.count; ++k) {
    if (known(k)) continue;
    std::fill(mean.begin(), mean.end(), 0.0f);
    for (int64_t i = 0; i < kept; ++i)
      for (int64_t j = 0; j < dim; ++j) mean[j] += weights[k * kept + i] * names.vectors[meant[k * kept + i] * dim + j];
    mix(words.vectors + k * dim, mean, out + k * dim);
  }
}

}  // namespace pa3d
