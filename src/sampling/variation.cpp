#include "sampling/variation.h"

#include <algorithm>
#include <cmath>

namespace ernie_image {
namespace {

double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

}  // namespace

void move_towards(std::span<float> noise, std::span<const float> other, double share) {
  constexpr double kSameWay = 0.9995;
  const double norms = std::sqrt(dot(noise, noise) * dot(other, other));
  const double cosine = norms > 0 ? std::clamp(dot(noise, other) / norms, -1.0, 1.0) : 1.0;
  double from = 1 - share, to = share;
  if (cosine < kSameWay && cosine > -kSameWay) {
    const double angle = std::acos(cosine);
    from = std::sin((1 - share) * angle) / std::sin(angle);
    to = std::sin(share * angle) / std::sin(angle);
  }
  for (std::size_t i = 0; i < noise.size(); ++i)
    noise[i] = static_cast<float>(from * noise[i] + to * other[i]);
}

}  // namespace ernie_image
