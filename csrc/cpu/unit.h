// Products of vectors, and an exponential, whose bits are the same on every processor: for code that is compiled once.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace pa3d {

// Sixteen partial sums, then their sum in order: fast, and the order does not depend on the compiler.
template <class T>
inline float dot(const T* a, const float* b, int64_t n) {
  constexpr int kLanes = 16;
  float lane[kLanes] = {}, total = 0;
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int l = 0; l < kLanes; ++l) lane[l] += static_cast<float>(a[i + l]) * b[i + l];
  for (int l = 0; i + l < n; ++l) lane[l] += static_cast<float>(a[i + l]) * b[i + l];
  for (float sum : lane) total += sum;
  return total;
}

// exp for v <= 0, with a relative error of 2e-7: the polynomial of math.inl. Its bits are the same on every system,
// which those of std::exp are not. Below -87 the result is 1e-38.
inline float exp_nonpositive(float v) {
  v = std::max(v, -87.0f);
  const float round_bias = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low bits
  const float n = (v * 1.44269504f + round_bias) - round_bias;
  float r = v - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  float p = 1.381459921e-3f;
  p = p * r + 8.368716902e-3f;
  p = p * r + 4.166838804e-2f;
  p = p * r + 1.666652063e-1f;
  p = p * r + 4.999999345e-1f;
  p = p * r * r + r + 1.0f;
  const int32_t exponent = (static_cast<int32_t>(n) + 127) << 23;
  float scale;
  std::memcpy(&scale, &exponent, 4);
  return p * scale;
}

inline float norm_of(const int8_t* row, int64_t n) {
  int64_t sq_norm = 0;
  for (int64_t j = 0; j < n; ++j) sq_norm += int64_t{row[j]} * row[j];
  return std::sqrt(static_cast<float>(sq_norm));
}

}  // namespace pa3d
