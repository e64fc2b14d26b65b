#include "pipeline/adapter_targets.h"

namespace ernie_image {

AdapterTargets adapter_targets(Model& model) {
  AdapterTargets targets;
  model.transformer.visit(targets.transformer);
  model.text_encoder.visit(targets.text_encoder);
  // The encoder's last layer is in its file and not computed: adapters may have been trained on it.
  const WeightFiles& files = model.weights.text_encoder;
  const std::string prefix = TextEncoder::name_prefix(files);
  constexpr std::string_view kWeight = ".weight";
  for (const Weight& weight : files.all()) {
    if (!weight.name.starts_with(prefix) || !weight.name.ends_with(kWeight)) continue;
    const std::size_t length = weight.name.size() - prefix.size() - kWeight.size();
    targets.text_encoder.add(
        {weight.name.substr(prefix.size(), length), Module::Kind::idle, weight.shape, false});
  }
  return targets;
}

}  // namespace ernie_image
