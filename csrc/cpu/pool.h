// A pool of workspaces. Calls from several threads do not wait for each other, and a call that finds a free workspace
// allocates nothing. In a forked process, the lock may be held by a thread that exists only in the parent. The call
// then creates a workspace of its own.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "parallel.h"

namespace pa3d {

template <class T>
class Pool {
 public:
  // Returns the workspace to the pool when it goes out of scope.
  class Lease {
   public:
    Lease(Pool& pool, std::unique_ptr<T> item) : pool_(&pool), item_(std::move(item)) {}
    Lease(Lease&&) = default;
    ~Lease() {
      if (item_) pool_->release(std::move(item_));
    }
    T& operator*() const { return *item_; }
    T* operator->() const { return item_.get(); }

   private:
    Pool* pool_;
    std::unique_ptr<T> item_;
  };

  // make() builds a workspace when none is free.
  template <class Make>
  Lease acquire(const Make& make) {
    if (const auto lock = locked()) {
      if (!free_.empty()) {
        auto item = std::move(free_.back());
        free_.pop_back();
        return {*this, std::move(item)};
      }
    }
    return {*this, make()};
  }

 private:
  void release(std::unique_ptr<T> item) {
    if (const auto lock = locked()) free_.push_back(std::move(item));
  }

  // Waits for the lock, but in a forked process only tries to take it.
  std::unique_lock<std::mutex> locked() {
    return is_forked ? std::unique_lock<std::mutex>(mutex_, std::try_to_lock) : std::unique_lock<std::mutex>(mutex_);
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<T>> free_;
};

}  // namespace pa3d
