#include "segment.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "interpolate.h"
#include "parallel.h"
#include "unit.h"

namespace pa3d {
namespace {

constexpr int64_t kPointsPerTask = 4096;

// When a point belongs to none of the parts.
struct None {
  float threshold;
  const float* presence;  // (num_parts), or null
};

int32_t label_of(const float* logits, const float* scores, int64_t num_parts, const None& none) {
  const int64_t best = std::max_element(logits, logits + num_parts) - logits;
  float probability = *std::max_element(scores, scores + num_parts);
  if (none.presence) {
    const float logit = logits[best];  // that of "none of them" is 0
    const float odds = logit > 0 ? exp_nonpositive(-logit) : 1 / exp_nonpositive(logit);
    probability = probability / (1 + probability * odds) * none.presence[best];
  }
  return probability < none.threshold ? -1 : static_cast<int32_t>(best);
}

// Labels and scores of points that share rows of logits: computed once per row, then copied to the points.
void label_by_index(const int32_t* index, int64_t n, std::vector<float> logits, int64_t num_parts, const None& none,
                    int threads, int32_t* labels, float* scores) {
  const int64_t rows = static_cast<int64_t>(logits.size()) / num_parts;
  std::vector<float> probability(logits);
  softmax(probability.data(), rows, num_parts);
  std::vector<int32_t> label(rows);
  for (int64_t i = 0; i < rows; ++i)
    label[i] = label_of(&logits[i * num_parts], &probability[i * num_parts], num_parts, none);
  parallel_for(n, kPointsPerTask, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      if (labels) labels[i] = label[index[i]];
      if (scores) std::copy_n(&probability[index[i] * num_parts], num_parts, scores + i * num_parts);
    }
  });
}

// For each point that the encoder saw, the mean logits of the patches that contain it.
std::vector<float> membership(const Patches& p, const float* logits, int64_t num_parts, int threads) {
  std::vector<double> total(p.n * num_parts);
  std::vector<int64_t> count(p.n), last(p.n, -1);
  for (int64_t g = 0; g < p.num_centers; ++g)
    for (int64_t j = 0; j < p.group_size; ++j) {
      const int64_t i = p.members[g * p.group_size + j];
      if (last[i] == g) continue;  // patches of a small cloud repeat their points
      last[i] = g;
      ++count[i];
      for (int64_t c = 0; c < num_parts; ++c) total[i * num_parts + c] += logits[g * num_parts + c];
    }
  std::vector<float> mean(p.n * num_parts);
  interpolate(p.points, p.n, p.centers, p.num_centers, logits, num_parts, 1, threads, mean.data());
  for (int64_t i = 0; i < p.n; ++i)
    for (int64_t c = 0; c < num_parts && count[i]; ++c)
      mean[i * num_parts + c] = static_cast<float>(total[i * num_parts + c] / static_cast<double>(count[i]));
  return mean;
}

}  // namespace

Normalization normalization(const float* points, int64_t n) {
  Normalization out;
  double* c = out.center;
  for (int64_t i = 0; i < n; ++i)
    for (int a = 0; a < 3; ++a) c[a] += points[3 * i + a];
  for (int a = 0; a < 3; ++a) c[a] /= static_cast<double>(n);
  double max_sq_dist = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double x = points[3 * i] - c[0], y = points[3 * i + 1] - c[1], z = points[3 * i + 2] - c[2];
    max_sq_dist = std::max(max_sq_dist, x * x + y * y + z * z);
  }
  out.radius = std::sqrt(max_sq_dist);
  const double offset = std::max({std::abs(c[0]), std::abs(c[1]), std::abs(c[2])});
  return offset <= 1e-6 && std::abs(out.radius - 1) <= 1e-6 ? Normalization{} : out;
}

void normalize(const float* points, int64_t n, const Normalization& norm, const int axes[3], int threads, float* out) {
  parallel_for(n, kPointsPerTask, threads, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      for (int a = 0; a < 3; ++a) {
        const int axis = axes[a] < 0 ? ~axes[a] : axes[a];
        const float value = static_cast<float>((points[3 * i + axis] - norm.center[axis]) / norm.radius);
        out[3 * i + a] = axes[a] < 0 ? -value : value;
      }
  });
}

bool unit_rows(const float* in, int64_t n, int64_t dim, float* out) {
  bool good = true;
  for (int64_t i = 0; i < n; ++i) {
    const float* row = in + i * dim;
    const float norm = std::sqrt(dot(row, row, dim));
    good = good && norm > 0 && std::isfinite(norm);
    for (int64_t j = 0; j < dim; ++j) out[i * dim + j] = row[j] / norm;
  }
  return good;
}

