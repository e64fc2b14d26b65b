// Golden cases: the tensors of a reference run, what it was asked for, and how to compare with
// them.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "core/trace.h"
#include "io/safetensors.h"

namespace ernie_image::golden {

/// <repository>/tests/data/<path>
std::string data_path(const std::string& path);

/// A folder with case.json and tensors.safetensors.
struct Case {
  explicit Case(const std::string& folder);

  nlohmann::json json;
  SafetensorsFile tensors;

  const nlohmann::json& inputs() const { return json["inputs"]; }
};

/// Keeps every tensor of a run.
class TensorMap : public TensorTrace {
 public:
  bool wants(std::string_view) const override { return true; }
  void record(const std::string& name, const Tensor& host) override { tensors[name] = host; }

  std::map<std::string, Tensor> tensors;
};

struct Difference {
  double max_abs = 0;        ///< largest |actual - expected|
  double max_magnitude = 0;  ///< largest |expected|
  double nmse = 0;           ///< sum (actual - expected)^2 / sum expected^2
};

/// f32, f16 and bf16 tensors of equal shape; a difference in shape, or a NaN on one side, is
/// infinitely large.
Difference compare(const Tensor& actual, const Tensor& expected);

/// 10 log10(255^2 / mean squared error) of two u8 tensors.
double psnr_db(const Tensor& actual, const Tensor& expected);

/// Equal element for element, whatever integer types the two sides have.
::testing::AssertionResult equal_integers(const Tensor& actual, const Tensor& expected);

}  // namespace ernie_image::golden
