#include "server/request_head.h"

#include <gtest/gtest.h>

#include "server/api_error.h"

namespace ernie_image {
namespace {

int status_of_head(const std::string& text) {
  try {
    parse_request_head(text);
    return 0;
  } catch (const ApiError& error) {
    return error.status;
  }
}

std::string head(const std::string& line, const std::string& headers = "") {
  return line + "\r\nHost: localhost\r\n" + headers + "\r\n";
}

TEST(RequestHead, ReadsAPlainOne) {
  const RequestHead parsed = parse_request_head(
      head("POST /v1/jobs?limit=3 HTTP/1.1", "Content-Length: 12\r\nX-A:  b \r\n"));
  EXPECT_EQ(parsed.method, "POST");
  EXPECT_EQ(parsed.target, "/v1/jobs?limit=3");
  EXPECT_EQ(parsed.content_length, 12u);
  EXPECT_EQ(parsed.header("x-a"), "b");
  EXPECT_TRUE(keeps_alive(parsed));
}

TEST(RequestHead, ForwardsOnlyWhatTheLibraryMayActUpon) {
  const RequestHead parsed = parse_request_head(
      head("POST / HTTP/1.1", "Range: bytes=0-1\r\nAccept-Encoding: br\r\nContent-Type: a%b\r\n"));
  EXPECT_EQ(
      forwarded_head(parsed),
      "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: a%25b\r\ncontent-length: 0\r\n\r\n");
}

TEST(RequestHead, RefusesWhatTwoReadersCouldTakeDifferently) {
  EXPECT_EQ(status_of_head(head("POST / HTTP/1.1", "Content-Length: 1\r\nContent-Length: 2\r\n")),
            400);
  EXPECT_EQ(status_of_head(
                head("POST / HTTP/1.1", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n")),
            411);
  EXPECT_EQ(status_of_head(head("POST / HTTP/1.1", "Content-Length: +1\r\n")), 400);
  EXPECT_EQ(status_of_head(head("POST / HTTP/1.1", "Content-Length : 1\r\n")), 400);
  EXPECT_EQ(status_of_head(head("POST / HTTP/1.1", "A: b\r\n continued\r\n")), 400);
  EXPECT_EQ(status_of_head(head("GET / HTTP/1.1", "A: b\nC: d\r\n")), 400);
  EXPECT_EQ(status_of_head(head("GET / HTTP/1.1", "Host: other\r\n")), 400);
  EXPECT_EQ(status_of_head("GET / HTTP/1.1\r\n\r\n"), 400);
}

TEST(RequestHead, RefusesOddAddresses) {
  for (const char* target : {"", "*", "http://a/", "/a b", "/%4", "/%zz", "/%00", "/a#b", "/a?b?c",
                             "/\x01", "/\xc3\xa9"}) {
    EXPECT_EQ(status_of_head(head(std::string("GET ") + target + " HTTP/1.1")), 400) << target;
  }
  EXPECT_EQ(status_of_head(head("GET /" + std::string(kMaxTargetBytes, 'a') + " HTTP/1.1")), 414);
}

TEST(RequestHead, RefusesOddMethodsAndVersions) {
  EXPECT_EQ(status_of_head(head("BREW / HTTP/1.1")), 405);
  EXPECT_EQ(status_of_head(head("get / HTTP/1.1")), 405);
  EXPECT_EQ(status_of_head(head("G@T / HTTP/1.1")), 400);
  EXPECT_EQ(status_of_head(head("GET / HTTP/2.0")), 400);
  EXPECT_EQ(status_of_head(head("GET /")), 400);
}

TEST(RequestHead, RefusesTooManyHeadersAndUnknownExpectations) {
  std::string many;
  for (std::size_t i = 0; i <= kMaxHeaders; ++i) many += "A: b\r\n";
  EXPECT_EQ(status_of_head(head("GET / HTTP/1.1", many)), 431);
  EXPECT_EQ(status_of_head(head("POST / HTTP/1.1", "Expect: magic\r\n")), 417);
  EXPECT_EQ(status_of_head(head("POST / HTTP/1.1", "Content-Encoding: gzip\r\n")), 415);
}

TEST(RequestHead, EndsTheConnectionWhereTheClientOrTheVersionAsks) {
  EXPECT_FALSE(keeps_alive(parse_request_head("GET / HTTP/1.0\r\n\r\n")));
  EXPECT_FALSE(keeps_alive(parse_request_head(head("GET / HTTP/1.1", "Connection: Close\r\n"))));
}

}  // namespace
}  // namespace ernie_image
