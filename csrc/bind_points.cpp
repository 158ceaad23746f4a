// Python bindings of cpu/fps.h, cpu/knn.h and cpu/interpolate.h.
#include <cstdlib>

#include "bind.h"
#include "cpu/fps.h"
#include "cpu/interpolate.h"
#include "cpu/knn.h"
#include "cpu/parallel.h"

namespace py = pa3d::py;
using pa3d::Floats;
using pa3d::require;
using pa3d::require_points;

namespace {

py::array_t<int64_t> farthest_point_sample(const Floats& points, int64_t num_centers, int64_t start, float min_sq_norm,
                                           int threads) {
  require_points(points, 3, "points");
  const int64_t batch = points.shape(0), n = points.shape(1);
  require(num_centers >= 1 && start >= 0 && start < n && n < INT32_MAX,
          "farthest_point_sample: num_centers or start out of range");
  py::array_t<int64_t> index({batch, num_centers});
  const float* in = points.data();
  int64_t* out = index.mutable_data();
  {
    py::gil_scoped_release release;
    pa3d::parallel_for(batch, 1, threads, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b)
        pa3d::farthest_point_sample(in + b * n * 3, n, num_centers, start, min_sq_norm, out + b * num_centers);
    });
  }
  return index;
}

// Checks and call in one, because in Python the checks of a small cloud would take longer than the call. Returns None
// if an argument is not as farthest_point_sample of pa3d/ops/fps.py wants it, or if PA3D_BACKEND forces a backend; that
// function goes on from there.
py::object farthest_point_sample_checked(const py::array& points, int64_t k, int64_t start, float min_sq_norm) {
  const char* const forced = std::getenv("PA3D_BACKEND");
  if (forced != nullptr && *forced != 0) return py::none();
  const py::ssize_t rank = points.ndim();
  if (!points.has_type<float>() || (rank != 2 && rank != 3) || points.shape(rank - 1) != 3) return py::none();
  const int64_t n = points.shape(rank - 2), batch = rank == 3 ? points.shape(0) : 1;
  if (batch < 1 || n < 1 || n >= INT32_MAX || k < 1 || start < 0 || start >= n || !(min_sq_norm >= 0))
    return py::none();
  const float* const in = static_cast<const float*>(points.data());
  if (!pa3d::all_finite(in, batch * n * 3)) return py::none();
  py::array_t<int64_t> index(rank == 3 ? std::vector<py::ssize_t>{batch, k} : std::vector<py::ssize_t>{k});
  int64_t* const out = index.mutable_data();
  {
    py::gil_scoped_release release;
    pa3d::parallel_for(batch, 1, 0, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b)
        pa3d::farthest_point_sample(in + b * n * 3, n, k, start, min_sq_norm, out + b * k);
    });
  }
  return index;
}

py::tuple knn(const Floats& queries, const Floats& points, int64_t k, int threads) {
  require_points(points, 3, "points");
  require_points(queries, 3, "queries");
  const int64_t batch = points.shape(0), n = points.shape(1), q = queries.shape(1);
  require(queries.shape(0) == batch && k >= 1 && k <= n && n < INT32_MAX, "knn: batch or k out of range");
  py::array_t<int64_t> index({batch, q, k});
  py::array_t<float> sq_dist({batch, q, k});
  const float *a = queries.data(), *p = points.data();
  int64_t* out = index.mutable_data();
  float* sq_dist_out = sq_dist.mutable_data();
  {
    py::gil_scoped_release release;
    for (int64_t b = 0; b < batch; ++b)
      pa3d::knn(a + b * q * 3, q, p + b * n * 3, n, k, threads, out + b * q * k, sq_dist_out + b * q * k);
  }
  return py::make_tuple(index, sq_dist);
}

py::tuple sample_and_group(const Floats& points, int64_t num_centers, int64_t group_size, int64_t start,
                           float min_sq_norm, int threads) {
  require_points(points, 3, "points");
  const int64_t batch = points.shape(0), n = points.shape(1);
  require(num_centers >= 1 && group_size >= 1 && group_size <= n && start >= 0 && start < n && n < INT32_MAX,
          "sample_and_group: num_centers, group_size or start out of range");
  py::array_t<int64_t> index({batch, num_centers}), members({batch, num_centers, group_size});
  const float* in = points.data();
  int64_t *out = index.mutable_data(), *members_out = members.mutable_data();
  {
    py::gil_scoped_release release;
    pa3d::parallel_for(batch, 1, threads, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b)
        pa3d::sample_and_group(in + b * n * 3, n, num_centers, group_size, start, min_sq_norm, out + b * num_centers,
                               members_out + b * num_centers * group_size, nullptr);
    });
  }
  return py::make_tuple(index, members);
}

