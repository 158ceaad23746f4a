#include "random.h"

namespace pa3d {

NumpyRandom::NumpyRandom(uint64_t seed) {
  // SeedSequence: the two 32-bit words of the seed are hashed into a pool of four words, then each is mixed into the
  // others.
  constexpr int kPool = 4;
  const uint32_t words[2] = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  uint32_t pool[kPool], multiplier = 0x43b0d7e5;
  auto hash = [&](uint32_t value) {
    value ^= multiplier;
    multiplier *= 0x931e8875;
    value *= multiplier;
    return value ^ value >> 16;
  };
  for (int i = 0; i < kPool; ++i) pool[i] = hash(i < 2 ? words[i] : 0);
  for (int from = 0; from < kPool; ++from)
    for (int to = 0; to < kPool; ++to)
      if (from != to) {
        const uint32_t mixed = 0xca01f9dd * pool[to] - 0x4973f715 * hash(pool[from]);
        pool[to] = mixed ^ mixed >> 16;
      }
  uint64_t start[4] = {};
  multiplier = 0x8b51f9dd;
  for (int i = 0; i < 8; ++i) {
    uint32_t value = pool[i % kPool] ^ multiplier;
    multiplier *= 0x58f38ded;
    value *= multiplier;
    start[i / 2] |= static_cast<uint64_t>(value ^ value >> 16) << (32 * (i % 2));
  }
  increment_ = (static_cast<uint128>(start[2]) << 64 | start[3]) << 1 | 1;
  next64();
  state_ += static_cast<uint128>(start[0]) << 64 | start[1];
  next64();
}

uint64_t NumpyRandom::next64() {
  constexpr uint128 kMultiplier = static_cast<uint128>(2549297995355413924u) << 64 | 4865540595714422341u;
  state_ = state_ * kMultiplier + increment_;
  const uint64_t folded = static_cast<uint64_t>(state_ >> 64) ^ static_cast<uint64_t>(state_);
  const int rotation = static_cast<int>(state_ >> 122);
  return folded >> rotation | folded << (-rotation & 63);
}

uint32_t NumpyRandom::next32() {
  if (has_upper_half_) {
    has_upper_half_ = false;
    return upper_half_;
  }
  const uint64_t both = next64();
  has_upper_half_ = true;
  upper_half_ = static_cast<uint32_t>(both >> 32);
  return static_cast<uint32_t>(both);
}

uint32_t NumpyRandom::bounded_uint32(uint32_t max) {
  if (max == 0) return 0;
  if (max == UINT32_MAX) return next32();
  const uint32_t count = max + 1;
  uint64_t product = static_cast<uint64_t>(next32()) * count;
  if (static_cast<uint32_t>(product) < count) {
    const uint32_t threshold = (UINT32_MAX - max) % count;
    while (static_cast<uint32_t>(product) < threshold) product = static_cast<uint64_t>(next32()) * count;
  }
  return static_cast<uint32_t>(product >> 32);
}

}  // namespace pa3d
