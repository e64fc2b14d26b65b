// How long a peer may keep us waiting: some seconds in one go, and on average no longer than its
// bytes take at the slowest rate that is accepted. A timeout of each single read would let it send
// a byte now and then for ever.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>

namespace ernie_image {

class Patience {
 public:
  Patience(std::chrono::milliseconds grace, std::size_t bytes_per_second)
      : grace_(grace), left_(grace), bytes_per_second_(bytes_per_second) {}

  std::chrono::milliseconds left() const {
    return std::chrono::duration_cast<std::chrono::milliseconds>(left_);
  }
  void waited(std::chrono::duration<double> time) { left_ -= time; }
  void moved(std::size_t bytes) {
    left_ += std::chrono::duration<double>(static_cast<double>(bytes) /
                                           static_cast<double>(bytes_per_second_));
    left_ = std::min(left_, grace_);
  }

 private:
  std::chrono::duration<double> grace_;
  std::chrono::duration<double> left_;
  std::size_t bytes_per_second_;
};

}  // namespace ernie_image
