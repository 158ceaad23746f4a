#include "thread_pool.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <exception>
#include <fstream>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <signal.h>
#endif
#if defined(__linux__)
#include <sched.h>
#endif

namespace pa3d {

bool is_forked = false;

namespace {

typedef std::chrono::steady_clock Clock;

// A thread that waits spins for so long before it sleeps. Between the phases of a call it spins longer, because waking
// it takes tens of microseconds, as long as a task. In a team with more threads than processors it does not spin: it
// would keep the thread that it waits for from running.
constexpr std::chrono::microseconds kIdleSpin{20}, kPhaseSpin{100}, kNoSpin{0};

constexpr int kTaskBits = 20;  // of the numbers of tasks in a phase

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Spins until done() or for `time`. Returns done().
template <class Done>
bool spin(std::chrono::microseconds time, const Done& done) {
  const auto end = Clock::now() + time;
  do {
    for (int i = 0; i < 32; ++i) {
      if (done()) return true;
      pause();
    }
  } while (Clock::now() < end);
  return done();
}

thread_local bool in_task = false;

}  // namespace

// The state of a team, shared with the pool's threads that work for it. It lives until the last of them has left, which
// may be after the call returned.
struct Team::Session {
  // The phase, the number of its tasks, and the first task that nobody has taken, in one word: who changes the word
  // from what it read has taken a task of the phase that it read. The phase cannot end before that task is done.
  std::atomic<uint64_t> word{0};
  static constexpr uint64_t kTaskMask = (uint64_t{1} << kTaskBits) - 1, kClosed = uint64_t{1} << 63;
  static int64_t next(uint64_t word) { return static_cast<int64_t>(word & kTaskMask); }
  static int64_t count(uint64_t word) { return static_cast<int64_t>(word >> kTaskBits & kTaskMask); }

  // What a phase runs, and the number of its first task. Written while no task is left and read after a task was taken.
  Function function = nullptr;
  const void* context = nullptr;
  int64_t first = 0;
  std::atomic<int64_t> done{0};

  std::mutex mutex;
  std::condition_variable phase_began, phase_ended;
  std::atomic<int> sleepers{0};
  std::atomic<bool> caller_sleeps{false};
  std::exception_ptr error;
  std::chrono::microseconds phase_spin = kPhaseSpin;

  // Guarded by the mutex of the pool.
  int users = 1;
  int next_slot = 1;
  int wanted = 0;  // threads that may still join

  // Runs tasks until none is left in the phase.
  void work(int slot) {
    uint64_t seen = word.load(std::memory_order_acquire);
    while (next(seen) < count(seen)) {
      if (!word.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      const int64_t tasks = count(seen);
      try {
        function(context, first + next(seen), slot);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex);
        if (!error) error = std::current_exception();
      }
      if (done.fetch_add(1) + 1 == tasks && caller_sleeps.load()) {
        const std::lock_guard<std::mutex> lock(mutex);
        phase_ended.notify_one();
      }
      seen = word.load(std::memory_order_acquire);
    }
  }

  // What a thread of the pool does: phase after phase, until the session is closed.
  void serve(int slot) {
    for (uint64_t seen = word.load(std::memory_order_acquire); !(seen & kClosed);
         seen = word.load(std::memory_order_acquire)) {
      if (next(seen) < count(seen)) {
        work(slot);
        continue;
      }
      if (spin(phase_spin, [&] { return word.load(std::memory_order_acquire) != seen; })) continue;
      std::unique_lock<std::mutex> lock(mutex);
      ++sleepers;
      phase_began.wait(lock, [&] { return word.load() != seen; });
      --sleepers;
    }
  }

  void publish(uint64_t value) {
    word.store(value);
    if (sleepers.load() == 0) return;
    const std::lock_guard<std::mutex> lock(mutex);
    phase_began.notify_all();
  }

  // Tasks [begin, begin + tasks).
  void run(int64_t begin, int64_t tasks, Function f, const void* c) {
    first = begin;
    function = f;
    context = c;
    done.store(0, std::memory_order_relaxed);
    const uint64_t phase = (word.load(std::memory_order_relaxed) >> 2 * kTaskBits) + 1;
    publish((phase << 2 * kTaskBits & ~kClosed) | static_cast<uint64_t>(tasks) << kTaskBits);
    work(0);
    if (!spin(phase_spin, [&] { return done.load() == tasks; })) {
      std::unique_lock<std::mutex> lock(mutex);
      caller_sleeps = true;
      phase_ended.wait(lock, [&] { return done.load() == tasks; });
      caller_sleeps = false;
    }
  }
};

namespace {

class ThreadPool {
 public:
  // Lets `threads` threads of the pool join the session.
  void open(Team::Session& session, int threads) {
    std::unique_lock<std::mutex> lock(mutex_);
    for (; threads_ < threads; ++threads_)
      if (!start_thread()) break;
    session.wanted = std::min(threads, threads_);
    if (session.wanted == 0) return;
    waiting_.push_back(&session);
    waiting_size_.store(waiting_.size());
    const int wake = std::min(session.wanted, sleepers_);
    lock.unlock();
    for (int i = 0; i < wake; ++i) work_came_.notify_one();
  }

  // The caller's part of the session is over. Threads that are still in it leave when they notice.
  void close(Team::Session* session) {
    session->publish(Team::Session::kClosed);
    const std::lock_guard<std::mutex> lock(mutex_);
    if (session->wanted > 0) {
      waiting_.erase(std::find(waiting_.begin(), waiting_.end(), session));
      waiting_size_.store(waiting_.size());
    }
    leave(session);
  }

