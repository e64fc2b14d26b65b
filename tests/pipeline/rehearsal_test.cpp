// A rehearsal holds what the run holds: to the byte in the books of the pool, and within what the
// system adds to them for the whole process (tests/memory/plan_table.py has the large table).
#include "pipeline/rehearsal.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <tuple>

#include "backend/cpu/cpu_backend.h"
#include "core/ledger.h"
#include "io/model_folder.h"
#include "io/test_files.h"
#include "memory/rehearsal.h"
#include "pipeline/generation.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

constexpr std::uint64_t kPlanMiB = std::uint64_t{1} << 20;

/// Height, width, pictures, precision, quantisation.
using Case = std::tuple<int, int, int, Precision, Quantization>;

/// The most that each stage used of the pool.
std::vector<std::size_t> pool_peaks(const Case& run, Backend& ops,
                                    WeightSource& text_encoder_weights,
                                    WeightSource& transformer_weights, WeightSource& vae_weights,
                                    const ModelConfigs& configs, const DecodeBands& bands) {
  const auto& [height, width, images, precision, quantization] = run;
  const TextEncoder text_encoder(ops, text_encoder_weights, configs.text_encoder);
  const Transformer transformer(ops, transformer_weights, configs.transformer, quantization);
  const VaeDecoder vae(ops, vae_weights, configs.vae);
  PlanRequest planned;
  planned.height_px = height;
  planned.width_px = width;
  planned.images = images;
  planned.guided = images == 3;
  planned.text_tokens = 11;
  planned.begins_with_picture = vae_weights.contains("encoder.conv_in.weight");
  planned.has_mask = planned.begins_with_picture && images == 3;
  ResolvedRequest plan = generation_of(planned, configs);
  plan.sigmas.erase(plan.sigmas.begin(), plan.sigmas.end() - 3);
  plan.guidance_scale = 4;
  Request request;
  request.seeds = {1};
  request.num_images_per_prompt = images;
  request.picture.image.rgb.resize(static_cast<std::size_t>(3 * height * width));
  request.picture.mask.resize(static_cast<std::size_t>(height * width));
  Generation generation({ops, configs, text_encoder, transformer, vae, vae_weights, ""}, request,
                        plan, precision);
  std::vector<std::size_t> peaks;
  const auto stage = [&](auto work) {
    ops.release_cache();
    ops.reset_peak_memory();
    work();
    peaks.push_back(ops.peak_memory_bytes());
  };
  TextCache cache;
  Timings timings;
  if (plan.uses_picture) stage([&] { generation.encode_picture(bands.band_bytes); });
  stage([&] { generation.encode(cache); });
  stage([&] {
    generation.prepare();
    generation.denoise(timings);
  });
  stage([&] { generation.decode(1, bands); });
  return peaks;
}

void expect_rehearsed(const Case& run, const ModelFolder& folder) {
  const ModelConfigs configs = ModelConfigs::read(folder);
  ModelWeights weights(folder);
  const auto ops = make_cpu_backend({.num_threads = 2, .kernels = "auto"});
  for (const DecodeBands& bands :
       {DecodeBands{}, DecodeBands{.band_bytes = 1 << 14, .whole_blocks = 2, .strip_rows = 100}}) {
    const auto real = pool_peaks(run, *ops, weights.text_encoder, weights.transformer, weights.vae,
                                 configs, bands);
    Ledger ledger;
    const HostRehearsal scope(ledger);
    const auto rehearsing = ops->rehearsal(ledger, 0, "");
    BookedWeights text_encoder(ledger, 0, weights.text_encoder.all());
    BookedWeights transformer(ledger, 1, weights.transformer.all());
    BookedWeights vae(ledger, 2, weights.vae.all());
    EXPECT_EQ(pool_peaks(run, *rehearsing, text_encoder, transformer, vae, configs, bands), real);
  }
}

class Rehearsal : public ::testing::TestWithParam<Case> {};

TEST_P(Rehearsal, UsesThePoolAsTheRunDoes) {
  expect_rehearsed(GetParam(), resolve_model(golden::data_path("reference/models/tiny_a")));
}

INSTANTIATE_TEST_SUITE_P(Sizes, Rehearsal,
                         ::testing::Combine(::testing::Values(64), ::testing::Values(64, 208),
                                            ::testing::Values(1, 3),
                                            ::testing::Values(Precision::fp32, Precision::bf16),
                                            ::testing::Values(Quantization::none,
                                                              Quantization::int8,
                                                              Quantization::int4)));

