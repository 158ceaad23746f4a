// Threads that all calls in this process share.
//
// A call opens a Team and runs phases of numbered tasks on it. The calling thread works as well, and it takes every
// task that no other thread has taken. So a call waits only for tasks that have begun, never for a thread that the
// system has not scheduled yet. Threads without work spin for a short, bounded time, then sleep.
//
// A forked process starts with no threads and makes its own when it needs them.
#pragma once

#include <cstdint>

namespace pa3d {

// Whether this process was forked from one that had this library loaded. Set in the child before fork returns.
extern bool is_forked;

// `threads`, or the default if it is 0 or less: OMP_NUM_THREADS at the first call; else the processors that this
// process may use, by its affinity and the CPU quota of its cgroup. Inside a task it is 1: parts of a task are not
// divided again.
int resolve_threads(int threads);

class Team {
 public:
  // At most `threads` threads, the calling one included (resolve_threads).
  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const { return size_; }

  // Calls body(task, slot) for every task in [0, tasks), in this order of beginning, and returns when all are done.
  // slot < size() numbers the thread; no two threads have the same, so it can index workspaces. Results must not depend
  // on which thread runs a task. Throws the first exception of a task, after all other tasks.
  template <class Body>
  void run(int64_t tasks, const Body& body) {
    run_tasks(
        tasks, [](const void* context, int64_t task, int slot) { (*static_cast<const Body*>(context))(task, slot); },
        &body);
  }

  struct Session;

 private:
  typedef void (*Function)(const void* context, int64_t task, int slot);
  void run_tasks(int64_t tasks, Function function, const void* context);

  int size_;
  Session* session_ = nullptr;
};

}  // namespace pa3d
