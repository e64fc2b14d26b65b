#include "c_api/result_json.h"

#include <numeric>

#include <nlohmann/json.hpp>

#include "tokenizer/utf8.h"

namespace ernie_image::c_api {

using nlohmann::json;

std::string result_json(const Result& result, const Request& request) {
  const Timings& timings = result.timings;
  json stages = json::array(), adapters = json::array();
  for (const StageMemory& stage : result.memory) {
    stages.push_back({{"name", stage.stage},
                      {"predicted_bytes", stage.predicted_bytes},
                      {"measured_bytes", stage.measured_bytes},
                      {"layers", stage.layers},
                      {"streamed_layers", stage.streamed_layers}});
  }
  for (std::size_t i = 0; i < result.adapters.size(); ++i) {
    const AdapterUse& use = result.adapters[i];
    json unused = json::array();
    for (const std::string& key : use.unused_keys) unused.push_back(replace_invalid_utf8(key));
    adapters.push_back({{"name", replace_invalid_utf8(use.name)},
                        {"path", replace_invalid_utf8(request.adapters[i].path)},
                        {"sha256", use.sha256},
                        {"strength", use.strength},
                        {"keys", use.keys},
                        {"used_keys", use.used_keys},
                        {"unused_keys", unused}});
  }
  const json report = {
      {"seconds",
       {{"text_encoder", timings.text_encoder_seconds},
        {"transformer",
         std::accumulate(timings.step_seconds.begin(), timings.step_seconds.end(), 0.0)},
        {"steps", timings.step_seconds},
        {"vae_decoder", timings.vae_decoder_seconds}}},
      {"memory", {{"stages", stages}, {"peak_activation_bytes", result.peak_activation_bytes}}},
      {"prompt_tokens", result.prompt_tokens},
      {"seeds", request.seeds},
      {"adapters", adapters}};
  return report.dump();
}

}  // namespace ernie_image::c_api
