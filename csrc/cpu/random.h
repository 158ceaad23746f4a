// numpy's default generator, number by number: np.random.default_rng(seed) with its random(n) and its
// choice(n, count, replace=False, shuffle=False). So a seed gives the points in C that it has always given in Python.
// SeedSequence and PCG64 (XSL RR 128/64): O'Neill, PCG: a family of simple fast space-efficient statistically good
// algorithms for random number generation, 2014, and NEP 19 of numpy.
#pragma once

#include <cstdint>

namespace pa3d {

class NumpyRandom {
 public:
  explicit NumpyRandom(uint64_t seed);

  double uniform() { return static_cast<double>(next64() >> 11) * 0x1p-53; }  // over [0, 1), 53 bits
  // Uniform over 0..most by Lemire's method (Fast random integer generation in an interval, 2019).
  uint32_t at_most(uint32_t most);

 private:
  __extension__ using uint128 = unsigned __int128;

  uint64_t next64();
  uint32_t next32();  // the lower half of a 64-bit number, then its upper half

  uint128 state_ = 0, increment_ = 0;
  uint32_t upper_half_ = 0;
  bool has_upper_half_ = false;
};

}  // namespace pa3d