void unit_mean(const float* rows, int64_t n, int64_t dim, float* out) {
  std::vector<float> unit(n * dim), mean(dim);
  unit_rows(rows, n, dim, unit.data());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < dim; ++j) mean[j] += unit[i * dim + j];
  for (float& value : mean) value /= static_cast<float>(n);
  unit_rows(mean.data(), 1, dim, out);
}

void row_cosines(const int8_t* rows, int64_t num_rows, const float* vectors, int64_t count, int64_t dim, int threads,
                 float* out) {
  parallel_for(num_rows, 64, threads, [&](int64_t begin, int64_t end) {
    std::vector<float> row(dim);  // converted once: int8 times float is slow
    for (int64_t i = begin; i < end; ++i) {
      std::copy_n(rows + i * dim, dim, row.begin());
      const float norm = norm_of(rows + i * dim, dim);
      for (int64_t j = 0; j < count; ++j) out[j * num_rows + i] = dot(row.data(), vectors + j * dim, dim) / norm;
    }
  });
}

void name_levels(const int8_t* bank, int64_t bank_rows, const float* vectors, int64_t num_parts, int64_t dim,
                 int threads, float* levels) {
  std::vector<float> cosine(bank_rows * num_parts);
  row_cosines(bank, bank_rows, vectors, num_parts, dim, threads, cosine.data());
  const int64_t rank = (bank_rows - 1) * 95 / 100;
  for (int64_t j = 0; j < num_parts; ++j) {
    float* const row = cosine.data() + j * bank_rows;
    std::nth_element(row, row + rank, row + bank_rows);
    levels[j] = 1 + 10 * std::max(0.0f, row[rank]);
  }
}

void cosine_logits(const float* features, int64_t num_centers, const float* vectors, int64_t num_parts, int64_t dim,
                   float temperature, float* out, const float* levels) {
  for (int64_t i = 0; i < num_centers; ++i)
    for (int64_t j = 0; j < num_parts; ++j) {
      const float logit = dot(features + i * dim, vectors + j * dim, dim) / temperature;
      out[i * num_parts + j] = levels ? logit / levels[j] : logit;
    }
}

void shape_vector(const float* tokens, int64_t num_tokens, const ShapeHead& head, int threads, float* out) {
  const int64_t width = head.width;
  std::vector<float> pooled(3 * width), hidden(head.hidden);
  std::vector<double> mean(width), variance(width);
  float* const largest = &pooled[width];
  const auto count = static_cast<double>(num_tokens);
  std::copy_n(tokens, width, largest);
  for (int64_t i = 0; i < num_tokens; ++i)
    for (int64_t c = 0; c < width; ++c) {
      const float value = tokens[i * width + c];
      mean[c] += value / count;
      largest[c] = std::max(largest[c], value);
    }
  for (int64_t i = 0; i < num_tokens; ++i)
    for (int64_t c = 0; c < width; ++c) {
      const double off = tokens[i * width + c] - mean[c];
      variance[c] += off * off / count;
    }
  for (int64_t c = 0; c < width; ++c) {
    pooled[c] = static_cast<float>(mean[c]);
    pooled[2 * width + c] = static_cast<float>(std::sqrt(variance[c]));
  }
  const auto layer = [&](const float* in, int64_t n, const float* weight, const float* bias, int64_t rows, float* to) {
    parallel_for(rows, 64, threads, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = dot(weight + i * n, in, n) + bias[i];
    });
  };
  layer(pooled.data(), 3 * width, head.hidden_weight, head.hidden_bias, head.hidden, hidden.data());
  for (float& value : hidden) value = std::max(value, 0.0f);
  layer(hidden.data(), head.hidden, head.out_weight, head.out_bias, head.dim, out);
  const float norm = std::max(std::sqrt(dot(out, out, head.dim)), 1e-12f);
  for (int64_t d = 0; d < head.dim; ++d) out[d] /= norm;
}

void kind_fits(const Kinds& kinds, const float* vectors, int64_t count, int64_t dim, int threads, float* fits) {
  std::vector<float> cosine(count * kinds.num_parts);
  row_cosines(kinds.parts, kinds.num_parts, vectors, count, dim, threads, cosine.data());
  std::fill_n(fits, kinds.num_kinds * count, 0.0f);
  for (int64_t p = 0; p < kinds.num_pairs; ++p) {
    float* const to = fits + kinds.has[2 * p] * count;
    for (int64_t j = 0; j < count; ++j)
      to[j] = std::max(to[j], std::min(cosine[j * kinds.num_parts + kinds.has[2 * p + 1]], 1.0f));
  }
  for (int64_t i = 0; i < kinds.num_kinds * count; ++i) {
    const float squared = fits[i] * fits[i], fourth = squared * squared;
    fits[i] = fourth * fourth;
  }
}

