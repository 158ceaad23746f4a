// The Python module pa3d._C: the instruction set (ISA) in use, and what the other binding files register.
#include "bind.h"

#include <string>
#include <vector>

#include "cpu/cpuid.h"
#include "cpu/parallel.h"
#include "cuda/pa3d_cuda.h"

namespace py = pa3d::py;

namespace {

std::vector<void (*)(py::module_&)>& bindings() {
  // Static in a function, because the order in which the statics of several files are initialised is not defined.
  static std::vector<void (*)(py::module_&)> all;
  return all;
}

void define_all(py::module_& m) {
  using namespace pa3d::py::literals;
  m.set("CUDA_ABI", static_cast<int>(PA3D_CUDA_ABI));
  m.def("isa", [] { return pa3d::isa_name(pa3d::isa()); });
  m.def("best_isa", [] { return pa3d::isa_name(pa3d::best_isa()); });
  m.def("unsupported_isa", [] { return pa3d::rejected_isa(); });
  m.def("isa_choices", [] { return pa3d::kIsaChoices; });
  m.def("set_isa", [](const std::string& name) { return pa3d::set_isa(name.c_str()); }, "name"_a);
  m.def("max_threads", [] { return pa3d::resolve_threads(0); });
  for (const auto define : bindings()) define(m);
}

}  // namespace

pa3d::Binding::Binding(void (*define)(py::module_&)) { bindings().push_back(define); }

PyMODINIT_FUNC PyInit__C() {
  static PyModuleDef definition = {};
  definition.m_base = PyModuleDef_HEAD_INIT;
  definition.m_name = "pa3d._C";
  definition.m_doc = "Native kernels of pa3d.";
  definition.m_size = -1;
  try {
    py::module_ m(&definition);
    define_all(m);
    return m.release();
  } catch (...) {
    py::detail::set_error();
    return nullptr;
  }
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
def isa_choices() -> str: ...  # the names that PA3D_ISA may have on this kind of processor, for messages
def set_isa(name: str) -> bool: ...
def max_threads() -> int: ...
*/
