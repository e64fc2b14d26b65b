#include "jobs/job.h"

#include <algorithm>
#include <utility>

namespace ernie_image {

void JobRequest::set_prompts(std::string prompt, std::string negative) {
  prompts = {std::move(prompt)};
  negative_prompts.clear();
  if (!negative.empty()) negative_prompts.push_back(std::move(negative));
}

void JobRequest::set_seeds(std::vector<std::uint64_t> each) {
  num_images_per_prompt = std::max(1, static_cast<int>(each.size()));
  seeds = std::move(each);
}

}  // namespace ernie_image
