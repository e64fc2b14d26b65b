// "Did you mean ...?"
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ernie_image {

/// The candidate that `word` was most likely meant to be: the one with the fewest letters added,
/// left out, replaced or swapped, where that is at most a third of the word, or the shortest that
/// begins with the word. "" if there is none.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace ernie_image
