#include "io/json.h"

#include <utility>
#include <vector>

#include "ernie_image/error.h"
#include "io/placeholder.h"

namespace ernie_image {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxDepth = 64;
constexpr std::size_t kMaxQuoted = 100;

std::string clipped(std::string text) {
  if (text.size() > kMaxQuoted) text = text.substr(0, kMaxQuoted) + "...";
  return text;
}

std::string ascii_dump(const nlohmann::json& value) {
  return value.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
}

/// Builds the value from the parser's events (nlohmann's SAX interface), which end at the first
/// problem. The parser's own builder keeps the last of two equal keys, and with a hook for depth it
/// takes quadratic time.
class Builder {
 public:
  Builder() = default;
  Builder(const Builder&) = delete;
  Builder& operator=(const Builder&) = delete;
  ~Builder() { dismantle(root_); }

  const std::string& problem() const { return problem_; }
  json take() { return std::move(root_); }

  bool null() { return place(nullptr) != nullptr; }
  bool boolean(bool flag) { return place(flag) != nullptr; }
  bool number_integer(std::int64_t number) { return place(number) != nullptr; }
  bool number_unsigned(std::uint64_t number) { return place(number) != nullptr; }
  bool number_float(double number, const std::string&) { return place(number) != nullptr; }
  bool string(std::string& text) { return place(std::move(text)) != nullptr; }
  bool binary(json::binary_t&) { return fail("binary data"); }
  bool start_object(std::size_t) { return open(json::object()); }
  bool start_array(std::size_t) { return open(json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& name) {
    key_ = std::move(name);
    return !open_.back()->contains(key_) || fail("the key " + printable(key_) + " appears twice");
  }
  bool parse_error(std::size_t, const std::string&, const json::exception& error) {
    return fail(std::string("not valid JSON: ") + error.what());
  }

 private:
  bool fail(std::string problem) {
    problem_ = std::move(problem);
    return false;
  }

  bool open(json container) {
    if (open_.size() == kMaxDepth) {
      return fail("JSON nested deeper than " + std::to_string(kMaxDepth) + " levels");
    }
    open_.push_back(place(std::move(container)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  /// Puts a value where the parser stands.
  json* place(json item) {
    if (open_.empty()) return &(root_ = std::move(item));
    json& parent = *open_.back();
    if (parent.is_object()) return &(parent[key_] = std::move(item));
    return &parent.emplace_back(std::move(item));
  }

  json root_;
  std::vector<json*> open_;  // the containers that enclose the parser's position
  std::string key_;
  std::string problem_;
};

}  // namespace

nlohmann::json parse_json(const FileView& file) {
  reject_placeholder(file);
  if (file.bytes.size() > kMaxBytes) {
    throw Error(ErrorKind::corrupt_file, file.path + ": " + std::to_string(file.bytes.size()) +
                                             " bytes, more than the 64 MiB that a JSON file of a "
                                             "model may have");
  }
  // nlohmann::json takes a zero byte for the end of its input.
  if (file.text().find('\0') != std::string_view::npos) {
    throw Error(ErrorKind::corrupt_file, file.path + ": not valid JSON: holds a zero byte");
  }
  Builder builder;
  const std::string_view text = file.text();
  if (!json::sax_parse(text.begin(), text.end(), &builder)) {
    throw Error(ErrorKind::corrupt_file, file.path + ": " + builder.problem());
  }
  return builder.take();
}

void dismantle(nlohmann::json& value) noexcept {
  for (nlohmann::json& member : value) {
    if (member.is_structured()) dismantle(member);
  }
  if (value.is_structured()) value.clear();
}

std::string printable(std::string_view text) {
  return clipped(ascii_dump(std::string(text.substr(0, kMaxQuoted))));
}

std::string printable_json(const nlohmann::json& value) { return clipped(ascii_dump(value)); }

}  // namespace ernie_image
