// What quantised weights do to the embedded model's numbers and pictures.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>

#include "ernie_image/pipeline.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

using golden::TensorMap;

TensorMap run(Quantization quantization, int threads = 2) {
  Pipeline pipeline = Pipeline::load(
      {.model = "embedded:emoji-tiny", .quantization = quantization, .num_threads = threads});
  TensorMap seen;
  Request request;
  request.prompts = {"a panda on a pink background"};
  request.trace = &seen;
  pipeline.generate(request);
  return seen;
}

const TensorMap& exact() {
  static const TensorMap seen = run(Quantization::none);
  return seen;
}

struct Limits {
  Quantization quantization;
  double call_nmse;  ///< of the first call of the transformer, which sees the same input
  double psnr_db;    ///< of the picture after eight
};

class Quantized : public testing::TestWithParam<Limits> {};

// Measured: nMSE 5.3e-5 and 4.2e-3. The limits leave room for other instruction sets, whose inputs
// of the second layer on differ in the last bits, and for nothing as large as a bit less of
// precision (a factor of four).
TEST_P(Quantized, CallOfTheTransformerStaysNear) {
  const TensorMap seen = run(GetParam().quantization);
  const std::string name = "step0.dit_output";
  const double nmse = golden::compare(seen.tensors.at(name), exact().tensors.at(name)).nmse;
  EXPECT_LE(nmse, GetParam().call_nmse);
  EXPECT_GT(nmse, GetParam().call_nmse / 20) << "is anything quantised?";
}

// Measured on ten pictures: 53.3 dB and 33.4 dB at worst; the limits are half as precise.
TEST_P(Quantized, PictureStaysNear) {
  const TensorMap seen = run(GetParam().quantization);
  const double psnr =
      golden::psnr_db(seen.tensors.at("image.uint8"), exact().tensors.at("image.uint8"));
  EXPECT_GE(psnr, GetParam().psnr_db);
}

TEST_P(Quantized, PictureDoesNotDependOnTheThreads) {
  const TensorMap one = run(GetParam().quantization, 1), three = run(GetParam().quantization, 3);
  const auto bytes = [](const TensorMap& seen) {
    const Tensor& latents = seen.tensors.at("latents.final");
    const std::span<float> values = latents.span<float>();
    return std::vector<float>(values.begin(), values.end());
  };
  EXPECT_EQ(bytes(one), bytes(three));
}

INSTANTIATE_TEST_SUITE_P(Weights, Quantized,
                         testing::Values(Limits{Quantization::int8, 1.3e-4, 47},
                                         Limits{Quantization::int4, 7e-3, 27}),
                         [](const auto& info) {
                           return info.param.quantization == Quantization::int8 ? "int8" : "int4";
                         });

}  // namespace
}  // namespace ernie_image
