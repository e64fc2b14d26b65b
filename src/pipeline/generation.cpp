// Reference: diffusers pipeline_ernie_image.py, ErnieImagePipeline.__call__.
#include "pipeline/generation.h"

#include <algorithm>
#include <cmath>
#include <exception>
#include <string>

#include "core/trace.h"
#include "models/vae_encoder.h"
#include "pipeline/stopwatch.h"
#include "sampling/guidance.h"
#include "sampling/inpaint.h"
#include "sampling/random.h"
#include "sampling/scheduler.h"
#include "sampling/variation.h"

namespace ernie_image {
namespace {

void record(Trace* trace, const std::string& name, const Tensor& host) {
  if (trace != nullptr && trace->wants(name)) record_tensor(*trace, name, host);
}

Tensor float_tensor(const std::vector<float>& values) {
  return Tensor::copy_of<float>(DType::f32, {static_cast<std::int64_t>(values.size())}, values);
}

/// Host [B, H, W, C] to [B, C, H, W].
Tensor channels_first(const Tensor& images) {
  const std::int64_t pixels = images.dim(1) * images.dim(2), channels = images.dim(3);
  Tensor planes =
      Tensor::host(images.dtype(), {images.dim(0), channels, images.dim(1), images.dim(2)});
  const std::size_t size = size_of(images.dtype());
  for (std::int64_t b = 0; b < images.dim(0); ++b) {
    for (std::int64_t i = 0; i < pixels * channels; ++i) {
      const std::byte* source =
          images.bytes() + static_cast<std::size_t>(b * pixels * channels + i) * size;
      std::copy_n(source, size,
                  planes.bytes() + static_cast<std::size_t>((b * channels + i % channels) * pixels +
                                                            i / channels) *
                                       size);
    }
  }
  return planes;
}

void record_channels_first(Trace* trace, const std::string& name, const Tensor& images) {
  if (trace != nullptr && trace->wants(name)) record_tensor(*trace, name, channels_first(images));
}

void require_finite(const Tensor& picture, const std::string& model) {
  const Tensor values = to_float(picture);
  if (values.is_booked() ||
      std::ranges::all_of(values.span<float>(), [](float value) { return std::isfinite(value); }))
    return;
  throw Error(ErrorKind::corrupt_file,
              "the decoded picture has values that are not finite: the weights of " + model +
                  " are damaged, or too large for this precision; try --dtype fp32");
}

/// One draw for all from a single seed, one each from a list.
void draw_noise(std::span<const std::uint64_t> seeds, Precision precision,
                std::span<float> values) {
  const std::size_t size = values.size() / seeds.size();
  for (std::size_t i = 0; i < seeds.size(); ++i)
    TorchGenerator(seeds[i]).randn(values.subspan(i * size, size), precision);
}

/// What a picture's bytes take, in a rehearsal; else the picture.
Image to_image(const Tensor& pixels) {
  Image image{static_cast<int>(pixels.dim(2)), static_cast<int>(pixels.dim(1)), {}};
  if (!pixels.is_booked()) {
    const auto rgb = pixels.span<std::uint8_t>();
    image.rgb.assign(rgb.begin(), rgb.end());
  }
  return image;
}

}  // namespace

std::int64_t decoded_at_once(const Request& request, const ResolvedRequest& plan) {
  const bool together = request.trace != nullptr &&
                        (request.trace->wants("vae.output") || request.trace->wants("image.uint8"));
  return together ? plan.images : 1;
}

Tensor initial_noise(const ModelConfigs& configs, const Request& request,
                     const ResolvedRequest& plan, Precision precision) {
  Tensor latents = Tensor::host(DType::f32, {plan.images, configs.transformer.in_channels,
                                             plan.latent_height, plan.latent_width});
  if (!latents.is_booked() && !request.latents.empty()) {
    std::ranges::copy(request.latents, latents.data<float>());
  } else if (!latents.is_booked()) {
    const std::span<float> values = latents.span<float>();
    draw_noise(request.seeds, precision, values);
    const double share = request.variation_strength.value_or(0);
    if (share > 0) {
      std::vector<float> others(values.size());
      draw_noise(request.variation_seeds, precision, others);
      const std::size_t size = values.size() / static_cast<std::size_t>(plan.images);
      for (std::size_t at = 0; at < values.size(); at += size)
        move_towards(values.subspan(at, size), std::span(others).subspan(at, size), share);
    }
  }
  return round_to(latents, dtype_of(precision));
}

Tensor encode_image(const Networks& networks, const Image& image, int height_px, int width_px,
                    Precision precision, std::size_t band_bytes, Trace* trace) {
  const VaeEncoder encoder(networks.ops, networks.vae_weights, networks.configs.vae);
  networks.vae_weights.require_complete();
  const Tensor pixels =
      Tensor::copy_of<std::uint8_t>(DType::u8, {1, height_px, width_px, 3}, image.rgb);
  return encoder.pack(encoder.encode(from_uint8(pixels, dtype_of(precision)), band_bytes, trace));
}

void Generation::encode_picture(std::size_t band_bytes) {
  picture_ = encode_image(networks_, request_.picture.image, plan_.height_px, plan_.width_px,
                          precision_, band_bytes, request_.trace);
  record(request_.trace, "latents.picture", picture_);
}

void Generation::encode(TextCache& cache) {
  const Stopwatch watch;
  text_ = {}, latents_ = {};  // of an earlier round, in a rehearsal
  const auto tell = [&](int done, int total) {
    if (request_.on_progress)
      request_.on_progress({Stage::text_encoder, done, total, watch.seconds()});
  };
  if (shared_ != nullptr && shared_->weights != nullptr) shared_->gate.meet(shared_->cancel);
  try {
    text_ = encode_text(networks_.ops, networks_.text_encoder, plan_, request_,
                        dtype_of(precision_), cache, tell);
  } catch (...) {
    if (shared_ != nullptr) shared_->fail(std::current_exception());
    throw;
  }
}

void Generation::prepare() {
  Tensor text = text_.text_bth;
  std::span<const std::int64_t> lengths = text_.text_lens;
  if (has_half()) {
    const std::int64_t first = shared_->halves->rank() * plan_.images;
    text = text.slice(first, plan_.images);
    lengths =
        lengths.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(plan_.images));
  }
  context_ = networks_.transformer.prepare(text, lengths, plan_.latent_height, plan_.latent_width,
                                           shared_ == nullptr ? request_.trace : nullptr);
}

