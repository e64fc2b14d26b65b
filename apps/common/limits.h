// The largest values that flags may hold, but for those of a request (ernie_image/request.h).
#pragma once

namespace ernie_image {

inline constexpr int kMaxThreads = 1024;
inline constexpr double kMaxTemperature = 100;
inline constexpr int kMaxTopK = 1 << 20;
inline constexpr int kMaxNewTokens = 1 << 20;
inline constexpr int kMaxTimeoutSeconds = 86400;

}  // namespace ernie_image
