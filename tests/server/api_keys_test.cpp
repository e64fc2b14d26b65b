#include "server/api_keys.h"

#include <gtest/gtest.h>

#include <fstream>

#include <sys/stat.h>

#include "ernie_image/error.h"
#include "server/base64.h"
#include "server/signed_link.h"

namespace ernie_image {
namespace {

constexpr const char* kText =
    "# who may ask\n"
    "alice:0123456789abcdef\n"
    "\n"
    "bob:fedcba9876543210:20:1.5\r\n";

std::string error_of(const std::string& text) {
  try {
    ApiKeys::parse("keys", text);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(ApiKeys, ReadsNamesKeysAndQuotas) {
  const ApiKeys keys = ApiKeys::parse("keys", kText);
  ASSERT_EQ(keys.all().size(), 2u);
  EXPECT_EQ(keys.all()[0].requests_per_minute, 0);
  EXPECT_EQ(keys.all()[1].name, "bob");
  EXPECT_EQ(keys.all()[1].requests_per_minute, 20);
  EXPECT_EQ(keys.all()[1].megapixels_per_hour, 1.5);
}

TEST(ApiKeys, FindsTheKeyOfAHeader) {
  const ApiKeys keys = ApiKeys::parse("keys", kText);
  const auto name = [&](const std::string& header) {
    const ApiKey* key = keys.find(header);
    return key == nullptr ? std::string("nobody") : key->name;
  };
  EXPECT_EQ(name("Bearer fedcba9876543210"), "bob");
  EXPECT_EQ(name("bearer  0123456789abcdef"), "alice");
  EXPECT_EQ(name("Basic " + base64("anybody:0123456789abcdef")), "alice");
  for (const char* header : {"", "Bearer", "Bearer ", "Bearer 0123456789abcde", "Basic !!!!",
                             "Digest 0123456789abcdef", "0123456789abcdef"}) {
    EXPECT_EQ(name(header), "nobody") << header;
  }
}

TEST(ApiKeys, RefusesBadLinesByNumber) {
  EXPECT_NE(error_of("alice").find("line 1"), std::string::npos);
  EXPECT_NE(error_of("a:0123456789abcdef\nb:short").find("line 2"), std::string::npos);
  EXPECT_NE(error_of("a/b:0123456789abcdef"), "");
  EXPECT_NE(error_of("a:0123456789abcdef:many"), "");
  EXPECT_NE(error_of("a:0123456789abcdef:-1"), "");
  EXPECT_NE(error_of("a:0123456789abcdef:0"), "");  // none, or no limit?
  EXPECT_NE(error_of("a:0123456789abcdef::0.0"), "");
  EXPECT_NE(error_of("a:0123456789abcdef:1:2:3"), "");
  EXPECT_NE(error_of("a:0123456789abcdef\na:0123456789abcdee"), "");
  EXPECT_NE(error_of("a:0123456789abcdef\nb:0123456789abcdef"), "");
  EXPECT_NE(error_of("# nobody"), "");
}

TEST(ApiKeys, RefusesAFileThatEverybodyCanRead) {
  const std::string path = testing::TempDir() + "keys_" + std::to_string(::getpid());
  std::ofstream(path) << kText;
  ::chmod(path.c_str(), 0644);
  EXPECT_THROW(ApiKeys::read(path), Error);
  ::chmod(path.c_str(), 0600);
  EXPECT_EQ(ApiKeys::read(path).all().size(), 2u);
  ::unlink(path.c_str());
}

TEST(Base64, GivesBackEveryLength) {
  for (const std::string bytes : {"a", "ab", "abc", "abcd"}) {
    EXPECT_EQ(base64_decoded(base64(bytes)), bytes);
  }
  EXPECT_EQ(base64(std::string("\0\xff", 2)), "AP8=");
  for (const char* text : {"", "a", "ab=", "a===", "ab!=", "====", "AP8=\n"}) {
    EXPECT_FALSE(base64_decoded(text).has_value()) << text;
  }
}

TEST(SignedLink, HoldsUntilItExpires) {
  const std::string path = signed_path("secret", "id", 0, 100);
  const std::string signature = path.substr(path.rfind('/') + 1);
  EXPECT_TRUE(is_signed("secret", "id", "0", "100", signature, 99));
  EXPECT_FALSE(is_signed("secret", "id", "0", "100", signature, 100));
  EXPECT_FALSE(is_signed("secret", "id", "1", "100", signature, 99));
  EXPECT_FALSE(is_signed("secret", "id", "0", "999", signature, 99));
  EXPECT_FALSE(is_signed("other", "id", "0", "100", signature, 99));
  EXPECT_FALSE(is_signed("secret", "id", "0", "100", "", 99));
}

}  // namespace
}  // namespace ernie_image
