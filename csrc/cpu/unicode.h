// The little that text needs of Unicode; tables by scripts/make_unicode_tables.py.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pa3d {

// Throws std::invalid_argument unless the bytes are UTF-8 (no overlong forms, no surrogates).
std::vector<char32_t> decode_utf8(std::string_view bytes);
void append_utf8(char32_t point, std::string& out);

// As BERT's uncased normaliser takes a code point.
bool bert_space(char32_t point);
bool bert_removed(char32_t point);
bool bert_ideograph(char32_t point);    // stands alone as a word
bool bert_punctuation(char32_t point);  // so does this; to be asked of folded code points
// Lower case without accents, decomposed: writes 1 to 3 code points, returns how many.
int bert_fold(char32_t point, char32_t out[3]);

// As Python's str.lower, str.isspace and "in string.punctuation or of a category P*" do. A capital sigma at the end of
// a word becomes a final one; which letters make a word differs from Python's rule in scripts without foldings.
std::vector<char32_t> lower(const std::vector<char32_t>& text);
bool name_space(char32_t point);
bool name_punctuation(char32_t point);

}  // namespace pa3d
