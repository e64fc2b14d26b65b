// Links to pictures that work without a key for an hour, for clients that were given a link and
// fetch it as a browser would.
#pragma once

#include <cstdint>
#include <string>

namespace ernie_image {

/// "/v1/files/ID/INDEX/EXPIRES/SIGNATURE"
std::string signed_path(const std::string& secret, const std::string& id, int index,
                        std::int64_t expires_s);

/// Whether `signature` is that of the rest, and its time has not come; `now_s` since 1970.
bool is_signed(const std::string& secret, const std::string& id, const std::string& index,
               const std::string& expires_s, const std::string& signature, std::int64_t now_s);

}  // namespace ernie_image
