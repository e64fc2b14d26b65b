#include "enhance/prompt_enhancer.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "checkpoint/file_configs.h"
#include "checkpoint/model.h"
#include "ernie_image/error.h"
#include "io/file_view.h"
#include "io/json_reader.h"
#include "memory/memory_limit.h"
#include "memory/memory_plan.h"
#include "memory/rehearsal.h"
#include "memory/weight_residency.h"

namespace ernie_image {
namespace {

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

const ModelFolder& require_enhancer(const ModelFolder& folder) {
  if (!folder.has_prompt_enhancer) {
    throw Error(ErrorKind::not_found,
                folder.path +
                    " has no prompt enhancer (folders pe and pe_tokenizer); run without --enhance");
  }
  return folder;
}

std::string memory_of(const Backend& ops) {
  return ops.device_memory() ? ops.name() : std::string("memory");
}

constexpr std::uint64_t kUnlimited = std::uint64_t{1} << 62;

/// The enhancer's network, rehearsed.
class EnhancerRehearsal {
 public:
  EnhancerRehearsal(const Backend& ops, const PromptEnhancerConfig& config,
                    const WeightFiles& weights, const EnhancerPlanRequest& request)
      : scope_(ledger_),
        ops_(ops.rehearsal(ledger_, kUnlimited, "")),
        weights_(ledger_, 0, weights.all()),
        model_(*ops_, weights_, config.model, config.tie_word_embeddings, request.quantization),
        request_(request) {}

  std::uint64_t copied_bytes() const { return ledger_.held().copies; }

  /// What is held at most: the keys and values of every token, the prefill, one more token.
  Ledger::Held run(const ResidencyPlan& residency) {
    ops_->release_cache();
    ops_->begin_stage({.bytes = kUnlimited, .streams_layers = residency.window_layers > 0});
    ops_->reset_peak_memory();
    ledger_.reset_peak();
    BookedResidency pages(ledger_, 0, residency);
    const ListeningScope listening(model_, pages);
    KvCache cache = model_.make_cache(request_.prompt_tokens + request_.new_tokens, request_.dtype);
    const std::vector<std::int32_t> ids(static_cast<std::size_t>(request_.prompt_tokens), 0);
    Tensor logits = model_.forward(ids, cache);
    // Each token more reads its row of the table.
    const std::int32_t token = 0;
    for (std::int64_t i = 2; i < request_.new_tokens; ++i)
      model_.embedding({&token, 1}, request_.dtype);
    if (request_.new_tokens > 1) logits = model_.forward({&token, 1}, cache);
    const auto device = ops_->device_memory();
    if (!device) return ledger_.peak();
    const std::uint64_t activations =
        std::min<std::uint64_t>(ops_->peak_memory_bytes(), device->peak_bytes);
    ops_->end_stage();
    return {activations, device->peak_bytes - activations, 0};
  }

 private:
  Ledger ledger_;
  HostRehearsal scope_;
  std::unique_ptr<Backend> ops_;
  BookedWeights weights_;
  LanguageModel model_;
  EnhancerPlanRequest request_;
};

/// Opens the weights, provided that a quantised copy of them would fit.
WeightFiles open_weights(const Backend& ops, const ModelFolder& folder,
                         const PromptEnhancerConfig& config, Quantization quantization,
                         std::uint64_t memory_limit_bytes, DType expanded) {
  WeightFiles weights(folder.weights("pe"), "model", Component::pe, expanded);
  if (quantization == Quantization::none) return weights;
  const EnhancerPlanRequest smallest{1, 1, DType::f32, quantization};
  require_fit(plan_enhancer(ops, config, weights, smallest, memory_limit_bytes), memory_of(ops));
  return weights;
}

/// Damaged weights would give a text of nothing but one token.
void require_finite(std::span<const float> logits) {
  if (std::ranges::all_of(logits, [](float logit) { return std::isfinite(logit); })) return;
  throw Error(ErrorKind::corrupt_file,
              "the prompt enhancer computes values that are not finite: its weights are damaged; "
              "run with --no-enhance");
}

/// Hands out text as it grows, holding back what a later token may still change: white space at the
/// end, and U+FFFD, as which an unfinished UTF-8 sequence shows.
class TextStream {
 public:
  TextStream(const Tokenizer& tokenizer, const EnhanceOptions& options)
      : tokenizer_(tokenizer), options_(options) {}

  void show(std::span<const std::int32_t> ids) {
    if (!options_.on_text) return;
    const std::string text = strip(tokenizer_.decode(ids, true));
    if (!text.ends_with("\xef\xbf\xbd")) emit(text);
  }

