#include "prompts.h"

#include <set>
#include <stdexcept>

#include "unicode.h"

namespace pa3d {
namespace {

// {p} is the part, {c} the category.
constexpr const char* kPartTemplates[] = {"{p}", "a {p}", "{p} part"};
constexpr const char* kCategoryTemplates[] = {"a {p} of a {c}", "the {p} of a {c}", "{p} of {c}",
                                              "a {p} part of a {c}"};

std::string fill(std::string_view prompt_template, const std::string& part, const std::string& category) {
  std::string out;
  for (size_t i = 0; i < prompt_template.size(); ++i) {
    if (prompt_template[i] != '{') {
      out.push_back(prompt_template[i]);
      continue;
    }
    out += prompt_template[i + 1] == 'p' ? part : category;
    i += 2;
  }
  return out;
}

}  // namespace

std::string clean_name(std::string_view name, const char* what) {
  std::vector<char32_t> text;
  try {
    text = decode_utf8(name);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(std::string(what) + ": " + error.what());
  }
  std::string out;
  bool gap = false;
  for (const char32_t code_point : lower(text)) {
    if (code_point == '_' || is_name_space(code_point)) {
      gap = !out.empty();
      continue;
    }
    if (is_name_punctuation(code_point)) continue;
    if (gap) out.push_back(' ');
    gap = false;
    append_utf8(code_point, out);
  }
  if (out.empty())
    throw std::invalid_argument(std::string(what) + " '" + std::string(name) +
                                "' is empty without its punctuation; give a word or a few words");
  return out;
}

std::vector<std::string> part_prompts(std::string_view part, const std::optional<std::string>& category,
                                      std::string_view mode) {
  if (mode == "auto") mode = category ? "ensemble" : "part";
  if (mode != "part" && mode != "category" && mode != "ensemble")
    throw std::invalid_argument("prompt mode '" + std::string(mode) +
                                "' is unknown; expected auto, part, category or ensemble");
  const std::string p = clean_name(part, "part name");
  std::vector<std::string> out;
  if (mode != "category")
    for (const char* prompt_template : kPartTemplates) out.push_back(fill(prompt_template, p, ""));
  if (mode == "part") return out;
  if (!category)
    throw std::invalid_argument("prompt mode '" + std::string(mode) +
                                "' needs the object's category; give one or use mode 'part'");
  const std::string c = clean_name(*category, "category");
  for (const char* prompt_template : kCategoryTemplates) out.push_back(fill(prompt_template, p, c));
  return out;
}

void check_names(const std::vector<std::string>& parts) {
  if (parts.empty()) throw std::invalid_argument("no part names; give at least one, such as 'seat'");
  std::set<std::string> seen;
  for (const std::string& part : parts) {
    const std::string name = clean_name(part, "part name");
    if (!seen.insert(name).second)
      throw std::invalid_argument("part name '" + name + "' is given twice; give every name once");
  }
}

}  // namespace pa3d
