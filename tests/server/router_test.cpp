#include "server/router.h"

#include <gtest/gtest.h>

#include "server/api_error.h"

namespace ernie_image {
namespace {

class RouterTest : public testing::Test {
 protected:
  RouterTest() {
    for (const auto& [method, pattern] :
         {std::pair("GET", "/"), std::pair("GET", "/v1/jobs"), std::pair("POST", "/v1/jobs"),
          std::pair("GET", "/v1/jobs/{id}"), std::pair("GET", "/v1/jobs/{id}/images/{index}")}) {
      router_.add({method, pattern, nullptr});
    }
  }

  std::string found(const std::string& method, const std::string& path) {
    try {
      return router_.find(method, path, exchange_).pattern;
    } catch (const ApiError& error) {
      return std::to_string(error.status) + " " + error.allow;
    }
  }

  Connection connection_{FileDescriptor(-1), {}};
  Exchange exchange_{connection_, {}, "", {}};
  Router router_;
};

TEST_F(RouterTest, FindsRoutesAndTheirParameters) {
  EXPECT_EQ(found("GET", "/"), "/");
  EXPECT_EQ(found("HEAD", "/v1/jobs"), "/v1/jobs");
  EXPECT_EQ(found("GET", "/v1/jobs/a/images/2"), "/v1/jobs/{id}/images/{index}");
  EXPECT_EQ(exchange_.path_parameters.at("id"), "a");
  EXPECT_EQ(exchange_.path_parameters.at("index"), "2");
}

TEST_F(RouterTest, TellsWrongPathsFromWrongMethods) {
  EXPECT_EQ(found("GET", "/v1/jobs/"), "404 ");
  EXPECT_EQ(found("GET", "/v1/jobs/a/images"), "404 ");
  EXPECT_EQ(found("GET", "//"), "404 ");
  EXPECT_EQ(found("GET", ""), "404 ");
  EXPECT_EQ(found("DELETE", "/v1/jobs"), "405 GET, HEAD, POST");
}

TEST_F(RouterTest, ServesAliases) {
  router_.add_alias("/v1/jobs", "/other/jobs");
  EXPECT_EQ(found("GET", "/other/jobs/a"), "/other/jobs/{id}");
  EXPECT_EQ(found("GET", "/other"), "404 ");
}

}  // namespace
}  // namespace ernie_image
