#include "commands/lora_tools.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "adapters/weight_rows.h"
#include "backend/registry.h"
#include "io/json.h"
#include "pipeline/adapter_targets.h"

namespace ernie_image {
namespace {

using Kind = AdapterModule::Kind;
using Part = AdapterPart;

const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::low_rank:
      return "LoRA";
    case Kind::kronecker:
      return "LoKr";
    case Kind::hadamard:
      return "LoHa";
    case Kind::full:
      return "difference";
    case Kind::table:
      return "embedding";
    default:
      return "bias";
  }
}

std::string kind_text(const AdapterModule& module) {
  std::string name = name_of(module.kind());
  if (module.norm() == AdapterModule::Norm::rows) return name + " with DoRA by rows";
  if (module.norm() == AdapterModule::Norm::columns) return name + " with DoRA by columns";
  return name;
}

/// D of a module, f32.
Tensor dense_difference(const AdapterModule& module) {
  Tensor difference = Tensor::host(DType::f32, module.module().shape);
  const std::int64_t width = difference.dim(1);
  for_each_row_block(difference.dim(0), [&](std::int64_t begin, std::int64_t count) {
    module.difference_rows(begin, count, nullptr, difference.data<float>() + begin * width);
  });
  return difference;
}

WrittenModule resized(const AdapterModule& module, std::int64_t rank, double& least_kept) {
  const bool is_low_rank = module.kind() == Kind::low_rank;
  if (is_low_rank && module.rank() <= rank) return written_module(module);
  const bool has_matrix = is_low_rank || module.kind() == Kind::kronecker ||
                          module.kind() == Kind::hadamard ||
                          (module.kind() == Kind::full && module.part(Part::difference) != nullptr);
  if (!has_matrix || module.module().kind != Module::Kind::linear) {
    throw Error(ErrorKind::unsupported,
                module.module().name + ": " + kind_text(module) +
                    " cannot be resized; LoRA, LoKr, LoHa and differences of linear layers can");
  }
  const LowRankMatrix low = is_low_rank
                                ? low_rank_of_product(weight_values(*module.part(Part::up)),
                                                      weight_values(*module.part(Part::down)), rank)
                                : low_rank_of(dense_difference(module), rank);
  least_kept = std::min(least_kept, low.kept);
  WrittenModule written{module.module().name,
                        {{Part::down, low.down}, {Part::up, low.up}},
                        module.scale(),
                        low.down.dim(0),
                        true};
  for (const Part kept : {Part::magnitude, Part::up_bias, Part::bias_difference}) {
    if (module.part(kept) != nullptr)
      written.parts.emplace_back(kept, weight_values(*module.part(kept)));
  }
  return written;
}

std::vector<WrittenModule> all_resized(const std::map<std::string, AdapterModule>& modules,
                                       std::int64_t rank, double& least_kept) {
  std::vector<WrittenModule> written;
  for (const auto& [name, module] : modules) {
    if (module.module().kind != Module::Kind::idle)
      written.push_back(resized(module, rank, least_kept));
  }
  return written;
}

/// tuned - base of one weight; nothing if they are equal.
std::optional<Tensor> difference_of(const Weight& base, const Weight& tuned) {
  Tensor difference = weight_values(tuned);
  const Tensor before = weight_values(base);
  bool is_equal = true;
  for (std::int64_t i = 0; i < difference.size(); ++i) {
    float& value = difference.data<float>()[i];
    value -= before.data<float>()[i];
    is_equal &= value == 0;
  }
  if (is_equal) return std::nullopt;
  return difference;
}

void extract_component(const ModuleTable& table, const std::string& base_prefix,
                       const std::string& tuned_prefix, WeightFiles& base, WeightFiles& tuned,
                       std::int64_t rank, std::vector<WrittenModule>& target, double& least_kept) {
  for (const auto& [name, module] : table.modules()) {
    if (module.kind != Module::Kind::linear) continue;
    const Weight before = base.get(base_prefix + name + ".weight", module.shape);
    const Weight after = tuned.get(tuned_prefix + name + ".weight", module.shape);
    base.require_complete();
    tuned.require_complete();
    for (const Weight* weight : {&before, &after}) {
      if (weight->format == WeightFormat::plain) continue;
      throw Error(ErrorKind::unsupported,
                  weight->name + " is quantised; extract from models that are not");
    }
    const auto difference = difference_of(before, after);
    base.release_pages(before);
    tuned.release_pages(after);
    if (!difference) continue;
    const LowRankMatrix low = low_rank_of(*difference, rank);
    least_kept = std::min(least_kept, low.kept);
    target.push_back(
        {name, {{Part::down, low.down}, {Part::up, low.up}}, 1, low.down.dim(0), true});
  }
}

}  // namespace

LoraModel::LoraModel(const std::string& name, const ModelParts& parts)
    : backend(make_backend({})),
      model(*backend, resolve_model(name, parts), Quantization::none),
      targets(adapter_targets(model)) {}

nlohmann::json lora_info(const AdapterFile& file, const AdapterMatch& match) {
  std::map<std::string, int> kinds;
  std::map<std::int64_t, int> ranks;
  std::map<double, int> scales;
  std::set<std::string> types;
  for (const auto* modules : {&match.transformer, &match.text_encoder}) {
    for (const auto& [name, module] : *modules) {
      ++kinds[kind_text(module)];
      if (module.rank() > 0) ++ranks[module.rank()];
      ++scales[module.scale()];
      for (const auto& [part, weight] : module.parts())
        types.insert(std::string(dtype_name(weight.dtype)));
    }
  }
  nlohmann::json rank_list = nlohmann::json::array(), scale_list = nlohmann::json::array();
  for (const auto& [rank, count] : ranks) rank_list.push_back({{"rank", rank}, {"modules", count}});
  for (const auto& [scale, count] : scales)
    scale_list.push_back({{"scale", scale}, {"modules", count}});
  return {{"name", file.path().name},
          {"file", file.path().weights},
          {"sha256", file.content_hash()},
          {"keys", match.keys},
          {"used_keys", match.used_keys()},
          {"unused_keys", match.unmatched},
          {"transformer_modules", match.transformer.size()},
          {"text_encoder_modules", match.text_encoder.size()},
          {"kinds", kinds},
          {"ranks", rank_list},
          {"scales", scale_list},
          {"types", types},
          {"bytes", file.tensors().file().bytes.size()},
          {"metadata", file.tensors().metadata()}};
}

ResizedLora resize_lora(const AdapterMatch& match, std::int64_t rank) {
  ResizedLora result;
  result.transformer = all_resized(match.transformer, rank, result.least_kept);
  result.text_encoder = all_resized(match.text_encoder, rank, result.least_kept);
  return result;
}

ResizedLora extract_lora(LoraModel& base, LoraModel& tuned, std::int64_t rank) {
  ResizedLora result;
  extract_component(base.targets.transformer, "", "", base.model.weights.transformer,
                    tuned.model.weights.transformer, rank, result.transformer, result.least_kept);
  extract_component(
      base.targets.text_encoder, TextEncoder::name_prefix(base.model.weights.text_encoder),
      TextEncoder::name_prefix(tuned.model.weights.text_encoder), base.model.weights.text_encoder,
      tuned.model.weights.text_encoder, rank, result.text_encoder, result.least_kept);
  if (result.transformer.empty() && result.text_encoder.empty()) {
    throw Error(ErrorKind::invalid_argument,
                "the linear layers of both models have the same weights; there is nothing to "
                "extract");
  }
  return result;
}

}  // namespace ernie_image
