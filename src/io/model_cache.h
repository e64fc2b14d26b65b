// Where the Hugging Face and ModelScope tools keep the models they have downloaded.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ernie_image {

/// "owner/name" of letters, digits, ".", "_" and "-", without "..": safe as part of a path.
bool is_hub_id(std::string_view text);

/// The folder of a cached model, or nothing; `looked_in` receives each place tried, with what was
/// wrong there.
std::optional<std::string> find_in_caches(const std::string& hub_id,
                                          std::vector<std::string>& looked_in);

}  // namespace ernie_image
