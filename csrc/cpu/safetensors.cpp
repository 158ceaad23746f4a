#include "safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

namespace pa3d {
namespace {

constexpr uint64_t kMaxHeader = 100'000'000;  // the limit of the format

int width_of(const std::string& dtype) {
  static const std::pair<const char*, int> kWidths[] = {{"F64", 8}, {"F32", 4}, {"F16", 2}, {"BF16", 2}, {"I64", 8},
                                                        {"I32", 4}, {"I16", 2}, {"I8", 1},  {"U8", 1},   {"BOOL", 1}};
  for (const auto& [name, width] : kWidths)
    if (dtype == name) return width;
  return 0;
}

}  // namespace

FileBytes::FileBytes(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status;
  if (file < 0) throw FileError(path + ": " + std::strerror(errno));
  if (::fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
    ::close(file);
    throw FileError(path + ": not a regular file");
  }
  size_ = static_cast<size_t>(status.st_size);
  void* const mapped = size_ ? ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0) : nullptr;
  const int error = errno;
  ::close(file);
  if (mapped == MAP_FAILED) throw FileError(path + ": " + std::strerror(error));
  data_ = static_cast<const char*>(mapped);
}
FileBytes::~FileBytes() {
  if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_);
}

void SafeTensors::fail(const std::string& what) const { throw FileError(path_ + ": " + what); }

SafeTensors::SafeTensors(const std::string& path) : path_(path), file_(path) {
  const std::string_view bytes = file_.view();
  uint64_t header = 0;
  for (int i = 0; i < 8 && bytes.size() >= 8; ++i)
    header |= static_cast<uint64_t>(static_cast<unsigned char>(bytes[i])) << 8 * i;
  if (bytes.size() < 8 || header > kMaxHeader || header > bytes.size() - 8 || header == 0 || bytes[8] != '{')
    fail("not a safetensors file, or cut short");
  const std::string_view data = bytes.substr(8 + header);
  Json json;
  try {
    json = Json::parse(bytes.substr(8, header));
  } catch (const FileError& error) {
    fail(std::string("its header is ") + error.what());
  }
  std::vector<std::pair<uint64_t, uint64_t>> spans;
  for (const auto& [name, entry] : json.object("the header")) {
    const std::string what = path_ + ": " + name;
    if (name == "__metadata__") {
      for (const auto& [key, value] : entry.object(what.c_str())) metadata_[key] = value.string(what.c_str());
      continue;
    }
    Tensor tensor{entry.at("dtype", what.c_str()).string(what.c_str()), {}, 1, nullptr};
    const int64_t width = width_of(tensor.dtype);
    if (width == 0) fail(name + " has the unknown type " + tensor.dtype);
    for (const Json& size : entry.at("shape", what.c_str()).array(what.c_str())) {
      tensor.shape.push_back(size.integer(what.c_str()));
      const int64_t n = tensor.shape.back();
      if (n < 0 || (n > 0 && tensor.count > std::numeric_limits<int64_t>::max() / 8 / n))
        fail(name + " has an impossible shape");
      tensor.count *= n;
    }
    const Json::Array& offsets = entry.at("data_offsets", what.c_str()).array(what.c_str());
    if (offsets.size() != 2 || entry.object(what.c_str()).size() != 3)
      fail(name + " has a damaged entry in the header");
    const int64_t begin = offsets[0].integer(what.c_str()), end = offsets[1].integer(what.c_str());
    if (begin < 0 || end < begin || static_cast<uint64_t>(end) > data.size())
      fail(name + " lies beyond the end of the file; it was cut short");
    if (end - begin != tensor.count * width) fail(name + ": its size does not fit its shape");
    tensor.data = data.data() + begin;
    if (reinterpret_cast<uintptr_t>(tensor.data) % width != 0) fail(name + " is not aligned");
    if (!tensors_.emplace(name, std::move(tensor)).second) fail(name + " occurs twice");
    spans.emplace_back(begin, end);
  }
  std::sort(spans.begin(), spans.end());
  uint64_t reached = 0;
  for (const auto& [begin, end] : spans) {
    if (begin != reached) fail("its tensors overlap or leave gaps");
    reached = end;
  }
  if (reached != data.size()) fail("there are extra bytes after its tensors");
}

const SafeTensors::Tensor& SafeTensors::tensor(const std::string& name, int64_t count) const {
  const auto entry = tensors_.find(name);
  if (entry == tensors_.end()) fail("no tensor named " + name);
  if (entry->second.count != count)
    fail(name + " has " + std::to_string(entry->second.count) + " values, expected " + std::to_string(count));
  return entry->second;
}

const float* SafeTensors::floats(const std::string& name, int64_t count) const {
  const Tensor& t = tensor(name, count);
  if (t.dtype != "F32") fail(name + " is " + t.dtype + ", expected F32");
  return reinterpret_cast<const float*>(t.data);
}

const int16_t* SafeTensors::integers(const std::string& name, int64_t count) const {
  const Tensor& t = tensor(name, count);
  if (t.dtype != "I16") fail(name + " is " + t.dtype + ", expected I16");
  return reinterpret_cast<const int16_t*>(t.data);
}

const std::string& SafeTensors::metadata(const std::string& key) const {
  const auto entry = metadata_.find(key);
  if (entry == metadata_.end()) fail("its metadata has no " + key);
  return entry->second;
}

void half_to_float(const uint16_t* in, int64_t n, float* out) {
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t sign = static_cast<uint32_t>(in[i] & 0x8000) << 16, rest = static_cast<uint32_t>(in[i] & 0x7fff)
                                                                              << 13;
    // With the bits of the half in place, the exponent is too small by 112. Multiplying by 2^112 fixes the exponent,
    // and that of subnormal numbers too.
    float value;
    std::memcpy(&value, &rest, 4);
    value *= 0x1p112f;
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    bits = (in[i] & 0x7c00) == 0x7c00 ? rest | 0x7f800000 : bits;  // infinity and NaN
    bits |= sign;
    std::memcpy(out + i, &bits, 4);
  }
}

}  // namespace pa3d
