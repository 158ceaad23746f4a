// Shared by the binding files, one file per topic. They check arrays, release the GIL and call pa3d::. A new file only
// has to use PA3D_BINDINGS to become part of the module. Its comment `/* pa3d/_C.pyi:` holds the types of what it
// binds; setup.py joins these comments into the stub file.
#pragma once

#include <cstdint>
#include <string>

#include "abi3.h"
#include "abi3_array.h"
#include "abi3_function.h"
#include "cpu/indices.h"

namespace pa3d {

using Floats = py::array_t<float, py::array::c_style>;
using Doubles = py::array_t<double, py::array::c_style>;
using Ids = py::array_t<int32_t, py::array::c_style>;
using Indices = py::array_t<int64_t, py::array::c_style>;
using Bank = py::array_t<int8_t, py::array::c_style>;

// Registers a function that adds bindings to the module when Python imports it.
struct Binding {
  explicit Binding(void (*define)(py::module_&));
};

inline void require(bool good, const std::string& message) {
  if (!good) throw py::value_error(message);
}

// Python has checked the points already; this protects memory from a direct call.
inline void require_points(const Floats& a, int rank, const char* name) {
  require(a.ndim() == rank && a.shape(rank - 1) == 3 && a.shape(rank - 2) >= 1,
          std::string(name) + ": expected a non-empty float32 array with a last axis of 3");
}

inline void require_rows(const Floats& a, const char* message) {
  require(a.ndim() == 2 && a.shape(0) >= 1 && a.shape(1) >= 1, message);
}

template <class T>
bool all_within(const py::array_t<T, py::array::c_style>& indices, int64_t low, int64_t high) {
  return all_within(indices.data(), indices.size(), low, high);
}

inline void require_faces(const Ids& a, int64_t n_points) {
  require(a.ndim() == 2 && a.shape(0) >= 1 && a.shape(1) == 3, "faces: expected a non-empty int32 array (F, 3)");
  require(a.shape(0) < (int64_t{1} << 28), "faces: expected fewer than 2^28");
  require(all_within(a, 0, n_points), "faces: an index lies outside the points");
}

}  // namespace pa3d

#define PA3D_BINDINGS(m)                                 \
  static void define_bindings(pa3d::py::module_& m);     \
  static const pa3d::Binding binding_(&define_bindings); \
  static void define_bindings(pa3d::py::module_& m)
