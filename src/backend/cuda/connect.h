// GPUs that send each other tensors.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "backend/collective.h"
#include "backend/cuda/stream.h"

namespace ernie_image::cuda {

/// A group of the GPUs behind `streams`, each another one; rank r is the r-th. The streams must
/// outlive what is returned. Throws Error(not_found) without NCCL, Error(device) if the GPUs do not
/// reach each other.
std::vector<std::unique_ptr<Collective>> connect(std::span<Stream* const> streams);

}  // namespace ernie_image::cuda
