// From the names of parts to the sentences whose mean vectors stand for them, as pa3d/text/prompts.py makes them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pa3d {

// Lower case, underscores to spaces, punctuation dropped, white space collapsed. Throws std::invalid_argument for bytes
// that are not UTF-8 and when nothing remains; `what` names the argument.
std::string clean_name(std::string_view name, const char* what);

// mode: "part", "category", "ensemble", or "auto" for "ensemble" with a category and "part" without. Throws
// std::invalid_argument for another mode, or one that lacks its category.
std::vector<std::string> part_prompts(std::string_view part, const std::optional<std::string>& category,
                                      std::string_view mode);

// Throws std::invalid_argument for no names, or one that is given twice once cleaned.
void check_names(const std::vector<std::string>& parts);

}  // namespace pa3d
