// Text to picture: load a model folder once, generate as often as wanted.
//
//   auto pipeline = ernie_image::Pipeline::load({});            // the embedded model
//   auto result = pipeline.generate({.prompts = {"a red apple on a blue background"}});
//   ernie_image::save_image("apple.png", result.images[0]);
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ernie_image/error.h"
#include "ernie_image/export.h"

namespace ernie_image {

class CancelToken;  // cancel.h
class Trace;

/// What tensors between operations are rounded to (weights stay in their file's format).
enum class Precision { fp32, bf16 };

struct LoadOptions {
  /// A folder in the diffusers layout, a hub id looked up in the local Hugging Face and ModelScope
  /// caches
  /// ("baidu/ERNIE-Image-Turbo"), or empty: the environment's ERNIE_IMAGE_MODEL, else the embedded
  /// model.
  std::string model;
  Precision precision = Precision::fp32;
  /// "cpu"
  std::string device = "cpu";
  /// 0: every CPU the process may use.
  int num_threads = 0;
  /// "auto", or an instruction set of `ernie-image devices`.
  std::string cpu_kernels = "auto";
  /// Above this many bytes of activations the VAE decodes in tiles; 0: half of the memory that is
  /// free.
  std::uint64_t memory_limit_bytes = 0;
};

/// 8-bit RGB, row-major, 3 bytes a pixel.
struct Image {
  int width_px = 0;
  int height_px = 0;
  std::vector<std::uint8_t> rgb;
};

enum class Stage { text_encoder, transformer, vae_decoder };

struct Progress {
  Stage stage;
  int step;   ///< finished so far: prompts, denoising steps or images
  int steps;  ///< in all
  double stage_seconds;
};

struct Request {
  std::vector<std::string> prompts;
  /// Used when guidance_scale > 1: none (""), one for all, or one a prompt.
  std::vector<std::string> negative_prompts;
  int height_px = 0;  ///< 0: the model's default
  int width_px = 0;
  int num_inference_steps = 0;           ///< 0: the model's default
  std::optional<double> guidance_scale;  ///< absent: the model's default
  int num_images_per_prompt = 1;
  /// One seed draws the noise of the whole batch; a list gives each image a generator of its own
  /// and must have as many entries as there are images. Only the low 32 bits count, as in the
  /// reference.
  std::vector<std::uint64_t> seeds = {42};
  /// Initial latents [images, C, h, w] instead of noise from the seeds; empty for none.
  std::vector<float> latents;
  std::function<void(const Progress&)> on_progress;
  /// Stops the run from another thread or a signal handler, with Error(cancelled).
  std::shared_ptr<const CancelToken> cancel;
  /// Receives intermediate tensors; must outlive the call.
  Trace* trace = nullptr;
};

struct Timings {
  double text_encoder_seconds = 0;
  std::vector<double> step_seconds;
  double vae_decoder_seconds = 0;
};

struct Result {
  std::vector<Image> images;       ///< prompt by prompt: p0 p0 p1 p1
  std::vector<int> prompt_tokens;  ///< per prompt
  Timings timings;
  std::uint64_t peak_activation_bytes = 0;
};

/// What a model folder says about itself.
struct ModelInfo {
  std::string path;          ///< "embedded:emoji-tiny" for the embedded model
  std::string name;          ///< last part of the path or the hub id
  std::string content_hash;  ///< SHA-256 over the configs and the weight files' headers, hex
  int default_height_px = 0;
  int default_width_px = 0;
  int default_num_inference_steps = 0;
  double default_guidance_scale = 0;
  int size_multiple_px = 0;  ///< height and width must divide by this
  int latent_channels = 0;   ///< C of the latents [images, C, h, w]
  double load_seconds = 0;
};

/// One model on one device. One call of `generate` at a time.
class ERNIE_IMAGE_API Pipeline {
 public:
  /// Maps the weights and checks every name and shape. Throws Error.
  static Pipeline load(const LoadOptions& options);

  Pipeline(Pipeline&&) noexcept;
  Pipeline& operator=(Pipeline&&) noexcept;
  ~Pipeline();

  const ModelInfo& info() const;

  /// Throws Error(invalid_argument) for a request that cannot be served, before any work is done.
  Result generate(const Request& request);

 private:
  struct State;
  explicit Pipeline(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Writes PNG, JPEG or WebP by the extension of `path`; the file appears whole or not at all.
ERNIE_IMAGE_API void save_image(const std::string& path, const Image& image);

/// "0.1.0"
ERNIE_IMAGE_API const char* version();

}  // namespace ernie_image
