#include "io/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <cstring>
#include <utility>

#include "ernie_image/error.h"
#include "io/gguf_blocks.h"
#include "io/json.h"
#include "io/placeholder.h"

namespace ernie_image {
namespace {

constexpr std::uint64_t kMaxElements = std::uint64_t{1} << 60;
constexpr std::uint32_t kMaxDimensions = 8;
constexpr std::size_t kMaxName = 65535;
constexpr std::size_t kMaxArray = 64;  // numbers of an array that are kept
constexpr std::uint64_t kMaxAlignment = 1 << 20;
constexpr int kMaxNesting = 4;

// What a tensor's entry takes at least: name length, dims, type, offset.
constexpr std::uint64_t kMinTensorBytes = 8 + 4 + 4 + 8;
constexpr std::uint64_t kMinValueBytes = 8 + 4 + 1;

enum class Kind : std::uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64,
};

/// Bytes of one value; 0 for those whose length is in the file.
std::size_t width_of(Kind kind) {
  switch (kind) {
    case Kind::u8:
    case Kind::i8:
    case Kind::boolean:
      return 1;
    case Kind::u16:
    case Kind::i16:
      return 2;
    case Kind::u32:
    case Kind::i32:
    case Kind::f32:
      return 4;
    case Kind::u64:
    case Kind::i64:
    case Kind::f64:
      return 8;
    default:
      return 0;
  }
}

}  // namespace

class GgufReader {
 public:
  explicit GgufReader(GgufFile& target) : target_(target), file_(target.file_) {}

  void read() {
    read_beginning();
    const std::uint64_t tensors = count(kMinTensorBytes, "tensors");
    const std::uint64_t values = count(kMinValueBytes, "notes");
    for (std::uint64_t i = 0; i < values; ++i) read_value_entry();
    read_alignment();
    for (std::uint64_t i = 0; i < tensors; ++i) read_tensor();
    find_data();
    for (Entry& entry : entries_) add(entry);
    apply_original_shapes();
  }

 private:
  using Value = GgufFile::Value;

  struct Entry {
    std::string name;
    Shape shape;
    const GgufType* type;
    std::uint64_t offset, bytes;
    std::int64_t elements;
  };

  [[noreturn]] void fail(const std::string& problem) const {
    throw Error(ErrorKind::corrupt_file, file_.path + ": GGUF: " + problem);
  }

  std::uint64_t left() const { return file_.bytes.size() - at_; }

  const std::byte* take(std::uint64_t bytes, const char* what) {
    if (bytes > left()) {
      fail("cut short: " + std::to_string(bytes) + " bytes of " + what + " at byte " +
           std::to_string(at_) + " of " + std::to_string(file_.bytes.size()) +
           "; download it again");
    }
    const std::byte* data = file_.bytes.data() + at_;
    at_ += bytes;
    return data;
  }

  template <typename T>
  T number(const char* what) {
    std::array<std::byte, sizeof(T)> bytes;
    std::memcpy(bytes.data(), take(sizeof(T), what), sizeof(T));
    if (big_endian_) std::ranges::reverse(bytes);
    return std::bit_cast<T>(bytes);
  }

  std::string string(const char* what, std::size_t most) {
    const auto length = number<std::uint64_t>(what);
    if (length > left() || length > most) {
      fail(std::string(what) + " of " + std::to_string(length) + " bytes at byte " +
           std::to_string(at_) + (length > left() ? ", but the file ends before" : ""));
    }
    const std::byte* data = take(length, what);
    return {reinterpret_cast<const char*>(data), static_cast<std::size_t>(length)};
  }

  /// How many entries follow: no more than the file has room for.
  std::uint64_t count(std::uint64_t entry_bytes, const char* what) {
    const auto number_of = number<std::uint64_t>("counts");
    if (number_of > left() / entry_bytes) {
      fail("announces " + std::to_string(number_of) + " " + what + ", for which " +
           std::to_string(left()) + " bytes are no room");
    }
    return number_of;
  }

