// Splits a range over OpenMP threads. Without OpenMP, or with one thread, it runs on the calling thread. Results do not
// depend on the number of threads.
//
// A forked process uses one thread. fork copies only the thread that calls it, but libgomp's thread pool in the copy
// still counts the threads of the parent. The next parallel region would wait for them forever.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>

#ifdef _OPENMP
#include <omp.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace pa3d {

// Whether this process was forked from one that had this library loaded. The fork handler in the child sets it before
// fork returns, while there is only one thread.
inline bool is_forked = false;
#if defined(__unix__) || defined(__APPLE__)
inline const int fork_handler = pthread_atfork(nullptr, nullptr, [] { is_forked = true; });
#endif

// threads <= 0 means OpenMP's default (OMP_NUM_THREADS, torch.set_num_threads).
inline int resolve_threads(int threads) {
#ifdef _OPENMP
  if (is_forked) return 1;
  return threads > 0 ? threads : omp_get_max_threads();
#else
  (void)threads;
  return 1;
#endif
}

// Calls body(begin, end) for chunks of [0, n), each of at least `grain` items. Results must not depend on the chunks.
template <class Body>
void parallel_for(int64_t n, int64_t grain, int threads, const Body& body) {
  const int64_t workers = std::min<int64_t>(resolve_threads(threads), (n + grain - 1) / grain);
  if (workers <= 1) {
    if (n > 0) body(0, n);
    return;
  }
#ifdef _OPENMP
  std::exception_ptr error;
  const int64_t chunk = std::max<int64_t>(grain, (n + 4 * workers - 1) / (4 * workers));
#pragma omp parallel for schedule(dynamic, 1) num_threads(static_cast<int>(workers))
  for (int64_t begin = 0; begin < n; begin += chunk) {
    try {
      body(begin, std::min(n, begin + chunk));
    } catch (...) {
#pragma omp critical
      error = std::current_exception();
    }
  }
  if (error) std::rethrow_exception(error);
#endif
}

}  // namespace pa3d
