// The stages of one generation, in order: what a run does, and what a rehearsal does without data.
#pragma once

#include <string>
#include <vector>

#include "backend/backend.h"
#include "checkpoint/model.h"
#include "ernie_image/pipeline.h"
#include "pipeline/card_group.h"
#include "pipeline/resolve_request.h"
#include "pipeline/text_batch.h"

namespace ernie_image {

/// A model's networks on one backend.
struct Networks {
  Backend& ops;
  const ModelConfigs& configs;
  const TextEncoder& text_encoder;
  const Transformer& transformer;
  const VaeDecoder& vae;
  WeightSource& vae_weights;  ///< of the encoder, which is there for as long as it is used
  std::string model_name;     ///< for errors
};

/// Pictures are decoded one at a time, but for a trace that looks at the decoder: every block is to
/// be recorded under its name once.
std::int64_t decoded_at_once(const Request& request, const ResolvedRequest& plan);

/// Given latents, or noise: one draw for the whole batch from a single seed, one an image from a
/// list; moved towards that of the variation. Host [images, C, h, w].
Tensor initial_noise(const ModelConfigs& configs, const Request& request,
                     const ResolvedRequest& plan, Precision precision);

/// Host latents [images, C, h, w] to pictures, `at_once` at a time: the decoder is what needs most
/// memory for one of them. Throws Error(corrupt_file) if one is not finite.
std::vector<Image> decode_latents(const Networks& networks, const Request& request,
                                  const Tensor& latents, std::int64_t at_once,
                                  const DecodeBands& bands);

/// Host latents [1, C, h, w] of a picture, in bands of at most `band_bytes`.
Tensor encode_image(const Networks& networks, const Image& image, int height_px, int width_px,
                    Precision precision, std::size_t band_bytes, Trace* trace);

class Generation {
 public:
  /// All must outlive it.
  Generation(const Networks& networks, const Request& request, const ResolvedRequest& plan,
             Precision precision, const SharedRun* shared = nullptr)
      : networks_(networks),
        request_(request),
        plan_(plan),
        precision_(precision),
        shared_(shared) {}

  /// The request's picture, of which something is left (`plan.uses_picture`), in bands of at most
  /// `band_bytes`.
  void encode_picture(std::size_t band_bytes);
  void encode(TextCache& cache);
  void prepare();
  void denoise(Timings& timings);
  /// With the picture's own pixels where the mask keeps them.
  std::vector<Image> decode(std::int64_t at_once, const DecodeBands& bands) const;

 private:
  void tell_step(const FlowMatchEulerScheduler& scheduler, int step, float timestep,
                 const Tensor& velocity);
  Tensor predict_velocity(float timestep, const std::string& step, Trace* trace) const;
  /// The transformer's, of all rows.
  Tensor velocity_of_rows(float timestep, Trace* trace) const;
  bool has_half() const { return shared_ != nullptr && shared_->halves != nullptr; }

  Networks networks_;
  const Request& request_;
  const ResolvedRequest& plan_;
  Precision precision_;
  const SharedRun* shared_;  ///< null: this card draws alone
  Tensor picture_;           ///< host [1, C, h, w], or empty
  TextBatch text_;
  TransformerContext context_;
  Tensor latents_;
};

}  // namespace ernie_image
