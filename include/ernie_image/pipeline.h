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
#include "ernie_image/precision.h"

namespace ernie_image {

class CancelToken;  // cancel.h
class Trace;

struct LoadOptions {
  /// A folder in the diffusers layout, a hub id looked up in the local Hugging Face and ModelScope
  /// caches
  /// ("baidu/ERNIE-Image-Turbo"), or empty: the environment's ERNIE_IMAGE_MODEL, else the embedded
  /// model.
  std::string model;
  Precision precision = Precision::fp32;
  /// Of the linear layers of the transformer's blocks, compressed while the model is loaded.
  Quantization quantization = Quantization::none;
  /// "cpu", "cuda", "cuda:N", "ascend", "ascend:N", or several cards, "ascend:0,1", each with the
  /// model and its share of a request's pictures.
  std::string device = "cpu";
  /// 0: every CPU the process may use.
  int num_threads = 0;
  /// "auto", or an instruction set of `ernie-image devices`.
  std::string cpu_kernels = "auto";
  /// Of everything the process holds in memory, mapped weights included: what does not fit is
  /// streamed from the files layer by layer, and the VAE decodes in bands. 0: what the system has,
  /// of which the VAE takes half at most. On a device with memory of its own: of that memory.
  std::uint64_t memory_limit_bytes = 0;
  /// When weights leave a device's memory: "auto" (when room is needed), "none", "encoder" (each
  /// stage's when it is done) or "layers" (each layer's, streamed from the file).
  std::string offload = "auto";
  /// How padding reaches Ascend's attention: "auto", "lengths", "mask" or "composed".
  std::string ascend_attention = "auto";
  /// Which attention NVIDIA GPUs use: "auto", "cudnn" or "own".
  std::string cuda_attention = "auto";
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

/// A LoRA or one of its kin, which changes the model for one request.
struct Adapter {
  /// A safetensors file, or a folder of PEFT's or diffusers' with one.
  std::string path;
  double strength = 1.0;  ///< 0: as without it; may be negative
  int prompt = -1;        ///< which prompt's pictures it changes; -1: all
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
  /// Changes add up. Files are opened once and kept for later requests.
  std::vector<Adapter> adapters;
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

/// What the process held in memory during one stage, planned and measured.
struct StageMemory {
  std::string stage;  ///< "pe", "text_encoder", "transformer", "vae"
  std::uint64_t predicted_bytes = 0;
  std::uint64_t measured_bytes = 0;
  int layers = 0;
  int streamed_layers = 0;  ///< read from the file in every step
};

/// What became of an adapter of the request.
struct AdapterUse {
  std::string name;    ///< the file's without extension, or the folder's
  std::string sha256;  ///< hex, of the file, and its configuration after it if it has one
  double strength = 1.0;
  int keys = 0;       ///< tensors of the file
  int used_keys = 0;  ///< that belong to modules of the model
  std::vector<std::string> unused_keys;
};

struct Result {
  std::vector<Image> images;       ///< prompt by prompt: p0 p0 p1 p1
  std::vector<int> prompt_tokens;  ///< per prompt
  Timings timings;
  std::uint64_t peak_activation_bytes = 0;
  std::vector<StageMemory> memory;   ///< stage by stage
  std::vector<AdapterUse> adapters;  ///< those of the request, in its order
};

/// How the prompt enhancer writes. The defaults are the reference's.
struct EnhanceOptions {
  double temperature = 0.6;  ///< 0: greedy, the most likely token every time
  double top_p = 0.95;
  int top_k = 0;  ///< 0: the model's generation_config.json, else 50
  std::uint64_t seed = 42;
  Quantization quantization = Quantization::none;
  int max_tokens = 2048;      ///< cut to the tokenizer's model_max_length
  std::string system_prompt;  ///< empty: the one in the model's chat template
  /// Receives the text piece by piece as it is written; all pieces together are the text.
  std::function<void(const std::string& piece)> on_text;
  std::shared_ptr<const CancelToken> cancel;
};

struct EnhancedPrompt {
  std::string text;             ///< what replaces the prompt
  std::vector<int> ids;         ///< the new tokens, the end token included
  std::string rendered_prompt;  ///< what the language model was given
  int prompt_tokens = 0;
  bool finished = false;  ///< false: cut off at the token limit
  double prefill_seconds = 0;
  double decode_seconds = 0;
  StageMemory memory;  ///< all zeros if another program wrote the text
};

/// What a model folder says about itself.
struct ModelInfo {
  std::string path;  ///< "embedded:emoji-tiny" for the embedded model
  std::string name;  ///< last part of the path or the hub id
  /// SHA-256, hex, over the configs and the weight files' headers, the prompt enhancer's excepted
  std::string content_hash;
  int default_height_px = 0;
  int default_width_px = 0;
  int default_num_inference_steps = 0;
  double default_guidance_scale = 0;
  int size_multiple_px = 0;  ///< height and width must divide by this
  int latent_channels = 0;   ///< C of the latents [images, C, h, w]
  bool has_prompt_enhancer = false;
  double load_seconds = 0;
  /// Tensors that no part of the pipeline knows: usually a sign of a file that belongs to another
  /// model.
  std::vector<std::string> unused_tensors;
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

  /// Rewrites a prompt with the model's language model, for a picture of that size. Throws
  /// Error(not_found) for a model without one. Its memory is given back before this returns.
  EnhancedPrompt enhance(const std::string& prompt, int width_px, int height_px,
                         const EnhanceOptions& options = {});

  /// Throws what `generate` would throw before it does any work: worth a call before enhancing.
  void check(const Request& request) const;

  /// Throws Error(invalid_argument) for a request that cannot be served, before any work is done.
  Result generate(const Request& request);

  /// What the decoder makes of latents [images, C, h, w] of pictures of that size. Throws
  /// Error(invalid_argument) for another number of values.
  std::vector<Image> decode(const std::vector<float>& latents, int height_px, int width_px);

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
