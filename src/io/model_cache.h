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

/// A program of the hubs that downloads models.
struct HubClient {
  std::string program;  ///< "hf", "huggingface-cli" (of older versions) or "modelscope"

  /// The command line.
  std::vector<std::string> download(const std::string& hub_id) const;
};

/// Those in PATH.
std::vector<HubClient> installed_hub_clients();

/// Lines of commands that would download the model: of what is installed, else of both hubs.
std::string download_advice(const std::string& hub_id);

}  // namespace ernie_image
