// For code inside an OpenMP parallel region: the id of this thread, the number of threads, a barrier, and each thread's
// share of the work.
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

// The range [from, to) of n items for thread `id` of `num_threads` threads.
inline void partition(int64_t n, int id, int num_threads, int64_t* from, int64_t* to) {
  *from = n * id / num_threads;
  *to = n * (id + 1) / num_threads;
}

}  // namespace pa3d
