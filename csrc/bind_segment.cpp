// Python bindings of cpu/segment.h.
#include <algorithm>
#include <array>
#include <optional>
#include <string>

#include "bind.h"
#include "cpu/segment.h"

namespace py = pa3d::py;
using pa3d::Floats;
using pa3d::require;
using pa3d::require_rows;

namespace {

using pa3d::Indices;
using Labels = pa3d::Ids;

void require_points(const Floats& a, const char* message) {
  require(a.ndim() == 2 && a.shape(0) >= 1 && a.shape(1) == 3, message);
}

void require_per_name(const std::optional<Floats>& a, py::ssize_t k, const char* message) {
  require(!a || (a->ndim() == 1 && a->shape(0) == k), message);
}

py::tuple normalization(const Floats& points) {
  require_points(points, "points: expected shape (N, 3), N >= 1");
  const pa3d::Normalization norm = pa3d::normalization(points.data(), points.shape(0));
  return py::make_tuple(py::array_t<double>(3, norm.center), norm.radius);
}

Floats normalize(const Floats& points, const std::array<double, 3>& center, double radius,
                 const std::array<int, 3>& axes, int threads) {
  require_points(points, "points: expected shape (N, 3), N >= 1");
  for (int axis : axes) require(axis >= -3 && axis < 3, "axes: expected 0, 1, 2, or ~0, ~1, ~2 for negative ones");
  const pa3d::Normalization norm{{center[0], center[1], center[2]}, radius};
  Floats out({points.shape(0), py::ssize_t{3}});
  const float* const in = points.data();
  float* const result = out.mutable_data();
  const int64_t n = points.shape(0);
  {
    py::gil_scoped_release release;
    pa3d::normalize(in, n, norm, axes.data(), threads, result);
  }
  return out;
}

Floats unit_rows(const Floats& rows) {
  require_rows(rows, "rows: expected shape (N, D), not empty");
  Floats out({rows.shape(0), rows.shape(1)});
  pa3d::unit_rows(rows.data(), rows.shape(0), rows.shape(1), out.mutable_data());
  return out;
}

Floats unit_mean(const Floats& rows) {
  require_rows(rows, "rows: expected shape (N, D), not empty");
  Floats out(rows.shape(1));
  pa3d::unit_mean(rows.data(), rows.shape(0), rows.shape(1), out.mutable_data());
  return out;
}

Floats name_levels(const pa3d::Bank& bank, const Floats& vectors, int threads) {
  require(bank.ndim() == 2 && bank.shape(0) >= 1, "bank: expected shape (R, D), not empty");
  require_rows(vectors, "vectors: expected shape (K, D), not empty");
  require(bank.shape(1) == vectors.shape(1), "vectors: their width differs from that of the bank");
  Floats levels(vectors.shape(0));
  const int8_t* const rows = bank.data();
  const float* const in = vectors.data();
  float* const out = levels.mutable_data();
  const int64_t r = bank.shape(0), k = vectors.shape(0), d = vectors.shape(1);
  {
    py::gil_scoped_release release;
    pa3d::name_levels(rows, r, in, k, d, threads, out);
  }
  return levels;
}

Floats cosine_logits(const Floats& features, const Floats& vectors, float temperature,
                     const std::optional<Floats>& levels) {
  require_rows(features, "features: expected shape (G, D), not empty");
  require_rows(vectors, "vectors: expected shape (K, D), not empty");
  require(features.shape(1) == vectors.shape(1), "vectors: their width differs from that of the features");
  require_per_name(levels, vectors.shape(0), "levels: expected one per vector");
  Floats out({features.shape(0), vectors.shape(0)});
  pa3d::cosine_logits(features.data(), features.shape(0), vectors.data(), vectors.shape(0), features.shape(1),
                      temperature, out.mutable_data(), levels ? levels->data() : nullptr);
  return out;
}

Floats shape_vector(const Floats& tokens, const Floats& hidden_weight, const Floats& hidden_bias,
                    const Floats& out_weight, const Floats& out_bias, int threads) {
  require_rows(tokens, "tokens: expected shape (G, C), not empty");
  require_rows(hidden_weight, "hidden_weight: expected shape (H, 3C), not empty");
  require_rows(out_weight, "out_weight: expected shape (D, H), not empty");
  const pa3d::ShapeHead head{hidden_weight.data(), hidden_bias.data(),     out_weight.data(),  out_bias.data(),
                             tokens.shape(1),      hidden_weight.shape(0), out_weight.shape(0)};
  require(hidden_weight.shape(1) == 3 * head.width, "hidden_weight: expected shape (H, 3C)");
  require(out_weight.shape(1) == head.hidden, "out_weight: expected shape (D, H)");
  require(hidden_bias.ndim() == 1 && hidden_bias.shape(0) == head.hidden, "hidden_bias: expected shape (H,)");
  require(out_bias.ndim() == 1 && out_bias.shape(0) == head.dim, "out_bias: expected shape (D,)");
  Floats out(head.dim);
  const float* const in = tokens.data();
  float* const vector = out.mutable_data();
  const int64_t num_tokens = tokens.shape(0);
  {
    py::gil_scoped_release release;
    pa3d::shape_vector(in, num_tokens, head, threads, vector);
  }
  return out;
}

Floats presence(const Floats& logits, double slope, double offset, double weight,
                const std::optional<Floats>& expected) {
  require_rows(logits, "logits: expected shape (G, K), not empty");
  require_per_name(expected, logits.shape(1), "expected: expected one per name");
  Floats out(logits.shape(1));
  pa3d::presence(logits.data(), logits.shape(0), logits.shape(1), slope, offset, weight,
                 expected ? expected->data() : nullptr, out.mutable_data());
  return out;
}

Floats softmax(const Floats& logits) {
  require_rows(logits, "logits: expected shape (N, K), not empty");
  Floats out({logits.shape(0), logits.shape(1)});
  std::copy_n(logits.data(), logits.size(), out.mutable_data());
  pa3d::softmax(out.mutable_data(), out.shape(0), out.shape(1));
  return out;
}

py::tuple label_points(const Floats& query_points, const Floats& centers, const Indices& members, const Floats& points,
                       const Floats& logits, const std::string& assign, float none, int threads,
                       const std::optional<Floats>& presence) {
  require_points(query_points, "query_points: expected shape (N, 3), N >= 1");
  require_points(centers, "centers: expected shape (G, 3), G >= 1");
  require_points(points, "points: expected shape (N, 3), N >= 1");
  require_rows(logits, "logits: expected shape (G, K), not empty");
  const int64_t n = query_points.shape(0), num_centers = centers.shape(0), num_parts = logits.shape(1);
  require(logits.shape(0) == num_centers, "logits: expected one row per centre");
  require(members.ndim() == 2 && members.shape(0) == num_centers, "members: expected one row per centre");
  require(pa3d::all_within(members, 0, points.shape(0)), "members: an index lies outside the points");
  require(assign == "nearest" || assign == "membership" || assign == "smooth",
          "assign: expected nearest, membership or smooth");
  const pa3d::Assign how = assign == "nearest"      ? pa3d::Assign::nearest
                           : assign == "membership" ? pa3d::Assign::membership
                                                    : pa3d::Assign::smooth;
  require_per_name(presence, num_parts, "presence: expected one per name");
  const float* const presence_data = presence ? presence->data() : nullptr;
  const pa3d::Patches patches{centers.data(),   num_centers,   members.data(),
                              members.shape(1), points.data(), points.shape(0)};
  Labels labels(n);
  Floats scores({n, num_parts});
  const float *const in = query_points.data(), *const values = logits.data();
  int32_t* const label = labels.mutable_data();
  float* const score = scores.mutable_data();
  {
    py::gil_scoped_release release;
    pa3d::label_points(in, n, patches, values, num_parts, how, none, threads, label, score, presence_data);
  }
  return py::make_tuple(labels, scores);
}

}  // namespace

