// The VAE encoder on the tiny models against the reference, in bands of rows, and with configs that
// it cannot be made of.
#include <gtest/gtest.h>

#include <filesystem>

#include "backend/cpu/cpu_backend.h"
#include "io/weight_files.h"
#include "models/vae_encoder.h"
#include "support/device.h"
#include "support/formula_weights.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

using golden::Case;
using golden::TensorMap;

std::vector<std::string> encoder_case_folders() {
  std::vector<std::string> folders;
  for (const std::string model : {"tiny_a", "tiny_b"}) {
    for (const auto& entry :
         std::filesystem::directory_iterator(golden::data_path("reference/encoder/" + model)))
      folders.push_back(model + "/" + entry.path().filename().string());
  }
  std::ranges::sort(folders);
  return folders;
}

class EncoderCase : public ::testing::TestWithParam<std::string> {
 protected:
  struct Encoded {
    Tensor moments;  // [B, 2 C, h, w]
    Tensor mean;     // [B, h, w, C]
    Tensor latents;  // [B, 4 C, h / 2, w / 2], or empty where the height or width is odd
  };

  Encoded encode(DType dtype) const {
    const std::string folder =
        golden::data_path("reference/models/" + case_.json["model"].get<std::string>() + "/vae");
    const auto ops = make_test_backend();
    WeightFiles weights(folder, "diffusion_pytorch_model");
    const VaeEncoder encoder(*ops, weights,
                             VaeConfig::read(JsonReader::open(folder + "/config.json")));
    weights.require_complete();
    TensorMap seen;
    Encoded result;
    result.mean =
        encoder.encode(from_uint8(case_.tensors.tensor("input.pixels"), dtype), kBandBytes, &seen);
    result.moments = seen.tensors.at("vae_encoder.moments");
    if (result.mean.dim(1) % 2 == 0 && result.mean.dim(2) % 2 == 0)
      result.latents = encoder.pack(result.mean);
    return result;
  }

  void expect(const std::string& name, const Tensor& actual) const {
    const Tensor expected = case_.tensors.tensor("fp32." + name);
    // fp32: the limit for a block's output. bf16: twice the reference's own error, which is 1.2e-4
    // to 2.5e-4.
    const double limit =
        actual.dtype() == DType::f32
            ? 1e-9
            : 2 * golden::compare(case_.tensors.tensor("bf16." + name), expected).nmse;
    EXPECT_LE(golden::compare(actual, expected).nmse, limit) << name;
  }

  Case case_{golden::data_path("reference/encoder/" + GetParam())};
};

TEST_P(EncoderCase, AgreesWithTheReference) {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Encoded encoded = encode(dtype);
    ASSERT_EQ(encoded.mean.dtype(), dtype);
    expect("moments", encoded.moments);
    ASSERT_EQ(case_.tensors.contains("fp32.latents"), !encoded.latents.empty());
    if (!encoded.latents.empty()) expect("latents", encoded.latents);
  }
}

INSTANTIATE_TEST_SUITE_P(Reference, EncoderCase, ::testing::ValuesIn(encoder_case_folders()),
                         [](const auto& param_info) {
                           std::string name = param_info.param;
                           std::ranges::replace(name, '/', '_');
                           return name;
                         });

class VaeEncoderBands : public ::testing::Test {
 protected:
  VaeEncoder encoder() {
    return VaeEncoder(*ops_, weights_, VaeConfig::read(JsonReader::open(kFolder + "/config.json")));
  }

  Tensor pictures(std::int64_t batch, std::int64_t height, std::int64_t width) const {
    return to_float(golden::formula_tensor("pictures", {batch, height, width, 3}, 1.0f));
  }

  const std::string kFolder = golden::data_path("reference/models/tiny_a/vae");
  WeightFiles weights_{kFolder, "diffusion_pytorch_model"};
  std::unique_ptr<Backend> ops_ = make_cpu_backend({.num_threads = 2, .kernels = "auto"});
};

