#include "server/origin_check.h"

#include <gtest/gtest.h>

#include "server/api_error.h"

namespace ernie_image {
namespace {

bool is_allowed(const std::string& method, const std::string& host, const std::string& origin) {
  RequestHead head;
  head.method = method;
  head.headers = {{"host", host}};
  if (!origin.empty()) head.headers.emplace_back("origin", origin);
  try {
    check_origin(head, {"localhost", "127.0.0.1", "[::1]"});
    return true;
  } catch (const ApiError& error) {
    EXPECT_EQ(error.status, 403);
    return false;
  }
}

TEST(OriginCheck, KnowsOnlyItsOwnNames) {
  EXPECT_TRUE(is_allowed("GET", "localhost:7860", ""));
  EXPECT_TRUE(is_allowed("GET", "LocalHost", ""));
  EXPECT_TRUE(is_allowed("GET", "[::1]:7860", ""));
  EXPECT_FALSE(is_allowed("GET", "evil.example:7860", ""));
  EXPECT_FALSE(is_allowed("GET", "localhost.evil.example", ""));
  EXPECT_FALSE(is_allowed("GET", "", ""));
}

TEST(OriginCheck, RefusesWhatIsNoHost) {
  RequestHead head;
  for (const char* host :
       {"localhost:80@evil.example", "user@localhost", "user:1@localhost", "localhost/",
        "localhost:", "localhost:80x", "localhost:123456", "%6cocalhost", "[::1", "[::1]x",
        "local host", "localhost#", "localhost?", ":80", "localhost\\"}) {
    head.headers = {{"host", host}};
    EXPECT_FALSE(is_allowed("GET", host, "")) << host;
    EXPECT_THROW(check_origin(head, {}), ApiError) << host;  // where any host is allowed
  }
}

TEST(OriginCheck, NoNameLeadsToAnAddress) {
  RequestHead head;
  for (const char* host : {"192.0.2.1:7860", "192.0.2.1", "[2001:db8::1]:7860"}) {
    head.headers = {{"host", host}};
    EXPECT_NO_THROW(check_origin(head, {kAnyAddress})) << host;
  }
  for (const char* host : {"evil.example", "192.0.2.1.evil.example", "192.0.2", "[v1.x]"}) {
    head.headers = {{"host", host}};
    EXPECT_THROW(check_origin(head, {kAnyAddress}), ApiError) << host;
  }
}

TEST(OriginCheck, LetsNoOtherSiteChangeAnything) {
  EXPECT_TRUE(is_allowed("POST", "localhost:7860", "http://localhost:7860"));
  EXPECT_TRUE(is_allowed("POST", "localhost:7860", "https://localhost:7860"));
  EXPECT_FALSE(is_allowed("POST", "localhost:7860", "http://localhost:80"));
  EXPECT_FALSE(is_allowed("POST", "localhost:7860", "https://evil.example"));
  EXPECT_FALSE(is_allowed("DELETE", "localhost:7860", "null"));
  EXPECT_TRUE(is_allowed("GET", "localhost:7860", "https://evil.example"));
}

}  // namespace
}  // namespace ernie_image
