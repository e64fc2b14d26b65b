#include "server/api_error.h"

#include <algorithm>
#include <new>

#include <nlohmann/json.hpp>

#include "io/json_reader.h"
#include "jobs/job_queue.h"

namespace ernie_image {
namespace {

constexpr int kRetryLaterSeconds = 5;
constexpr int kFailed = 500;
constexpr int kUnavailable = 503;

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

/// The status of each kind of error: of a request that is refused with it, and of a job that ended
/// with it, which no retry of the same request will change.
struct KindStatus {
  ErrorKind kind;
  int refused;
  int failed;
};

constexpr KindStatus kStatuses[] = {
    {ErrorKind::invalid_argument, 400, 400},
    {ErrorKind::not_found, 404, 500},
    // A file of the server's own: what clients send is held against them where it is read.
    {ErrorKind::corrupt_file, 500, 500},
    {ErrorKind::unsupported, 400, 400},
    {ErrorKind::out_of_memory, 503, 500},
    {ErrorKind::device, 503, 500},
    {ErrorKind::io, 503, 500},
    {ErrorKind::cancelled, 409, 409},
};

const KindStatus& status_of(ErrorKind kind) {
  return *std::ranges::find(kStatuses, kind, &KindStatus::kind);
}

ApiError server_failed() {
  return ApiError(kFailed, "the server failed at this request; its log says why", "",
                  "server_error");
}

ApiError api_error_of_kind(const Error& error) {
  const int status = status_of(error.kind()).refused;
  if (status == kFailed) return server_failed();
  if (status != kUnavailable) return ApiError(status, error.what());
  return with_retry(
      ApiError(status, "the server cannot serve this at the moment", "", "unavailable"));
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

std::string plain_error_body(const ApiError& error) {
  return nlohmann::json{{"error", error.what()}}.dump(-1, ' ', false,
                                                      nlohmann::json::error_handler_t::replace);
}

std::string reason_phrase(const ApiError& error) {
  constexpr std::size_t kMaxChars = 200;
  std::string phrase = std::string(error.what()).substr(0, kMaxChars);
  for (char& c : phrase) {
    if (c < ' ' || c > '~') c = ' ';
  }
  return phrase;
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
  } catch (const DamagedJob& error) {
    return ApiError(kFailed, error.what(), "", "job_is_damaged");
  } catch (const JsonError& error) {
    return field_error(error.key(), "must be " + error.expected());
  } catch (const Error& error) {
    return api_error_of_kind(error);
  } catch (const std::bad_alloc&) {
    return with_retry(ApiError(kUnavailable, "the server is out of memory", "", "unavailable"));
  } catch (...) {
    return server_failed();
  }
}

ApiError error_of_failure(const JobFailure& failure) {
  const std::optional<ErrorKind> kind = from_name<ErrorKind>(failure.kind);
  return ApiError(kind ? status_of(*kind).failed : 500, failure.message, "", failure.kind);
}

ApiError field_error(const std::string& name, const std::string& problem) {
  return ApiError(400, name + " " + problem, name, "invalid_value");
}

void refuse_field(const std::string& name, const std::string& problem) {
  throw field_error(name, problem);
}

ApiError not_found(const std::string& what) {
  return ApiError(404, "there is no such " + what, "", "not_found");
}

}  // namespace ernie_image