  void read_beginning() {
    take(4, "the beginning");
    auto version = number<std::uint32_t>("the version");
    if (version > 0xffff) {
      big_endian_ = true;
      version = version >> 24 | (version >> 8 & 0xff00) | (version << 8 & 0xff0000) | version << 24;
    }
    if (version != 2 && version != 3)
      fail("version " + std::to_string(version) + "; versions 2 and 3 can be read");
  }

  void skip_array(Kind kind, std::uint64_t length, int nesting) {
    if (nesting > kMaxNesting) fail("arrays within arrays at byte " + std::to_string(at_));
    if (const std::size_t width = width_of(kind); width != 0) {
      if (length > left() / width)
        fail("an array of " + std::to_string(length) + " values at byte " + std::to_string(at_) +
             ", but the file ends before");
      take(length * width, "an array");
      return;
    }
    if (length > left() / 8)
      fail("an array of " + std::to_string(length) + " strings at byte " + std::to_string(at_) +
           ", but the file ends before");
    for (std::uint64_t i = 0; i < length; ++i) {
      if (kind == Kind::string) {
        take(number<std::uint64_t>("a string"), "a string");
      } else {
        const Kind inner = kind_at();
        skip_array(inner, number<std::uint64_t>("an array"), nesting + 1);
      }
    }
  }

  Kind kind_at() {
    const auto kind = number<std::uint32_t>("a type of value");
    if (kind > static_cast<std::uint32_t>(Kind::f64))
      fail("unknown type of value " + std::to_string(kind) + " at byte " + std::to_string(at_ - 4));
    return static_cast<Kind>(kind);
  }

  static bool is_integer(Kind kind) {
    return width_of(kind) != 0 && kind != Kind::f32 && kind != Kind::f64 && kind != Kind::boolean;
  }

  std::int64_t integer(Kind kind) {
    switch (kind) {
      case Kind::u8:
        return number<std::uint8_t>("a value");
      case Kind::i8:
        return number<std::int8_t>("a value");
      case Kind::u16:
        return number<std::uint16_t>("a value");
      case Kind::i16:
        return number<std::int16_t>("a value");
      case Kind::u32:
        return number<std::uint32_t>("a value");
      case Kind::i32:
        return number<std::int32_t>("a value");
      default:
        return number<std::int64_t>("a value");
    }
  }

  /// Nothing for an array that is not kept.
  std::optional<Value> read_value(Kind kind) {
    if (is_integer(kind)) return integer(kind);
    if (kind == Kind::f32) return static_cast<double>(number<float>("a value"));
    if (kind == Kind::f64) return number<double>("a value");
    if (kind == Kind::boolean) return number<std::uint8_t>("a value") != 0;
    if (kind == Kind::string) return string("a value", file_.bytes.size());
    const Kind inner = kind_at();
    const auto length = number<std::uint64_t>("an array");
    if (!is_integer(inner) || length > kMaxArray) {
      skip_array(inner, length, 1);
      return std::nullopt;
    }
    std::vector<std::int64_t> integers;
    for (std::uint64_t i = 0; i < length; ++i) integers.push_back(integer(inner));
    return integers;
  }

  void read_value_entry() {
    std::string key = string("a key", kMaxName);
    std::optional<Value> value = read_value(kind_at());
    if (!value) return;
    if (const auto* text = std::get_if<std::string>(&*value)) target_.metadata_[key] = *text;
    target_.values_[std::move(key)] = std::move(*value);
  }

  void read_alignment() {
    const auto found = target_.integer("general.alignment");
    if (!found) return;
    alignment_ = static_cast<std::uint64_t>(*found);
    if (!std::has_single_bit(alignment_) || alignment_ > kMaxAlignment)
      fail("general.alignment is " + std::to_string(*found) + ", expected a power of two");
  }

