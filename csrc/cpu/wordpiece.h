// BERT's uncased WordPiece tokenizer (Devlin et al. 2019, arXiv 1810.04805), read from a tokenizer.json file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace pa3d {

class WordPiece {
 public:
  // Throws FileError if the file is missing or damaged, or holds another kind of tokenizer.
  explicit WordPiece(const std::string& path);
  WordPiece(const WordPiece&) = delete;
  WordPiece& operator=(const WordPiece&) = delete;

  // The ids of [CLS], the text's pieces and [SEP], at most max_tokens of them. Throws std::invalid_argument for bytes
  // that are not UTF-8.
  std::vector<int32_t> encode(std::string_view text) const;
  int64_t size() const { return static_cast<int64_t>(ids_.size()); }
  int64_t max_tokens() const { return max_tokens_; }

 private:
  int32_t id(std::string_view token) const;  // -1 when unknown
  void add_text(std::string_view text, std::vector<int32_t>& ids) const;
  void add_word(const std::vector<char32_t>& word, std::vector<int32_t>& ids) const;

  std::string vocabulary_;  // the keys of ids_ point into it
  std::unordered_map<std::string_view, int32_t> ids_;
  std::vector<std::pair<std::string, int32_t>> special_tokens_;
  std::string prefix_;
  size_t max_word_characters_;
  int64_t max_tokens_;
  int32_t unk_, cls_, sep_;
};

}  // namespace pa3d
