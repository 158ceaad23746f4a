// Python bindings of cpu/text.h, cpu/wordpiece.h and cpu/prompts.h.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bind.h"
#include "cpu/json.h"
#include "cpu/pool.h"
#include "cpu/prompts.h"
#include "cpu/text.h"
#include "cpu/wordpiece.h"

namespace py = pa3d::py;
using pa3d::Floats;

namespace {

using pa3d::Ids;
using Sizes = pa3d::Indices;

class TextEngine {
 public:
  // weights: the arrays of the weight file, int16 and float32, in C order. They are kept alive, not copied.
  TextEngine(const py::dict& weights, int threads) : weights_(weights) {
    pa3d::TextWeights source{[&](const std::string& name, int64_t count) { return find<int16_t>(name, count); },
                             [&](const std::string& name, int64_t count) { return find<float>(name, count); }};
    encoder_ = pa3d::make_text_encoder({}, source, threads);
  }

  Floats encode(const Ids& ids, const Sizes& lengths, int threads) {
    int64_t total = 0;
    const int64_t n = lengths.size();
    for (int64_t i = 0; i < n; ++i) {
      if (lengths.data()[i] < 0 || lengths.data()[i] > ids.size()) throw py::value_error("lengths: out of range");
      total += lengths.data()[i];
    }
    if (total != ids.size())
      throw py::value_error("lengths: expected a sum of " + std::to_string(ids.size()) + ", got " +
                            std::to_string(total));
    Floats out({n, encoder_->config().width});
    const int32_t* const in = ids.data();
    const int64_t* const sizes = lengths.data();
    float* const result = out.mutable_data();
    {
      py::gil_scoped_release release;
      const auto workspace = pool_.acquire([&] { return encoder_->workspace(); });
      encoder_->encode(in, sizes, n, threads, *workspace, result);
    }
    return out;
  }

 private:
  template <class T>
  const T* find(const std::string& name, int64_t count) const {
    if (!weights_.contains(name.c_str())) throw py::value_error("weights: no tensor named " + name);
    const auto array = weights_[name.c_str()].cast<py::array>();
    if (!py::isinstance<py::array_t<T>>(array)) throw py::value_error("weights: " + name + " has another type");
    if (array.size() != count)
      throw py::value_error("weights: " + name + " has " + std::to_string(array.size()) + " values, expected " +
                            std::to_string(count));
    return static_cast<const T*>(array.data());
  }

  py::dict weights_;  // token embeddings are read from it
  std::unique_ptr<pa3d::TextEncoder> encoder_;
  pa3d::Pool<pa3d::TextEncoder::Workspace> pool_;
};

}  // namespace

PA3D_BINDINGS(m) {
  using namespace pa3d::py::literals;
  py::register_exception<pa3d::FileError>(m, "FileError", PyExc_ValueError);
  py::class_<TextEngine>(m, "TextEngine")
      .def(py::init<const py::dict&, int>(), "weights"_a, "threads"_a = 0)
      .def("encode", &TextEngine::encode, "ids"_a, "lengths"_a, "threads"_a = 0);
  py::class_<pa3d::WordPiece>(m, "WordPiece")
      .def(py::init<const std::string&>(), "path"_a)
      .def(
          "encode", [](const pa3d::WordPiece& self, const std::string& text) { return self.encode(text); }, "text"_a)
      .def("size", &pa3d::WordPiece::size);
  m.def("clean_name", [](const std::string& name) { return pa3d::clean_name(name, "part name"); }, "name"_a);
  m.def(
      "part_prompts",
      [](const std::string& part, const std::optional<std::string>& category, const std::string& mode) {
        return pa3d::part_prompts(part, category, mode);
      },
      "part"_a, "category"_a = py::none(), "mode"_a = "auto");
}

/* pa3d/_C.pyi:
def clean_name(name: str) -> str: ...
def part_prompts(part: str, category: str | None = None, mode: str = "auto") -> list[str]: ...

class FileError(ValueError): ...

class TextEngine:
    def __init__(self, weights: dict[str, Any], threads: int = 0) -> None: ...
    def encode(
        self,
        ids: Ids,  # (T,) the tokens of all texts, one text after the other
        lengths: Indices,  # (N,)
        threads: int = 0,
    ) -> Floats: ...  # (N, 384)

class WordPiece:
    def __init__(self, path: str | bytes) -> None: ...
    def encode(self, text: str) -> list[int]: ...
    def size(self) -> int: ...
*/