 private:
  bool start_thread() {
#if defined(__unix__) || defined(__APPLE__)
    sigset_t all, before;  // signals are for the threads of the program
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
#endif
    bool started = true;
    try {
      std::thread([this] { loop(); }).detach();
    } catch (const std::system_error&) {  // the limit of threads is reached; the call runs with fewer
      started = false;
    }
#if defined(__unix__) || defined(__APPLE__)
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
#endif
    return started;
  }

  void loop() {
    in_task = true;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      if (waiting_.empty()) {
        lock.unlock();
        spin(kIdleSpin, [&] { return waiting_size_.load(std::memory_order_relaxed) > 0; });
        lock.lock();
      }
      if (waiting_.empty()) {
        ++sleepers_;
        work_came_.wait(lock, [&] { return !waiting_.empty(); });
        --sleepers_;
      }
      Team::Session* session = waiting_.front();
      const int slot = session->next_slot++;
      ++session->users;
      if (--session->wanted == 0) {
        waiting_.pop_front();
        waiting_size_.store(waiting_.size());
      }
      lock.unlock();
      session->serve(slot);
      lock.lock();
      leave(session);
    }
  }

  // Frees the session if this was its last user. The caller holds the pool's mutex.
  static void leave(Team::Session* session) {
    if (--session->users == 0) delete session;
  }

  std::mutex mutex_;
  std::condition_variable work_came_;
  std::deque<Team::Session*> waiting_;  // sessions that more threads may join
  std::atomic<size_t> waiting_size_{0};
  int threads_ = 0, sleepers_ = 0;
};

// Never freed, because its threads may run until the process ends. A forked process leaves its copy, whose threads do
// not exist and whose lock may be held by one of them, and makes another.
std::atomic<ThreadPool*> current_pool{nullptr};

ThreadPool& pool() {
  ThreadPool* found = current_pool.load(std::memory_order_acquire);
  if (found == nullptr) {
    auto made = std::make_unique<ThreadPool>();
    if (current_pool.compare_exchange_strong(found, made.get(), std::memory_order_acq_rel)) found = made.release();
  }
  return *found;
}

#if defined(__unix__) || defined(__APPLE__)
const int fork_handler = pthread_atfork(nullptr, nullptr, [] {
  is_forked = true;
  current_pool.store(nullptr, std::memory_order_relaxed);
  in_task = false;
});
#endif

#if defined(__linux__)
// ceil(quota / period) of a cgroup, or 0 where there is none.
int quota_threads(double quota, double period) {
  return quota > 0 && period > 0 ? std::max(1, static_cast<int>((quota + period - 1) / period)) : 0;
}

// The smallest CPU quota of this process's cgroup and those above it, as a number of processors; 0 for none.
int cgroup_threads() {
  int smallest = 0;
  const auto take = [&](int threads) {
    if (threads > 0) smallest = smallest == 0 ? threads : std::min(smallest, threads);
  };
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool v2 = controllers == ",,";
    if (!v2 && controllers.find(",cpu,") == std::string::npos) continue;
    // In a container the path may be that of the host, which is not mounted; the root of the mount is then the group.
    for (std::string path = line.substr(second + 1);; path.erase(path.rfind('/'))) {
      if (path == "/") path.clear();
      const std::string folder = (v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu") + path + "/";
      double quota = 0, period = 0;
      if (v2) {
        if (std::ifstream file(folder + "cpu.max"); file >> quota >> period) take(quota_threads(quota, period));
      } else {
        std::ifstream quota_file(folder + "cpu.cfs_quota_us"), period_file(folder + "cpu.cfs_period_us");
        if (quota_file >> quota && period_file >> period) take(quota_threads(quota, period));
      }
      if (path.empty()) break;
    }
  }
  return smallest;
}
#endif

int count_processors() {
  int processors = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) processors = CPU_COUNT(&set);
  if (const int quota = cgroup_threads()) processors = std::min(processors, quota);
#endif
  return std::max(1, processors);
}

// Processors that this process may use.
int processors() {
  static const int count = count_processors();
  return count;
}

int count_default_threads() {
  if (const char* text = std::getenv("OMP_NUM_THREADS")) {
    const long threads = std::strtol(text, nullptr, 10);
    if (threads > 0 && threads <= 1 << 16) return static_cast<int>(threads);
  }
  return processors();
}

}  // namespace

int resolve_threads(int threads) {
  if (in_task) return 1;
  static const int by_default = count_default_threads();
  return threads > 0 ? threads : by_default;
}

Team::Team(int threads) : size_(resolve_threads(threads)) {
  if (size_ == 1) return;
  session_ = new Session;
  if (size_ > processors()) session_->phase_spin = kNoSpin;
  pool().open(*session_, size_ - 1);
}

Team::~Team() {
  if (session_) pool().close(session_);
}

void Team::run_tasks(int64_t tasks, Function function, const void* context) {
  if (session_ == nullptr || tasks == 1) {
    for (int64_t task = 0; task < tasks; ++task) function(context, task, 0);
    return;
  }
  struct Scope {  // what the tasks call is not divided again, on this thread as on the others
    Scope() { in_task = true; }
    ~Scope() { in_task = false; }
  } scope;
  constexpr int64_t kMost = Session::kTaskMask;
  for (int64_t first = 0; first < tasks; first += kMost)
    session_->run(first, std::min(kMost, tasks - first), function, context);
  if (session_->error) {
    std::exception_ptr error;
    std::swap(error, session_->error);
    std::rethrow_exception(error);
  }
}

}  // namespace pa3d
