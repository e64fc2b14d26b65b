#include "server/quotas.h"

#include <algorithm>
#include <cmath>

#include "server/api_error.h"

namespace ernie_image {

double Bucket::seconds_until(double amount, Time now) {
  const std::chrono::duration<double> passed = now - last_;
  last_ = now;
  level_ = std::min(capacity_, level_ + per_second_ * passed.count());
  const double missing = std::min(amount, capacity_) - level_;
  return missing <= 0 ? 0 : missing / per_second_;
}

void Quotas::take(const ApiKey& key, double pixels, Bucket::Time now) {
  using std::chrono::hours;
  using std::chrono::minutes;
  const double megapixels = pixels / 1e6;
  const std::lock_guard lock(mutex_);
  Usage& usage = usage_
                     .try_emplace(key.name, Usage{{key.requests_per_minute, minutes(1), now},
                                                  {key.megapixels_per_hour, hours(1), now}})
                     .first->second;
  const bool counts_requests = key.requests_per_minute > 0;
  const bool counts_pixels = key.megapixels_per_hour > 0;
  const double for_request = counts_requests ? usage.requests.seconds_until(1, now) : 0;
  const double for_pixels = counts_pixels ? usage.megapixels.seconds_until(megapixels, now) : 0;
  const double wait = std::max(for_request, for_pixels);
  if (wait > 0) {
    ApiError error(429,
                   for_request >= for_pixels ? "this key has used up its requests for now"
                                             : "this key has used up its pixels for now",
                   "", "rate_limit_exceeded");
    error.retry_after_seconds = static_cast<int>(std::ceil(wait));
    throw error;
  }
  if (counts_requests) usage.requests.take(1);
  if (counts_pixels) usage.megapixels.take(megapixels);
}

void Quotas::give_back(const ApiKey& key, double pixels) {
  const std::lock_guard lock(mutex_);
  const auto usage = usage_.find(key.name);
  if (usage == usage_.end()) return;
  if (key.requests_per_minute > 0) usage->second.requests.give_back(1);
  if (key.megapixels_per_hour > 0) usage->second.megapixels.give_back(pixels / 1e6);
}

}  // namespace ernie_image
