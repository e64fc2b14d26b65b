// The VAE decoder in bands of rows, and the memory it is said to need.
#include <gtest/gtest.h>

#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "models/vae_decoder.h"
#include "models/vae_memory.h"
#include "support/formula_weights.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

class VaeBands : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kNoLimit = std::uint64_t{1} << 40;

  // One layer a block keeps the released widths affordable.
  VaeBands() : case_(golden::data_path("reference/realwidth/vae_512")) {
    config_ = VaeConfig::read(
        *JsonReader::open(golden::data_path("reference/realwidth/vae_512/case.json"))
             .object("config"));
    config_.layers_per_block = 0;
  }

  VaeDecoder decoder(std::size_t band_bytes) {
    golden::FormulaWeights weights(case_.json["weight_table"]);
    return VaeDecoder(*ops_, weights, config_, band_bytes);
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
  const Tensor whole = decoder(kBandBytes).decode(z, kNoLimit, nullptr);
  for (const std::size_t band_bytes : {std::size_t{1}, std::size_t{300'000}}) {
    const Tensor banded = decoder(band_bytes).decode(z, kNoLimit, nullptr);
    ASSERT_EQ(banded.shape(), whole.shape());
    // Only the statistics are added up in another order.
    EXPECT_LE(golden::compare(banded, whole).max_abs, 2e-6) << band_bytes;
  }
}

TEST_F(VaeBands, TraceIsOfWholePictures) {
  const Tensor z = latents(1, 2, 2);
  golden::TensorMap whole, banded;
  decoder(kBandBytes).decode(z, kNoLimit, &whole);
  decoder(1).decode(z, kNoLimit, &banded);
  ASSERT_EQ(banded.tensors.size(), whole.tensors.size());
  for (const auto& [name, tensor] : whole.tensors) {
    const auto difference = golden::compare(banded.tensors.at(name), tensor);
    EXPECT_LE(difference.nmse, 1e-10) << name;
  }
}

TEST_F(VaeBands, NeedLessMemory) {
  const Tensor z = latents(1, 8, 8);
  ops_->reset_peak_memory();
  decoder(kBandBytes).decode(z, kNoLimit, nullptr);
  const std::size_t whole = ops_->peak_memory_bytes();
  ops_->reset_peak_memory();
  decoder(1 << 20).decode(z, kNoLimit, nullptr);
  EXPECT_LT(ops_->peak_memory_bytes(), whole);
}

/// The plan is of Winograd's scratch memory for two threads, and of blocks that the pool rounds up.
TEST_F(VaeBands, MemoryIsAsPlanned) {
  const Tensor z = latents(1, 16, 12);
  ops_->reset_peak_memory();
  decoder(kBandBytes).decode(z, kNoLimit, nullptr);
  const double planned = static_cast<double>(vae_decoder_bytes(config_, 1, 16, 12, DType::f32));
  EXPECT_NEAR(static_cast<double>(ops_->peak_memory_bytes()) / planned, 1.0, 0.05);
}

}  // namespace
}  // namespace ernie_image