py::array_t<float> interpolate(const Floats& points, const Floats& centers, const Floats& values, int64_t k,
                               int threads) {
  require_points(points, 2, "points");
  require_points(centers, 2, "centers");
  const int64_t n = points.shape(0), num_centers = centers.shape(0);
  require(values.ndim() == 2 && values.shape(0) == num_centers && k >= 1 && k <= 3 && k <= num_centers,
          "interpolate: values or k out of range");
  const int64_t channels = values.shape(1);
  py::array_t<float> out({n, channels});
  const float *p = points.data(), *centers_data = centers.data(), *v = values.data();
  float* result = out.mutable_data();
  {
    py::gil_scoped_release release;
    pa3d::interpolate(p, n, centers_data, num_centers, v, channels, k, threads, result);
  }
  return out;
}

py::tuple nearest_centers(const Floats& points, const Floats& centers, int64_t k, int threads) {
  require_points(points, 2, "points");
  require_points(centers, 2, "centers");
  const int64_t n = points.shape(0), num_centers = centers.shape(0);
  require(k >= 1 && k <= 3 && k <= num_centers, "nearest_centers: k out of range");
  py::array_t<int32_t> index({n, k});
  py::array_t<float> sq_dist({n, k});
  const float *p = points.data(), *centers_data = centers.data();
  int32_t* out = index.mutable_data();
  float* sq_dist_out = sq_dist.mutable_data();
  {
    py::gil_scoped_release release;
    pa3d::nearest_centers(p, n, centers_data, num_centers, k, threads, out, sq_dist_out);
  }
  return py::make_tuple(index, sq_dist);
}

}  // namespace

PA3D_BINDINGS(m) {
  using namespace pa3d::py::literals;
  m.def("farthest_point_sample", &farthest_point_sample, "points"_a, "num_centers"_a, "start"_a, "min_sq_norm"_a,
        "threads"_a = 0);
  m.def("farthest_point_sample_checked", &farthest_point_sample_checked, "points"_a, "k"_a, "start"_a, "min_sq_norm"_a);
  m.def("knn", &knn, "queries"_a, "points"_a, "k"_a, "threads"_a = 0);
  m.def("sample_and_group", &sample_and_group, "points"_a, "num_centers"_a, "group_size"_a, "start"_a, "min_sq_norm"_a,
        "threads"_a = 0);
  m.def("interpolate", &interpolate, "points"_a, "centers"_a, "values"_a, "k"_a, "threads"_a = 0);
  m.def("nearest_centers", &nearest_centers, "points"_a, "centers"_a, "k"_a, "threads"_a = 0);
}

/* pa3d/_C.pyi:
def farthest_point_sample(
    points: Floats,  # (B, N, 3)
    num_centers: int,
    start: int,
    min_sq_norm: float,
    threads: int = 0,
) -> Indices: ...  # (B, G), G = num_centers
def farthest_point_sample_checked(
    points: Any,
    k: int,
    start: int,
    min_sq_norm: float,
) -> Indices | None: ...  # (B, k) or (k,); None if an argument cannot be used
def knn(
    queries: Floats,  # (B, Q, 3)
    points: Floats,  # (B, N, 3)
    k: int,
    threads: int = 0,
) -> tuple[Indices, Floats]: ...  # indices and squared distances (B, Q, k)
def sample_and_group(
    points: Floats,  # (B, N, 3)
    num_centers: int,
    group_size: int,
    start: int,
    min_sq_norm: float,
    threads: int = 0,
) -> tuple[Indices, Indices]: ...  # centre indices (B, G), member indices (B, G, M)
def interpolate(
    points: Floats,  # (N, 3)
    centers: Floats,  # (G, 3)
    values: Floats,  # (G, C)
    k: int,
    threads: int = 0,
) -> Floats: ...  # (N, C)
def nearest_centers(
    points: Floats,  # (N, 3)
    centers: Floats,  # (G, 3)
    k: int,
    threads: int = 0,
) -> tuple[Ids, Floats]: ...  # indices and squared distances (N, k)
*/