void kind_probabilities(const Kinds& kinds, const float* shape, const float* support, int64_t dim,
                        float* probabilities) {
  constexpr float kTemperature = 0.05f;
  for (int64_t k = 0; k < kinds.num_kinds; ++k) {
    const int8_t* const row = kinds.rows + k * dim;
    probabilities[k] = dot(row, shape, dim) / norm_of(row, dim) / kTemperature + (support ? support[k] : 0);
  }
  softmax(probabilities, 1, kinds.num_kinds);
}

void expected_names(const float* probabilities, int64_t num_kinds, const float* fits, int64_t count, float* out) {
  std::vector<float> sum(count, kLeastFit);
  for (int64_t k = 0; k < num_kinds; ++k)
    for (int64_t j = 0; j < count; ++j) sum[j] += probabilities[k] * fits[k * count + j];
  for (int64_t j = 0; j < count; ++j) out[j] = std::log(sum[j]);
}

void expectation(const Kinds& kinds, const float* shape, const float* fits, int64_t count, int64_t dim, float* out) {
  std::vector<float> probabilities(kinds.num_kinds);
  kind_probabilities(kinds, shape, nullptr, dim, probabilities.data());
  expected_names(probabilities.data(), kinds.num_kinds, fits, count, out);
}

void presence(const float* logits, int64_t num_centers, int64_t num_parts, double slope, double offset, double weight,
              const float* expected, float* out) {
  std::vector<double> log_odds(num_parts, -std::numeric_limits<double>::infinity()), term(num_parts);
  for (int64_t i = 0; i < num_centers; ++i, logits += num_parts) {
    const int64_t first = std::max_element(logits, logits + num_parts) - logits;
    const double largest = std::max(0.0f, logits[first]);
    double others = std::exp(-largest);  // of the first; the sum of all minus its term would cancel
    for (int64_t j = 0; j < num_parts; ++j) {
      term[j] = std::exp(logits[j] - largest);
      if (j != first) others += term[j];
    }
    for (int64_t j = 0; j < num_parts; ++j) {
      const double rest = j == first ? others : others + term[first] - term[j];
      log_odds[j] = std::max(log_odds[j], logits[j] - largest - std::log(std::max(rest, 1e-300)));
    }
  }
  for (int64_t j = 0; j < num_parts; ++j) {
    const double more = expected ? weight * expected[j] : 0;
    out[j] = static_cast<float>(1 / (1 + std::exp(-(slope * log_odds[j] + offset + more))));
  }
}

void softmax(float* rows, int64_t n, int64_t num_parts) {
  for (int64_t i = 0; i < n; ++i, rows += num_parts) {
    const float row_max = *std::max_element(rows, rows + num_parts);
    float sum = 0;
    for (int64_t j = 0; j < num_parts; ++j) sum += rows[j] = exp_nonpositive(rows[j] - row_max);
    for (int64_t j = 0; j < num_parts; ++j) rows[j] /= sum;
  }
}

void label_points(const float* query_points, int64_t n, const Patches& p, const float* logits, int64_t num_parts,
                  Assign assign, float threshold, int threads, int32_t* labels, float* scores, const float* presence) {
  const None none{threshold, threshold > 0 ? presence : nullptr};
  if (assign == Assign::smooth) {
    std::vector<float> buffer;
    if (scores == nullptr) buffer.resize(n * num_parts);
    float* const rows = scores ? scores : buffer.data();
    interpolate(query_points, n, p.centers, p.num_centers, logits, num_parts, std::min<int64_t>(3, p.num_centers),
                threads, rows);
    parallel_for(n, kPointsPerTask, threads, [&](int64_t begin, int64_t end) {
      std::vector<float> logits_row(num_parts);
      for (int64_t i = begin; i < end; ++i) {
        std::copy_n(rows + i * num_parts, num_parts, logits_row.data());
        softmax(rows + i * num_parts, 1, num_parts);
        if (labels) labels[i] = label_of(logits_row.data(), rows + i * num_parts, num_parts, none);
      }
    });
    return;
  }
  std::vector<int32_t> index(n);
  if (assign == Assign::nearest) {
    nearest_centers(query_points, n, p.centers, p.num_centers, 1, threads, index.data(), nullptr);
    label_by_index(index.data(), n, std::vector<float>(logits, logits + p.num_centers * num_parts), num_parts, none,
                   threads, labels, scores);
  } else {
    nearest_centers(query_points, n, p.points, p.n, 1, threads, index.data(), nullptr);
    label_by_index(index.data(), n, membership(p, logits, num_parts, threads), num_parts, none, threads, labels,
                   scores);
  }
}

}  // namespace pa3d