/// Rows of such weights are decoded into memory of the pool, or packed.
TEST(RehearsedFormats, UseThePoolAsTheRunDoes) {
  for (const char* file : {"gguf/q4_0", "quant/bnb_nf4", "quant/comfy_fp8", "gguf/text_encoder"}) {
    SCOPED_TRACE(file);
    ModelParts parts;
    const bool encoder = std::string(file).ends_with("text_encoder");
    const std::string folder = golden::data_path(std::string("formats/") + file);
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      const std::string name = entry.path().filename();
      if (name.ends_with(".gguf") ||
          (name.ends_with(".safetensors") && name != "expected.safetensors"))
        (encoder ? parts.text_encoder : parts.transformer) = entry.path();
    }
    const ModelFolder model = resolve_model(golden::data_path("reference/models/tiny_b"), parts);
    for (const Quantization quantization : {Quantization::none, Quantization::int4})
      expect_rehearsed({64, 64, 1, Precision::bf16, quantization}, model);
  }
}

/// Layers come and go as WeightResidency lets them: with two at a time much less is mapped.
TEST(RehearsedLayers, ComeAndGo) {
  Ledger ledger;
  BookedWeights weights(ledger, 0, {});
  for (int layer = 0; layer < 10; ++layer) {
    const Weight weight = weights.get("w" + std::to_string(layer), {50});
    ledger.assign_layer(weight.data, layer);
  }
  const auto mapped = [&](std::int64_t resident, std::int64_t window) {
    ledger.reset_peak();
    ResidencyPlan plan;
    plan.layers = 10;
    plan.resident_layers = resident;
    plan.window_layers = window;
    BookedResidency residency(ledger, 0, plan);
    for (int step = 0; step < 2; ++step) {
      for (int layer = 0; layer < 10; ++layer) residency.before_layer(layer);
    }
    return ledger.peak().weights;
  };
  EXPECT_EQ(mapped(10, 0), 1000u);
  EXPECT_EQ(mapped(0, 1), 100u);
  EXPECT_EQ(mapped(0, 2), 200u);
  EXPECT_EQ(mapped(5, 2), 700u);
  EXPECT_EQ(ledger.held().weights, 0u);
}

/// What the embedded model needs at sizes where its decoder alone counts, each within its limit or
/// refused with what works.
TEST(EmbeddedPlan, IsKeptOrSaysWhatWorks) {
  const ModelFolder folder = resolve_model(kEmbeddedModel);
  const ModelConfigs configs = ModelConfigs::read(folder);
  const ModelWeights weights(folder);
  const auto ops = make_cpu_backend({.num_threads = 2, .kernels = "auto"});
  for (const auto& [side, images, limit] : {std::tuple{1536, 1, 400 * kPlanMiB},
                                            {1024, 1, 270 * kPlanMiB},
                                            {512, 3, 90 * kPlanMiB},
                                            {512, 1, 60 * kPlanMiB}}) {
    PlanRequest request;
    request.height_px = request.width_px = side;
    request.images = images;
    const GenerationRehearsal rehearsal(*ops, configs, weights, generation_of(request, configs),
                                        Precision::fp32, Quantization::none);
    const MemoryPlan plan = rehearsal.on_host(limit);
    if (plan.peak_bytes() <= limit) {
      EXPECT_NO_THROW(require_fit(plan)) << side;
    } else {
      EXPECT_THROW(require_fit(plan), Error) << side;
      EXPECT_NO_THROW(require_fit(rehearsal.on_host(plan.least_bytes()))) << side;
      EXPECT_THROW(require_fit(rehearsal.on_host(plan.least_bytes() - 1)), Error) << side;
    }
  }
}

/// Names and sizes of the released model; the files are holes.
class ReleasedPlan : public test::TemporaryFolder {};

TEST_F(ReleasedPlan, TakesMilliseconds) {
  const std::string root = golden::data_path("../..");
  const std::string command =
      "/usr/bin/python3 '" + root + "/tools/make_random_model.py' --sparse" + " --tokenizer '" +
      root + "/models/emoji-tiny/tokenizer' --output '" + folder_ + "' 2>/dev/null";
  if (std::system(command.c_str()) != 0)
    GTEST_SKIP() << "needs python3-numpy, and files with holes";
  const ModelFolder folder = resolve_model(folder_);
  const ModelConfigs configs = ModelConfigs::read(folder);
  const ModelWeights weights(folder);
  const auto ops = make_cpu_backend({.num_threads = 2, .kernels = "auto"});
  PlanRequest request;
  request.height_px = request.width_px = 1024;
  const GenerationRehearsal rehearsal(*ops, configs, weights, generation_of(request, configs),
                                      Precision::bf16, Quantization::none);
  double best = 1e9;  // of processor time: others may be at work
  for (int round = 0; round < 5; ++round) {
    const std::clock_t start = std::clock();
    EXPECT_GT(rehearsal.on_host(std::uint64_t{1} << 50).peak_bytes(), kPlanMiB);
    best = std::min(best, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC);
  }
  RecordProperty("milliseconds", std::to_string(best * 1000));
  std::printf("a rehearsal of the released model: %.1f ms\n", best * 1000);
  EXPECT_LT(best, 0.5);  // 20 ms on an idle machine
}

}  // namespace
}  // namespace ernie_image