TEST_F(VaeEncoderBands, MeanDoesNotDependOnThem) {
  // 43 rows in bands of 8: the last, of 3, has one and then none where the picture is halved.
  for (const Shape& shape : {Shape{2, 48, 32}, Shape{1, 43, 17}, Shape{1, 41, 16}}) {
    const Tensor x = pictures(shape[0], shape[1], shape[2]);
    const Tensor whole = encoder().encode(x, kBandBytes, nullptr);
    for (const std::size_t band_bytes : {std::size_t{1}, std::size_t{30'000}}) {
      const Tensor banded = encoder().encode(x, band_bytes, nullptr);
      ASSERT_EQ(banded.shape(), whole.shape());
      // Only the statistics are added up in another order.
      EXPECT_LE(golden::compare(banded, whole).max_abs, 1e-5) << band_bytes;
    }
  }
}

TEST_F(VaeEncoderBands, TraceIsOfWholePictures) {
  const Tensor x = pictures(1, 32, 32);
  TensorMap whole, banded;
  encoder().encode(x, kBandBytes, &whole);
  encoder().encode(x, 1, &banded);
  ASSERT_EQ(banded.tensors.size(), whole.tensors.size());
  for (const auto& [name, tensor] : whole.tensors)
    EXPECT_LE(golden::compare(banded.tensors.at(name), tensor).nmse, 1e-10) << name;
}

TEST_F(VaeEncoderBands, NeedLessMemory) {
  const Tensor x = pictures(1, 256, 128);
  ops_->reset_peak_memory();
  encoder().encode(x, kBandBytes, nullptr);
  const std::size_t whole = ops_->peak_memory_bytes();
  ops_->reset_peak_memory();
  encoder().encode(x, 1 << 17, nullptr);
  EXPECT_LT(ops_->peak_memory_bytes(), whole);
}

/// A backend that halves bands must be given even ones, however deep the network is.
TEST(VaePicture, MergedBandsAreEvenButTheLast) {
  const auto ops = make_cpu_backend({.num_threads = 1, .kernels = "auto"});
  const auto heights_after = [&](const std::vector<std::int64_t>& heights, std::size_t band_bytes) {
    BandedImage picture;
    for (const std::int64_t height : heights)
      picture.push_back(Tensor::host(DType::f32, {1, height, 2, 1}));
    std::vector<std::int64_t> merged_heights;
    for (const Tensor& band : merged(*ops, std::move(picture), band_bytes))
      merged_heights.push_back(band.dim(1));
    return merged_heights;
  };
  using Heights = std::vector<std::int64_t>;
  EXPECT_EQ(heights_after({1, 1, 1, 1, 1}, 1), (Heights{2, 2, 1}));
  EXPECT_EQ(heights_after({3, 2, 1, 4, 5}, 1), (Heights{6, 4, 5}));
  EXPECT_EQ(heights_after({2, 2, 0}, 1), (Heights{2, 2}));
  EXPECT_EQ(heights_after({2, 2, 2, 2}, 32), (Heights{4, 4}));
}

/// The error of a config with one value changed.
void expect_refused(VaeConfig config, ErrorKind kind, const std::string& words) {
  const auto ops = make_cpu_backend({.num_threads = 1, .kernels = "auto"});
  golden::FormulaWeights weights(nlohmann::json::object());
  try {
    const VaeEncoder encoder(*ops, weights, config);
    ADD_FAILURE() << "accepted: " << words;
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind);
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
  }
}

TEST(VaeEncoder, RefusesConfigsItCannotBeMadeOf) {
  VaeConfig config;
  config.in_channels = 4;
  expect_refused(config, ErrorKind::unsupported, "in_channels 4");
  config = {};
  config.encoder_block_out_channels = {128, 250, 512, 512};
  expect_refused(config, ErrorKind::corrupt_file, "250");
  config = {};
  config.layers_per_block = 0;
  expect_refused(config, ErrorKind::corrupt_file, "layers_per_block");
}

}  // namespace
}  // namespace ernie_image
