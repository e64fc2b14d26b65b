#include "adapters/adapter_key.h"

#include <algorithm>
#include <array>

namespace ernie_image {
namespace {

struct Suffix {
  std::string_view text;
  AdapterPart part;
};

constexpr std::array kSuffixes = {
    Suffix{".lora_A.weight", AdapterPart::down},
    Suffix{".lora_A.default.weight", AdapterPart::down},
    Suffix{".lora_A", AdapterPart::down},
    Suffix{".lora_down.weight", AdapterPart::down},
    Suffix{".lora.down.weight", AdapterPart::down},
    Suffix{"_lora.down.weight", AdapterPart::down},
    Suffix{".lora_linear_layer.down.weight", AdapterPart::down},
    Suffix{".lora_B.weight", AdapterPart::up},
    Suffix{".lora_B.default.weight", AdapterPart::up},
    Suffix{".lora_B", AdapterPart::up},
    Suffix{".lora_up.weight", AdapterPart::up},
    Suffix{".lora.up.weight", AdapterPart::up},
    Suffix{"_lora.up.weight", AdapterPart::up},
    Suffix{".lora_linear_layer.up.weight", AdapterPart::up},
    Suffix{".lora_B.bias", AdapterPart::up_bias},
    Suffix{".lora_B.default.bias", AdapterPart::up_bias},
    Suffix{".lora_up.bias", AdapterPart::up_bias},
    Suffix{".alpha", AdapterPart::alpha},
    Suffix{".dora_scale", AdapterPart::magnitude},
    Suffix{".lora_magnitude_vector", AdapterPart::magnitude},
    Suffix{".lora_magnitude_vector.weight", AdapterPart::magnitude},
    Suffix{".lora_magnitude_vector.default.weight", AdapterPart::magnitude},
    Suffix{".magnitude", AdapterPart::magnitude},
    Suffix{".lora_embedding_A", AdapterPart::embedding_down},
    Suffix{".lora_embedding_A.default", AdapterPart::embedding_down},
    Suffix{".lora_embedding_B", AdapterPart::embedding_up},
    Suffix{".lora_embedding_B.default", AdapterPart::embedding_up},
    Suffix{".lokr_w1", AdapterPart::kron_1},
    Suffix{".lokr_w1_a", AdapterPart::kron_1_a},
    Suffix{".lokr_w1_b", AdapterPart::kron_1_b},
    Suffix{".lokr_w2", AdapterPart::kron_2},
    Suffix{".lokr_w2_a", AdapterPart::kron_2_a},
    Suffix{".lokr_w2_b", AdapterPart::kron_2_b},
    Suffix{".lokr_t2", AdapterPart::tucker},
    Suffix{".hada_w1_a", AdapterPart::hada_1_a},
    Suffix{".hada_w1_b", AdapterPart::hada_1_b},
    Suffix{".hada_w2_a", AdapterPart::hada_2_a},
    Suffix{".hada_w2_b", AdapterPart::hada_2_b},
    Suffix{".hada_t1", AdapterPart::tucker},
    Suffix{".hada_t2", AdapterPart::tucker},
    Suffix{".lora_mid.weight", AdapterPart::tucker},
    Suffix{".diff", AdapterPart::difference},
    Suffix{".diff_b", AdapterPart::bias_difference},
    Suffix{".set_weight", AdapterPart::replacement},
    Suffix{".w_norm", AdapterPart::difference},
    Suffix{".b_norm", AdapterPart::bias_difference},
};

constexpr std::array kPrefixes = {
    AdapterPrefix{"model.diffusion_model.", false, AdapterComponent::transformer},
    AdapterPrefix{"diffusion_model.", false, AdapterComponent::transformer},
    AdapterPrefix{"transformer.", false, AdapterComponent::transformer},
    AdapterPrefix{"text_encoder.", false, AdapterComponent::text_encoder},
    AdapterPrefix{"base_model.model.", false, AdapterComponent::any},
    AdapterPrefix{"lora_transformer_", true, AdapterComponent::transformer},
    AdapterPrefix{"lora_unet_", true, AdapterComponent::transformer},
    AdapterPrefix{"lora_te_", true, AdapterComponent::text_encoder},
    AdapterPrefix{"lycoris_", true, AdapterComponent::any},
};

}  // namespace

std::optional<AdapterKey> parse_adapter_key(std::string_view key) {
  const Suffix* longest = nullptr;
  for (const Suffix& suffix : kSuffixes) {
    const bool fits = key.size() > suffix.text.size() && key.ends_with(suffix.text);
    if (fits && (longest == nullptr || suffix.text.size() > longest->text.size()))
      longest = &suffix;
  }
  if (longest == nullptr) return std::nullopt;
  return AdapterKey{std::string(key.substr(0, key.size() - longest->text.size())), longest->part};
}

std::vector<AdapterPrefix> prefixes_of(std::string_view path) {
  std::vector<AdapterPrefix> found;
  for (const AdapterPrefix& prefix : kPrefixes) {
    if (path.starts_with(prefix.text)) found.push_back(prefix);
  }
  std::ranges::stable_sort(found, std::greater(),
                           [](const AdapterPrefix& prefix) { return prefix.text.size(); });
  found.push_back({"", false, AdapterComponent::any});
  return found;
}

}  // namespace ernie_image
