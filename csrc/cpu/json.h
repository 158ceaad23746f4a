// A strict JSON reader (RFC 8259). It reads what pa3d's own files and the tokenizer that comes with pa3d need.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace pa3d {

// A file that is missing, damaged or of another kind.
struct FileError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Json {
 public:
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;

  // Throws FileError, which names the byte where the text stops being JSON.
  static Json parse(std::string_view text);

  const Json* find(std::string_view key) const;  // null if this is not an object or has no such key
  // These throw FileError, which names `what`, if the value is of another kind.
  const Json& at(std::string_view key, const char* what) const;
  const Object& object(const char* what) const&;
  const Object& object(const char* what) const&& = delete;  // the reference would outlive this temporary value
  const Array& array(const char* what) const&;
  const Array& array(const char* what) const&& = delete;
  const std::string& string(const char* what) const;
  double number(const char* what) const;
  int64_t integer(const char* what) const;  // a whole number from -2^53 to 2^53
  bool boolean(const char* what) const;
  bool is_null() const { return std::holds_alternative<std::nullptr_t>(value_); }
  bool is_string() const { return std::holds_alternative<std::string>(value_); }

 private:
  friend class JsonParser;
  std::variant<std::nullptr_t, bool, double, std::string, Array, Object> value_;
};

}  // namespace pa3d
