// Typed access to the JSON object that a request sends, with errors that name the field. A field
// that is absent and one that is null are the same.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace ernie_image {

class RequestFields {
 public:
  /// `body` is what a client sent. Throws ApiError(400): not JSON, not an object, nested too deep.
  static RequestFields parse(std::string_view body);
  explicit RequestFields(nlohmann::json object) : object_(std::move(object)) {}

  const nlohmann::json& object() const { return object_; }
  bool has(const char* name) const { return find(name) != nullptr; }

  // Throw ApiError(400) with `name` as its param for a value of another type or out of range.
  std::optional<std::int64_t> integer(const char* name, std::int64_t min, std::int64_t max) const;
  std::optional<double> number(const char* name, double min, double max) const;
  std::optional<bool> boolean(const char* name) const;
  std::optional<std::string> text(const char* name) const;
  std::optional<std::string> choice(const char* name,
                                    std::initializer_list<std::string_view> choices) const;

  /// One seed or a list of them; -1 stands for one to be drawn, as nothing does.
  std::optional<std::vector<std::optional<std::uint64_t>>> seeds(const char* name,
                                                                 std::size_t max_count) const;

  /// Throws ApiError(400) naming the first field that is not among `known`.
  void refuse_unknown(std::initializer_list<std::string_view> known) const;

 private:
  const nlohmann::json* find(const char* name) const;

  nlohmann::json object_;
};

/// Throws ApiError(400) for the field `name`.
[[noreturn]] void refuse_field(const std::string& name, const std::string& problem);

}  // namespace ernie_image
