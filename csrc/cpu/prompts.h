// Makes prompts from part names, as pa3d/text/prompts.py does. The mean embedding of its prompts represents a part.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pa3d {

// The name in lower case, with underscores turned into spaces, punctuation removed and white space collapsed. Throws
// std::invalid_argument for bytes that are not UTF-8, or if nothing remains; `what` names the argument in the message.
std::string clean_name(std::string_view name, const char* what);

// The prompts of one part. mode: "part", "category", "ensemble" (both), or "auto": "ensemble" if there is a category,
// else "part". Throws std::invalid_argument for another mode, or if a mode needs a category and there is none.
std::vector<std::string> part_prompts(std::string_view part, const std::optional<std::string>& category,
                                      std::string_view mode);

// Throws std::invalid_argument if there are no names, or if two are equal after clean_name.
void check_names(const std::vector<std::string>& parts);

}  // namespace pa3d
