// Python bindings of cpu/hierarchy.h.
#include <algorithm>
#include <optional>

#include "bind.h"
#include "cpu/hierarchy.h"

namespace py = pa3d::py;
using pa3d::Floats;
using pa3d::Ids;
using pa3d::require;

namespace {

py::tuple merge_regions(const Floats& points, const std::optional<Ids>& faces, const Floats& features,
                        int64_t most_leaves, int threads) {
  pa3d::require_points(points, 2, "points");
  require(points.shape(0) < INT32_MAX, "points: expected fewer than 2^31");
  pa3d::HierarchyInput in{points.data(), points.shape(0), nullptr, 0, nullptr, 0, most_leaves};
  if (faces) {
    pa3d::require_faces(*faces, in.n);
    in.faces = faces->data();
    in.n_faces = faces->shape(0);
  }
  require(features.ndim() == 2 && features.shape(0) == (faces ? in.n_faces : in.n) && features.shape(0) >= 1,
          "features: expected one row per face, or per point of a cloud");
  require(most_leaves >= 1, "most_leaves: expected at least 1");
  in.features = features.data();
  in.num_features = features.shape(1);
  pa3d::Hierarchy out;
  {
    py::gil_scoped_release release;
    out = pa3d::merge_regions(in, threads);
  }
  Ids leaf({static_cast<int64_t>(out.leaf.size())}), merges({out.num_leaves - 1, 2});
  Floats costs({out.num_leaves - 1});
  std::copy(out.leaf.begin(), out.leaf.end(), leaf.mutable_data());
  std::copy(out.merges.begin(), out.merges.end(), merges.mutable_data());
  std::copy(out.costs.begin(), out.costs.end(), costs.mutable_data());
  return py::make_tuple(leaf, merges, costs);
}

}  // namespace

PA3D_BINDINGS(m) {
  using namespace pa3d::py::literals;
  m.def("merge_regions", &::merge_regions, py::arg("points").noconvert(), py::arg("faces").noconvert(),
        py::arg("features").noconvert(), "most_leaves"_a = 8192, "threads"_a = 0);
}

/* pa3d/_C.pyi:
def merge_regions(
    points: Floats,  # (N, 3)
    faces: Ids | None,  # (F, 3)
    features: Floats,  # (F, D) or (N, D)
    most_leaves: int = 8192,
    threads: int = 0,
) -> tuple[Ids, Ids, Floats]: ...  # leaf (F,) or (N,), merges (L - 1, 2), costs (L - 1,)
*/
