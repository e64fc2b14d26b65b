// The VAE decoder in bands of rows, and the memory that it needs.
#include <gtest/gtest.h>

#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "core/ledger.h"
#include "memory/rehearsal.h"
#include "models/vae_decoder.h"
#include "support/formula_weights.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

class VaeBands : public ::testing::Test {
 protected:
  // One layer a block keeps the released widths affordable.
  VaeBands() : case_(golden::data_path("reference/realwidth/vae_512")) {
    config_ = VaeConfig::read(
        *JsonReader::open(golden::data_path("reference/realwidth/vae_512/case.json"))
             .object("config"));
    config_.layers_per_block = 0;
  }

  VaeDecoder decoder() {
    golden::FormulaWeights weights(case_.json["weight_table"]);
    return VaeDecoder(*ops_, weights, config_);
  }

  Tensor latents(std::int64_t batch, std::int64_t h, std::int64_t w) const {
    return to_float(
        golden::formula_tensor("latents", {batch, 2 * h, 2 * w, config_.latent_channels}, 1.0f));
  }

  golden::Case case_;
  VaeConfig config_;
  std::unique_ptr<Backend> ops_ = make_cpu_backend({.num_threads = 2, .kernels = "auto"});
};

TEST_F(VaeBands, PictureDoesNotDependOnThem) {
  const Tensor z = latents(2, 3, 2);
  const Tensor whole = decoder().decode(z, {}, nullptr);
  for (const std::size_t band_bytes : {std::size_t{1}, std::size_t{300'000}}) {
    const Tensor banded = decoder().decode(z, {.band_bytes = band_bytes}, nullptr);
    ASSERT_EQ(banded.shape(), whole.shape());
    // Only the statistics are added up in another order.
    EXPECT_LE(golden::compare(banded, whole).max_abs, 2e-6) << band_bytes;
  }
}

TEST_F(VaeBands, TraceIsOfWholePictures) {
  const Tensor z = latents(1, 2, 2);
  golden::TensorMap whole, banded;
  decoder().decode(z, {}, &whole);
  decoder().decode(z, {.band_bytes = 1}, &banded);
  ASSERT_EQ(banded.tensors.size(), whole.tensors.size());
  for (const auto& [name, tensor] : whole.tensors) {
    const auto difference = golden::compare(banded.tensors.at(name), tensor);
    EXPECT_LE(difference.nmse, 1e-10) << name;
  }
}

TEST_F(VaeBands, NeedLessMemory) {
  const Tensor z = latents(1, 8, 8);
  ops_->reset_peak_memory();
  decoder().decode(z, {}, nullptr);
  const std::size_t whole = ops_->peak_memory_bytes();
  ops_->reset_peak_memory();
  decoder().decode(z, {.band_bytes = 1 << 20}, nullptr);
  EXPECT_LT(ops_->peak_memory_bytes(), whole);
}

/// A rehearsal uses the same memory to the byte, however the picture is cut.
TEST_F(VaeBands, MemoryIsThatOfARehearsal) {
  const Tensor z = latents(1, 16, 12);
  for (const DecodeBands& bands :
       {DecodeBands{}, DecodeBands{.band_bytes = 1 << 20},
        DecodeBands{.band_bytes = 1 << 20, .whole_blocks = 3, .strip_rows = 112}}) {
    ops_->reset_peak_memory();
    decoder().decode(z, bands, nullptr);
    ops_->release_cache();
    Ledger ledger;
    const HostRehearsal scope(ledger);
    const auto rehearsing = ops_->rehearsal(ledger, 0, "");
    BookedWeights weights(ledger, 0, {});
    const VaeDecoder decoder(*rehearsing, weights, config_);
    rehearsing->reset_peak_memory();
    decoder.decode(Tensor::host(DType::f32, z.shape()), bands, nullptr);
    EXPECT_EQ(rehearsing->peak_memory_bytes(), ops_->peak_memory_bytes());
  }
}

}  // namespace
}  // namespace ernie_image
