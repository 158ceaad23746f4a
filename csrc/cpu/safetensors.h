// Reads .safetensors files: a JSON header, then the bytes of the tensors. The file stays memory-mapped as long as the
// object lives.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "json.h"

namespace pa3d {

// The bytes of a file, memory-mapped. Throws FileError.
class FileBytes {
 public:
  explicit FileBytes(const std::string& path);
  ~FileBytes();
  FileBytes(const FileBytes&) = delete;
  FileBytes& operator=(const FileBytes&) = delete;
  std::string_view view() const { return {data_, size_}; }

 private:
  const char* data_ = nullptr;
  size_t size_ = 0;
};

class SafeTensors {
 public:
  struct Tensor {
    std::string dtype;
    std::vector<int64_t> shape;
    int64_t count;
    const char* data;  // aligned for its type
  };

  // Checks the whole header: every dtype, shape and offset; no gaps, no overlap, no extra bytes. Throws FileError.
  explicit SafeTensors(const std::string& path);

  const std::string& path() const { return path_; }
  const std::map<std::string, Tensor>& tensors() const { return tensors_; }
  // These throw FileError, which names the file and what is missing or wrong.
  const Tensor& tensor(const std::string& name, int64_t count) const;
  const float* floats(const std::string& name, int64_t count) const;      // F32
  const int16_t* integers(const std::string& name, int64_t count) const;  // I16
  const std::string& metadata(const std::string& key) const;
  bool has_metadata(const std::string& key) const { return metadata_.count(key) != 0; }

  [[noreturn]] void fail(const std::string& what) const;

 private:
  std::string path_;
  FileBytes file_;
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

// Converts IEEE half precision to float32; the conversion is exact.
void half_to_float(const uint16_t* in, int64_t n, float* out);

}  // namespace pa3d