  Shape read_shape(const std::string& name) {
    const auto rank = number<std::uint32_t>("a rank");
    if (rank > kMaxDimensions)
      fail("tensor " + printable(name) + " has " + std::to_string(rank) + " dimensions");
    Shape shape(rank);
    std::uint64_t elements = 1;
    for (std::uint32_t i = 0; i < rank; ++i) {
      const auto extent = number<std::uint64_t>("a dimension");
      if (extent > kMaxElements ||
          __builtin_mul_overflow(elements, std::max<std::uint64_t>(extent, 1), &elements) ||
          elements > kMaxElements) {
        fail("tensor " + printable(name) + " has a dimension of " + std::to_string(extent));
      }
      shape[rank - 1 - i] = static_cast<std::int64_t>(extent);  // innermost first in the file
    }
    return shape;
  }

  void read_tensor() {
    Entry entry;
    entry.name = string("a name", kMaxName);
    entry.shape = read_shape(entry.name);
    const auto type = number<std::uint32_t>("a type");
    entry.offset = number<std::uint64_t>("an offset");
    entry.type = gguf_type(type);
    if (entry.type == nullptr) {
      fail("tensor " + printable(entry.name) + " has the type " + std::to_string(type) +
           ", which is none of the format's");
    }
    entry.elements = num_elements(entry.shape);
    const std::int64_t row = entry.shape.empty() ? 1 : entry.shape.back();
    if (row % entry.type->weights != 0) {
      fail("tensor " + printable(entry.name) + " of type " + std::string(entry.type->name) +
           " has rows of " + std::to_string(row) + ", no whole number of blocks of " +
           std::to_string(entry.type->weights));
    }
    // At most 2^60 elements, of at most 8 bytes.
    entry.bytes = static_cast<std::uint64_t>(entry.elements / entry.type->weights) *
                  static_cast<std::uint64_t>(entry.type->bytes);
    if (entry.offset % alignment_ != 0) {
      fail("tensor " + printable(entry.name) + " lies at " + std::to_string(entry.offset) +
           ", no multiple of the alignment " + std::to_string(alignment_));
    }
    entries_.push_back(std::move(entry));
  }

  void find_data() {
    target_.header_ = file_.text().substr(0, at_);
    // A file without tensors may end without the filling before the data.
    const std::uint64_t begin = (at_ + alignment_ - 1) / alignment_ * alignment_;
    data_ = std::min<std::uint64_t>(begin, file_.bytes.size());
    check_ends();
    check_overlaps();
  }

  void check_ends() const {
    const std::uint64_t size = file_.bytes.size() - data_;
    for (const Entry& entry : entries_) {
      if (entry.bytes == 0 || (entry.offset <= size && entry.bytes <= size - entry.offset))
        continue;
      fail("cut short: tensor " + printable(entry.name) + " takes " + std::to_string(entry.bytes) +
           " bytes from " + std::to_string(entry.offset) + " on, but there are " +
           std::to_string(size) + " bytes of data; download it again");
    }
  }

  void check_overlaps() {
    std::ranges::sort(entries_, {}, &Entry::offset);
    std::uint64_t end = 0;
    for (const Entry& entry : entries_) {
      if (entry.bytes == 0) continue;
      if (entry.offset < end) fail("tensor " + printable(entry.name) + " overlaps another");
      end = entry.offset + entry.bytes;
    }
  }

  void add(Entry& entry) {
    Weight weight{entry.name, entry.type->dtype.value_or(DType::f32), std::move(entry.shape),
                  file_.bytes.data() + data_ + (entry.bytes == 0 ? 0 : entry.offset), file_.owner};
    const bool swapped = big_endian_ && entry.type->dtype && entry.type->bytes > 1 &&
                         entry.type->dtype != DType::bf16;  // which writers leave as it is
    if (swapped) {
      weight.decoder = make_swapped_decoder(*entry.type->dtype, weight.data);
    } else if (!entry.type->dtype) {
      weight.decoder = make_gguf_decoder(*entry.type, weight.data, entry.elements);
    }
    if (weight.decoder != nullptr) {
      weight.format = WeightFormat::encoded;
      weight.dtype = DType::f32;
      weight.packed_bytes = entry.bytes;
    }
    if (!target_.weights_.emplace(entry.name, std::move(weight)).second)
      fail("tensor " + printable(entry.name) + " occurs twice");
  }

