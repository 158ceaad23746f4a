// Whether indices from outside may be used.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

namespace pa3d {

// Whether all of `count` indices lie in [low, high).
template <class T>
bool all_within(const T* indices, int64_t count, int64_t low, int64_t high) {
  const T least = static_cast<T>(low);
  const T most = static_cast<T>(std::min<int64_t>(high - 1, std::numeric_limits<T>::max()));
  int outside = 0;  // no early end, so that the compiler can look at several at once
  for (int64_t i = 0; i < count; ++i) outside |= (indices[i] < least) | (indices[i] > most);
  return outside == 0;
}

}  // namespace pa3d
