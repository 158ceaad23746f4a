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

// A copy in float32.
Floats read_floats(const pa3d::SafeTensors& self, const std::string& name) {
  const auto entry = self.tensors().find(name);
  if (entry == self.tensors().end()) self.fail("no tensor named " + name);
  const pa3d::SafeTensors::Tensor& tensor = entry->second;
  Floats out(std::vector<py::ssize_t>(tensor.shape.begin(), tensor.shape.end()));
  float* const to = out.mutable_data();
  if (tensor.dtype == "F32") {
    std::copy_n(reinterpret_cast<const float*>(tensor.data), tensor.count, to);
  } else if (tensor.dtype == "F64") {
    std::copy_n(reinterpret_cast<const double*>(tensor.data), tensor.count, to);
  } else if (tensor.dtype == "F16") {
    pa3d::half_to_float(reinterpret_cast<const uint16_t*>(tensor.data), tensor.count, to);
  } else {
    self.fail(name + " is " + tensor.dtype + ", expected F32, F16 or F64");
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
      .def("read", &read_floats, "name"_a);
}

/* pa3d/_C.pyi:

class SafeTensors:
    """A .safetensors file, memory-mapped. Raises FileError when it is damaged."""

    def __init__(self, path: str | bytes) -> None: ...
    def metadata(self, key: str) -> str | None: ...
    def names(self) -> list[str]: ...
    def read(self, name: str) -> Floats: ...  # a copy in float32
*/
