// Arrays that live as long as a call, in memory that the next call finds again. Fresh memory costs the system a page
// fault for every 4 KiB, and threads that touch it at once wait for each other.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>
#include <vector>

#ifdef __linux__
#include <sys/mman.h>
#endif

#include "pool.h"

namespace pa3d {

class ScratchMemory {
 public:
  ScratchMemory() = default;
  ScratchMemory(const ScratchMemory&) = delete;
  ScratchMemory& operator=(const ScratchMemory&) = delete;
  ~ScratchMemory() { keep_at_most(0); }

  struct Block {
    void* data;
    size_t bytes;
  };

  // The smallest block that was given back and is not too large, or a new one.
  Block take(size_t bytes) {
    size_t best = free_.size();
    for (size_t i = 0; i < free_.size(); ++i)
      if (free_[i].bytes >= bytes && free_[i].bytes <= 2 * bytes + kLine &&
          (best == free_.size() || free_[i].bytes < free_[best].bytes))
        best = i;
    if (best == free_.size()) return allocate(bytes);
    const Block found = free_[best];
    free_[best] = free_.back();
    free_.pop_back();
    return found;
  }
  void give(Block block) { free_.push_back(block); }

  // Frees the largest blocks until those that are left have at most so many bytes.
  void keep_at_most(size_t limit) {
    std::sort(free_.begin(), free_.end(), [](const Block& a, const Block& b) { return a.bytes < b.bytes; });
    size_t total = 0, kept = 0;
    while (kept < free_.size() && total + free_[kept].bytes <= limit) total += free_[kept++].bytes;
    for (size_t i = kept; i < free_.size(); ++i) std::free(free_[i].data);
    free_.resize(kept);
  }

  static Block allocate(size_t bytes) {
    constexpr size_t kHuge = size_t{1} << 21;
    const size_t unit = bytes >= 2 * kHuge ? kHuge : kLine;
    const size_t whole = (std::max<size_t>(bytes, 1) + unit - 1) / unit * unit;
    void* const data = std::aligned_alloc(unit, whole);
    if (data == nullptr) throw std::bad_alloc();
#ifdef __linux__
    if (unit == kHuge) (void)madvise(data, whole, MADV_HUGEPAGE);  // only advice
#endif
    return {data, whole};
  }

 private:
  static constexpr size_t kLine = 64;
  std::vector<Block> free_;
};

// While it lives, the arrays of this thread come from memory that is kept for later calls.
class ScratchScope {
 public:
  ScratchScope() : lease_(pool().acquire([] { return std::make_unique<ScratchMemory>(); })), before_(current) {
    current = &*lease_;
  }
  ~ScratchScope() {
    current = before_;
    lease_->keep_at_most(kKept);
  }
  ScratchScope(const ScratchScope&) = delete;
  ScratchScope& operator=(const ScratchScope&) = delete;

  static inline thread_local ScratchMemory* current = nullptr;

 private:
  static constexpr size_t kKept = size_t{64} << 20;
  static Pool<ScratchMemory>& pool() {
    static Pool<ScratchMemory>* const all = new Pool<ScratchMemory>;  // not destroyed before threads that may use it
    return *all;
  }
  Pool<ScratchMemory>::Lease lease_;
  ScratchMemory* before_;
};

// An array aligned to cache lines. It must not outlive the ScratchScope in which it got its size, if there was one, and
// must be destroyed by the thread that gave it its size.
template <class T>
class Scratch {
 public:
  Scratch() = default;
  explicit Scratch(int64_t n) { resize(n); }
  Scratch(int64_t n, T value) {
    resize_uninitialized(n);
    std::fill_n(data(), n, value);
  }
  Scratch(Scratch&& o) noexcept { swap(o); }
  Scratch& operator=(Scratch&& o) noexcept {
    swap(o);
    return *this;
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() { release(); }

  // Sets the size and zeroes everything; the old content is lost.
  void resize(int64_t n) {
    resize_uninitialized(n);
    std::memset(block_.data, 0, static_cast<size_t>(n) * sizeof(T));
  }
  void resize_uninitialized(int64_t n) {
    release();
    memory_ = ScratchScope::current;
    const size_t bytes = static_cast<size_t>(n) * sizeof(T);
    block_ = memory_ != nullptr ? memory_->take(bytes) : ScratchMemory::allocate(bytes);
    size_ = n;
  }
  T* data() { return static_cast<T*>(block_.data); }
  const T* data() const { return static_cast<const T*>(block_.data); }
  int64_t size() const { return size_; }
  T& operator[](int64_t i) { return data()[i]; }
  const T& operator[](int64_t i) const { return data()[i]; }
  T* begin() { return data(); }
  T* end() { return data() + size_; }
  const T* begin() const { return data(); }
  const T* end() const { return data() + size_; }

  void swap(Scratch& o) noexcept {
    std::swap(block_, o.block_);
    std::swap(size_, o.size_);
    std::swap(memory_, o.memory_);
  }

 private:
  void release() {
    if (block_.data == nullptr) return;
    if (memory_ != nullptr)
      memory_->give(block_);
    else
      std::free(block_.data);
    block_ = {nullptr, 0};
    size_ = 0;
  }
  ScratchMemory::Block block_{nullptr, 0};
  int64_t size_ = 0;
  ScratchMemory* memory_ = nullptr;
};

}  // namespace pa3d