PA3D_BINDINGS(m) {
  using namespace pa3d::py::literals;
  m.def("normalization", &::normalization, py::arg("points").noconvert());
  m.def("normalize", &::normalize, py::arg("points").noconvert(), "center"_a, "radius"_a, "axes"_a, "threads"_a = 0);
  m.def("unit_rows", &::unit_rows, py::arg("rows").noconvert());
  m.def("unit_mean", &::unit_mean, py::arg("rows").noconvert());
  m.def("name_levels", &::name_levels, py::arg("bank").noconvert(), py::arg("vectors").noconvert(), "threads"_a = 0);
  m.def("cosine_logits", &::cosine_logits, py::arg("features").noconvert(), py::arg("vectors").noconvert(),
        "temperature"_a, "levels"_a = py::none());
  m.def("shape_vector", &::shape_vector, py::arg("tokens").noconvert(), py::arg("hidden_weight").noconvert(),
        py::arg("hidden_bias").noconvert(), py::arg("out_weight").noconvert(), py::arg("out_bias").noconvert(),
        "threads"_a = 0);
  m.def("presence", &::presence, py::arg("logits").noconvert(), "slope"_a, "offset"_a, "weight"_a = 0.0,
        "expected"_a = py::none());
  m.def("softmax", &::softmax, py::arg("logits").noconvert());
  m.def("label_points", &::label_points, py::arg("query_points").noconvert(), py::arg("centers").noconvert(),
        py::arg("members").noconvert(), py::arg("points").noconvert(), py::arg("logits").noconvert(), "assign"_a,
        "none"_a, "threads"_a = 0, "presence"_a = py::none());
}

