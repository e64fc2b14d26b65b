#include "pipeline/replicas.h"

#include <algorithm>
#include <exception>
#include <iterator>
#include <span>
#include <string>
#include <system_error>
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
  part.variation_seeds.clear();
  part.variation_strength.reset();
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

/// Those of one prompt, as adapters of a whole request.
std::vector<Adapter> adapters_of(const Request& request, std::size_t prompt) {
  std::vector<Adapter> adapters;
  for (const Adapter& adapter : request.adapters) {
    if (adapter.prompt < 0 || static_cast<std::size_t>(adapter.prompt) == prompt)
      adapters.push_back({adapter.path, adapter.strength, -1});
  }
  return adapters;
}

bool are_same(const std::vector<Adapter>& a, const std::vector<Adapter>& b) {
  return std::ranges::equal(a, b, [](const Adapter& x, const Adapter& y) {
    return x.path == y.path && x.strength == y.strength;
  });
}

void add_up(Timings& all, const Timings& part) {
  all.text_encoder_seconds += part.text_encoder_seconds;
  all.vae_decoder_seconds += part.vae_decoder_seconds;
  all.step_seconds.resize(part.step_seconds.size());
  for (std::size_t i = 0; i < part.step_seconds.size(); ++i)
    all.step_seconds[i] += part.step_seconds[i];
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

bool names_prompts(const Request& request) {
  return std::ranges::any_of(request.adapters,
                             [](const Adapter& adapter) { return adapter.prompt >= 0; });
}

Request image_request(const Request& request, std::span<const float> latents, int image) {
  const auto index = static_cast<std::size_t>(image);
  Request part = part_of(request, latents, index, index + 1);
  part.on_progress = request.on_progress;
  part.adapters =
      adapters_of(request, index / static_cast<std::size_t>(request.num_images_per_prompt));
  return part;
}

std::vector<Request> split_by_adapters(const Request& request, std::span<const float> latents) {
  const auto each = static_cast<std::size_t>(request.num_images_per_prompt);
  std::vector<Request> parts;
  std::size_t begin = 0;
  for (std::size_t end = 1; end <= request.prompts.size(); ++end) {
    std::vector<Adapter> adapters = adapters_of(request, begin);
    if (end < request.prompts.size() && are_same(adapters_of(request, end), adapters)) continue;
    const bool is_whole = end - begin == request.prompts.size();
    parts.push_back(is_whole ? request : part_of(request, latents, begin * each, end * each));
    parts.back().adapters = std::move(adapters);
    parts.back().on_progress = request.on_progress;
    begin = end;
  }
  return parts;
}

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
  {
    std::vector<std::jthread> threads;  // joined however this ends
    threads.reserve(runs.size());
    std::vector<std::size_t> own = {0};
    for (std::size_t i = 1; i < runs.size(); ++i) {
      try {
        threads.emplace_back(run, i);
      } catch (const std::system_error&) {
        own.push_back(i);  // no more threads can be made: one after another is slower, and right
      }
    }
    for (const std::size_t i : own) run(i);
  }
  rethrow_first(errors);
  return results;
}

namespace {

/// What became of each adapter of the request, found in the part of a prompt that it is for.
std::vector<AdapterUse> uses_of(const Request& request, const std::vector<Result>& parts) {
  std::vector<AdapterUse> uses(request.adapters.size());
  std::size_t prompt = 0;
  for (const Result& part : parts) {
    const std::size_t images = part.images.size();
    const std::size_t end =
        prompt + images / static_cast<std::size_t>(request.num_images_per_prompt);
    for (; prompt < end; ++prompt) {
      std::size_t next = 0;
      for (std::size_t i = 0; i < request.adapters.size(); ++i) {
        const int only = request.adapters[i].prompt;
        if (only < 0 || static_cast<std::size_t>(only) == prompt) uses[i] = part.adapters[next++];
      }
    }
  }
  return uses;
}

}  // namespace

Result join_in_turn(const Request& request, std::vector<Result> parts) {
  Timings timings;
  for (const Result& part : parts) add_up(timings, part.timings);
  std::vector<AdapterUse> uses = uses_of(request, parts);
  Result all =
      parts.size() == 1 ? std::move(parts.front()) : join_results(request, std::move(parts));
  all.timings = timings;
  all.adapters = std::move(uses);
  return all;
}

Result join_results(const Request& request, std::vector<Result> parts) {
  Result all;
  all.adapters = parts.front().adapters;
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
