#include "io/packed_tensors.h"

#include <cstdint>
#include <sstream>

#include "core/packed_weight.h"
#include "core/quantization.h"
#include "core/row_codes.h"
#include "ernie_image/error.h"
#include "io/json.h"

namespace ernie_image {
namespace {

constexpr std::uintptr_t kAlignment = 64;
constexpr std::int64_t kMaxExtent = 1 << 24;  // keeps every product of two within 64 bits

struct PackedEntry {
  WeightFormat format;  // encoded: as row_codes.h has it
  Shape shape;          // [N, K]

  Shape extents() const {
    return is_packed(format) ? packed_extents(format, shape) : row_codes_extents(shape);
  }
  std::string text() const {
    return is_packed(format) ? packed_value(format, shape) : row_codes_value(shape);
  }
};

std::optional<WeightFormat> format_of_entry(const std::string& name) {
  return name == kRowCodesName ? WeightFormat::encoded : packed_format_from_name(name);
}

[[noreturn]] void throw_badly_packed(const std::string& path, const std::string& problem) {
  throw Error(ErrorKind::corrupt_file, path + ": " + problem + "; quantise the model again");
}

/// "int8 8192 3072"
PackedEntry parse_entry(const std::string& path, const std::string& name,
                        const std::string& value) {
  std::istringstream fields(value);
  std::string format_text, rest;
  std::int64_t outputs = 0, inputs = 0;
  fields >> format_text >> outputs >> inputs;
  const bool complete = !fields.fail() && !(fields >> rest);
  const auto format = format_of_entry(format_text);
  const bool in_range =
      outputs >= 1 && outputs <= kMaxExtent && inputs >= 1 && inputs <= kMaxExtent;
  if (complete && format && in_range) return {*format, {outputs, inputs}};
  throw_badly_packed(path, "packed tensor " + printable(name) + " is described as " +
                               printable(value) +
                               ", expected int8, int4 or int8_rows, then N and K");
}

void apply_entry(const std::string& path, const PackedEntry& entry, Weight& weight) {
  const Shape expected = entry.extents();
  const std::string name = "packed tensor " + printable(weight.name);
  if (weight.dtype != DType::u8 || weight.shape != expected) {
    throw_badly_packed(path, name + " is " + std::string(dtype_name(weight.dtype)) + " " +
                                 to_string(weight.shape) + ", expected U8 " + to_string(expected) +
                                 " for " + entry.text());
  }
  if (reinterpret_cast<std::uintptr_t>(weight.data) % kAlignment != 0)
    throw_badly_packed(path, name + " does not begin at a multiple of 64 bytes");
  weight.packed_bytes = weight.size_bytes();
  weight.dtype = is_packed(entry.format) ? DType::i8 : DType::f32;
  if (!is_packed(entry.format))
    weight.decoder = make_row_codes_decoder(RowCodesLayout(entry.shape), weight.data);
  weight.shape = entry.shape;
  weight.format = entry.format;
}

/// Whether the metadata speaks of packed tensors at all, in a version that can be read.
bool has_packed_tensors(const std::string& path,
                        const std::map<std::string, std::string>& metadata) {
  const auto version = metadata.find(std::string(kPackedVersionKey));
  if (version != metadata.end() && version->second != kPackedVersion &&
      version->second != kOldPackedVersion) {
    throw Error(ErrorKind::corrupt_file,
                path + ": quantised weights of version " + printable(version->second) +
                    ", this program reads versions " + std::string(kOldPackedVersion) + " and " +
                    std::string(kPackedVersion) +
                    "; quantise the model again with this program, or use a newer one");
  }
  const auto first = metadata.lower_bound(packed_key(""));
  const bool has_entries = first != metadata.end() && first->first.starts_with(packed_key(""));
  if (has_entries && version == metadata.end())
    throw_badly_packed(path, "packed tensors without " + std::string(kPackedVersionKey));
  return has_entries;
}

}  // namespace

std::string packed_key(std::string_view tensor) {
  return std::string(kPackedVersionKey) + "." + std::string(tensor);
}

std::string packed_value(WeightFormat format, const Shape& shape) {
  return std::string(format_name(format)) + " " + std::to_string(shape[0]) + " " +
         std::to_string(shape[1]);
}

Shape packed_extents(WeightFormat format, const Shape& shape) {
  const PackedLayout layout(format, shape);
  return {layout.panels, static_cast<std::int64_t>(layout.record_bytes())};
}

std::string row_codes_value(const Shape& shape) {
  return std::string(kRowCodesName) + " " + std::to_string(shape[0]) + " " +
         std::to_string(shape[1]);
}

Shape row_codes_extents(const Shape& shape) {
  return {static_cast<std::int64_t>(RowCodesLayout(shape).size_bytes)};
}

void apply_packed_metadata(const std::string& path,
                           const std::map<std::string, std::string>& metadata,
                           std::map<std::string, Weight, std::less<>>& weights) {
  if (!has_packed_tensors(path, metadata)) return;
  const std::string prefix = packed_key("");
  for (auto entry = metadata.lower_bound(prefix);
       entry != metadata.end() && entry->first.starts_with(prefix); ++entry) {
    const std::string name = entry->first.substr(prefix.size());
    const PackedEntry packed = parse_entry(path, name, entry->second);
    const auto weight = weights.find(name);
    if (weight == weights.end())
      throw_badly_packed(path, "packed tensor " + printable(name) + " is not in the file");
    apply_entry(path, packed, weight->second);
  }
}

}  // namespace ernie_image
