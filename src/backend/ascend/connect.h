// Cards that send each other tensors.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "backend/ascend/call.h"
#include "backend/collective.h"

namespace ernie_image::ascend {

/// A group of the cards behind `streams`, each another one; rank r is the r-th. The streams must
/// outlive what is returned. Throws Error(not_found) without HCCL, Error(device) if the cards do
/// not reach each other.
std::vector<std::unique_ptr<Collective>> connect(std::span<Stream* const> streams);

}  // namespace ernie_image::ascend
