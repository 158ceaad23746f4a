// Python bindings of cpu/outliers.h.
#include "bind.h"
#include "cpu/outliers.h"

namespace py = pa3d::py;
using pa3d::Floats;
using pa3d::require;

namespace {

py::array_t<bool> find_outliers(const Floats& points, float factor, int threads) {
  pa3d::require_points(points, 2, "points");
  require(factor > 0, "factor: expected a number above 0");
  require(points.shape(0) < INT32_MAX, "points: expected fewer than 2^31");
  const int64_t n = points.shape(0);
  py::array_t<bool> outlier(n);
  static_assert(sizeof(bool) == sizeof(uint8_t), "numpy's bool is a byte");
  const float* const in = points.data();
  uint8_t* const out = reinterpret_cast<uint8_t*>(outlier.mutable_data());
  {
    py::gil_scoped_release release;
    pa3d::find_outliers(in, n, factor, threads, out);
  }
  return outlier;
}

}  // namespace

PA3D_BINDINGS(m) {
  using namespace pa3d::py::literals;
  m.def("find_outliers", &::find_outliers, py::arg("points").noconvert(), "factor"_a, "threads"_a = 0);
}

/* pa3d/_C.pyi:
def find_outliers(
    points: Floats,  # (N, 3)
    factor: float,
    threads: int = 0,
) -> NDArray[np.bool_]: ...  # (N,)
*/
