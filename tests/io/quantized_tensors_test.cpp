// Formats of other programs: what their own packages wrote (tools/formats) and decode, and what a
// hostile file may say.
#include "io/quantized_tensors.h"

#include <algorithm>
#include <cmath>

#include "io/safetensors.h"
#include "io/weight_files.h"
#include "test_files.h"

namespace ernie_image {
namespace {

using test::expect_error;

std::string example(const std::string& name) {
  return std::string(ERNIE_IMAGE_TEST_DATA) + "/formats/quantized/" + name;
}

class QuantizedExample : public ::testing::TestWithParam<const char*> {};

/// A few rounding errors of f32 beside the package's own arithmetic, relative to the largest value;
/// compressed-tensors decodes NVFP4 to bf16.
double tolerance(const std::string& name) { return name == "ct_nvfp4" ? 0x1p-8 : 1e-6; }

TEST_P(QuantizedExample, DecodesToWhatItsPackageDecodes) {
  const std::string folder = example(GetParam());
  const std::string single = folder + "/model.safetensors";
  WeightFiles weights(file_exists(single) ? single : folder, "diffusion_pytorch_model",
                      Component::transformer);
  const SafetensorsFile expected = SafetensorsFile::open(folder + "/expected.safetensors");
  ASSERT_EQ(expected.names().size(), 4u);
  for (const std::string& name : expected.names()) {
    const Tensor rows = expected.tensor(name);
    const std::int64_t columns = rows.dim(1);
    const Weight* stored = weights.find(name);
    ASSERT_NE(stored, nullptr) << name;
    EXPECT_EQ(stored->format, WeightFormat::encoded) << name;
    const std::int64_t outputs = num_elements(stored->shape) / columns;
    const Weight weight = weights.get(name, {outputs, columns});
    weights.require_complete();
    const Tensor values = widened(weight);
    double largest = 0, difference = 0;
    for (std::int64_t i = 0; i < rows.size(); ++i) {
      const std::int64_t row = i / columns < 4 ? i / columns : outputs - 1;
      const double actual = values.data<float>()[row * columns + i % columns];
      largest = std::max(largest, std::abs(double{rows.data<float>()[i]}));
      difference = std::max(difference, std::abs(actual - double{rows.data<float>()[i]}));
    }
    EXPECT_GT(largest, 0.05) << name;
    EXPECT_LE(difference, tolerance(GetParam()) * largest) << name;
    EXPECT_LT(weight.size_bytes(), static_cast<std::size_t>(num_elements(weight.shape)) * 2)
        << name << ": no copy of the weight";
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, QuantizedExample,
                         ::testing::Values("bnb_fp4", "bnb_nf4_plain", "comfy_int8_convrot",
                                           "comfy_int8_tensor", "comfy_mxfp8", "ct_int4",
                                           "ct_int4_zero", "ct_int8", "ct_nvfp4", "modelopt_nvfp4",
                                           "quanto_float8", "quanto_int4", "quanto_int8",
                                           "sdnq_fp8", "sdnq_int8", "sdnq_int8_matmul",
                                           "sdnq_uint4", "sdnq_uint4_svd", "torchao_fp8",
                                           "torchao_int8"),
                         [](const auto& example) { return std::string(example.param); });

TEST(QuantizedExamples, NothingIsLeftOver) {
  for (const char* name : {"bnb_fp4", "quanto_int4", "torchao_int8", "ct_int4_zero"}) {
    const WeightFiles weights(example(name), "diffusion_pytorch_model", Component::transformer);
    for (const std::string& tensor : weights.unused())
      EXPECT_TRUE(tensor.ends_with(".weight") || tensor.ends_with(".bias"))
          << name << " " << tensor;
  }
}

// ---- made by hand
// --------------------------------------------------------------------------------

struct Entry {
  std::string name, dtype, shape, data;
};

class QuantizedTensors : public test::TemporaryFolder {
 protected:
  WeightFiles open(const std::vector<Entry>& entries, const std::string& metadata = "") const {
    std::vector<std::string> header;
    std::string data;
    for (const Entry& entry : entries) {
      header.push_back(test::entry(entry.name, entry.dtype, entry.shape,
                                   test::offsets(data.size(), data.size() + entry.data.size())));
      data += entry.data;
    }
    if (!metadata.empty()) header.push_back("\"__metadata__\":" + metadata);
    std::string file = test::safetensors(test::header_of(header), 0);
    return WeightFiles(write("f.safetensors", file + data));
  }
  std::vector<float> values(WeightFiles weights, const std::string& name,
                            const Shape& shape) const {
    const Tensor tensor = widened(weights.get(name, shape));
    weights.require_complete();
    return {tensor.data<float>(), tensor.data<float>() + tensor.size()};
  }
  void expect_rejected(const std::vector<Entry>& entries, const std::string& part) const {
    expect_error(ErrorKind::corrupt_file, {"f.safetensors", part}, [&] { open(entries); });
  }
};

std::string number(float value) { return {reinterpret_cast<const char*>(&value), sizeof(value)}; }

const Entry kFp8 = {"m.weight", "F8_E4M3", "[2,2]", std::string("\x38\xb8\x40\x01", 4)};

TEST_F(QuantizedTensors, Fp8InItsFiveForms) {
  const std::vector<float> plain = {1, -1, 2, 0x1p-9f}, twice = {2, -2, 4, 0x1p-8f};
  EXPECT_EQ(values(open({kFp8}), "m.weight", {2, 2}), plain);
  const Entry scale = {"m.weight_scale", "F32", "[]", number(2)};
  EXPECT_EQ(values(open({kFp8, scale}), "m.weight", {2, 2}), twice);
  const std::string json = R"({"format": "float8_e4m3fn"})";
  const Entry marker = {"m.comfy_quant", "U8", "[" + std::to_string(json.size()) + "]", json};
  EXPECT_EQ(values(open({kFp8, scale, marker}), "m.weight", {2, 2}), twice);
  EXPECT_EQ(
      values(
          open(
              {kFp8, scale},
              R"({"_quantization_metadata":"{\"layers\":{\"m\":{\"format\":\"float8_e4m3fn\"}}}"})"),
          "m.weight", {2, 2}),
      twice);
  EXPECT_EQ(values(open({kFp8,
                         {"m.scale_weight", "F32", "[1]", number(2)},
                         {"m.scale_input", "F32", "[1]", number(9)},
                         {"scaled_fp8", "F8_E4M3", "[2]", "ab"}}),
                   "m.weight", {2, 2}),
            twice);
  const Entry other = {"m.weight", "F8_E5M2", "[2,2]", std::string("\x3c\xbc\x40\x01", 4)};
  EXPECT_EQ(values(open({other}), "m.weight", {2, 2}), (std::vector<float>{1, -1, 2, 0x1p-16f}));
}

TEST_F(QuantizedTensors, VectorsMayBeFp8Too) {
  EXPECT_EQ(values(open({{"norm.weight", "F8_E4M3", "[2]", "\x38\x40"}}), "norm.weight", {2}),
            (std::vector<float>{1, 2}));
}

TEST_F(QuantizedTensors, UnknownFormatsAreRefusedByName) {
  const std::string json = R"({"format": "convrot_w4a4"})";
  expect_error(ErrorKind::unsupported, {"m.weight", "convrot_w4a4"}, [&] {
    open({kFp8, {"m.comfy_quant", "U8", "[" + std::to_string(json.size()) + "]", json}});
  });
}

TEST_F(QuantizedTensors, RejectsScalesThatFitNoWeight) {
  expect_rejected({kFp8, {"m.weight_scale", "F32", "[3]", std::string(12, '\0')}}, "no scales");
  expect_rejected({kFp8, {"m.weight_scale", "I64", "[]", std::string(8, '\0')}}, "no scales");
  expect_rejected({kFp8, {"m.weight_scale", "F32", "[0]", ""}}, "no scales");
}

TEST_F(QuantizedTensors, RejectsJsonThatIsNone) {
  for (const char* json : {"", "{", "[1]", "{\"format\":", "\xff"}) {
    const std::string text = json;
    EXPECT_THROW(
        open({kFp8, {"m.comfy_quant", "U8", "[" + std::to_string(text.size()) + "]", text}}), Error)
        << json;
  }
}

TEST_F(QuantizedTensors, RejectsBlocksOfBitsandbytesThatContradict) {
  const auto state = [](const std::string& json) {
    return Entry{"m.weight.quant_state.bitsandbytes__nf4", "U8",
                 "[" + std::to_string(json.size()) + "]", json};
  };
  const Entry codes = {"m.weight", "U8", "[32,1]", std::string(32, '\1')};
  const Entry absmax = {"m.weight.absmax", "F32", "[1]", number(1)};
  const Entry map = {"m.weight.quant_map", "F32", "[16]", std::string(64, '\0')};
  open({codes, absmax, map, state(R"({"shape":[8,8],"blocksize":64})")});
  expect_rejected({codes, absmax, map, state(R"({"shape":[8,9],"blocksize":64})")},
                  "expected 36 bytes");
  expect_rejected({codes, absmax, map, state(R"({"shape":[4294967296,4294967296,8]})")}, "shape");
  expect_rejected({codes, absmax, map, state(R"({"shape":[-8,-8]})")}, "shape");
  expect_rejected({codes, absmax, map, state(R"({"shape":[8,8],"blocksize":0})")}, "blocksize");
  expect_rejected({codes, absmax, map, state(R"({"shape":[8,8],"blocksize":16})")}, "absmax");
  expect_rejected({codes, absmax, state(R"({"shape":[8,8]})")}, "quant_map");
  expect_rejected({codes, absmax, map, state("{}")}, "no shape");
}

TEST_F(QuantizedTensors, RejectsRotationsThatDoNotDivide) {
  const std::string json = R"({"format":"int8_tensorwise","convrot":true,"convrot_groupsize":12})";
  expect_rejected({{"m.weight", "I8", "[1,12]", std::string(12, '\1')},
                   {"m.weight_scale", "F32", "[]", number(1)},
                   {"m.comfy_quant", "U8", "[" + std::to_string(json.size()) + "]", json}},
                  "power of 4");
}

}  // namespace
}  // namespace ernie_image
