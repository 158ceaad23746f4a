// Python bindings of cpu/rasterize.h.
#include <cmath>
#include <optional>
#include <string>

#include "bind.h"
#include "cpu/rasterize.h"

namespace py = pa3d::py;
using pa3d::Floats;

namespace {

using pa3d::Doubles;
using pa3d::Ids;

std::string shape_of(const py::array& a) {
  std::string text = "(";
  for (py::ssize_t i = 0; i < a.ndim(); ++i) text += (i ? ", " : "") + std::to_string(a.shape(i));
  return text + ")";
}

void expect(bool good, const char* name, const char* expected, const py::array& got) {
  if (!good) throw py::value_error(std::string(name) + ": expected shape " + expected + ", got " + shape_of(got));
}

pa3d::RasterViews views_of(const Doubles& matrices, bool perspective, double near, int64_t height, int64_t width) {
  expect(matrices.ndim() == 3 && matrices.shape(1) == 3 && matrices.shape(2) == 4, "matrices", "(V, 3, 4)", matrices);
  if (!(near > 0) || !std::isfinite(near)) throw py::value_error("near: expected a positive number");
  if (height < 1 || width < 1 || height > pa3d::kMaxImageSide || width > pa3d::kMaxImageSide)
    throw py::value_error("size: expected 1 to " + std::to_string(pa3d::kMaxImageSide) + " pixels a side, got " +
                          std::to_string(height) + " x " + std::to_string(width));
  return {matrices.shape(0), matrices.data(), perspective, near, height, width};
}

py::tuple rasterize(const Floats& vertices, const Ids& faces, const Doubles& matrices, bool perspective, double near,
                    int64_t height, int64_t width, bool depth, bool barycentric, int threads) {
  expect(vertices.ndim() == 2 && vertices.shape(1) == 3, "vertices", "(N, 3)", vertices);
  expect(faces.ndim() == 2 && faces.shape(1) == 3, "faces", "(F, 3)", faces);
  const pa3d::RasterViews views = views_of(matrices, perspective, near, height, width);
  const int32_t* const f = faces.data();
  for (py::ssize_t i = 0; i < faces.size(); ++i)
    if (f[i] < 0 || f[i] >= vertices.shape(0))
      throw py::value_error("faces: expected indices from 0 to " + std::to_string(vertices.shape(0) - 1) + ", got " +
                            std::to_string(f[i]));
  Ids ids({views.count, height, width});
  std::optional<Floats> depths, weights;
  if (depth) depths = Floats({views.count, height, width});
  if (barycentric) weights = Floats({views.count, height, width, int64_t{3}});
  int32_t* const id = ids.mutable_data();
  float* const d = depths ? depths->mutable_data() : nullptr;
  float* const w = weights ? weights->mutable_data() : nullptr;
  {
    py::gil_scoped_release release;
    pa3d::rasterize(vertices.data(), vertices.shape(0), f, faces.shape(0), views, threads, id, d, w);
  }
  return py::make_tuple(ids, depths, weights);
}

py::tuple rasterize_points(const Floats& points, const Floats& radius, const Doubles& matrices, const Doubles& scale,
                           bool perspective, double near, int64_t height, int64_t width, bool depth, int threads) {
  expect(points.ndim() == 2 && points.shape(1) == 3, "points", "(N, 3)", points);
  expect(radius.ndim() == 1 && radius.shape(0) == points.shape(0), "radius", "(N,)", radius);
  const pa3d::RasterViews views = views_of(matrices, perspective, near, height, width);
  expect(scale.ndim() == 1 && scale.shape(0) == views.count, "scale", "(V,)", scale);
  Ids ids({views.count, height, width});
  std::optional<Floats> depths;
  if (depth) depths = Floats({views.count, height, width});
  int32_t* const id = ids.mutable_data();
  float* const d = depths ? depths->mutable_data() : nullptr;
  {
    py::gil_scoped_release release;
    pa3d::rasterize_points(points.data(), radius.data(), points.shape(0), views, scale.data(), threads, id, d);
  }
  return py::make_tuple(ids, depths);
}

}  // namespace

PA3D_BINDINGS(m) {
  m.def("rasterize", &::rasterize, py::arg("vertices").noconvert(), py::arg("faces").noconvert(),
        py::arg("matrices").noconvert(), py::arg("perspective"), py::arg("near"), py::arg("height"), py::arg("width"),
        py::arg("depth") = true, py::arg("barycentric") = true, py::arg("threads") = 0);
  m.def("rasterize_points", &::rasterize_points, py::arg("points").noconvert(), py::arg("radius").noconvert(),
        py::arg("matrices").noconvert(), py::arg("scale").noconvert(), py::arg("perspective"), py::arg("near"),
        py::arg("height"), py::arg("width"), py::arg("depth") = true, py::arg("threads") = 0);
}

/* pa3d/_C.pyi:
def rasterize(
    vertices: Floats,  # (N, 3)
    faces: Ids,  # (F, 3)
    matrices: NDArray[np.float64],  # (V, 3, 4)
    perspective: bool,
    near: float,
    height: int,
    width: int,
    depth: bool = True,
    barycentric: bool = True,
    threads: int = 0,
) -> tuple[Ids, Any, Any]: ...  # (V, H, W); Floats (V, H, W) and (V, H, W, 3), None where not asked for
def rasterize_points(
    points: Floats,  # (N, 3)
    radius: Floats,  # (N,)
    matrices: NDArray[np.float64],  # (V, 3, 4)
    scale: NDArray[np.float64],  # (V,)
    perspective: bool,
    near: float,
    height: int,
    width: int,
    depth: bool = True,
    threads: int = 0,
) -> tuple[Ids, Any]: ...  # (V, H, W); Floats (V, H, W), None where not asked for
*/