Tensor Generation::velocity_of_rows(float timestep, Trace* trace) const {
  Backend& ops = networks_.ops;
  const bool doubles = plan_.guided && !has_half();
  const std::int64_t rows = plan_.images * (doubles ? 2 : 1);
  const std::vector<float> timesteps(static_cast<std::size_t>(rows), timestep);
  Tensor input = ops.upload(latents_);
  Shape shape = latents_.shape();
  shape[0] = rows;
  if (doubles) {
    const Tensor flat = input.reshaped({1, plan_.images, latents_.size() / plan_.images});
    input = ops.concat_rows(flat, flat).reshaped(shape);
  }
  Tensor output = networks_.transformer.forward(input, timesteps, context_, trace);
  if (has_half()) {
    shape[0] = 2 * plan_.images;
    shape[1] = output.dim(1);
    output = shared_->halves->all_gather(output).reshaped(shape);
  }
  return ops.download(output);
}

/// Model output for the latents, guidance applied, on the host. What the transformer computes
/// inside is offered by a card that draws alone, and for the first step only.
Tensor Generation::predict_velocity(float timestep, const std::string& step, Trace* trace) const {
  Trace* const inside = step == "step0." && shared_ == nullptr ? trace : nullptr;
  Tensor output;
  try {
    output = velocity_of_rows(timestep, inside);
  } catch (...) {
    if (shared_ != nullptr) shared_->fail(std::current_exception());
    throw;
  }
  record(trace, step + "dit_output", output);
  if (!plan_.guided) return output;
  return apply_guidance(output.slice(0, plan_.images), output.slice(plan_.images, plan_.images),
                        plan_.guidance_scale);
}

/// Goes on with what the listener has made of a copy: a trace may have kept the latents themselves.
void Generation::tell_step(const FlowMatchEulerScheduler& scheduler, int step, float timestep,
                           const Tensor& velocity) {
  if (!request_.on_step || latents_.is_booked()) return;
  const auto copy = [](const Tensor& host) {
    const Tensor values = to_float(host);
    return Tensor::copy_of<float>(DType::f32, host.shape(), values.span<float>());
  };
  const Tensor latents = copy(latents_), direction = to_float(velocity);
  const auto index = static_cast<std::size_t>(step);
  request_.on_step({step,
                    static_cast<int>(std::ssize(scheduler.timesteps())),
                    timestep,
                    scheduler.sigmas()[index],
                    scheduler.sigmas()[index + 1],
                    {latents.dim(0), latents.dim(1), latents.dim(2), latents.dim(3)},
                    latents.span<float>(),
                    direction.span<float>()});
  latents_ = round_to(latents, latents_.dtype());
}