  void finish(std::span<const std::int32_t> ids) {
    if (options_.on_text) emit(strip(tokenizer_.decode(ids, true)));
  }

 private:
  void emit(const std::string& text) {
    if (text.size() > shown_) options_.on_text(text.substr(shown_));
    shown_ = std::max(shown_, text.size());
  }

  const Tokenizer& tokenizer_;
  const EnhanceOptions& options_;
  std::size_t shown_ = 0;
};

SamplingOptions sampling_options(const EnhanceOptions& options, std::int64_t default_top_k) {
  // The reference switches sampling off at these values rather than its filters.
  const bool greedy = options.temperature == 1 && options.top_p == 1;
  return {greedy ? 0 : options.temperature, options.top_k > 0 ? options.top_k : default_top_k,
          options.top_p};
}

/// Length in bytes of the white space character that `text` begins with, 0 if it begins with none.
std::size_t leading_space(std::string_view text) {
  // Python's str.isspace: ASCII, then U+0085, U+00A0, U+1680, U+2000..200A, U+2028, U+2029, U+202F,
  // U+205F, U+3000.
  constexpr std::string_view kAscii = "\t\n\v\f\r\x1c\x1d\x1e\x1f ";
  constexpr std::array<std::string_view, 19> kOthers = {
      "\xc2\x85",     "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81",
      "\xe2\x80\x82", "\xe2\x80\x83", "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86",
      "\xe2\x80\x87", "\xe2\x80\x88", "\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\xa8",
      "\xe2\x80\xa9", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80"};
  if (!text.empty() && kAscii.find(text.front()) != std::string_view::npos) return 1;
  const auto found = std::ranges::find_if(
      kOthers, [text](std::string_view space) { return text.starts_with(space); });
  return found == kOthers.end() ? 0 : found->size();
}

}  // namespace

std::string strip(const std::string& text) {
  std::string_view rest = text;
  while (const std::size_t space = leading_space(rest)) rest.remove_prefix(space);
  for (std::size_t end = rest.size(); end > 0;) {
    // The last character begins at the last byte that continues no sequence.
    std::size_t begin = end - 1;
    while (begin > 0 && (static_cast<unsigned char>(rest[begin]) & 0xc0) == 0x80) --begin;
    if (leading_space(rest.substr(begin, end - begin)) == 0) break;
    rest.remove_suffix(rest.size() - begin);
    end = begin;
  }
  return std::string(rest);
}

PromptEnhancerConfig PromptEnhancerConfig::read(const ModelFolder& folder) {
  const std::string part = folder.component("pe");
  const JsonReader reader = part_config(folder, Component::pe).reader;
  PromptEnhancerConfig config;
  config.model = MinistralConfig::read(reader);
  config.tie_word_embeddings = reader.boolean("tie_word_embeddings", false);
  config.eos_token_id =
      static_cast<std::int32_t>(reader.integer("eos_token_id", config.eos_token_id, 0, 1 << 30));
  const std::string generation = join_path(part, "generation_config.json");
  if (file_exists(generation))
    config.top_k = JsonReader::open(generation).integer("top_k", config.top_k, 0, 1 << 30);
  return config;
}

PromptEnhancer::PromptEnhancer(Backend& ops, const ModelFolder& folder, DType dtype,
                               Quantization quantization, std::uint64_t memory_limit_bytes)
    : ops_(ops),
      dtype_(dtype),
      quantization_(quantization),
      tokenizer_bytes_(tokenizer_memory_bytes(folder, "pe_tokenizer")),
      memory_limit_bytes_(total_memory_limit(memory_limit_bytes)),
      config_(PromptEnhancerConfig::read(require_enhancer(folder))),
      tokenizer_(Tokenizer::open(folder.component("pe_tokenizer"))),
      template_(
          ChatTemplate::open(join_path(folder.component("pe_tokenizer"), "chat_template.jinja"))),
      weights_(open_weights(ops, folder, config_, quantization, memory_limit_bytes_, dtype)),
      model_(ops, weights_, config_.model, config_.tie_word_embeddings, quantization) {
  weights_.require_complete();
}

MemoryPlan plan_enhancer(const Backend& ops, const PromptEnhancerConfig& config,
                         const WeightFiles& weights, const EnhancerPlanRequest& request,
                         std::uint64_t room_bytes) {
  EnhancerRehearsal rehearsal(ops, config, weights, request);
  StagePlan stage;
  stage.name = "pe";
  fit_layers(stage, rehearsal.copied_bytes() == 0 ? config.model.num_hidden_layers : 0, 0,
             room_bytes, [&](const ResidencyPlan& residency) { return rehearsal.run(residency); });
  if (ops.device_memory() && stage.streams()) stage.residency.resident_layers = 0;
  MemoryPlan plan;
  plan.limit_bytes = room_bytes;
  plan.stages = {std::move(stage)};
  drop_what_cannot_stay(plan);
  return plan;
}

MemoryPlan PromptEnhancer::plan(std::int64_t prompt_tokens, std::int64_t new_tokens) const {
  return plan_enhancer(ops_, config_, weights_, {prompt_tokens, new_tokens, dtype_, quantization_},
                       memory_limit_bytes_ - std::min(memory_limit_bytes_, tokenizer_bytes_));
}

std::string PromptEnhancer::render(const std::string& prompt, int width_px, int height_px,
                                   const EnhanceOptions& options) const {
  ChatTemplate chat = template_;
  if (!options.system_prompt.empty()) chat.set_system_text(options.system_prompt);
  const auto bos = tokenizer_.bos_id();
  const std::string bos_token = bos ? tokenizer_.decode(std::array{*bos}, false) : "";
  return chat.render(bos_token, enhancer_request(prompt, width_px, height_px));
}

std::int64_t PromptEnhancer::new_token_limit(std::int64_t prompt_tokens,
                                             const EnhanceOptions& options) const {
  // The reference runs past max_position_embeddings. Configs that state fewer positions than the
  // instructions alone take are test models that rely on that, so only larger numbers are a limit.
  constexpr std::int64_t kSmallestContext = 512;
  const std::int64_t context = std::max(config_.model.max_position_embeddings, kSmallestContext);
  if (prompt_tokens >= context) {
    throw Error(ErrorKind::invalid_argument,
                "the prompt has " + std::to_string(prompt_tokens) +
                    " tokens with the enhancer's instructions and fills its context of " +
                    std::to_string(context) + "; shorten it, or run without --enhance");
  }
  if (options.max_tokens < 1)
    throw Error(ErrorKind::invalid_argument, "the enhancer must be allowed at least 1 new token");
  const std::int64_t own_limit = tokenizer_.model_max_length().value_or(options.max_tokens);
  return std::min({std::int64_t{options.max_tokens}, own_limit, context - prompt_tokens});
}

EnhancedPrompt PromptEnhancer::enhance(const std::string& prompt, int width_px, int height_px,
                                       const EnhanceOptions& options) const {
  EnhancedPrompt result;
  result.rendered_prompt = render(prompt, width_px, height_px, options);
  const std::vector<std::int32_t> prompt_ids =
      tokenizer_.encode_untruncated(result.rendered_prompt);
  result.prompt_tokens = static_cast<int>(prompt_ids.size());
  const std::int64_t limit = new_token_limit(std::ssize(prompt_ids), options);

  const MemoryPlan memory = plan(std::ssize(prompt_ids), limit);
  require_fit(memory, memory_of(ops_));
  const StagePlan& stage = memory.stages.front();
  ops_.begin_stage({.bytes = memory_limit_bytes_,
                    .activation_bytes = stage.peak.activations,
                    .streams_layers = stage.streams()});
  WeightResidency residency(weights_, LanguageModel::kLayerPrefix, stage.residency);
  const ListeningScope listening(model_, residency);

  const auto prefill_start = std::chrono::steady_clock::now();
  KvCache cache = model_.make_cache(std::ssize(prompt_ids) + limit, dtype_);
  Tensor logits = model_.forward(prompt_ids, cache);
  result.prefill_seconds = seconds_since(prefill_start);

  const auto decode_start = std::chrono::steady_clock::now();
  TokenSampler sampler(sampling_options(options, config_.top_k), options.seed);
  TextStream stream(tokenizer_, options);
  std::vector<std::int32_t> ids;
  while (std::ssize(ids) < limit && !result.finished) {
    if (!ids.empty()) logits = model_.forward({&ids.back(), 1}, cache);
    require_finite(logits.span<float>());
    ids.push_back(sampler.next(logits.span<float>()));
    result.finished = ids.back() == config_.eos_token_id;
    stream.show(ids);
  }
  stream.finish(ids);
  result.decode_seconds = seconds_since(decode_start);
  result.text = strip(tokenizer_.decode(ids, true));
  result.memory = stage_memory(stage);
  result.memory.predicted_bytes += tokenizer_bytes_;
  result.ids.assign(ids.begin(), ids.end());
  return result;
}

}  // namespace ernie_image
