// Text to picture: load a model folder once, generate as often as wanted.
//
//   auto pipeline = ernie_image::Pipeline::load({});            // the embedded model
//   auto result = pipeline.generate({.prompts = {"a red apple on a blue background"}});
//   ernie_image::save_image("apple.png", result.images[0]);
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ernie_image/enhance.h"
#include "ernie_image/error.h"
#include "ernie_image/export.h"
#include "ernie_image/image.h"
#include "ernie_image/memory.h"
#include "ernie_image/model_parts.h"
#include "ernie_image/precision.h"
#include "ernie_image/request.h"

namespace ernie_image {

struct LoadOptions {
  /// A folder in the diffusers layout, a hub id looked up in the local Hugging Face and ModelScope
  /// caches ("baidu/ERNIE-Image-Turbo"), a file that holds the transformer, alone or with other
  /// parts, or empty: the environment's ERNIE_IMAGE_MODEL, else the embedded model.
  std::string model;
  ModelParts parts = {};
  Precision precision = Precision::fp32;
  /// Form of the linear layers of the transformer's blocks, quantised while the model is loaded.
  Quantization quantization = Quantization::none;
  /// "cpu", "cuda", "cuda:N", "ascend", "ascend:N", or several cards, "ascend:0,1", each with the
  /// model and its share of a request's pictures.
  std::string device = "cpu";
  /// 0: every CPU the process may use.
  int num_threads = 0;
  /// "auto", or an instruction set of `ernie-image devices`.
  std::string cpu_kernels = "auto";
  /// Limit of everything the process holds in memory, mapped weights included: what does not fit is
  /// streamed from the files layer by layer, and the VAE decodes in bands. 0: what the system has,
  /// of which the VAE takes half at most. On a device with memory of its own: of that memory.
  std::uint64_t memory_limit_bytes = 0;
  /// Options of devices by name; those of other devices than `device` are ignored, absent ones are
  /// "auto". "offload" says when weights leave a card's memory: "auto" (when room is needed),
  /// "none", "encoder" (each stage's when it is done) or "layers" (each layer's, streamed from the
  /// file). "ascend_attention" is how padding reaches Ascend's attention: "auto", "lengths", "mask"
  /// or "composed"; "cuda_attention" which attention NVIDIA GPUs use: "auto", "cudnn" or "own".
  std::map<std::string, std::string> device_options = {};
};

struct Timings {
  double text_encoder_seconds = 0;
  std::vector<double> step_seconds;
  double vae_decoder_seconds = 0;
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

/// What a model folder says about itself.
struct ModelInfo {
  std::string path;  ///< "embedded:emoji-tiny" for the embedded model
  ModelParts parts;  ///< that were named, and the base that was used
  std::string name;  ///< last part of the path or the hub id
  /// SHA-256, hex, over the configs and the weight files' headers, the prompt enhancer's excepted
  std::string content_hash;
  /// What the options become that a request leaves open; it has no prompts.
  Request defaults;
  int size_multiple_px = 0;  ///< height and width must divide by this
  int latent_channels = 0;   ///< C of the latents [images, C, h, w]
  int text_width = 0;        ///< of text states [tokens, width]
  bool has_prompt_enhancer = false;
  double load_seconds = 0;
  /// Tensors that no part of the pipeline knows: usually a sign of a file that belongs to another
  /// model.
  std::vector<std::string> unused_tensors;
  /// For people: what was taken from where, what was assumed, what looks wrong.
  std::vector<std::string> notes;
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
  /// Error(invalid_argument) for another number of values, Error(cancelled) when `cancel` asks.
  std::vector<Image> decode(const std::vector<float>& latents, int height_px, int width_px,
                            std::shared_ptr<const CancelToken> cancel = nullptr);

  /// Latents [1, C, h, w] of a picture, as the transformer knows them: the mean of the encoder's
  /// distribution. Throws Error(invalid_argument) for sides that do not divide by
  /// ModelInfo::size_multiple_px, Error(cancelled) when `cancel` asks.
  std::vector<float> encode(const Image& image,
                            std::shared_ptr<const CancelToken> cancel = nullptr);

 private:
  struct State;
  explicit Pipeline(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// "0.1.0"
ERNIE_IMAGE_API const char* version();

}  // namespace ernie_image
