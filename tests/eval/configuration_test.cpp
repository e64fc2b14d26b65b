#include "eval/configuration.h"

#include <gtest/gtest.h>

#include "backend/registry.h"

namespace ernie_image {
namespace {

Configuration parse(const std::string& text) {
  return parse_configuration("--candidate", text, {.model = "folder", .num_threads = 3});
}

void expect_refused(const std::string& text, const std::string& part) {
  try {
    parse(text);
    ADD_FAILURE() << text << " was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

TEST(Configuration, ABareWordIsADtype) {
  const Configuration bf16 = parse("bf16");
  EXPECT_EQ(bf16.load.precision, Precision::bf16);
  EXPECT_EQ(bf16.load.model, "folder");
  EXPECT_EQ(bf16.load.num_threads, 3);
  EXPECT_EQ(bf16.label, "bf16");
}

TEST(Configuration, KeysReplaceTheDefaults) {
  const Configuration c =
      parse("dtype=fp32,quant=int4,device=cpu,kernels=avx2,threads=2,model=other,threshold=0.25");
  EXPECT_EQ(c.load.precision, Precision::fp32);
  EXPECT_EQ(c.load.quantization, Quantization::int4);
  EXPECT_EQ(c.load.cpu_kernels, "avx2");
  EXPECT_EQ(c.load.num_threads, 2);
  EXPECT_EQ(c.load.model, "other");
  EXPECT_EQ(c.threshold_nmse_percent, 0.25);
}

TEST(Configuration, AttentionIsThatOfTheDevice) {
  if (find_device_kind("cuda") == nullptr || find_device_kind("ascend") == nullptr)
    GTEST_SKIP() << "not in this build";
  const auto options = [](const std::string& text) { return parse(text).load.device_options; };
  EXPECT_EQ(options("attention=own,device=cuda:1,offload=layers"),
            (DeviceOptions{{"cuda_attention", "own"}, {"offload", "layers"}}));
  EXPECT_EQ(options("device=ascend:0,attention=mask"),
            (DeviceOptions{{"ascend_attention", "mask"}}));
  EXPECT_EQ(options("cuda_attention=cudnn"), (DeviceOptions{{"cuda_attention", "cudnn"}}));
  EXPECT_TRUE(options("device=cpu,attention=mask").empty());
}

TEST(Configuration, RefusesWhatItDoesNotKnow) {
  expect_refused("fp64", "fp64");
  expect_refused("", "dtype has no value");
  expect_refused("bf16,", "dtype is given twice");
  expect_refused("colour=red", "colour");
  expect_refused("dtype=bf16,dtype=fp32", "twice");
  expect_refused("quant=int3", "int3");
  expect_refused("threads=0", "threads");
  expect_refused("threshold=much", "threshold");
  expect_refused("kernels=", "kernels has no value");
  expect_refused("device=gpu,attention=own", "gpu");
}

TEST(Configuration, LabelsBecomeHarmlessFileNames) {
  EXPECT_EQ(file_name_of("model=../../etc,dtype=bf16"), "model-..-..-etc-dtype-bf16");
  EXPECT_EQ(file_name_of(std::string(500, 'x')).size(), 60u);
}

}  // namespace
}  // namespace ernie_image
