// Python bindings of cpu/words.h, and of the kinds of things in cpu/segment.h.
#include "cpu/words.h"

#include <algorithm>
#include <optional>

#include "bind.h"

namespace py = pa3d::py;
using pa3d::Bank;
using pa3d::Floats;
using pa3d::Ids;
using pa3d::require;
using pa3d::require_rows;

namespace {

pa3d::Kinds kinds_of(const Bank& rows, const Bank& parts, const pa3d::Ids& has) {
  require(rows.ndim() == 2 && rows.shape(0) >= 1, "rows: expected shape (C, D), not empty");
  require(parts.ndim() == 2 && parts.shape(0) >= 1, "parts: expected shape (P, D), not empty");
  require(rows.shape(1) == parts.shape(1), "parts: their width differs from that of the rows");
  require(has.ndim() == 2 && has.shape(1) == 2, "has: expected shape (N, 2)");
  const pa3d::Kinds kinds{rows.data(), rows.shape(0), parts.data(), parts.shape(0), has.data(), has.shape(0)};
  for (int64_t i = 0; i < kinds.num_pairs; ++i)
    require(kinds.has[2 * i] >= 0 && kinds.has[2 * i] < kinds.num_kinds && kinds.has[2 * i + 1] >= 0 &&
                kinds.has[2 * i + 1] < kinds.num_parts,
            "has: an index lies outside the rows or the parts");
  return kinds;
}

pa3d::Lexicon lexicon_of(const Bank& rows, const Ids& meaning) {
  require(rows.ndim() == 2 && rows.shape(0) >= 1, "rows: expected shape (R, D), not empty");
  require(meaning.ndim() == 1 && meaning.shape(0) == rows.shape(0), "meaning: expected one per row");
  require(pa3d::all_within(meaning, 0, rows.shape(0)), "meaning: an index lies outside the rows");
  return {rows.data(), meaning.data(), rows.shape(0)};
}

void require_vectors(const Floats& vectors, py::ssize_t width) {
  require_rows(vectors, "vectors: expected shape (K, D), not empty");
  require(vectors.shape(1) == width, "vectors: their width differs from that of the rows");
}

py::tuple read_through_lexicon(const Bank& rows, const Ids& meaning, const Floats& vectors, int threads) {
  const pa3d::Lexicon lexicon = lexicon_of(rows, meaning);
  require_vectors(vectors, rows.shape(1));
  Floats read({vectors.shape(0), vectors.shape(1)}), nearest(vectors.shape(0));
  const float* const in = vectors.data();
  float *const out = read.mutable_data(), *const cosine = nearest.mutable_data();
  const int64_t k = vectors.shape(0), d = vectors.shape(1);
  {
    py::gil_scoped_release release;
    pa3d::read_through_lexicon(lexicon, in, k, d, threads, out, cosine);
  }
  return py::make_tuple(read, nearest);
}

py::tuple lexicon_names(const Bank& rows, const Ids& meaning, const Bank& kind_rows, const Bank& kind_parts,
                        const Ids& has, int threads) {
  const pa3d::Lexicon lexicon = lexicon_of(rows, meaning);
  const pa3d::Kinds kinds = kinds_of(kind_rows, kind_parts, has);
  require(kind_rows.shape(1) == rows.shape(1), "kind_rows: their width differs from that of the rows");
  const int64_t d = rows.shape(1);
  pa3d::LexiconNames names;
  {
    py::gil_scoped_release release;
    names = pa3d::lexicon_names(lexicon, kinds, d, threads);
  }
  Ids name_of(static_cast<py::ssize_t>(names.name_of.size()));
  std::copy(names.name_of.begin(), names.name_of.end(), name_of.mutable_data());
  Floats vectors({static_cast<py::ssize_t>(names.count), rows.shape(1)});
  std::copy(names.vectors.begin(), names.vectors.end(), vectors.mutable_data());
  Floats fits({kind_rows.shape(0), static_cast<py::ssize_t>(names.count)});
  std::copy(names.fits.begin(), names.fits.end(), fits.mutable_data());
  return py::make_tuple(name_of, vectors, fits);
}

Floats closeness_to_names(const Bank& rows, const Ids& name_of, int64_t count, const Floats& vectors, int threads) {
  const pa3d::Lexicon lexicon = lexicon_of(rows, name_of);
  require(count >= 1 && pa3d::all_within(name_of, 0, count), "name_of: an index lies outside the names");
  require_vectors(vectors, rows.shape(1));
  const int64_t k = vectors.shape(0), d = vectors.shape(1);
  Floats closeness({vectors.shape(0), static_cast<py::ssize_t>(count)});
  const float* const in = vectors.data();
  const int32_t* const names = name_of.data();
  float* const out = closeness.mutable_data();
  {
    py::gil_scoped_release release;
    pa3d::closeness_to_names(lexicon, names, count, in, k, d, threads, out);
  }
  return closeness;
}

Floats kind_fits(const Bank& rows, const Bank& parts, const Ids& has, const Floats& vectors, int threads) {
  const pa3d::Kinds kinds = kinds_of(rows, parts, has);
  require_vectors(vectors, rows.shape(1));
  Floats fits({kinds.num_kinds, vectors.shape(0)});
  const float* const in = vectors.data();
  float* const out = fits.mutable_data();
  const int64_t k = vectors.shape(0), d = vectors.shape(1);
  {
    py::gil_scoped_release release;
    pa3d::kind_fits(kinds, in, k, d, threads, out);
  }
  return fits;
}

Floats expectation(const Bank& rows, const Floats& shape, const Floats& fits) {
  require(rows.ndim() == 2 && rows.shape(0) >= 1, "rows: expected shape (C, D), not empty");
  require(shape.ndim() == 1 && shape.shape(0) == rows.shape(1), "shape: expected shape (D,)");
  require_rows(fits, "fits: expected shape (C, K), not empty");
  require(fits.shape(0) == rows.shape(0), "fits: expected one row per kind");
  Floats out(fits.shape(1));
  const pa3d::Kinds kinds{rows.data(), rows.shape(0), nullptr, 0, nullptr, 0};
  pa3d::expectation(kinds, shape.data(), fits.data(), fits.shape(1), rows.shape(1), out.mutable_data());
  return out;
}

bool all_known(const Floats& nearest) {
  require(nearest.ndim() == 1, "nearest: expected shape (K,)");
  return pa3d::all_known(nearest.data(), nearest.shape(0));
}

Floats read_on_shape(const Floats& names, const Floats& name_fits, const Bank& kind_rows, const Floats& vectors,
                     const Floats& read, const std::optional<Floats>& levels, const Floats& fits, const Floats& nearest,
                     const Floats& closeness, const Floats& shape, const Floats& features, float temperature,
                     int threads) {
  require_rows(names, "names: expected shape (N, D), not empty");
  const py::ssize_t n = names.shape(0), d = names.shape(1);
  require(kind_rows.ndim() == 2 && kind_rows.shape(0) >= 1 && kind_rows.shape(1) == d,
          "kind_rows: expected shape (C, D), not empty");
  const py::ssize_t c = kind_rows.shape(0);
  require_vectors(vectors, d);
  const py::ssize_t k = vectors.shape(0);
  const auto shaped = [](const Floats& a, py::ssize_t rows, py::ssize_t columns) {
    return a.ndim() == 2 && a.shape(0) == rows && a.shape(1) == columns;
  };
  require(shaped(name_fits, c, n), "name_fits: expected shape (C, N)");
  require(shaped(read, k, d), "read: expected shape (K, D)");
  require(!levels || (levels->ndim() == 1 && levels->shape(0) == k), "levels: expected shape (K,)");
  require(shaped(fits, c, k), "fits: expected shape (C, K)");
  require(nearest.ndim() == 1 && nearest.shape(0) == k, "nearest: expected shape (K,)");
  require(shaped(closeness, k, n), "closeness: expected shape (K, N)");
  require(shape.ndim() == 1 && shape.shape(0) == d, "shape: expected shape (D,)");
  require_rows(features, "features: expected shape (G, D), not empty");
  require(features.shape(1) == d, "features: their width differs from that of the names");
  const pa3d::NamesView view{names.data(), name_fits.data(), n};
  const pa3d::Kinds kinds{kind_rows.data(), c, nullptr, 0, nullptr, 0};
  const pa3d::Words words{k,           vectors.data(), read.data(),     levels ? levels->data() : nullptr,
                          fits.data(), nearest.data(), closeness.data()};
  const pa3d::SeenShape seen{shape.data(), features.data(), features.shape(0)};
  Floats result({k, d});
  float* const out = result.mutable_data();
  {
    py::gil_scoped_release release;
    pa3d::read_on_shape(view, kinds, words, seen, d, temperature, threads, out);
  }
  return result;
}

}  // namespace

