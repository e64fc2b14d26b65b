// What a client is told when its request cannot be served: one JSON shape for every API, that of
// OpenAI.
#pragma once

#include <exception>
#include <stdexcept>
#include <string>

#include "ernie_image/error.h"

namespace ernie_image {

struct JobFailure;

/// Thrown by whatever handles a request.
struct ApiError : std::runtime_error {
  ApiError(int http_status, const std::string& message, std::string at = {}, std::string name = {});

  int status;
  std::string param;            ///< the field that is wrong; empty: none in particular
  std::string code;             ///< for programs, e.g. "model_not_found"; empty: none
  int retry_after_seconds = 0;  ///< for 429 and 503; 0: not said
  std::string allow;            ///< for 405: the methods that the path knows
  bool is_final = false;        ///< clients that repeat what failed are told not to
};

/// {"error": {"message", "type", "param", "code"}}
std::string error_body(const ApiError& error);

/// {"error": message}
std::string plain_error_body(const ApiError& error);

/// The message as a reason phrase, which some clients show and nothing else: ASCII, in one line,
/// 200 characters at most.
std::string reason_phrase(const ApiError& error);

/// What a client learns of an exception: which field is wrong (JsonError), the library's errors by
/// their kind, and of anything unforeseen only that it happened.
ApiError api_error_of(std::exception_ptr thrown);

/// Of a job that ended with it.
ApiError error_of_failure(const JobFailure& failure);

/// 400 for the field `name`: "width must be a whole number".
ApiError field_error(const std::string& name, const std::string& problem);
[[noreturn]] void refuse_field(const std::string& name, const std::string& problem);

ApiError not_found(const std::string& what);

}  // namespace ernie_image
