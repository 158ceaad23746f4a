// The part of the OpenMP runtime that the kernels use, on std::thread, for ThreadSanitizer. The compiler's own runtime
// is not instrumented: its barriers are invisible to the sanitizer, which would report every use of them, and a
// suppression would hide the races in between. Linked in its place, this needs none. Work is handed out without locks,
// so that taking turns at it orders nothing that the kernels did not order themselves.
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace {

constexpr long kNotStarted = INT64_MIN;

struct Team {
  explicit Team(unsigned n) : size(n) {}
  void wait() {
    std::unique_lock<std::mutex> lock(mutex);
    const uint64_t mine = round;
    if (++arrived == size) {
      arrived = 0;
      ++round;
      changed.notify_all();
    } else {
      changed.wait(lock, [&] { return round != mine; });
    }
  }
  const unsigned size;
  unsigned arrived = 0;
  uint64_t round = 0;
  std::mutex mutex;
  std::condition_variable changed;
  std::atomic<long> next{kNotStarted};
};

struct Member {
  Team* team = nullptr;
  unsigned id = 0;
  long end = 0, step = 0;
};

thread_local Member me;
std::mutex critical;

void run(Team* team, unsigned id, void (*body)(void*), void* data) {
  const Member outer = me;
  me = {team, id, 0, 0};
  body(data);
  me = outer;
}

}  // namespace

extern "C" {

int omp_get_max_threads() { return 3; }
int omp_get_num_threads() { return me.team ? static_cast<int>(me.team->size) : 1; }
int omp_get_thread_num() { return static_cast<int>(me.id); }

void GOMP_parallel(void (*body)(void*), void* data, unsigned threads, unsigned) {
  Team team(me.team ? 1 : threads ? threads : omp_get_max_threads());  // regions inside regions are not split
  std::vector<std::thread> others;
  for (unsigned id = 1; id < team.size; ++id) others.emplace_back(run, &team, id, body, data);
  run(&team, 0, body, data);
  for (std::thread& other : others) other.join();
}

void GOMP_barrier() {
  if (me.team) me.team->wait();
}

void GOMP_critical_start() { critical.lock(); }
void GOMP_critical_end() { critical.unlock(); }

// One loop a region is all that the kernels have.
bool GOMP_loop_nonmonotonic_dynamic_next(long* from, long* to) {
  const long begin = me.team->next.fetch_add(me.step, std::memory_order_relaxed);
  if (begin >= me.end) return false;
  *from = begin;
  *to = begin + me.step < me.end ? begin + me.step : me.end;
  return true;
}

bool GOMP_loop_nonmonotonic_dynamic_start(long start, long end, long increment, long chunk, long* from, long* to) {
  long expected = kNotStarted;
  me.team->next.compare_exchange_strong(expected, start, std::memory_order_relaxed);
  me.end = end;
  me.step = increment * chunk;
  return GOMP_loop_nonmonotonic_dynamic_next(from, to);
}

void GOMP_loop_end_nowait() {}

}  // extern "C"
