// The struct behind pa3d_vectors: text vectors in a file, as pa3d/text/vectors.py writes them. Included only by
// capi.cpp.

namespace pa3d::capi {

// The rows of unit length are within this of what unit_rows makes of them, as in pa3d/text/vectors.py.
constexpr float kUnitTolerance = 1e-3f;

std::optional<std::string> clean_category(const char* category) {
  if (category == nullptr) return std::nullopt;
  return pa3d::clean_name(category, "category");
}

}  // namespace pa3d::capi

struct pa3d_vectors {
  explicit pa3d_vectors(const std::string& file_path) : path(file_path) {
    const pa3d::SafeTensors file(path);
    if (!file.has_metadata("pa3d_text_vectors")) file.fail("safetensors, but not text vectors of pa3d");
    try {
      read(file, pa3d::Json::parse(file.metadata("pa3d_text_vectors")));
    } catch (const pa3d::FileError& error) {
      file.fail(std::string("text vectors are damaged (") + error.what() + ")");
    } catch (const std::invalid_argument& error) {  // of a name
      file.fail(std::string("text vectors are damaged (") + error.what() + ")");
    }
  }

  // out (count, width): the rows of these names. Throws std::invalid_argument if one is missing.
  void select(const std::vector<std::string>& parts, const std::optional<std::string>& wanted, float* out) const {
    require(wanted == category, path + ": made for " + quoted(category) + ", not for " + quoted(wanted) +
                                    "; give the same category, or make vectors for it: pa3d embed-text");
    for (size_t i = 0; i < parts.size(); ++i) {
      const auto found = rows.find(pa3d::clean_name(parts[i], "part name"));
      require(found != rows.end(),
              path + ": no vector of '" + parts[i] + "'; make vectors of all names: pa3d embed-text");
      std::copy_n(&values[found->second * width], width, out + static_cast<int64_t>(i) * width);
    }
  }

  std::string path, text_space;
  std::optional<std::string> category;  // cleaned
  std::vector<std::string> names;
  int64_t width = 0;
  std::vector<float> values;  // (names, width), unit rows

 private:
  static std::string quoted(const std::optional<std::string>& name) {
    return name ? "the category '" + *name + "'" : std::string("no category");
  }

  void read(const pa3d::SafeTensors& file, const pa3d::Json& meta) {
    if (meta.at("format", "it").integer("format") != 1) throw pa3d::FileError("another version's format");
    text_space = meta.at("space", "it").string("space");
    const pa3d::Json& object = meta.at("category", "it");
    if (!object.is_null()) category = pa3d::clean_name(object.string("category"), "category");
    for (const pa3d::Json& name : meta.at("names", "it").array("names")) names.push_back(name.string("a name"));
    pa3d::check_names(names);
    for (size_t i = 0; i < names.size(); ++i) rows[pa3d::clean_name(names[i], "name")] = static_cast<int64_t>(i);
    const auto found = file.tensors().find("vectors");
    if (file.tensors().size() != 1 || found == file.tensors().end())
      throw pa3d::FileError("no vectors, or other tensors");
    const pa3d::SafeTensors::Tensor& tensor = found->second;
    const int64_t count = static_cast<int64_t>(names.size());
    if (tensor.dtype != "F32" || tensor.shape.size() != 2 || tensor.shape[0] != count || tensor.shape[1] < 1)
      throw pa3d::FileError("vectors are not F32 with one row per name");
    width = tensor.shape[1];
    const float* const data = reinterpret_cast<const float*>(tensor.data);
    values.resize(tensor.count);
    bool unit = pa3d::unit_rows(data, count, width, values.data());
    for (int64_t i = 0; i < tensor.count; ++i) unit = unit && std::fabs(values[i] - data[i]) <= kUnitTolerance;
    if (!unit) throw pa3d::FileError("vectors are not unit rows");
    std::copy_n(data, tensor.count, values.data());  // as they are, as in Python
  }

  std::map<std::string, int64_t> rows;  // by cleaned name
};
