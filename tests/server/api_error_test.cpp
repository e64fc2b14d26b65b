#include "server/api_error.h"

#include <gtest/gtest.h>

#include "jobs/job.h"

namespace ernie_image {
namespace {

int refused(ErrorKind kind) {
  return api_error_of(std::make_exception_ptr(Error(kind, "why"))).status;
}

int failed(const std::string& kind) { return error_of_failure({kind, "why"}).status; }

TEST(ApiErrors, EachKindHasItsStatuses) {
  struct {
    ErrorKind kind;
    int refused, failed;
  } const expected[] = {
      {ErrorKind::invalid_argument, 400, 400},
      {ErrorKind::not_found, 404, 500},
      {ErrorKind::corrupt_file, 500, 500},
      {ErrorKind::unsupported, 400, 400},
      {ErrorKind::out_of_memory, 503, 500},
      {ErrorKind::device, 503, 500},
      {ErrorKind::io, 503, 500},
      {ErrorKind::cancelled, 409, 409},
  };
  ASSERT_EQ(std::size(expected), names_of(ErrorKind{}).size());
  for (const auto& [kind, status_refused, status_failed] : expected) {
    EXPECT_EQ(refused(kind), status_refused) << name_of(kind);
    EXPECT_EQ(failed(name_of(kind)), status_failed) << name_of(kind);
  }
  EXPECT_EQ(failed("worker_lost"), 500);
}

TEST(ApiErrors, TheServersOwnTroublesAreNotTold) {
  for (const ErrorKind kind : {ErrorKind::io, ErrorKind::device, ErrorKind::corrupt_file}) {
    const ApiError error = api_error_of(std::make_exception_ptr(Error(kind, "/var/secret")));
    EXPECT_EQ(std::string(error.what()).find("secret"), std::string::npos);
  }
  const ApiError error = api_error_of(std::make_exception_ptr(Error(ErrorKind::io, "/var/secret")));
  EXPECT_GT(error.retry_after_seconds, 0);
}

}  // namespace
}  // namespace ernie_image
