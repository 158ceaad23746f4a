// Python bindings of cpu/safetensors.h.
#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "bind.h"
#include "cpu/safetensors.h"

namespace py = pa3d::py;
using pa3d::Floats;

namespace {

std::optional<std::string> metadata(const pa3d::SafeTensors& self, const std::string& key) {
  if (!self.has_metadata(key)) return std::nullopt;
  return self.metadata(key);
}

std::vector<std::string> names(const pa3d::SafeTensors& self) {
  std::vector<std::string> all;
  for (const auto& entry : self.tensors()) all.push_back(entry.first);
  return all;
}

template <class T>
py::array_t<T, py::array::c_style> new_array(const pa3d::SafeTensors::Tensor& tensor) {
  return py::array_t<T, py::array::c_style>(std::vector<py::ssize_t>(tensor.shape.begin(), tensor.shape.end()));
}

// A copy: int8 of I8, int32 of I32, float32 of the others.
py::object read_tensor(const pa3d::SafeTensors& self, const std::string& name) {
  const auto entry = self.tensors().find(name);
  if (entry == self.tensors().end()) self.fail("no tensor named " + name);
  const pa3d::SafeTensors::Tensor& tensor = entry->second;
  if (tensor.dtype == "I8") {
    auto out = new_array<int8_t>(tensor);
    std::memcpy(out.mutable_data(), tensor.data, tensor.count);
    return out;
  }
  if (tensor.dtype == "I32") {
    auto out = new_array<int32_t>(tensor);
    std::memcpy(out.mutable_data(), tensor.data, tensor.count * sizeof(int32_t));
    return out;
  }
  Floats out = new_array<float>(tensor);
  float* const to = out.mutable_data();
  if (tensor.dtype == "F32") {
    std::copy_n(reinterpret_cast<const float*>(tensor.data), tensor.count, to);
  } else if (tensor.dtype == "F64") {
    std::copy_n(reinterpret_cast<const double*>(tensor.data), tensor.count, to);
  } else if (tensor.dtype == "F16") {
    pa3d::half_to_float(reinterpret_cast<const uint16_t*>(tensor.data), tensor.count, to);
  } else {
    self.fail(name + " is " + tensor.dtype + ", expected F32, F16, F64, I32 or I8");
  }
  return out;
}

}  // namespace

PA3D_BINDINGS(m) {
  using namespace pa3d::py::literals;
  py::class_<pa3d::SafeTensors>(m, "SafeTensors")
      .def(py::init<const std::string&>(), "path"_a)
      .def("metadata", &metadata, "key"_a)
      .def("names", &names)
      .def("read", &read_tensor, "name"_a);
}

/* pa3d/_C.pyi:

class SafeTensors:
    """A .safetensors file, memory-mapped. Raises FileError when it is damaged."""

    def __init__(self, path: str | bytes) -> None: ...
    def metadata(self, key: str) -> str | None: ...
    def names(self) -> list[str]: ...
    def read(self, name: str) -> NDArray[Any]: ...  # a copy: int8 of I8, int32 of I32, float32 of F32, F16 and F64
*/
