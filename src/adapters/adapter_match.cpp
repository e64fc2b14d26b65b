#include "adapters/adapter_match.h"

#include <array>
#include <cmath>

#include "adapters/weight_rows.h"
#include "ernie_image/error.h"
#include "io/json.h"

namespace ernie_image {
namespace {

constexpr std::size_t kMostNamed = 8;

/// Names of the text encoder's parts begin so in the programs that save them.
constexpr std::array<std::string_view, 5> kEncoderPrefixes = {
    "", "model.language_model.model.", "language_model.model.", "language_model.", "model."};

const Module* find_in_encoder(const ModuleTable& table, std::string_view name, bool is_flattened) {
  for (const std::string_view prefix : kEncoderPrefixes) {
    const std::string spelled = is_flattened ? flattened(prefix) : std::string(prefix);
    if (!name.starts_with(spelled)) continue;
    if (const Module* const module = table.find(name.substr(spelled.size()), is_flattened))
      return module;
  }
  return nullptr;
}

struct Found {
  const Module* transformer = nullptr;
  const Module* text_encoder = nullptr;
};

/// The modules that a key may mean, with the longest prefix that leads to one.
Found find_modules(const std::string& path, const AdapterTargets& targets) {
  for (const AdapterPrefix& prefix : prefixes_of(path)) {
    const std::string_view name = std::string_view(path).substr(prefix.text.size());
    Found found;
    if (prefix.component != AdapterComponent::text_encoder)
      found.transformer = targets.transformer.find(name, prefix.is_flattened);
    if (prefix.component != AdapterComponent::transformer)
      found.text_encoder = find_in_encoder(targets.text_encoder, name, prefix.is_flattened);
    if (found.transformer != nullptr || found.text_encoder != nullptr) return found;
  }
  return {};
}

/// A key, what it means, and where it may belong.
struct Candidate {
  std::string key;
  AdapterPart part;
  Found found;
};

/// Both components have layers.0.mlp.gate_proj: a file without prefixes is for the one that has
/// more of its modules.
bool is_for_encoder(const std::vector<Candidate>& candidates) {
  std::size_t transformer = 0, text_encoder = 0;
  for (const Candidate& candidate : candidates) {
    transformer += candidate.found.transformer != nullptr;
    text_encoder += candidate.found.text_encoder != nullptr;
  }
  return text_encoder > transformer;
}

[[noreturn]] void refuse(const AdapterFile& file, const std::string& problem) {
  throw Error(ErrorKind::corrupt_file, file.path().weights + ": " + problem);
}

void check_values(const AdapterFile& file, const Weight& weight) {
  if (weight.format != WeightFormat::plain)
    refuse(file, printable(weight.name) + " is packed, which factors of adapters never are");
  const Tensor values = weight_values(weight);
  for (const float value : values.span<float>()) {
    if (!std::isfinite(value))
      refuse(file, printable(weight.name) +
                       " holds a value that is not finite; the file is damaged, or its training "
                       "has failed");
  }
}

using PartsOfModules = std::map<const Module*, AdapterModule::Parts>;

void add_part(const AdapterFile& file, const Module* module, const Candidate& candidate,
              PartsOfModules& modules) {
  Weight weight = file.tensors().weight(candidate.key);
  check_values(file, weight);
  auto& parts = modules[module];
  const auto [other, is_new] = parts.emplace(candidate.part, weight);
  if (!is_new)
    refuse(file, printable(other->second.name) + " and " + printable(candidate.key) +
                     " are the same factor of " + module->name + ", expected one");
}

/// A scale of nothing is of no use.
bool is_alpha_alone(const AdapterModule::Parts& parts) {
  return parts.size() == 1 && parts.begin()->first == AdapterPart::alpha;
}

std::map<std::string, AdapterModule> build(const AdapterFile& file, PartsOfModules& modules,
                                           const std::string& component, AdapterMatch& match) {
  std::map<std::string, AdapterModule> built;
  for (auto& [module, parts] : modules) {
    if (is_alpha_alone(parts)) {
      match.unmatched.push_back(parts.begin()->second.name);
      continue;
    }
    built.emplace(module->name, AdapterModule(file.path().weights, *module, std::move(parts),
                                              file.config(component), file.is_peft()));
  }
  return built;
}

}  // namespace

std::string listed_keys(const std::vector<std::string>& keys, std::size_t most) {
  std::string text;
  for (std::size_t i = 0; i < std::min(most, keys.size()); ++i)
    text += (i == 0 ? "" : ", ") + printable(keys[i]);
  if (keys.size() > most) text += " and " + std::to_string(keys.size() - most) + " more";
  return text;
}

AdapterMatch match_adapter(const AdapterFile& file, const AdapterTargets& targets) {
  AdapterMatch match;
  std::vector<Candidate> candidates;
  for (const std::string& key : file.tensors().names()) {
    ++match.keys;
    const auto parsed = parse_adapter_key(key);
    const Found found = parsed ? find_modules(parsed->path, targets) : Found();
    if (found.transformer == nullptr && found.text_encoder == nullptr) {
      match.unmatched.push_back(key);
    } else {
      candidates.push_back({key, parsed->part, found});
    }
  }
  const bool prefers_encoder = is_for_encoder(candidates);
  PartsOfModules transformer, text_encoder;
  for (const Candidate& candidate : candidates) {
    const auto [in_transformer, in_encoder] = candidate.found;
    const bool is_encoder = in_encoder != nullptr && (prefers_encoder || in_transformer == nullptr);
    add_part(file, is_encoder ? in_encoder : in_transformer, candidate,
             is_encoder ? text_encoder : transformer);
  }
  match.transformer = build(file, transformer, "transformer", match);
  match.text_encoder = build(file, text_encoder, "text_encoder", match);
  if (match.transformer.empty() && match.text_encoder.empty()) {
    refuse(file, "none of its " + std::to_string(match.keys) +
                     " tensors belongs to a module of this model; the adapter was made for another "
                     "one. It has " +
                     listed_keys(match.unmatched, kMostNamed));
  }
  return match;
}

}  // namespace ernie_image
