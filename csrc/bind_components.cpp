// Python bindings of cpu/components.h.
#include <optional>

#include "bind.h"
#include "cpu/components.h"

namespace py = pa3d::py;
using pa3d::Floats;
using pa3d::Ids;
using pa3d::require;

namespace {

Ids components(const Floats& points, const std::optional<Ids>& faces, const Ids& labels, int threads) {
  pa3d::require_points(points, 2, "points");
  require(points.shape(0) < INT32_MAX, "points: expected fewer than 2^31");
  const int64_t n = points.shape(0);
  if (faces) pa3d::require_faces(*faces, n);
  const int64_t m = faces ? faces->shape(0) : n;
  require(labels.ndim() == 1 && labels.shape(0) == m, "labels: expected one per face, or per point of a cloud");
  Ids component(m);
  const float* const in = points.data();
  const int32_t *const triangles = faces ? faces->data() : nullptr, *const label = labels.data();
  int32_t* const out = component.mutable_data();
  {
    py::gil_scoped_release release;
    pa3d::components(in, n, triangles, m, label, threads, out);
  }
  return component;
}

}  // namespace

PA3D_BINDINGS(m) {
  using namespace pa3d::py::literals;
  m.def("components", &::components, py::arg("points").noconvert(), py::arg("faces").noconvert(),
        py::arg("labels").noconvert(), "threads"_a = 0);
}

/* pa3d/_C.pyi:
def components(
    points: Floats,  # (N, 3)
    faces: Ids | None,  # (F, 3)
    labels: Ids,  # (F,) or (N,)
    threads: int = 0,
) -> Ids: ...  # (F,) or (N,)
*/
