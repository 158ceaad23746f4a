// Memory aligned to cache lines, for arrays that the kernels read with vector loads.
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

  // Sets the size and zeroes everything; the old content is lost. One vector past the end may be read and written.
  void resize(int64_t n) {
    resize_uninitialized(n);
    std::memset(data_, 0, allocated_bytes(n));
  }
  // The same without zeroing, for callers that write every element before they read it.
  void resize_uninitialized(int64_t n) {
    void* memory = std::aligned_alloc(64, allocated_bytes(n));
    if (memory == nullptr) throw std::bad_alloc();
    release();
    data_ = static_cast<T*>(memory);
    size_ = n;
    owned_ = true;
  }
  // If the size is below n, resizes to n (zeroed); otherwise does nothing.
  void reserve(int64_t n) {
    if (n > size_) resize(n);
  }
  // Moves the values to `destination`, memory that must outlive this buffer. Returns where the next buffer may begin.
  char* move_to(char* destination) {
    const size_t bytes = allocated_bytes(size_);
    std::memcpy(destination, data_, bytes);
    release();
    data_ = reinterpret_cast<T*>(destination);
    owned_ = false;
    return destination + bytes;
  }
  int64_t bytes() const { return static_cast<int64_t>(allocated_bytes(size_)); }
  T* data() { return data_; }
  const T* data() const { return data_; }
  int64_t size() const { return size_; }
  T& operator[](int64_t i) { return data_[i]; }
  const T& operator[](int64_t i) const { return data_[i]; }

 private:
  static size_t allocated_bytes(int64_t n) { return (static_cast<size_t>(n) * sizeof(T) + 127) / 64 * 64; }
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

// Memory in huge pages if the system provides them, for data that is read from end to end repeatedly. The processor
// then needs fewer page-table walks than one per 4 KiB.
class HugePageBuffer {
 public:
  HugePageBuffer() = default;
  HugePageBuffer(const HugePageBuffer&) = delete;
  HugePageBuffer& operator=(const HugePageBuffer&) = delete;
  ~HugePageBuffer() { std::free(data_); }
  char* resize(int64_t bytes) {
    constexpr size_t kHuge = size_t{1} << 21;
    const size_t whole = (static_cast<size_t>(bytes) + kHuge - 1) / kHuge * kHuge;
    std::free(data_);
    data_ = static_cast<char*>(std::aligned_alloc(kHuge, whole));
    if (data_ == nullptr) throw std::bad_alloc();
#ifdef __linux__
    (void)madvise(data_, whole, MADV_HUGEPAGE);  // only advice: everything works without huge pages too
#endif
    return data_;
  }
  char* data() const { return data_; }

 private:
  char* data_ = nullptr;
};

// Memory that one pass fills and a later pass reads. It only grows and is not zeroed. One vector past the end may be
// read.
template <class T>
class GrowOnlyBuffer {
 public:
  void reserve(int64_t n) {
    if (n <= size_) return;
    size_ = 0;
    slab_.resize(n * static_cast<int64_t>(sizeof(T)) + 64);
    size_ = n;
  }
  T* data() const { return reinterpret_cast<T*>(slab_.data()); }

 private:
  HugePageBuffer slab_;
  int64_t size_ = 0;
};

}  // namespace pa3d
