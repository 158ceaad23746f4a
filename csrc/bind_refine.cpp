// Python bindings of cpu/refine.h.
#include <algorithm>
#include <optional>

#include "bind.h"
#include "cpu/refine.h"

namespace py = pa3d::py;
using pa3d::Floats;
using pa3d::Ids;
using pa3d::require;

namespace {

Floats refine(const Floats& points, const std::optional<Ids>& faces, const Floats& scores,
              const std::optional<Ids>& piece, const std::optional<Floats>& bond, const std::optional<Floats>& evidence,
              const std::optional<Floats>& weight, double reach, int threads) {
  pa3d::require_points(points, 2, "points");
  require(points.shape(0) < INT32_MAX, "points: expected fewer than 2^31");
  pa3d::RefineInput in{points.data(), points.shape(0), nullptr, 0};
  if (faces) {
    pa3d::require_faces(*faces, in.n);
    in.faces = faces->data();
    in.n_faces = faces->shape(0);
  }
  require(reach >= 0, "reach: expected a number of at least 0");
  in.reach = reach;
  const int64_t rows = faces ? in.n_faces : in.n;
  require(scores.ndim() == 2 && scores.shape(0) == rows && scores.shape(1) >= 1,
          "scores: expected one row per face, or per point of a cloud");
  const int64_t k = scores.shape(1);
  if (piece) {
    require(bond && bond->ndim() == 1 && bond->shape(0) >= 1, "bond: expected one per piece");
    in.num_pieces = bond->shape(0);
    require(piece->ndim() == 1 && piece->shape(0) == rows, "piece: expected one per row of scores");
    require(pa3d::all_within(*piece, -1, in.num_pieces), "piece: an index lies outside the bonds");
    in.piece = piece->data();
    in.bond = bond->data();
    require(!evidence == !weight, "evidence: expected together with weight");
    if (evidence) {
      require(evidence->ndim() == 2 && evidence->shape(0) == in.num_pieces && evidence->shape(1) == k,
              "evidence: expected one row per piece and one column per part");
      require(weight->ndim() == 1 && weight->shape(0) == in.num_pieces, "weight: expected one per piece");
      in.evidence = evidence->data();
      in.weight = weight->data();
    }
  }
  Floats out({rows, k});
  std::copy_n(scores.data(), scores.size(), out.mutable_data());
  float* const result = out.mutable_data();
  {
    py::gil_scoped_release release;
    pa3d::refine(in, result, k, threads);
  }
  return out;
}

Floats mean_at_vertices(const Floats& points, const Ids& faces, const Floats& face_scores, const Floats& scores) {
  pa3d::require_points(points, 2, "points");
  const int64_t n = points.shape(0), m = faces.shape(0);
  pa3d::require_faces(faces, n);
  require(face_scores.ndim() == 2 && face_scores.shape(0) == m, "face_scores: expected one row per face");
  const int64_t k = face_scores.shape(1);
  require(scores.ndim() == 2 && scores.shape(0) == n && scores.shape(1) == k,
          "scores: expected one row per point, as wide as face_scores");
  Floats out({n, k});
  std::copy_n(scores.data(), scores.size(), out.mutable_data());
  float* const result = out.mutable_data();
  {
    py::gil_scoped_release release;
    pa3d::mean_at_vertices(points.data(), n, faces.data(), m, face_scores.data(), k, result);
  }
  return out;
}

}  // namespace

PA3D_BINDINGS(m) {
  using namespace pa3d::py::literals;
  m.def("refine", &::refine, py::arg("points").noconvert(), py::arg("faces").noconvert(), py::arg("scores").noconvert(),
        "piece"_a = py::none(), "bond"_a = py::none(), "evidence"_a = py::none(), "weight"_a = py::none(),
        "reach"_a = pa3d::kRefineReach, "threads"_a = 0);
  m.def("mean_at_vertices", &::mean_at_vertices, py::arg("points").noconvert(), py::arg("faces").noconvert(),
        py::arg("face_scores").noconvert(), py::arg("scores").noconvert());
}

/* pa3d/_C.pyi:
def refine(
    points: Floats,  # (N, 3)
    faces: Ids | None,  # (F, 3)
    scores: Floats,  # (F, K) or (N, K)
    piece: Ids | None = None,  # (F,) or (N,)
    bond: Floats | None = None,  # (P,)
    evidence: Floats | None = None,  # (P, K)
    weight: Floats | None = None,  # (P,)
    reach: float = 0.1,
    threads: int = 0,
) -> Floats: ...  # (F, K) or (N, K)
def mean_at_vertices(
    points: Floats,  # (N, 3)
    faces: Ids,  # (F, 3)
    face_scores: Floats,  # (F, K)
    scores: Floats,  # (N, K)
) -> Floats: ...  # (N, K)
*/
