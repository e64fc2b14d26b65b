// The largest values that flags and image records may hold: those of the pipeline, checked before a
// model is loaded.
#pragma once

namespace ernie_image {

inline constexpr int kMaxSidePx = 16384;  // what read_png accepts
inline constexpr int kMaxThreads = 1024;
inline constexpr int kMaxSteps = 1000;
inline constexpr int kMaxImages = 1024;  // prompts times images a prompt
inline constexpr double kMaxGuidanceScale = 100;
inline constexpr double kMaxTemperature = 100;
inline constexpr int kMaxTopK = 1 << 20;
inline constexpr int kMaxNewTokens = 1 << 20;
inline constexpr int kMaxTimeoutSeconds = 86400;

}  // namespace ernie_image
