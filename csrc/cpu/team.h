// Inside one parallel region: who am I, how many are we, and what is my share.
#pragma once

#include <cstdint>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace pa3d {

#ifdef _OPENMP
inline int thread_id() { return omp_get_thread_num(); }
inline int team_size() { return omp_get_num_threads(); }
inline void barrier() {
#pragma omp barrier
}
#else
inline int thread_id() { return 0; }
inline int team_size() { return 1; }
inline void barrier() {}
#endif

// The share [from, to) of n that falls to thread `id` of `team`.
inline void share(int64_t n, int id, int team, int64_t* from, int64_t* to) {
  *from = n * id / team;
  *to = n * (id + 1) / team;
}

}  // namespace pa3d
