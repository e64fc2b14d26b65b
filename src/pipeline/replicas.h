// One request on several cards: each gets some of its pictures. What is drawn does not depend on
// how many there are: the noise is drawn for the whole batch first.
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

/// All at once, the first on the calling thread. Waits for all, then throws what the first to fail
/// in the order of `runs` threw.
std::vector<Result> run_together(const std::vector<std::function<Result()>>& runs);

/// Of the parts of `request`, as one run: times and memory are those of the slowest and the
/// fullest.
Result join_results(const Request& request, std::vector<Result> parts);

}  // namespace ernie_image
