// numpy's default random generator: the same numbers as np.random.default_rng(seed), so that a seed gives the same
// points in C and in Python. It consists of SeedSequence and PCG64 (XSL RR 128/64). Sources: O'Neill, "PCG: a family of
// simple fast space-efficient statistically good algorithms for random number generation", 2014; NEP 19 of numpy.
#pragma once

#include <cstdint>

namespace pa3d {

class NumpyRandom {
 public:
  explicit NumpyRandom(uint64_t seed);

  double uniform() { return static_cast<double>(next64() >> 11) * 0x1p-53; }  // in [0, 1), 53 bits: Generator.random
  // Uniform over 0..max, max included (numpy's buffered_bounded_lemire_uint32). Lemire, "Fast random integer generation
  // in an interval", 2019.
  uint32_t bounded_uint32(uint32_t max);

 private:
  __extension__ using uint128 = unsigned __int128;

  uint64_t next64();
  uint32_t next32();  // the lower half of a 64-bit number, then its upper half

  uint128 state_ = 0, increment_ = 0;
  uint32_t upper_half_ = 0;
  bool has_upper_half_ = false;
};

}  // namespace pa3d
