// Shared by the binding files, one a topic.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

namespace pa3d {

using Floats = pybind11::array_t<float, pybind11::array::c_style>;

void bind_backproject(pybind11::module_& m);
void bind_rasterize(pybind11::module_& m);
void bind_sample(pybind11::module_& m);
void bind_segment(pybind11::module_& m);
void bind_text(pybind11::module_& m);
void bind_train(pybind11::module_& m);

}  // namespace pa3d
