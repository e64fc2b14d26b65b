// A SAX parser with exactly the states that the format allows: nesting is bounded by construction,
// and no document tree is built from a header that may have 100 MB.
#include "io/safetensors_header.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "ernie_image/error.h"
#include "io/json.h"

namespace ernie_image {
namespace {

constexpr std::size_t kMaxRank = 64;
constexpr std::uint64_t kMaxCount = std::uint64_t{1} << 62;

/// What the handler waits for.
enum class State {
  header,    // the opening brace of all
  name,      // a tensor's name or "__metadata__"
  entry,     // the opening brace of a tensor
  field,     // "dtype", "shape" or "data_offsets"
  dtype,     // a string
  shape,     // the opening bracket
  extent,    // a number of the shape
  offsets,   // the opening bracket
  offset,    // begin or end
  metadata,  // the opening brace
  note,      // a key of the metadata
  text,      // its string
  end,       // nothing more
};

/// One tensor as far as it has been read.
struct PartialEntry {
  std::optional<DType> dtype;
  std::optional<Shape> shape;
  std::optional<std::vector<std::uint64_t>> offsets;
};

class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  explicit HeaderHandler(SafetensorsHeader& header) : header_(header) {}

  const std::string& problem() const { return problem_; }

  bool null() override {
    if (state_ != State::metadata) return unexpected("null");
    state_ = State::name;  // as if there were none
    return true;
  }
  bool boolean(bool) override { return unexpected("a boolean"); }
  bool number_integer(number_integer_t value) override {
    return unexpected("the negative number " + std::to_string(value));
  }
  bool number_float(number_float_t, const string_t& text) override {
    return unexpected("the number " + printable(text));
  }
  bool binary(binary_t&) override { return unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (state_ == State::extent) {
      if (value > kMaxCount) return fail("extent " + std::to_string(value) + " is absurd");
      if (entry_.shape->size() == kMaxRank) return fail("more than 64 dimensions");
      entry_.shape->push_back(static_cast<std::int64_t>(value));
      return true;
    }
    if (state_ == State::offset && entry_.offsets->size() < 2) {
      entry_.offsets->push_back(value);
      return true;
    }
    return unexpected("the number " + std::to_string(value));
  }

  bool string(string_t& value) override {
    if (state_ == State::dtype) {
      entry_.dtype = dtype_from_name(value);
      if (!entry_.dtype) return fail("unknown dtype " + printable(value));
      state_ = State::field;
      return true;
    }
    if (state_ == State::text) {
      if (!header_.metadata.emplace(key_, value).second) return fail("key occurs twice");
      state_ = State::note;
      return true;
    }
    return unexpected("the string " + printable(value));
  }

  bool start_object(std::size_t) override {
    switch (state_) {
      case State::header:
        state_ = State::name;
        return true;
      case State::entry:
        state_ = State::field;
        return true;
      case State::metadata:
        state_ = State::note;
        return true;
      default:
        return unexpected("an object");
    }
  }

  bool end_object() override {
    if (state_ == State::name) {
      state_ = State::end;
      return true;
    }
    if (state_ == State::field && !finish_entry()) return false;
    state_ = State::name;
    return true;
  }

  bool start_array(std::size_t) override {
    if (state_ == State::shape) {
      entry_.shape.emplace();
      state_ = State::extent;
      return true;
    }
    if (state_ == State::offsets) {
      entry_.offsets.emplace();
      state_ = State::offset;
      return true;
    }
    return unexpected("an array");
  }

  bool end_array() override {
    state_ = State::field;
    return true;
  }

  bool key(string_t& value) override {
    if (state_ == State::name) return start_name(value);
    if (state_ == State::field) return start_field(value);
    key_ = value;  // State::note: JSON has keys in objects only
    state_ = State::text;
    return true;
  }

  bool parse_error(std::size_t, const std::string&,
                   const nlohmann::detail::exception& error) override {
    problem_ = std::string("not valid JSON: ") + error.what();
    return false;
  }

 private:
  bool fail(const std::string& what) {
    problem_ = name_.empty() ? what : printable(name_) + ": " + what;
    return false;
  }

  bool unexpected(const std::string& found) { return fail(found + " in an unexpected place"); }

