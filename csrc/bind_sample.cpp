// Python bindings of cpu/sample.h.
#include "bind.h"
#include "cpu/sample.h"

namespace py = pa3d::py;
using pa3d::Floats;
using pa3d::Ids;
using pa3d::Indices;
using pa3d::require;

namespace {

Indices sample_indices(int64_t n, int64_t count, uint64_t seed) {
  require(count >= 0 && count <= n, "sample_indices: count must lie between 0 and n");
  Indices index(count);
  int64_t* const out = index.mutable_data();
  {
    py::gil_scoped_release release;
    pa3d::sample_indices(n, count, seed, out);
  }
  return index;
}

Indices sample_cloud(const Floats& points, int64_t count, uint64_t seed) {
  pa3d::require_points(points, 2, "points");
  const int64_t n = points.shape(0);
  require(count >= 1 && count <= n, "sample_cloud: count must lie between 1 and the number of points");
  Indices index(count);
  const float* const in = points.data();
  int64_t* const out = index.mutable_data();
  {
    py::gil_scoped_release release;
    pa3d::sample_cloud(in, n, count, seed, out);
  }
  return index;
}

// draw(vertices, faces, n_faces, points, face) calls one of the two functions of sample.h.
template <class Draw>
py::object sample(const Floats& vertices, const Ids& faces, int64_t count, const Draw& draw) {
  require(vertices.ndim() == 2 && vertices.shape(1) == 3, "vertices: expected shape (V, 3)");
  require(faces.ndim() == 2 && faces.shape(1) == 3, "faces: expected shape (F, 3)");
  require(count >= 0, "count: expected an integer of at least 0");
  require(pa3d::all_within(faces, 0, vertices.shape(0)), "faces: an index lies outside the vertices");
  Floats points({py::ssize_t{count}, py::ssize_t{3}});
  Ids face(count);
  const float* const vertex_data = vertices.data();
  const int32_t* const face_data = faces.data();
  const int64_t n_faces = faces.shape(0);
  float* const points_out = points.mutable_data();
  int32_t* const face_out = face.mutable_data();
  bool found;
  {
    py::gil_scoped_release release;
    found = draw(vertex_data, face_data, n_faces, points_out, face_out);
  }
  if (!found) return py::none();
  return py::make_tuple(points, face);
}

py::object sample_surface(const Floats& vertices, const Ids& faces, int64_t count, uint64_t seed) {
  return sample(vertices, faces, count, [&](auto vertex_data, auto face_data, auto n_faces, auto points, auto face) {
    return pa3d::sample_surface(vertex_data, face_data, n_faces, count, seed, points, face);
  });
}

py::object surface_points(const Floats& vertices, const Ids& faces, const pa3d::Doubles& uniforms) {
  require(uniforms.ndim() == 2 && uniforms.shape(0) == 3, "uniforms: expected shape (3, count)");
  const double* const numbers = uniforms.data();
  const int64_t count = uniforms.shape(1);
  return sample(vertices, faces, count, [&](auto vertex_data, auto face_data, auto n_faces, auto points, auto face) {
    return pa3d::surface_points(vertex_data, face_data, n_faces, count, numbers, points, face);
  });
}

}  // namespace

PA3D_BINDINGS(m) {
  using namespace pa3d::py::literals;
  m.def("sample_indices", &::sample_indices, "n"_a, "count"_a, "seed"_a);
  m.def("sample_cloud", &::sample_cloud, py::arg("points").noconvert(), "count"_a, "seed"_a);
  m.def("sample_surface", &::sample_surface, py::arg("vertices").noconvert(), py::arg("faces").noconvert(), "count"_a,
        "seed"_a);
  m.def("surface_points", &::surface_points, py::arg("vertices").noconvert(), py::arg("faces").noconvert(),
        py::arg("uniforms").noconvert());
}

/* pa3d/_C.pyi:
def sample_indices(n: int, count: int, seed: int) -> Indices: ...  # (count,)
def sample_cloud(
    points: Floats,  # (N, 3)
    count: int,
    seed: int,
) -> Indices: ...  # (count,)
def sample_surface(
    vertices: Floats,  # (V, 3)
    faces: Ids,  # (F, 3)
    count: int,
    seed: int,
) -> tuple[Floats, Ids] | None: ...  # points (count, 3), face of each (count,); None if the total area is 0
def surface_points(
    vertices: Floats,  # (V, 3)
    faces: Ids,  # (F, 3)
    uniforms: NDArray[np.float64],  # (3, count)
) -> tuple[Floats, Ids] | None: ...  # as sample_surface
*/
