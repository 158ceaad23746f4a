// Zeroed memory aligned to a cache line, for what the kernels read with vector loads.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

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
  ~Buffer() { std::free(data_); }

  // Sets the size and zeroes everything; what was there is lost. A vector's width past the end may be read and written.
  void resize(int64_t n) {
    const size_t bytes = (static_cast<size_t>(n) * sizeof(T) + 127) / 64 * 64;
    void* fresh = std::aligned_alloc(64, bytes);
    if (fresh == nullptr) throw std::bad_alloc();
    std::memset(fresh, 0, bytes);
    std::free(data_);
    data_ = static_cast<T*>(fresh);
    size_ = n;
  }
  // Grows to at least n; keeps what it has when it is large enough.
  void reserve(int64_t n) {
    if (n > size_) resize(n);
  }
  T* data() { return data_; }
  const T* data() const { return data_; }
  int64_t size() const { return size_; }
  T& operator[](int64_t i) { return data_[i]; }
  const T& operator[](int64_t i) const { return data_[i]; }

 private:
  void swap(Buffer& o) noexcept {
    std::swap(data_, o.data_);
    std::swap(size_, o.size_);
  }
  T* data_ = nullptr;
  int64_t size_ = 0;
};

}  // namespace pa3d
