// Python bindings of cpu/backproject.h.
#include <cstdint>
#include <cstdlib>
#include <new>
#include <string>
#include <vector>

#include "bind.h"
#include "cpu/backproject.h"

namespace py = pa3d::py;
using pa3d::require;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;

pa3d::Upsampling upsampling_of(const std::string& mode) {
  if (mode == "nearest") return pa3d::Upsampling::nearest;
  if (mode == "bilinear") return pa3d::Upsampling::bilinear;
  if (mode == "bicubic") return pa3d::Upsampling::bicubic;
  throw py::value_error("mode: expected nearest, bilinear or bicubic, got " + mode);
}

// Zeros from calloc, aligned to a cache line. Pages that are never written take no memory: those are the rows of points
// that no pixel shows. np.zeros would ask for huge pages and is not aligned.
template <class T>
Array<T> zeros(const std::vector<int64_t>& shape) {
  constexpr size_t kLine = 64;
  size_t n = 1;
  for (const int64_t side : shape) n *= static_cast<size_t>(side);
  void* const memory = std::calloc(n * sizeof(T) + kLine, 1);
  if (memory == nullptr) throw std::bad_alloc();
  const uintptr_t start = (reinterpret_cast<uintptr_t>(memory) + kLine - 1) / kLine * kLine;
  return Array<T>(shape, reinterpret_cast<T*>(start), py::capsule(memory, [](void* pointer) { std::free(pointer); }));
}

// tokens: float32, or the bits of bfloat16 as uint16.
py::tuple backproject(const py::array& tokens, const py::array& point_of_pixel, int64_t n_points,
                      const std::string& mode, bool per_view, int threads) {
  const bool bfloat16 = py::isinstance<Array<uint16_t>>(tokens);
  const bool int64_ids = py::isinstance<Array<int64_t>>(point_of_pixel);
  require((bfloat16 || py::isinstance<Array<float>>(tokens)) && tokens.ndim() == 4,
          "tokens: expected a contiguous array (V, gh, gw, C) of float32 or uint16");
  require((int64_ids || py::isinstance<Array<int32_t>>(point_of_pixel)) && point_of_pixel.ndim() == 3,
          "point_of_pixel: expected a contiguous array (V, H, W) of int32 or int64");
  const pa3d::TokenGrids grids = {tokens.data(),   bfloat16,        tokens.shape(0),
                                  tokens.shape(1), tokens.shape(2), tokens.shape(3)};
  const pa3d::PixelMap pixels = {point_of_pixel.data(), int64_ids, point_of_pixel.shape(1), point_of_pixel.shape(2)};
  require(point_of_pixel.shape(0) == grids.views, "point_of_pixel: expected as many views as tokens");
  require(tokens.size() > 0 && point_of_pixel.size() > 0, "tokens, point_of_pixel: expected no empty axis");
  require(grids.rows <= pa3d::kMaxBackprojectSide && grids.columns <= pa3d::kMaxBackprojectSide &&
              pixels.height <= pa3d::kMaxBackprojectSide && pixels.width <= pa3d::kMaxBackprojectSide,
          "tokens, point_of_pixel: expected at most 32767 rows and columns");
  require(n_points >= 1 && n_points <= INT32_MAX, "n_points: expected 1 to 2147483647");
  const pa3d::Upsampling how = upsampling_of(mode);
  Array<float> sum = zeros<float>({n_points, grids.channels});
  Array<int64_t> count = zeros<int64_t>({n_points});
  float* const total = sum.mutable_data();
  int64_t* const seen = count.mutable_data();
  {
    py::gil_scoped_release release;
    pa3d::backproject(grids, pixels, n_points, how, per_view, threads, total, seen);
  }
  return py::make_tuple(sum, count);
}

}  // namespace

PA3D_BINDINGS(m) {
  m.def("backproject", &::backproject, py::arg("tokens"), py::arg("point_of_pixel"), py::arg("n_points"),
        py::arg("mode"), py::arg("per_view") = false, py::arg("threads") = 0);
}

/* pa3d/_C.pyi:
def backproject(
    tokens: NDArray[Any],  # (V, gh, gw, C) float32, or the bits of bfloat16 as uint16
    point_of_pixel: NDArray[np.integer],  # (V, H, W) int32 or int64
    n_points: int,
    mode: str,
    per_view: bool = False,
    threads: int = 0,
) -> tuple[Floats, Indices]: ...  # (P, C), (P,)
*/
