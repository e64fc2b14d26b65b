// Finds the quantised tensors of a file and says how each is read; a file of sources for each
// family of formats.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "ernie_image/error.h"
#include "io/json.h"
#include "io/quantized_tensors.h"
#include "io/small_floats.h"
#include "io/weight_decoders.h"

namespace ernie_image {

using Order = CodeGrid::Order;

inline constexpr std::int64_t kMaxMatrixExtent = std::int64_t{1} << 31;
inline constexpr std::size_t kMaxJson = 1 << 16;

inline bool is_fp8(DType dtype) {
  return dtype == DType::f8_e4m3 || dtype == DType::f8_e5m2 || dtype == DType::f8_e4m3fnuz ||
         dtype == DType::f8_e5m2fnuz;
}

inline bool is_byte(DType dtype) {
  return is_fp8(dtype) || dtype == DType::i8 || dtype == DType::u8;
}

inline std::string described(const Weight& tensor) {
  return std::string(dtype_name(tensor.dtype)) + " " + to_string(tensor.shape);
}

inline std::int64_t extent(const Weight& tensor) { return num_elements(tensor.shape); }

constexpr std::int64_t up_to(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

/// The 16 numbers of four bits.
inline std::array<float, 256> nibble_values(const std::function<float(int)>& value) {
  std::array<float, 256> values{};
  for (int code = 0; code < 16; ++code) values[static_cast<std::size_t>(code)] = value(code);
  return values;
}

inline std::array<float, 256> e2m1_values() {
  return nibble_values([](int code) { return kE2m1[static_cast<std::size_t>(code)]; });
}

class QuantizedRecognizer {
 public:
  QuantizedRecognizer(const std::string& where, const FileTensors& stored,
                      const std::map<std::string, std::string>& metadata, const std::string& config)
      : where_(where), stored_(stored) {
    read_metadata(metadata);
    if (!config.empty()) read_config(config);
  }

  RecognizedTensors run() {
    for (const auto& [name, tensor] : stored_) recognize(name);
    for (const auto& [name, tensor] : stored_) {
      if (!used_.contains(name)) add_plain(name, tensor);
    }
    return std::move(result_);
  }

 private:
  // ---- looking things up
  // -------------------------------------------------------------------------

  [[noreturn]] void fail(const std::string& name, const std::string& problem) const;

  [[noreturn]] void refuse(const std::string& name, const std::string& format) const;

  const Weight* find(const std::string& name) const;

  const Weight& need(const std::string& name, const std::string& for_what) const;

  /// One of F32, F16, BF16 with that many elements.
  const Weight& numbers(const std::string& name, const std::string& for_what,
                        std::int64_t count) const;

  float number(const std::string& name, const std::string& for_what) const;

  const Weight& matrix(const std::string& name) const;

  nlohmann::json json_of(const std::string& name) const;

  nlohmann::json parsed(const std::string& name, std::string_view text) const;

  static std::string text_of(const nlohmann::json& object, const char* key);

  static bool flag_of(const nlohmann::json& object, const char* key);

  std::int64_t integer_of(const std::string& name, const nlohmann::json& object, const char* key,
                          std::int64_t fallback) const;

  // ---- handing things over
  // -----------------------------------------------------------------------

  /// The weight `name`, read by `decoder` from the tensors `sources`, all of which are used.
  void add(const std::string& name, Shape shape, Decoder decoder,
           const std::vector<std::string>& sources);

  void ignore(const std::string& name);

  /// A name with one of these endings belongs to a quantised weight and says nothing about it.
  void ignore_beside(const std::string& module);

  void add_plain(const std::string& name, const FileTensor& tensor);

  // ---- grids
  // -------------------------------------------------------------------------------------

  static CodeGrid byte_grid(const Weight& tensor);

  static CodeGrid nibble_grid(const Weight& tensor, Order order, std::int64_t rows,
                              std::int64_t columns, const std::array<float, 256>& values);

  /// `name` as scales of an [N, K] weight: one, N, or N times a divisor of K. Gives the group.
  ScalesPtr scales(const std::string& name, const std::string& for_what, std::int64_t rows,
                   std::int64_t columns, std::int64_t& group) const;

  // ---- formats
  // -----------------------------------------------------------------------------------

  void recognize(const std::string& name);

  void read_metadata(const std::map<std::string, std::string>& metadata);

  void read_config(const std::string& text);

  /// What has no marker of its own but a tensor beside `<module>.weight`.
  void beside_weight(const std::string& module);

  /// Codes of 8 bits in the weight's shape times scales.
  void scaled_bytes(const std::string& module, const std::string& ending,
                    const std::string& format);

  void legacy(const std::string& module) { scaled_bytes(module, ".scale_weight", "fp8"); }

  /// NVFP4 of GGUF.
  void second_factor(const std::string& module, const Weight& weight);

  void comfy(const std::string& module) { comfy_as(module, json_of(module + ".comfy_quant")); }

  void comfy_as(const std::string& module, const nlohmann::json& object);

  void comfy_fp8(const std::string& module);

  void comfy_int8(const std::string& module, const nlohmann::json& object);

  void comfy_nvfp4(const std::string& module);

  void comfy_mxfp8(const std::string& module);

  void check_swizzled(const std::string& name, const Weight& scale, std::int64_t rows,
                      std::int64_t columns, std::int64_t group) const;

  void modelopt_nvfp4(const std::string& module);

  // ---- bitsandbytes
  // ------------------------------------------------------------------------------

  void bnb_nf4(const std::string& module) { bnb_4bit(module, "nf4"); }
  void bnb_fp4(const std::string& module) { bnb_4bit(module, "fp4"); }

  Shape shape_of(const std::string& name, const nlohmann::json& object) const;

  void bnb_4bit(const std::string& module, const std::string& kind);

  ScalesPtr bnb_absmax(const std::string& name, const nlohmann::json& object, std::int64_t groups,
                       std::vector<std::string>& sources) const;

  void bnb_int8(const std::string& module);

  // ---- quanto, torchao, SDNQ
  // ---------------------------------------------------------------------

  void quanto(const std::string& module);

  /// The matrix as rows of groups, whose number is that of the scales. Its own shape is in no
  /// tensor: whoever asks for the weight knows it.
  void quanto_int4(const std::string& module);

  void torchao(const std::string& module);

  void sdnq(const std::string& module);

  Decoder add_low_rank(const std::string& module, const Shape& shape, Decoder inner,
                       std::vector<std::string>& sources) const;

  // ---- compressed-tensors
  // ------------------------------------------------------------------------

  void compressed(const std::string& module);

  void compressed_nvfp4(const std::string& module, const Weight& weight);

  std::int64_t integer_at(const Weight& tensor, std::int64_t index) const;

  void compressed_integers(const std::string& module, const Weight& weight);

  const std::string& where_;
  const FileTensors& stored_;
  std::map<std::string, nlohmann::json> comfy_layers_;
  nlohmann::json config_ = nlohmann::json::object();
  std::set<std::string, std::less<>> used_;
  RecognizedTensors result_;
};

}  // namespace ernie_image
