// What is to be drawn, and how: its options with their defaults and limits.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ernie_image/image.h"

namespace ernie_image {

class CancelToken;  // cancel.h
class Trace;        // trace.h

/// The largest values that a request may hold: far beyond what any device can do, they keep later
/// products within 64 bits.
inline constexpr int kMaxSidePx = 16384;
inline constexpr int kMaxInferenceSteps = 1000;
inline constexpr double kMaxGuidanceScale = 100;
inline constexpr int kMaxImages = 1024;  ///< prompts times images a prompt
inline constexpr int kMaxAdapters = 16;  ///< that change one prompt's pictures
inline constexpr int kMaxBoxes = 16;     ///< that are drawn once more
inline constexpr double kMaxHiresScale = 8;
inline constexpr double kHiresStrength = 0.7;       ///< unless another is asked for
inline constexpr double kMaxAdapterStrength = 100;  ///< either way

enum class Stage { text_encoder, transformer, vae_decoder };

/// In the order of the enumerators.
constexpr std::array<std::string_view, 3> names_of(Stage) {
  return {"text_encoder", "transformer", "vae_decoder"};
}

struct Progress {
  Stage stage;
  int step;   ///< finished so far: prompts, denoising steps or images
  int steps;  ///< in all
  double stage_seconds;
};

/// How the strength of a picture becomes steps, by the program whose counting is meant; `exact`
/// begins at sigma = strength. docs/img2img.md has the formulae.
enum class StrengthMode { diffusers, sdcpp, comfyui, a1111, exact };

/// In the order of the enumerators.
constexpr std::array<std::string_view, 5> names_of(StrengthMode) {
  return {"diffusers", "sdcpp", "comfyui", "a1111", "exact"};
}

/// A picture to begin with in place of pure noise.
struct PictureInput {
  Image image{};  ///< without pixels for none; a size that is asked for must be its own
  /// Of the noise that covers the picture, above 0 and at most 1, which leaves nothing of it.
  double strength = 0.6;
  StrengthMode strength_mode = StrengthMode::diffusers;
  /// Where it is drawn anew, a byte a pixel: 0 keeps the pixel as it is, 255 takes the new one, and
  /// between them they are mixed. Empty: everywhere.
  std::vector<std::uint8_t> mask{};
  /// Draw only the masked part and so many pixels of the picture around it, at the size that the
  /// request asks for, and put that back scaled: the result then has the picture's size, which may
  /// be any. Absent: draw all of the picture, which must have the request's size.
  std::optional<int> area_padding_px{};
  /// False: the drawn picture as it is, also where the mask keeps the given one.
  bool puts_back = true;
};

/// A part of a picture, from its upper left corner.
struct Box {
  int left_px = 0;
  int top_px = 0;
  int width_px = 0;
  int height_px = 0;
};

/// A denoising step that is finished.
struct StepLatents {
  int step;                           ///< counted from 0
  int steps;                          ///< in all
  float timestep;                     ///< that the transformer was given, 1000 at the start
  float sigma;                        ///< share of noise before the step
  float sigma_next;                   ///< and after it; 0 after the last
  std::array<std::int64_t, 4> shape;  ///< [images, C, h, w]
  std::span<float> latents;           ///< after the step; what is written here is gone on with
  std::span<const float> velocity;    ///< latents - sigma_next * velocity is the picture to be
};

/// A LoRA or one of its kin, which changes the model for one request.
struct Adapter {
  /// A safetensors file, or a folder of PEFT's or diffusers' with one.
  std::string path;
  double strength = 1.0;  ///< 0: as without it; may be negative
  int prompt = -1;        ///< which prompt's pictures it changes; -1: all
};

/// What the text encoder makes of one prompt, made elsewhere.
struct TextStates {
  std::vector<float> values;  ///< [tokens, width], width as the transformer's config has it
  int tokens = 0;
};

/// An option that is added here is also added to the table in src/request/request.cpp, to the flags
/// in apps/common/flags.cpp and to the web page.
struct Request {
  std::vector<std::string> prompts{};
  /// Used when guidance_scale > 1: none (""), one for all, or one a prompt.
  std::vector<std::string> negative_prompts{};
  int height_px = 0;  ///< 0: the picture's if there is one, else the model's default
  int width_px = 0;
  int num_inference_steps = 0;             ///< 0: the model's default
  std::optional<double> guidance_scale{};  ///< absent: the model's default
  int num_images_per_prompt = 1;
  /// One seed draws the noise of the whole batch; a list gives each image a generator of its own
  /// and must have as many entries as there are images. Only the low 32 bits count, as in the
  /// reference.
  std::vector<std::uint64_t> seeds = {42};
  /// Of noise that is mixed into that of `seeds`, drawn likewise: one for each of those, or none.
  std::vector<std::uint64_t> variation_seeds{};
  /// From 0, none of that noise, to 1, nothing else; on the arc between both. Absent: 0.
  std::optional<double> variation_strength{};
  /// Initial latents [images, C, h, w] instead of noise from the seeds; empty for none.
  std::vector<float> latents{};
  PictureInput picture{};
  /// Each picture is drawn a second time, so many times larger, from what the first run made of
  /// it. Absent: it is not.
  std::optional<double> hires_scale{};
  int hires_width_px = 0;  ///< or at this size
  int hires_height_px = 0;
  /// Of the second run, as a picture's strength with StrengthMode::a1111. Absent: kHiresStrength.
  std::optional<double> hires_strength{};
  int hires_steps = 0;  ///< of its schedule; 0: num_inference_steps
  /// Parts of the finished pictures that are drawn once more, each by itself with as many pixels as
  /// the request's size has and with `picture.strength`, and put back. With a picture and no mask
  /// nothing else of it is drawn.
  std::vector<Box> boxes{};
  /// In place of what the text encoder makes of the prompts, which are not read: one a prompt. All
  /// prompts must then have the same adapters, and the first of several cards draws all pictures.
  std::vector<TextStates> prompt_states{};
  /// The same of the negative prompts, with guidance.
  std::vector<TextStates> negative_prompt_states{};
  /// Changes add up. Files are opened once and kept for later requests.
  std::vector<Adapter> adapters{};
  std::function<void(const Progress&)> on_progress{};
  /// After each step, on the thread that called `generate`. All prompts must have the same
  /// adapters, and the first of several cards draws all pictures.
  std::function<void(const StepLatents&)> on_step{};
  /// False: the run ends with the last step, and Result::images stays empty.
  bool decode = true;
  /// Stops the run from another thread or a signal handler, with Error(cancelled).
  std::shared_ptr<const CancelToken> cancel{};
  /// Receives intermediate tensors; must outlive the call.
  Trace* trace = nullptr;
};

}  // namespace ernie_image
