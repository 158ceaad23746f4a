// The Python module pa3d._C: the instruction set (ISA) in use, and what the other binding files register.
#include "bind.h"

#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "cpu/cpuid.h"
#include "cpu/parallel.h"
#include "cuda/pa3d_cuda.h"

namespace {

std::vector<void (*)(pybind11::module_&)>& bindings() {
  // Static in a function, because the order in which the statics of several files are initialised is not defined.
  static std::vector<void (*)(pybind11::module_&)> all;
  return all;
}

}  // namespace

pa3d::Binding::Binding(void (*define)(pybind11::module_&)) { bindings().push_back(define); }

PYBIND11_MODULE(_C, m) {
  m.doc() = "Native kernels of pa3d.";
  using namespace pybind11::literals;
  m.attr("CUDA_ABI") = static_cast<int>(PA3D_CUDA_ABI);
  m.def("isa", [] { return pa3d::isa_name(pa3d::isa()); });
  m.def("best_isa", [] { return pa3d::isa_name(pa3d::best_isa()); });
  m.def("unsupported_isa", [] { return pa3d::rejected_isa(); });
  m.def("set_isa", [](const std::string& name) { return pa3d::set_isa(name.c_str()); }, "name"_a);
  m.def("max_threads", [] { return pa3d::resolve_threads(0); });
  for (const auto define : bindings()) define(m);
}

/* pa3d/_C.pyi:
"""The native kernels. setup.py writes this file from csrc/bind*.cpp. Callers check arguments first: pa3d.ops."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ids = NDArray[np.int32]
Indices = NDArray[np.int64]

CUDA_ABI: int  # of csrc/cuda/pa3d_cuda.h

def isa() -> str: ...
def best_isa() -> str: ...
def unsupported_isa() -> str | None: ...
def set_isa(name: str) -> bool: ...
def max_threads() -> int: ...
*/