  bool start_name(const std::string& name) {
    name_ = name;
    if (name == "__metadata__") {
      if (seen_metadata_) return fail("occurs twice");
      seen_metadata_ = true;
      state_ = State::metadata;
      return true;
    }
    if (header_.tensors.contains(name)) return fail("occurs twice");
    entry_ = {};
    state_ = State::entry;
    return true;
  }

  bool start_field(const std::string& field) {
    const bool twice = (field == "dtype" && entry_.dtype) || (field == "shape" && entry_.shape) ||
                       (field == "data_offsets" && entry_.offsets);
    if (twice) return fail(field + " occurs twice");
    if (field == "dtype") {
      state_ = State::dtype;
    } else if (field == "shape") {
      state_ = State::shape;
    } else if (field == "data_offsets") {
      state_ = State::offsets;
    } else {
      return fail("unknown field " + printable(field));
    }
    return true;
  }

  bool finish_entry() {
    if (!entry_.dtype || !entry_.shape || !entry_.offsets || entry_.offsets->size() != 2) {
      return fail("incomplete, expected dtype, shape and two data_offsets");
    }
    SafetensorsEntry entry{*entry_.dtype, std::move(*entry_.shape), entry_.offsets->at(0),
                           entry_.offsets->at(1)};
    if (!check_size(entry)) return false;
    header_.tensors.emplace(name_, std::move(entry));
    name_.clear();
    return true;
  }

  bool check_size(const SafetensorsEntry& entry) {
    // Bytes, or elements of the types that are narrower.
    const bool narrow = bits_of(entry.dtype) < 8;
    std::uint64_t bytes = narrow ? 1 : size_of(entry.dtype);
    for (const std::int64_t extent : entry.shape) {
      if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(extent), &bytes) ||
          bytes > kMaxCount) {
        return fail("shape " + to_string(entry.shape) + " overflows");
      }
    }
    if (narrow) {
      const std::uint64_t bits = bits_of(entry.dtype), rest = bytes % 8 * bits;
      if (rest % 8 != 0) {
        return fail(std::string(dtype_name(entry.dtype)) + " " + to_string(entry.shape) +
                    " does not fill whole bytes");
      }
      bytes = bytes / 8 * bits + rest / 8;
    }
    if (entry.end < entry.begin || entry.end - entry.begin != bytes) {
      return fail(std::string(dtype_name(entry.dtype)) + " " + to_string(entry.shape) + " takes " +
                  std::to_string(bytes) + " bytes, but data_offsets are [" +
                  std::to_string(entry.begin) + ", " + std::to_string(entry.end) + "]");
    }
    return true;
  }

  SafetensorsHeader& header_;
  State state_ = State::header;
  bool seen_metadata_ = false;
  std::string name_;  // of the tensor being read, for messages
  std::string key_;   // of the metadata
  PartialEntry entry_;
  std::string problem_;
};

[[noreturn]] void throw_header_error(const std::string& path, const std::string& problem) {
  throw Error(ErrorKind::corrupt_file, path + ": safetensors header: " + problem);
}

/// In the order of their data each tensor must begin where the one before it ends.
std::uint64_t check_coverage(const SafetensorsHeader& header, const std::string& path) {
  std::vector<std::pair<const SafetensorsEntry*, const std::string*>> order;
  for (const auto& [name, entry] : header.tensors) order.emplace_back(&entry, &name);
  std::sort(order.begin(), order.end(), [](const auto& a, const auto& b) {
    return std::pair(a.first->begin, a.first->end) < std::pair(b.first->begin, b.first->end);
  });
  std::uint64_t end = 0;
  for (const auto& [entry, name] : order) {
    if (entry->begin != end) {
      throw_header_error(path, printable(*name) + ": data begins at " +
                                   std::to_string(entry->begin) + ", expected " +
                                   std::to_string(end) + ": there is " +
                                   (entry->begin < end ? "an overlap" : "a hole"));
    }
    end = entry->end;
  }
  return end;
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view json, const std::string& path) {
  SafetensorsHeader header;
  HeaderHandler handler(header);
  if (!json.starts_with('{')) throw_header_error(path, "does not begin with {");
  // nlohmann::json takes a zero byte for the end of its input.
  if (json.find('\0') != std::string_view::npos) throw_header_error(path, "holds a zero byte");
  if (!nlohmann::json::sax_parse(json, &handler)) throw_header_error(path, handler.problem());
  header.data_bytes = check_coverage(header, path);
  return header;
}

}  // namespace ernie_image
