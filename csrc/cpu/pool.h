// Workspaces of the calls in flight: taken, used, given back. Calls from several threads do not wait for each other,
// and a call that finds one ready allocates nothing.
#pragma once

#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace pa3d {

template <class Space>
class Pool {
 public:
  // Gives the workspace back when it goes out of scope.
  class Lease {
   public:
    Lease(Pool& pool, std::unique_ptr<Space> space) : pool_(&pool), space_(std::move(space)) {}
    Lease(Lease&&) = default;
    ~Lease() {
      if (space_) pool_->give(std::move(space_));
    }
    Space& operator*() const { return *space_; }
    Space* operator->() const { return space_.get(); }

   private:
    Pool* pool_;
    std::unique_ptr<Space> space_;
  };

  // make() builds a workspace when none is free.
  template <class Make>
  Lease take(const Make& make) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (!free_.empty()) {
        auto space = std::move(free_.back());
        free_.pop_back();
        return {*this, std::move(space)};
      }
    }
    return {*this, make()};
  }

 private:
  void give(std::unique_ptr<Space> space) {
    std::lock_guard<std::mutex> lock(mutex_);
    free_.push_back(std::move(space));
  }

  std::mutex mutex_;
  std::vector<std::unique_ptr<Space>> free_;
};

}  // namespace pa3d
