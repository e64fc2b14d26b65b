// Noise between two noises: pictures that are like another.
#pragma once

#include <span>

namespace ernie_image {

/// Spherical interpolation: `noise` goes `share`, from 0 to 1, of the way along the arc towards
/// `other`, of the same size; in between its norm stays that of noise. At 1 it is `other`, bit for
/// bit. Where both point (nearly) the same way, along the straight line. A1111's subseed is the
/// same, but for the angle, which it takes of each row by itself.
void move_towards(std::span<float> noise, std::span<const float> other, double share);

}  // namespace ernie_image
