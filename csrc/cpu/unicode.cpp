#include "unicode.h"

#include <algorithm>
#include <iterator>
#include <stdexcept>

namespace pa3d {
namespace {

struct Range {
  char32_t first, last;
};
// delta is added to the code points first, first + step, ..., last.
struct Shift {
  char32_t first, last;
  int32_t step, delta;
};
struct FoldPair {
  char32_t from, to[2];
};

#include "unicode_tables.inl"

template <class Row, size_t n>
const Row* find(const Row (&table)[n], char32_t code_point) {
  const Row* row = std::upper_bound(std::begin(table), std::end(table), code_point,
                                    [](char32_t p, const Row& r) { return p < r.first; });
  return row != std::begin(table) && code_point <= (row - 1)->last ? row - 1 : nullptr;
}

// Rows with a step of 2 may overlap other rows, but never at the same code points.
template <size_t n>
char32_t shift(const Shift (&table)[n], char32_t code_point) {
  const Shift* row = std::upper_bound(std::begin(table), std::end(table), code_point,
                                      [](char32_t p, const Shift& r) { return p < r.first; });
  if (row == std::begin(table)) return code_point;
  --row;
  if (code_point > row->last || (code_point - row->first) % static_cast<char32_t>(row->step) != 0) return code_point;
  return static_cast<char32_t>(static_cast<int32_t>(code_point) + row->delta);
}

char32_t lower_one(char32_t code_point) { return shift(kLower, code_point); }

bool is_cased(char32_t code_point) {
  if (lower_one(code_point) != code_point) return true;
  for (const Shift& row : kLower) {
    const auto from = static_cast<char32_t>(static_cast<int32_t>(code_point) - row.delta);
    if (from >= row.first && from <= row.last && (from - row.first) % static_cast<char32_t>(row.step) == 0) return true;
  }
  return false;
}

// Whether it may stand between a letter and the end of its word.
bool is_case_ignorable(char32_t code_point) {
  return code_point == '\'' || code_point == '.' || code_point == ':' || code_point == 0xad || code_point == 0xb7 ||
         code_point == 0x2019 || (code_point >= 0x300 && code_point <= 0x36f);
}

constexpr char32_t kCapitalSigma = 0x3a3, kSigma = 0x3c3, kFinalSigma = 0x3c2;

bool ends_word(const std::vector<char32_t>& text, size_t index) {
  size_t before = index, after = index + 1;
  while (before > 0 && is_case_ignorable(text[before - 1])) --before;
  while (after < text.size() && is_case_ignorable(text[after])) ++after;
  return before > 0 && is_cased(text[before - 1]) && (after == text.size() || !is_cased(text[after]));
}

constexpr char32_t kHangul = 0xac00, kHangulEnd = 0xd7a4;

}  // namespace

std::vector<char32_t> decode_utf8(std::string_view bytes) {
  std::vector<char32_t> out;
  out.reserve(bytes.size());
  for (size_t i = 0; i < bytes.size();) {
    const auto lead = static_cast<unsigned char>(bytes[i]);
    const int more = lead < 0x80                   ? 0
                     : lead >= 0xc2 && lead < 0xe0 ? 1
                     : (lead & 0xf0) == 0xe0       ? 2
                     : lead >= 0xf0 && lead < 0xf5 ? 3
                                                   : -1;
    char32_t code_point = more <= 0 ? lead : lead & (0x3f >> more);
    bool good = more >= 0 && i + more < bytes.size();
    for (int j = 1; good && j <= more; ++j) {
      const auto next = static_cast<unsigned char>(bytes[i + j]);
      good = (next & 0xc0) == 0x80;
      code_point = code_point << 6 | (next & 0x3f);
    }
    good = good && !(more == 2 && (code_point < 0x800 || (code_point >= 0xd800 && code_point < 0xe000))) &&
           !(more == 3 && (code_point < 0x10000 || code_point > 0x10ffff));
    if (!good) throw std::invalid_argument("text is not UTF-8 at byte " + std::to_string(i));
    out.push_back(code_point);
    i += 1 + more;
  }
  return out;
}

void append_utf8(char32_t code_point, std::string& out) {
  auto put = [&](char32_t bits) { out.push_back(static_cast<char>(bits)); };
  if (code_point < 0x80) {
    put(code_point);
  } else if (code_point < 0x800) {
    put(0xc0 | code_point >> 6);
    put(0x80 | (code_point & 0x3f));
  } else if (code_point < 0x10000) {
    put(0xe0 | code_point >> 12);
    put(0x80 | (code_point >> 6 & 0x3f));
    put(0x80 | (code_point & 0x3f));
  } else {
    put(0xf0 | code_point >> 18);
    put(0x80 | (code_point >> 12 & 0x3f));
    put(0x80 | (code_point >> 6 & 0x3f));
    put(0x80 | (code_point & 0x3f));
  }
}

bool is_bert_space(char32_t code_point) { return find(kSpaces, code_point) != nullptr; }
bool is_bert_removed(char32_t code_point) { return find(kRemoved, code_point) != nullptr; }
bool is_bert_ideograph(char32_t code_point) { return find(kIdeographs, code_point) != nullptr; }
bool is_bert_punctuation(char32_t code_point) { return find(kPunctuation, code_point) != nullptr; }

int bert_fold(char32_t code_point, char32_t out[3]) {
  if (code_point >= kHangul && code_point < kHangulEnd) {  // the rule of the Unicode standard, section 3.12
    const char32_t s = code_point - kHangul;
    out[0] = 0x1100 + s / 588;
    out[1] = 0x1161 + s % 588 / 28;
    out[2] = 0x11a7 + s % 28;
    return s % 28 ? 3 : 2;
  }
  for (const FoldPair& pair : kFoldPairs)
    if (pair.from == code_point) {
      out[0] = pair.to[0];
      out[1] = pair.to[1];
      return 2;
    }
  out[0] = shift(kFolds, code_point);
  return 1;
}

std::vector<char32_t> lower(const std::vector<char32_t>& text) {
  std::vector<char32_t> out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == kCapitalSigma) {
      out.push_back(ends_word(text, i) ? kFinalSigma : kSigma);
    } else if (text[i] == 0x130) {  // I with a dot above keeps its dot
      out.push_back('i');
      out.push_back(0x307);
    } else {
      out.push_back(lower_one(text[i]));
    }
  }
  return out;
}

bool is_name_space(char32_t code_point) { return find(kNameSpaces, code_point) != nullptr; }
bool is_name_punctuation(char32_t code_point) { return find(kNamePunctuation, code_point) != nullptr; }

}  // namespace pa3d
