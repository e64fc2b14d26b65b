// How several cards work on a request: an option of every kind of card.
#pragma once

#include "backend/device.h"
#include "ernie_image/error.h"

namespace ernie_image {

enum class Parallel {
  pictures,   ///< each card draws some of the pictures
  automatic,  ///< pictures while there are enough of them, else the cards share each
  ulysses,    ///< the cards share the tokens of each picture, and the heads of attention
  guidance,   ///< half of the cards compute the rows with the prompt, half those without
};

/// --parallel
inline DeviceOption parallel_option() {
  return {
      .name = "parallel",
      .values = {"pictures", "auto", "ulysses", "guidance"},
      .help =
          "several cards: pictures (default) gives each some of them; ulysses shares each "
          "picture's tokens and heads; guidance computes its two halves on different cards, and "
          "shares tokens within each half; auto is pictures while there are enough of them",
      .records_default = false};
}

/// --parallel-weights
inline DeviceOption parallel_weights_option() {
  return {.name = "parallel_weights",
          .values = {"whole", "split"},
          .help =
              "several cards: whole (default) gives each all weights; split gives each a share of "
              "every layer of text encoder and transformer, and all work on every picture",
          .records_default = false};
}

/// Throws Error(invalid_argument).
inline Parallel parallel_mode(const std::string& text) {
  if (text == "pictures") return Parallel::pictures;
  if (text == "auto") return Parallel::automatic;
  if (text == "ulysses") return Parallel::ulysses;
  if (text == "guidance") return Parallel::guidance;
  throw Error(ErrorKind::invalid_argument,
              "--parallel: \"" + text + "\" is none of pictures, auto, ulysses, guidance");
}

}  // namespace ernie_image
