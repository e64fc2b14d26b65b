// One request as several: on several cards each gets some of its pictures; prompts with different
// adapters are run in turn. What is drawn does not depend on how many parts there are: the noise is
// drawn for the whole batch first.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "ernie_image/pipeline.h"

namespace ernie_image {

/// As even as possible, none empty, in order. `latents` are those of all pictures. Only the first
/// part reports progress.
std::vector<Request> split_request(const Request& request, std::span<const float> latents,
                                   std::size_t parts);

/// One of its pictures, with what belongs to it.
Request image_request(const Request& request, std::span<const float> latents, int image);

/// Whether some of its adapters are for single prompts.
bool names_prompts(const Request& request);

/// Prompts in a row with the same adapters are a part, whose adapters are those of all its prompts.
/// A single part is the request itself.
std::vector<Request> split_by_adapters(const Request& request, std::span<const float> latents);

/// All at once, the first on the calling thread. Waits for all, then throws what the first to fail
/// in the order of `runs` threw.
std::vector<Result> run_together(const std::vector<std::function<Result()>>& runs);

/// The results of the parts of `request`, as one run: times and memory are those of the slowest and
/// the fullest.
Result join_results(const Request& request, std::vector<Result> parts);

/// The same of parts that were run in turn: times add up, and `adapters` are those of the request.
Result join_in_turn(const Request& request, std::vector<Result> parts);

}  // namespace ernie_image
