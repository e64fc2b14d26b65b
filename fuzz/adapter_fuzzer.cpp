// Adapters: whatever is accepted can be computed to its last number. Inputs are safetensors files;
// one that begins with "{" is PEFT's configuration.
#include <algorithm>
#include <string_view>
#include <vector>

#include "adapters/adapter_config.h"
#include "adapters/adapter_match.h"
#include "ernie_image/error.h"
#include "memory_file.h"

namespace ernie_image {
namespace {

/// As tests/data/reference/models/tiny_b has them, and small ones, of which many can be tried.
AdapterTargets make_targets() {
  using Kind = Module::Kind;
  AdapterTargets targets;
  const auto add = [&](const std::string& name, std::int64_t outputs, std::int64_t inputs) {
    targets.transformer.add({name, Kind::linear, {outputs, inputs}, false});
  };
  for (const std::string layer : {"layers.0.", "layers.1."}) {
    for (const char* name : {"to_q", "to_k", "to_v", "to_out.0"})
      add(layer + "self_attention." + name, 96, 96);
    add(layer + "mlp.gate_proj", 224, 96);
    add(layer + "mlp.up_proj", 224, 96);
    add(layer + "mlp.linear_fc2", 96, 224);
    targets.transformer.add({layer + "adaLN_sa_ln", Kind::vector, {96}, false});
  }
  add("small.0", 6, 4);
  add("small.square", 4, 4);
  targets.transformer.add({"small.norm", Kind::vector, {4}, false});
  targets.text_encoder.add({"small.table", Kind::embedding, {8, 4}, false});
  targets.text_encoder.add({"layers.0.self_attn.q_proj", Kind::linear, {64, 96}, false});
  targets.text_encoder.add({"embed_tokens", Kind::embedding, {64, 96}, false});
  targets.text_encoder.add({"layers.5.mlp.up_proj", Kind::idle, {}, false});
  return targets;
}

void compute(const AdapterModule& module) {
  const Shape& shape = module.module().shape;
  if (module.module().kind == Module::Kind::idle) return;
  const Tensor base = Tensor::host(DType::f32, shape);
  for (float& value : base.span<float>()) value = 0.5f;
  const Weight weight{"base", DType::f32, shape, base.bytes(), nullptr};
  std::vector<float> gains;
  if (module.norm() != AdapterModule::Norm::none) gains = module.gains(weight);
  const Tensor sum = Tensor::host(DType::f32, shape);
  if (module.changes_weight())
    module.add_rows(0.5, gains, 0, shape[0], base.data<float>(), sum.data<float>());
  if (module.module().kind == Module::Kind::linear) {
    std::vector<float> bias(static_cast<std::size_t>(shape[0]));
    module.add_to_bias(0.5, bias.data());
  }
  if (module.kind() == AdapterModule::Kind::kronecker) kronecker_factors(module);
}

void read_config(std::string_view json) {
  const AdapterConfig config = AdapterConfig::parse(json, "config");
  for (const char* name : {"layers.0.self_attention.to_q", "layers.11.mlp.up_proj"}) {
    config.alpha(name);
    config.rank(name);
  }
  AdapterConfig::parse_metadata(json, "transformer", "config");
}

}  // namespace
}  // namespace ernie_image

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ernie_image;
  static const AdapterTargets targets = make_targets();
  try {
    if (size > 0 && data[0] == '{') {
      read_config({reinterpret_cast<const char*>(data), size});
      return 0;
    }
    const MemoryFile input(data, size);
    const AdapterFile file = AdapterFile::open(input.path());
    const AdapterMatch match = match_adapter(file, targets);
    for (const auto* modules : {&match.transformer, &match.text_encoder}) {
      for (const auto& [name, module] : *modules) compute(module);
    }
  } catch (const Error&) {
  }
  return 0;
}
