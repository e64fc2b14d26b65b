// Fields and files of a request, whichever way they come.
#include <algorithm>
#include <array>

#include "io/text_encoding.h"
#include "server/api_error.h"
#include "server/exchange.h"
#include "server/form_data.h"
#include "server/picture_upload.h"
#include "server/service.h"

namespace ernie_image {
namespace {

using nlohmann::json;

/// Fields of forms that are text whatever they look like.
constexpr std::array<std::string_view, 13> kTextFields = {
    "prompt",          "negative_prompt", "model",        "user",       "size",
    "quality",         "style",           "background",   "moderation", "output_format",
    "response_format", "resize",          "strength_mode"};

/// Forms know text only: "2" is a number where none of those fields is.
json field_value(const FormPart& part) {
  const std::string text(part.bytes);
  if (!decode_utf8(text)) refuse_field(part.name.substr(0, 100), "is not UTF-8");
  constexpr std::size_t kLongestNumber = 64, kLongestList = 1024;
  const bool is_list = part.name == "boxes";
  if (std::ranges::find(kTextFields, part.name) != kTextFields.end() ||
      text.size() > (is_list ? kLongestList : kLongestNumber))
    return text;
  if (text == "True" || text == "False") return text == "True";  // Python's
  const json value = json::parse(text, nullptr, false);
  const bool is_value = value.is_number() || value.is_boolean() || (is_list && value.is_array());
  return is_value ? value : json(text);
}

void take_file(const FormPart& part, const std::string& name, Bytes& file) {
  if (!file.empty()) refuse_field(name, "may be one picture only");
  if (part.bytes.empty()) refuse_field(name, "is empty");
  file = part.bytes;
}

UploadRequest upload_of_form(const Exchange& exchange) {
  json fields = json::object();
  Upload upload{{}, {}, exchange.memory};
  for (const FormPart& part :
       parse_form_data(exchange.head.header("content-type"), exchange.request->body)) {
    if (part.name == "image" || part.name == "image[]") {
      take_file(part, "image", upload.image);
    } else if (part.name == "mask") {
      take_file(part, "mask", upload.mask);
    } else if (part.is_file) {
      refuse_field(part.name.substr(0, 100), "is not a file of this request");
    } else if (!fields.emplace(part.name, field_value(part)).second) {
      refuse_field(part.name.substr(0, 100), "is there twice");
    }
  }
  return {JsonReader(std::move(fields), "the request's form"), std::move(upload)};
}

/// The picture itself, or an object that says where it is, as OpenAI has it.
Bytes bytes_of_reference(const json& value, const std::string& name) {
  if (!value.is_object()) return picture_bytes(value, name);
  if (!value.contains("image_url")) refuse_field(name, "must have an image_url");
  return picture_bytes(value["image_url"], name);
}

UploadRequest upload_of_json(const Exchange& exchange) {
  JsonReader fields = fields_of(exchange);
  Upload upload{{}, {}, exchange.memory};
  for (const char* const name : {"image", "images"}) {
    const json* value = fields.find(name);
    if (value == nullptr) continue;
    if (value->is_array() && value->size() != 1) refuse_field(name, "may be one picture only");
    if (!upload.image.empty()) refuse_field(name, "may be one picture only");
    upload.image = bytes_of_reference(value->is_array() ? value->front() : *value, name);
  }
  if (const json* mask = fields.find("mask")) upload.mask = bytes_of_reference(*mask, "mask");
  return {std::move(fields), std::move(upload)};
}

}  // namespace

UploadRequest upload_request(const Exchange& exchange) {
  return is_form_data(exchange.head.header("content-type")) ? upload_of_form(exchange)
                                                            : upload_of_json(exchange);
}

}  // namespace ernie_image
