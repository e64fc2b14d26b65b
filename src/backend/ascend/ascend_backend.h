// A Huawei Ascend NPU as a Backend, through CANN's AscendCL and aclnn.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"

namespace ernie_image {

struct AscendOptions {
  int device = 0;
  std::string attention = "auto";  ///< auto, lengths, mask, composed: ascend/attention.h
  std::string offload = "auto";    ///< auto, none, encoder, layers: card/weights.h
};

/// Throws Error(not_found) without CANN or without that card, Error(invalid_argument) for an option
/// that is none.
std::unique_ptr<Backend> make_ascend_backend(const AscendOptions& options = {});

/// What `ernie-image devices` says.
struct AscendInfo {
  std::string problem;                 ///< why there is none; empty if there is
  std::vector<std::string> libraries;  ///< of CANN, as they were opened
  struct Card {
    int index;
    std::string name;
    std::size_t free_bytes, total_bytes;
  };
  std::vector<Card> cards;
  struct Operation {
    std::string name;
    bool present;
    std::string alternative;  ///< computed instead if absent; empty: nothing works without it
  };
  std::vector<Operation> operations;
};
AscendInfo ascend_info();

}  // namespace ernie_image