/* pa3d/_C.pyi:
def normalization(
    points: Floats,  # (N, 3)
) -> tuple[NDArray[np.float64], float]: ...  # center (3,), radius
def normalize(
    points: Floats,  # (N, 3)
    center: NDArray[np.float64],  # (3,)
    radius: float,
    axes: tuple[int, int, int],
    threads: int = 0,
) -> Floats: ...  # (N, 3)
def unit_rows(
    rows: Floats,  # (N, D)
) -> Floats: ...  # (N, D)
def unit_mean(
    rows: Floats,  # (N, D)
) -> Floats: ...  # (D,)
def name_levels(
    bank: NDArray[np.int8],  # (R, D)
    vectors: Floats,  # (K, D)
    threads: int = 0,
) -> Floats: ...  # (K,)
def cosine_logits(
    features: Floats,  # (G, D)
    vectors: Floats,  # (K, D)
    temperature: float,
    levels: Floats | None = None,  # (K,)
) -> Floats: ...  # (G, K)
def shape_vector(
    tokens: Floats,  # (G, C)
    hidden_weight: Floats,  # (H, 3C)
    hidden_bias: Floats,  # (H,)
    out_weight: Floats,  # (D, H)
    out_bias: Floats,  # (D,)
    threads: int = 0,
) -> Floats: ...  # (D,)
def presence(
    logits: Floats,  # (G, K)
    slope: float,
    offset: float,
    weight: float = 0.0,
    expected: Floats | None = None,  # (K,)
) -> Floats: ...  # (K,)
def softmax(
    logits: Floats,  # (N, K)
) -> Floats: ...  # (N, K)
def label_points(
    query_points: Floats,  # (N, 3)
    centers: Floats,  # (G, 3)
    members: Indices,  # (G, M)
    points: Floats,  # (P, 3)
    logits: Floats,  # (G, K)
    assign: str,
    none: float,
    threads: int = 0,
    presence: Floats | None = None,  # (K,)
) -> tuple[Ids, Floats]: ...  # labels (N,), scores (N, K)
*/
