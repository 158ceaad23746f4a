// Zeroed memory aligned to a cache line, for what the kernels read with vector loads.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace pa3d {

template <class T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(int64_t n) { resize(n); }
  Buffer(Buffer&& o) noexcept { swap(o); }
  Buffer& operator=(Buffer&& o) noexcept {
    swap(o);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { release(); }

  // Sets the size and zeroes everything; what was there is lost. A vector's width past the end may be read and written.
  void resize(int64_t n) {
    resize_only(n);
    std::memset(data_, 0, held(n));
  }
  // The same for who writes everything before it is read.
  void resize_only(int64_t n) {
    void* fresh = std::aligned_alloc(64, held(n));
    if (fresh == nullptr) throw std::bad_alloc();
    release();
    data_ = static_cast<T*>(fresh);
    size_ = n;
    owned_ = true;
  }
  // Grows to at least n; keeps what it has when it is large enough.
  void reserve(int64_t n) {
    if (n > size_) resize(n);
  }
  // Moves into memory that somebody else keeps for as long as this lives; returns where the next may begin.
  char* move_to(char* place) {
    const size_t bytes = held(size_);
    std::memcpy(place, data_, bytes);
    release();
    data_ = reinterpret_cast<T*>(place);
    owned_ = false;
    return place + bytes;
  }
  int64_t bytes() const { return static_cast<int64_t>(held(size_)); }
  T* data() { return data_; }
  const T* data() const { return data_; }
  int64_t size() const { return size_; }
  T& operator[](int64_t i) { return data_[i]; }
  const T& operator[](int64_t i) const { return data_[i]; }

 private:
  static size_t held(int64_t n) { return (static_cast<size_t>(n) * sizeof(T) + 127) / 64 * 64; }
  void release() {
    if (owned_) std::free(data_);
  }
  void swap(Buffer& o) noexcept {
    std::swap(data_, o.data_);
    std::swap(size_, o.size_);
    std::swap(owned_, o.owned_);
  }
  T* data_ = nullptr;
  int64_t size_ = 0;
  bool owned_ = true;
};

// Memory for what is read from end to end again and again: in huge pages where the system gives them, which saves the
// processor a walk through the page tables every 4 KiB.
class Slab {
 public:
  Slab() = default;
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  ~Slab() { std::free(data_); }
  char* resize(int64_t bytes) {
    constexpr size_t kHuge = size_t{1} << 21;
    const size_t whole = (static_cast<size_t>(bytes) + kHuge - 1) / kHuge * kHuge;
    std::free(data_);
    data_ = static_cast<char*>(std::aligned_alloc(kHuge, whole));
    if (data_ == nullptr) throw std::bad_alloc();
#ifdef __linux__
    (void)madvise(data_, whole, MADV_HUGEPAGE);  // advice: without huge pages all works as well
#endif
    return data_;
  }
  char* data() const { return data_; }

 private:
  char* data_ = nullptr;
};

// What one pass leaves for another: a slab that only grows and is not cleared. A vector's width past the end may be
// read.
template <class T>
class Kept {
 public:
  void reserve(int64_t n) {
    if (n <= size_) return;
    size_ = 0;
    slab_.resize(n * static_cast<int64_t>(sizeof(T)) + 64);
    size_ = n;
  }
  T* data() const { return reinterpret_cast<T*>(slab_.data()); }

 private:
  Slab slab_;
  int64_t size_ = 0;
};

}  // namespace pa3d