void Generation::denoise(Timings& timings) {
  Trace* const trace = request_.trace;
  const FlowMatchEulerScheduler scheduler(networks_.configs.scheduler, plan_.sigmas);
  const Tensor noise = initial_noise(networks_.configs, request_, plan_, precision_);
  latents_ = picture_.empty() ? noise : scheduler.noised(picture_, noise);
  record(trace, "latents.initial", latents_);
  Tensor mask;
  if (plan_.uses_mask) {
    mask = latent_mask(request_.picture.mask, plan_.latent_height, plan_.latent_width,
                       networks_.configs.vae.spatial_factor);
    record(trace, "latents.mask", mask);
  }
  const Tensor scheduled = float_tensor(scheduler.timesteps());
  record(trace, "scheduler.sigmas", float_tensor(scheduler.sigmas()));
  record(trace, "scheduler.timesteps", scheduled);
  const Tensor fed = round_to(scheduled, dtype_of(precision_));
  record(trace, "scheduler.timestep_fed", fed);
  const Tensor timesteps = to_float(fed);
  const Stopwatch stage_watch;
  const auto steps = static_cast<int>(scheduler.timesteps().size());
  for (int i = 0; i < steps; ++i) {
    if (shared_ != nullptr) shared_->gate.meet(shared_->cancel);
    const Stopwatch watch;
    const std::string step = "step" + std::to_string(i) + ".";
    const float timestep = timesteps.is_booked() ? 0.0f : timesteps.data<float>()[i];
    const Tensor velocity = predict_velocity(timestep, step, trace);
    latents_ = scheduler.step(i, velocity, latents_);
    if (!mask.empty()) latents_ = blended(latents_, scheduler.noised(picture_, noise, i + 1), mask);
    record(trace, step + "latents", latents_);
    tell_step(scheduler, i, timestep, velocity);
    timings.step_seconds.push_back(watch.seconds());
    if (request_.on_progress)
      request_.on_progress({Stage::transformer, i + 1, steps, stage_watch.seconds()});
  }
  record(trace, "latents.final", latents_);
  context_ = {};
}

std::vector<Image> Generation::decode(std::int64_t at_once, const DecodeBands& bands) const {
  std::vector<Image> images = decode_latents(networks_, request_, latents_, at_once, bands);
  if (!plan_.uses_mask || !request_.picture.puts_back || latents_.is_booked()) return images;
  for (Image& image : images) put_back(image, request_.picture.image, request_.picture.mask);
  return images;
}

std::vector<Image> decode_latents(const Networks& networks, const Request& request,
                                  const Tensor& latents, std::int64_t at_once,
                                  const DecodeBands& bands) {
  const Stopwatch watch;
  const std::int64_t count = latents.dim(0);
  const Tensor z = networks.vae.unpack(latents);
  record_channels_first(request.trace, "vae.input", z);
  std::vector<Image> images;
  std::vector<Tensor> kept;  // stands for the images' bytes, in a rehearsal
  for (std::int64_t i = 0; i < count; i += at_once) {
    const Tensor decoded =
        networks.vae.decode(networks.ops.upload(z.slice(i, at_once)), bands, request.trace);
    networks.ops.release_cache();
    record_channels_first(request.trace, "vae.output", decoded);
    require_finite(decoded, networks.model_name);
    const Tensor pixels = to_uint8(decoded);
    record(request.trace, "image.uint8", pixels);
    for (std::int64_t k = 0; k < at_once; ++k) images.push_back(to_image(pixels.slice(k, 1)));
    if (pixels.is_booked()) kept.push_back(Tensor::host(pixels.dtype(), pixels.shape()));
    if (request.on_progress)
      request.on_progress({Stage::vae_decoder, static_cast<int>(i + at_once),
                           static_cast<int>(count), watch.seconds()});
  }
  return images;
}

}  // namespace ernie_image
