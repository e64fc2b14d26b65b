// What clients send: heads of requests, JSON bodies, forms, keys, base64. The first byte says
// which.
#include <cstdlib>
#include <string>

#include "server/api_error.h"
#include "server/api_keys.h"
#include "server/base64.h"
#include "server/form_data.h"
#include "server/image_request.h"
#include "server/origin_check.h"
#include "server/request_head.h"

namespace {

using namespace ernie_image;

/// What is forwarded must be a head that says the same.
void read_head(const std::string& text) {
  const RequestHead head = parse_request_head(text);
  check_origin(head, {});
  RequestHead again = parse_request_head(forwarded_head(head));
  if (again.method != head.method || again.target != head.target ||
      again.content_length != head.content_length || keeps_alive(again) != keeps_alive(head)) {
    std::abort();
  }
}

WorkerInfo worker() {
  WorkerInfo info;
  info.model = "model";
  info.defaults.width_px = info.defaults.height_px = 64;
  info.defaults.num_inference_steps = 8;
  return info;
}

/// A request that is accepted is within every limit.
void read_body(const std::string& text) {
  const RequestLimits limits;
  const JobRequest request = picture_request(JsonReader::parse(text, "body"), {worker()}, limits);
  const bool is_within = request.width_px % 16 == 0 && request.height_px % 16 == 0 &&
                         request.width_px > 0 && request.height_px > 0 &&
                         pixels_of(request) <= 1e7 * limits.max_images && !request.seeds.empty() &&
                         request.seeds.size() <= static_cast<std::size_t>(limits.max_images) &&
                         request.num_inference_steps >= 1 &&
                         request.num_inference_steps <= limits.max_steps &&
                         request.guidance_scale >= 0 && request.guidance_scale <= 100;
  if (!is_within) std::abort();
}

void read_base64(const std::string& text) {
  const std::optional<std::string> bytes = base64_decoded(text);
  if (bytes && base64(*bytes).size() != text.size()) std::abort();
}

/// Parts are views into the body.
void read_form(const std::string& text) {
  for (const FormPart& part : parse_form_data("multipart/form-data; boundary=X", text)) {
    const bool is_within = part.bytes.data() >= text.data() &&
                           part.bytes.data() + part.bytes.size() <= text.data() + text.size();
    if (!is_within) std::abort();
  }
}

void read_input(char kind, const std::string& text) {
  static const ApiKeys keys = ApiKeys::parse("keys", "alice:0123456789abcdef");
  if (kind == 'h') read_head(text);
  if (kind == 'b') read_body(text);
  if (kind == 'f') read_form(text);
  if (kind == 'k') ApiKeys::parse("keys", text);
  if (kind == 'a' && keys.find(text) != nullptr && text.size() < 16) std::abort();
  if (kind == '6') read_base64(text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  try {
    read_input(static_cast<char>(data[0]),
               std::string(reinterpret_cast<const char*>(data) + 1, size - 1));
  } catch (const ApiError&) {
  } catch (const Error&) {
  }
  return 0;
}