PA3D_BINDINGS(m) {
  using namespace pa3d::py::literals;
  m.def("read_through_lexicon", &::read_through_lexicon, py::arg("rows").noconvert(), py::arg("meaning").noconvert(),
        py::arg("vectors").noconvert(), "threads"_a = 0);
  m.def("lexicon_names", &::lexicon_names, py::arg("rows").noconvert(), py::arg("meaning").noconvert(),
        py::arg("kind_rows").noconvert(), py::arg("kind_parts").noconvert(), py::arg("has").noconvert(),
        "threads"_a = 0);
  m.def("closeness_to_names", &::closeness_to_names, py::arg("rows").noconvert(), py::arg("name_of").noconvert(),
        "count"_a, py::arg("vectors").noconvert(), "threads"_a = 0);
  m.def("all_known", &::all_known, py::arg("nearest").noconvert());
  m.def("kind_fits", &::kind_fits, py::arg("rows").noconvert(), py::arg("parts").noconvert(),
        py::arg("has").noconvert(), py::arg("vectors").noconvert(), "threads"_a = 0);
  m.def("expectation", &::expectation, py::arg("rows").noconvert(), py::arg("shape").noconvert(),
        py::arg("fits").noconvert());
  m.def("read_on_shape", &::read_on_shape, py::arg("names").noconvert(), py::arg("name_fits").noconvert(),
        py::arg("kind_rows").noconvert(), py::arg("vectors").noconvert(), py::arg("read").noconvert(), "levels"_a,
        py::arg("fits").noconvert(), py::arg("nearest").noconvert(), py::arg("closeness").noconvert(),
        py::arg("shape").noconvert(), py::arg("features").noconvert(), "temperature"_a, "threads"_a = 0);
}

