// The language model that rewrites a prompt before it is drawn: the model folder's pe and
// pe_tokenizer. Reference: diffusers pipeline_ernie_image.py, _enhance_prompt_with_pe.
#pragma once

#include <string>

#include "backend/backend.h"
#include "enhance/token_sampler.h"
#include "ernie_image/enhance.h"
#include "io/model_folder.h"
#include "io/weight_files.h"
#include "memory/memory_plan.h"
#include "models/language_model.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace ernie_image {

/// pe/config.json and pe/generation_config.json, without the weights.
struct PromptEnhancerConfig {
  MinistralConfig model;
  bool tie_word_embeddings = false;
  std::int32_t eos_token_id = 2;
  std::int64_t top_k = 50;

  static PromptEnhancerConfig read(const ModelFolder& folder);
};

/// How many tokens it has to hold; as many as the released model is asked for where no prompt is
/// known yet.
struct EnhancerPlanRequest {
  std::int64_t prompt_tokens = 512;
  std::int64_t new_tokens = 2048;
  DType dtype = DType::f32;
  Quantization quantization = Quantization::none;
};

/// Its one stage, within `room_bytes` of the host's memory or of the device's own.
MemoryPlan plan_enhancer(const Backend& ops, const PromptEnhancerConfig& config,
                         const WeightFiles& weights, const EnhancerPlanRequest& request,
                         std::uint64_t room_bytes);

/// Made for one or a few prompts and dropped again: it holds the mapped weights of a 3B model.
class PromptEnhancer {
 public:
  /// `memory_limit_bytes`, for this alone; 0: what is free. Throws Error(not_found) if the folder
  /// has no enhancer, Error(out_of_memory).
  PromptEnhancer(Backend& ops, const ModelFolder& folder, DType dtype,
                 Quantization quantization = Quantization::none,
                 std::uint64_t memory_limit_bytes = 0);
  ~PromptEnhancer() { weights_.release_pages(); }
  PromptEnhancer(const PromptEnhancer&) = delete;
  PromptEnhancer& operator=(const PromptEnhancer&) = delete;

  /// Throws Error(invalid_argument) for a prompt that leaves no room in the context,
  /// Error(out_of_memory | cancelled).
  EnhancedPrompt enhance(const std::string& prompt, int width_px, int height_px,
                         const EnhanceOptions& options) const;

  /// What a prompt of so many tokens takes.
  MemoryPlan plan(std::int64_t prompt_tokens, std::int64_t new_tokens) const;

  const LanguageModel& model() const { return model_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }

 private:
  std::string render(const std::string& prompt, int width_px, int height_px,
                     const EnhanceOptions& options) const;
  std::int64_t new_token_limit(std::int64_t prompt_tokens, const EnhanceOptions& options) const;

  Backend& ops_;
  DType dtype_;
  Quantization quantization_;
  std::uint64_t tokenizer_bytes_;
  std::uint64_t memory_limit_bytes_;
  PromptEnhancerConfig config_;
  Tokenizer tokenizer_;
  ChatTemplate template_;
  WeightFiles weights_;
  mutable LanguageModel model_;  // is told who listens, which changes nothing that it computes
};

/// Without Unicode white space at both ends, as Python's str.strip.
std::string strip(const std::string& text);

}  // namespace ernie_image
