#include "pipeline/replicas.h"

#include <algorithm>
#include <exception>
#include <iterator>
#include <span>
#include <string>
#include <thread>

#include "core/log.h"
#include "request/request.h"

namespace ernie_image {
namespace {

/// Pictures [begin, end) as a request of their own, each with its prompt.
Request part_of(const Request& request, std::span<const float> latents, std::size_t begin,
                std::size_t end) {
  const auto each = static_cast<std::size_t>(request.num_images_per_prompt);
  const std::size_t size = latents.size() / static_cast<std::size_t>(image_count(request));
  Request part = request;
  part.num_images_per_prompt = 1;
  part.seeds = {0};  // not used: there are latents
  const std::span<const float> own = latents.subspan(begin * size, (end - begin) * size);
  part.latents.assign(own.begin(), own.end());
  part.prompts.clear();
  const bool many_negatives = request.negative_prompts.size() > 1;
  if (many_negatives) part.negative_prompts.clear();
  for (std::size_t image = begin; image < end; ++image) {
    part.prompts.push_back(request.prompts[image / each]);
    if (many_negatives) part.negative_prompts.push_back(request.negative_prompts[image / each]);
  }
  if (begin > 0) part.on_progress = nullptr;
  return part;
}

void take_slowest(Timings& all, const Timings& part) {
  all.text_encoder_seconds = std::max(all.text_encoder_seconds, part.text_encoder_seconds);
  all.vae_decoder_seconds = std::max(all.vae_decoder_seconds, part.vae_decoder_seconds);
  all.step_seconds.resize(part.step_seconds.size());
  for (std::size_t i = 0; i < part.step_seconds.size(); ++i)
    all.step_seconds[i] = std::max(all.step_seconds[i], part.step_seconds[i]);
}

void take_fullest(std::vector<StageMemory>& all, const std::vector<StageMemory>& part) {
  if (all.empty()) all = part;
  for (std::size_t i = 0; i < part.size(); ++i) {
    all[i].predicted_bytes = std::max(all[i].predicted_bytes, part[i].predicted_bytes);
    all[i].measured_bytes = std::max(all[i].measured_bytes, part[i].measured_bytes);
  }
}

void log_further(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& further) {
    if (further.kind() != ErrorKind::cancelled)
      log_message(LogLevel::error, std::string("another device failed too: ") + further.what());
  } catch (const std::exception& further) {
    log_message(LogLevel::error, std::string("another device failed too: ") + further.what());
  }
}

/// Throws the first; an exception cannot carry several, so that the log is told of the others.
void rethrow_first(std::span<const std::exception_ptr> errors) {
  std::exception_ptr first;
  for (const std::exception_ptr& error : errors) {
    if (error == nullptr) continue;
    if (first != nullptr) log_further(error);
    if (first == nullptr) first = error;
  }
  if (first != nullptr) std::rethrow_exception(first);
}

}  // namespace

std::vector<Request> split_request(const Request& request, std::span<const float> latents,
                                   std::size_t parts) {
  const auto images = static_cast<std::size_t>(image_count(request));
  const std::size_t count = std::min(parts, images);
  std::vector<Request> requests;
  for (std::size_t i = 0; i < count; ++i)
    requests.push_back(part_of(request, latents, i * images / count, (i + 1) * images / count));
  return requests;
}

std::vector<Result> run_together(const std::vector<std::function<Result()>>& runs) {
  std::vector<Result> results(runs.size());
  std::vector<std::exception_ptr> errors(runs.size());
  const auto run = [&](std::size_t i) {
    try {
      results[i] = runs[i]();
    } catch (...) {
      errors[i] = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  for (std::size_t i = 1; i < runs.size(); ++i) threads.emplace_back(run, i);
  run(0);
  for (std::thread& thread : threads) thread.join();
  rethrow_first(errors);
  return results;
}

Result join_results(const Request& request, std::vector<Result> parts) {
  Result all;
  std::vector<int> tokens;  // of each picture
  for (Result& part : parts) {
    std::ranges::move(part.images, std::back_inserter(all.images));
    std::ranges::copy(part.prompt_tokens, std::back_inserter(tokens));
    take_slowest(all.timings, part.timings);
    take_fullest(all.memory, part.memory);
    all.peak_activation_bytes = std::max(all.peak_activation_bytes, part.peak_activation_bytes);
  }
  const auto each = static_cast<std::size_t>(request.num_images_per_prompt);
  for (std::size_t i = 0; i < tokens.size(); i += each) all.prompt_tokens.push_back(tokens[i]);
  return all;
}

}  // namespace ernie_image
