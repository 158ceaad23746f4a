#include "json.h"

#include <cmath>
#include <locale>
#include <sstream>

#include "unicode.h"

namespace pa3d {

class JsonParser {
 public:
  explicit JsonParser(std::string_view text) : text_(text) {}

  Json parse() {
    Json value = element(0);
    skip();
    if (pos_ != text_.size()) fail();
    return value;
  }

 private:
  static constexpr int kMaxDepth = 32;

  [[noreturn]] void fail() const { throw FileError("not JSON at byte " + std::to_string(pos_)); }
  char peek() const { return pos_ < text_.size() ? text_[pos_] : '\0'; }
  void skip() {
    while (peek() == ' ' || peek() == '\t' || peek() == '\r' || peek() == '\n') ++pos_;
  }
  bool accept(char c) {
    if (peek() != c) return false;
    ++pos_;
    return true;
  }
  void expect(std::string_view word) {
    if (text_.substr(pos_, word.size()) != word) fail();
    pos_ += word.size();
  }

  Json element(int depth) {
    if (depth > kMaxDepth) fail();
    skip();
    Json json;
    switch (peek()) {
      case '{':
        json.value_ = object(depth);
        break;
      case '[':
        json.value_ = array(depth);
        break;
      case '"':
        json.value_ = string();
        break;
      case 't':
        expect("true");
        json.value_ = true;
        break;
      case 'f':
        expect("false");
        json.value_ = false;
        break;
      case 'n':
        expect("null");
        json.value_ = nullptr;
        break;
      default:
        json.value_ = number();
    }
    return json;
  }

  Json::Object object(int depth) {
    Json::Object members;
    ++pos_;
    skip();
    if (accept('}')) return members;
    do {
      skip();
      if (peek() != '"') fail();
      std::string key = string();
      skip();
      if (!accept(':')) fail();
      members.emplace_back(std::move(key), element(depth + 1));
      skip();
    } while (accept(','));
    if (!accept('}')) fail();
    return members;
  }

  Json::Array array(int depth) {
    Json::Array items;
    ++pos_;
    skip();
    if (accept(']')) return items;
    do {
      items.push_back(element(depth + 1));
      skip();
    } while (accept(','));
    if (!accept(']')) fail();
    return items;
  }

  char32_t hex4() {
    char32_t value = 0;
    for (int i = 0; i < 4; ++i) {
      const char c = peek();
      const int digit = c >= '0' && c <= '9'   ? c - '0'
                        : c >= 'a' && c <= 'f' ? c - 'a' + 10
                        : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                               : -1;
      if (digit < 0) fail();
      value = value << 4 | static_cast<char32_t>(digit);
      ++pos_;
    }
    return value;
  }

  std::string string() {
    std::string out;
    ++pos_;
    for (;;) {
      const size_t start = pos_;
      while (pos_ < text_.size() && text_[pos_] != '"' && text_[pos_] != '\\' &&
             static_cast<unsigned char>(text_[pos_]) >= 0x20)
        ++pos_;
      out.append(text_.substr(start, pos_ - start));
      if (accept('"')) return out;
      if (!accept('\\')) fail();
      if (!accept('u')) {
        const size_t which = std::string_view("\"\\/bfnrt").find(peek());
        if (which == std::string_view::npos) fail();
        out.push_back("\"\\/\b\f\n\r\t"[which]);
        ++pos_;
        continue;
      }
      char32_t code_point = hex4();
      if (code_point >= 0xd800 && code_point < 0xdc00) {
        expect("\\u");
        const char32_t low = hex4();
        if (low < 0xdc00 || low >= 0xe000) fail();
        code_point = 0x10000 + ((code_point - 0xd800) << 10) + (low - 0xdc00);
      } else if (code_point >= 0xdc00 && code_point < 0xe000) {
        fail();
      }
      append_utf8(code_point, out);
    }
  }

  double number() {
    const size_t start = pos_;
    auto digits = [&] {
      if (peek() < '0' || peek() > '9') fail();
      while (peek() >= '0' && peek() <= '9') ++pos_;
    };
    accept('-');
    if (!accept('0')) digits();
    if (accept('.')) digits();
    if (accept('e') || accept('E')) {
      if (!accept('+')) accept('-');
      digits();
    }
    const std::string_view token = text_.substr(start, pos_ - start);
    if (token.size() <= 15 && token.find_first_not_of("0123456789") == std::string_view::npos) {
      int64_t whole = 0;
      for (char c : token) whole = 10 * whole + (c - '0');
      return static_cast<double>(whole);
    }
    std::istringstream stream{std::string(token)};
    stream.imbue(std::locale::classic());  // in the program's own locale the decimal point may be a comma
    double value = 0;
    if (!(stream >> value) || !std::isfinite(value)) fail();
    return value;
  }

  std::string_view text_;
  size_t pos_ = 0;
};

Json Json::parse(std::string_view text) { return JsonParser(text).parse(); }

const Json* Json::find(std::string_view key) const {
  if (const Object* members = std::get_if<Object>(&value_))
    for (const auto& [name, value] : *members)
      if (name == key) return &value;
  return nullptr;
}

const Json& Json::at(std::string_view key, const char* what) const {
  const Json* value = find(key);
  if (value == nullptr) throw FileError(std::string(what) + " has no \"" + std::string(key) + '"');
  return *value;
}

template <class T>
static const T& get(const T* value, const char* what, const char* kind) {
  if (value == nullptr) throw FileError(std::string(what) + " is not " + kind);
  return *value;
}

const Json::Object& Json::object(const char* what) const& {
  return get(std::get_if<Object>(&value_), what, "an object");
}
const Json::Array& Json::array(const char* what) const& { return get(std::get_if<Array>(&value_), what, "a list"); }
const std::string& Json::string(const char* what) const {
  return get(std::get_if<std::string>(&value_), what, "a string");
}
bool Json::boolean(const char* what) const { return get(std::get_if<bool>(&value_), what, "true or false"); }
double Json::number(const char* what) const { return get(std::get_if<double>(&value_), what, "a number"); }

int64_t Json::integer(const char* what) const {
  const double value = number(what);
  if (value != std::floor(value) || std::abs(value) > 9007199254740992.0)
    throw FileError(std::string(what) + " is not an integer");
  return static_cast<int64_t>(value);
}

}  // namespace pa3d