  /// What ComfyUI's converters note of a tensor whose rows they had to lay out otherwise.
  void apply_original_shapes() {
    constexpr std::string_view kPrefix = "comfy.gguf.orig_shape.";
    for (auto entry = target_.values_.lower_bound(kPrefix);
         entry != target_.values_.end() && entry->first.starts_with(kPrefix); ++entry) {
      const auto weight = target_.weights_.find(entry->first.substr(kPrefix.size()));
      const auto* shape = std::get_if<std::vector<std::int64_t>>(&entry->second);
      if (weight == target_.weights_.end() || shape == nullptr) continue;
      std::uint64_t elements = 1;
      bool possible = shape->size() <= kMaxDimensions;
      for (const std::int64_t extent : *shape) {
        possible = possible && extent >= 0 &&
                   !__builtin_mul_overflow(elements, static_cast<std::uint64_t>(extent), &elements);
      }
      const auto stored = static_cast<std::uint64_t>(num_elements(weight->second.shape));
      if (!possible || elements != stored) {
        fail(printable(entry->first) + " is " + to_string(*shape) + ", but the tensor is " +
             to_string(weight->second.shape));
      }
      weight->second.shape = *shape;
    }
  }

  GgufFile& target_;
  const FileView& file_;
  std::uint64_t at_ = 0;
  std::uint64_t alignment_ = 32;
  std::uint64_t data_ = 0;
  bool big_endian_ = false;
  std::vector<Entry> entries_;
};

GgufFile GgufFile::open(const std::string& path) {
  GgufFile result;
  result.file_ = open_file(path);
  reject_placeholder(result.file_);
  if (!result.file_.text().starts_with("GGUF"))
    throw Error(ErrorKind::corrupt_file, path + ": not a GGUF file");
  GgufReader(result).read();
  return result;
}

std::optional<std::int64_t> GgufFile::integer(std::string_view key) const {
  const auto found = values_.find(key);
  const auto* value = found == values_.end() ? nullptr : std::get_if<std::int64_t>(&found->second);
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::optional<double> GgufFile::number(std::string_view key) const {
  if (const auto whole = integer(key)) return static_cast<double>(*whole);
  const auto found = values_.find(key);
  const auto* value = found == values_.end() ? nullptr : std::get_if<double>(&found->second);
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::optional<std::string> GgufFile::text(std::string_view key) const {
  const auto found = metadata_.find(std::string(key));
  return found == metadata_.end() ? std::nullopt : std::optional(found->second);
}

std::optional<std::int64_t> GgufFile::integer_of_any(std::string_view ending) const {
  for (const auto& [key, value] : values_) {
    if (const auto* whole = std::get_if<std::int64_t>(&value);
        whole != nullptr && key.ends_with(ending))
      return *whole;
  }
  return std::nullopt;
}

std::vector<std::string> gguf_parts(const std::string& path) {
  // "...-00002-of-00003.gguf"
  constexpr std::string_view kPattern = "-00000-of-00000.gguf";
  if (path.size() <= kPattern.size()) return {path};
  const std::size_t begin = path.size() - kPattern.size();
  for (std::size_t i = 0; i < kPattern.size(); ++i) {
    const char c = path[begin + i];
    if (kPattern[i] == '0' ? c < '0' || c > '9' : c != kPattern[i]) return {path};
  }
  int total = 0;
  std::from_chars(path.data() + begin + 10, path.data() + begin + 15, total);
  std::vector<std::string> parts;
  for (int i = 1; i <= total; ++i) {
    std::string number = std::to_string(i);
    number.insert(0, 5 - number.size(), '0');
    parts.push_back(path.substr(0, begin + 1) + number + path.substr(begin + 6));
  }
  return parts.empty() ? std::vector{path} : parts;
}

}  // namespace ernie_image
