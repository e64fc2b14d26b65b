// How much each key has used of what it may, as buckets that fill at a constant rate.
#pragma once

#include <algorithm>
#include <chrono>
#include <map>
#include <mutex>
#include <string>

#include "server/api_keys.h"

namespace ernie_image {

/// Holds up to a minute's, or an hour's, allowance.
class Bucket {
 public:
  using Time = std::chrono::steady_clock::time_point;

  Bucket(double capacity, std::chrono::duration<double> period, Time now)
      : capacity_(capacity), per_second_(capacity / period.count()), level_(capacity), last_(now) {}

  /// 0 if `amount` is there now, else seconds until it will be. More than the whole bucket is there
  /// once the bucket is full; it then owes the rest.
  double seconds_until(double amount, Time now);
  void take(double amount) { level_ -= amount; }
  void give_back(double amount) { level_ = std::min(capacity_, level_ + amount); }

 private:
  double capacity_;
  double per_second_;
  double level_;
  Time last_;
};

class Quotas {
 public:
  /// Takes one request and its pixels from the key's quotas, or throws ApiError(429) with the time
  /// to wait and takes nothing.
  void take(const ApiKey& key, double pixels, Bucket::Time now);

  /// What was taken for something that did not come about.
  void give_back(const ApiKey& key, double pixels);

 private:
  struct Usage {
    Bucket requests;
    Bucket megapixels;
  };
  std::mutex mutex_;
  std::map<std::string, Usage> usage_;  ///< by name of the key
};

}  // namespace ernie_image
