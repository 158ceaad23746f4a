#include "wordpiece.h"

#include <algorithm>

#include "json.h"
#include "safetensors.h"
#include "unicode.h"

namespace pa3d {
namespace {

bool is(const Json* value, std::string_view text) {
  return value != nullptr && value->is_string() && value->string("") == text;
}

}  // namespace

WordPiece::WordPiece(const std::string& path) {
  try {
    const FileBytes file(path);
    const Json json = Json::parse(file.view());
    const Json &model = json.at("model", "the tokenizer"), &normalizer = json.at("normalizer", "the tokenizer");
    if (!is(model.find("type"), "WordPiece") || !is(normalizer.find("type"), "BertNormalizer") ||
        !is(json.at("pre_tokenizer", "the tokenizer").find("type"), "BertPreTokenizer") ||
        !normalizer.at("lowercase", "the normalizer").boolean("lowercase"))
      throw FileError("not an uncased BERT tokenizer");
    const Json::Object& vocabulary = model.at("vocab", "the model").object("vocab");
    size_t bytes = 0;
    for (const auto& entry : vocabulary) bytes += entry.first.size();
    vocabulary_.reserve(bytes);
    ids_.reserve(vocabulary.size());
    for (const auto& [name, number] : vocabulary) {
      const int64_t id = number.integer("a token's number");
      if (id < 0 || id >= static_cast<int64_t>(vocabulary.size()))
        throw FileError("the token " + name + " has a number out of range");
      const size_t start = vocabulary_.size();
      vocabulary_ += name;
      if (!ids_.emplace(std::string_view(vocabulary_).substr(start), static_cast<int32_t>(id)).second)
        throw FileError("the token " + name + " occurs twice");
    }
    for (const Json& token : json.at("added_tokens", "the tokenizer").array("added_tokens"))
      special_tokens_.emplace_back(token.at("content", "a token").string("content"),
                                   static_cast<int32_t>(token.at("id", "a token").integer("id")));
    prefix_ = model.at("continuing_subword_prefix", "the model").string("continuing_subword_prefix");
    max_word_characters_ = model.at("max_input_chars_per_word", "the model").integer("max_input_chars_per_word");
    max_tokens_ = json.at("truncation", "the tokenizer").at("max_length", "truncation").integer("max_length");
    unk_ = id(model.at("unk_token", "the model").string("unk_token"));
    cls_ = id("[CLS]");
    sep_ = id("[SEP]");
    if (unk_ < 0 || cls_ < 0 || sep_ < 0 || max_tokens_ < 2) throw FileError("it lacks [UNK], [CLS] or [SEP]");
  } catch (const FileError& error) {
    const std::string what = error.what();
    throw FileError(what.compare(0, path.size(), path) == 0 ? what : path + ": " + what);
  }
}

int32_t WordPiece::id(std::string_view token) const {
  const auto entry = ids_.find(token);
  return entry == ids_.end() ? -1 : entry->second;
}

std::vector<int32_t> WordPiece::encode(std::string_view text) const {
  std::vector<int32_t> ids{cls_};
  // Special tokens are searched in the original text, before any normalization. None is the start of another.
  size_t start = 0;
  for (size_t position = 0; position < text.size();) {
    const auto special = std::find_if(special_tokens_.begin(), special_tokens_.end(), [&](const auto& s) {
      return text.compare(position, s.first.size(), s.first) == 0;
    });
    if (special == special_tokens_.end()) {
      ++position;
      continue;
    }
    add_text(text.substr(start, position - start), ids);
    ids.push_back(special->second);
    start = position += special->first.size();
  }
  add_text(text.substr(start), ids);
  ids.resize(std::min(ids.size(), static_cast<size_t>(max_tokens_ - 1)));
  ids.push_back(sep_);
  return ids;
}

void WordPiece::add_text(std::string_view text, std::vector<int32_t>& ids) const {
  std::vector<char32_t> word;
  auto end_word = [&] {
    if (!word.empty()) add_word(word, ids);
    word.clear();
  };
  for (const char32_t code_point : decode_utf8(text)) {
    if (is_bert_space(code_point)) {
      end_word();
      continue;
    }
    if (is_bert_removed(code_point)) continue;
    const bool ideograph = is_bert_ideograph(code_point);
    if (ideograph) end_word();
    char32_t folded[3];
    const int n = bert_fold(code_point, folded);
    for (int i = 0; i < n; ++i) {
      const bool alone = is_bert_punctuation(folded[i]);
      if (alone) end_word();
      word.push_back(folded[i]);
      if (alone) end_word();
    }
    if (ideograph) end_word();
  }
  end_word();
}

// Takes the longest piece at the start of the word that the vocabulary has, then continues with the rest. If no piece
// fits, the whole word is unknown.
void WordPiece::add_word(const std::vector<char32_t>& word, std::vector<int32_t>& ids) const {
  const size_t before = ids.size();
  if (word.size() > max_word_characters_) {
    ids.push_back(unk_);
    return;
  }
  for (size_t start = 0; start < word.size();) {
    std::string piece = start ? prefix_ : "";
    std::vector<size_t> ends;  // the end of each character, in bytes of the piece
    for (size_t i = start; i < word.size(); ++i) {
      append_utf8(word[i], piece);
      ends.push_back(piece.size());
    }
    int32_t token_id = -1;
    while (!ends.empty() && (token_id = id(std::string_view(piece).substr(0, ends.back()))) < 0) ends.pop_back();
    if (token_id < 0) {
      ids.resize(before);
      ids.push_back(unk_);
      return;
    }
    ids.push_back(token_id);
    start += ends.size();
  }
}

}  // namespace pa3d
