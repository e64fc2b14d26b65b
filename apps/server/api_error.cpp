#include "server/api_error.h"

#include <algorithm>
#include <new>

#include <nlohmann/json.hpp>

#include "jobs/job_queue.h"

namespace ernie_image {
namespace {

constexpr int kRetryLaterSeconds = 5;

const char* type_of(int status) {
  if (status == 401) return "authentication_error";
  if (status == 403) return "permission_error";
  if (status == 429) return "rate_limit_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

ApiError with_retry(ApiError error) {
  error.retry_after_seconds = kRetryLaterSeconds;
  return error;
}

ApiError api_error_of_kind(const Error& error) {
  switch (error.kind()) {
    case ErrorKind::invalid_argument:
    case ErrorKind::corrupt_file:
    case ErrorKind::unsupported:
      return ApiError(400, error.what());
    case ErrorKind::not_found:
      return ApiError(404, error.what());
    case ErrorKind::cancelled:
      return ApiError(409, error.what());
    case ErrorKind::device:
    case ErrorKind::out_of_memory:
    case ErrorKind::io:
      break;
  }
  return with_retry(ApiError(503, "the server cannot serve this at the moment", "", "unavailable"));
}

}  // namespace

ApiError::ApiError(int http_status, const std::string& message, std::string at, std::string name)
    : std::runtime_error(message),
      status(http_status),
      param(std::move(at)),
      code(std::move(name)) {}

std::string error_body(const ApiError& error) {
  const auto text_or_null = [](const std::string& text) {
    return text.empty() ? nlohmann::json() : nlohmann::json(text);
  };
  const nlohmann::json body = {{"error",
                                {{"message", error.what()},
                                 {"type", type_of(error.status)},
                                 {"param", text_or_null(error.param)},
                                 {"code", text_or_null(error.code)}}}};
  return body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

ApiError api_error_of(std::exception_ptr thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const ApiError& error) {
    return error;
  } catch (const QueueFull& error) {
    ApiError full(429, error.what(), "", "queue_full");
    full.retry_after_seconds = std::max(1, static_cast<int>(error.retry_after().count()));
    return full;
  } catch (const Error& error) {
    return api_error_of_kind(error);
  } catch (const std::bad_alloc&) {
    return with_retry(ApiError(503, "the server is out of memory", "", "unavailable"));
  } catch (...) {
    return ApiError(500, "the server failed at this request; its log says why", "", "server_error");
  }
}

ApiError not_found(const std::string& what) {
  return ApiError(404, "there is no such " + what, "", "not_found");
}

}  // namespace ernie_image