/* pa3d/_C.pyi:
def read_through_lexicon(
    rows: NDArray[np.int8],  # (R, D)
    meaning: Ids,  # (R,)
    vectors: Floats,  # (K, D)
    threads: int = 0,
) -> tuple[Floats, Floats]: ...  # (K, D), largest cosine with a text (K,)
def lexicon_names(
    rows: NDArray[np.int8],  # (R, D)
    meaning: Ids,  # (R,)
    kind_rows: NDArray[np.int8],  # (C, D)
    kind_parts: NDArray[np.int8],  # (P, D)
    has: Ids,  # (M, 2)
    threads: int = 0,
) -> tuple[Ids, Floats, Floats]: ...  # name of each row (R,), vectors of names (N, D), fits (C, N)
def closeness_to_names(
    rows: NDArray[np.int8],  # (R, D)
    name_of: Ids,  # (R,)
    count: int,
    vectors: Floats,  # (K, D)
    threads: int = 0,
) -> Floats: ...  # (K, count)
def all_known(
    nearest: Floats,  # (K,)
) -> bool: ...
def kind_fits(
    rows: NDArray[np.int8],  # (C, D)
    parts: NDArray[np.int8],  # (P, D)
    has: Ids,  # (N, 2)
    vectors: Floats,  # (K, D)
    threads: int = 0,
) -> Floats: ...  # (C, K)
def expectation(
    rows: NDArray[np.int8],  # (C, D)
    shape: Floats,  # (D,)
    fits: Floats,  # (C, K)
) -> Floats: ...  # (K,)
def read_on_shape(
    names: Floats,  # (N, D)
    name_fits: Floats,  # (C, N)
    kind_rows: NDArray[np.int8],  # (C, D)
    vectors: Floats,  # (K, D)
    read: Floats,  # (K, D)
    levels: Floats | None,  # (K,)
    fits: Floats,  # (C, K)
    nearest: Floats,  # (K,)
    closeness: Floats,  # (K, N)
    shape: Floats,  # (D,)
    features: Floats,  # (G, D)
    temperature: float,
    threads: int = 0,
) -> Floats: ...  # (K, D)
*/
