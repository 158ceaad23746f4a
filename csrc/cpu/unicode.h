// The parts of Unicode that tokenizing and cleaning names need. scripts/make_unicode_tables.py makes the tables.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace pa3d {

// Throws std::invalid_argument unless the bytes are UTF-8 (no overlong forms, no surrogates).
std::vector<char32_t> decode_utf8(std::string_view bytes);
void append_utf8(char32_t code_point, std::string& out);

// How BERT's uncased normalizer treats a code point.
bool is_bert_space(char32_t code_point);
bool is_bert_removed(char32_t code_point);
bool is_bert_ideograph(char32_t code_point);    // a word of its own
bool is_bert_punctuation(char32_t code_point);  // a word of its own, too; for code points from bert_fold
// Lower case, decomposed, without accents: writes 1 to 3 code points and returns how many.
int bert_fold(char32_t code_point, char32_t out[3]);

// These three do what Python's str.lower, str.isspace and "in string.punctuation or of a Unicode category P*" do. As in
// Python, a capital sigma at the end of a word becomes a final sigma. What counts as a letter of a word differs from
// Python only in scripts without upper and lower case.
std::vector<char32_t> lower(const std::vector<char32_t>& text);
bool is_name_space(char32_t code_point);
bool is_name_punctuation(char32_t code_point);

}  // namespace pa3d
