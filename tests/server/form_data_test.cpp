// Forms with files, sound and hostile.
#include "server/form_data.h"

#include <gtest/gtest.h>

#include "server/api_error.h"

namespace ernie_image {
namespace {

constexpr const char* kType = "multipart/form-data; boundary=XX";

std::string part(const std::string& disposition, const std::string& bytes) {
  return "--XX\r\nContent-Disposition: form-data; " + disposition + "\r\n\r\n" + bytes + "\r\n";
}

TEST(FormData, HasItsParts) {
  const std::string body =
      part("name=\"prompt\"", "a cat") +
      "--XX\r\ncontent-type: image/png\r\nCONTENT-DISPOSITION: form-data; filename=\"a; b.png\"; "
      "name=image\r\n\r\n\x89PNG\r\n\r\n--X\r\n--XX--\r\n";
  const std::vector<FormPart> parts = parse_form_data(kType, body);
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].name, "prompt");
  EXPECT_FALSE(parts[0].is_file);
  EXPECT_EQ(parts[0].bytes, "a cat");
  EXPECT_EQ(parts[1].name, "image");
  EXPECT_TRUE(parts[1].is_file);
  EXPECT_EQ(parts[1].bytes, "\x89PNG\r\n\r\n--X");  // what looks like a boundary and is none
}

TEST(FormData, MayBeginWithOtherTextAndBeEmpty) {
  EXPECT_EQ(parse_form_data("Multipart/Form-Data; charset=x; boundary=\"XX\"",
                            "preamble\r\n" + part("name=a", "") + "--XX--")
                .size(),
            1u);
  EXPECT_TRUE(parse_form_data(kType, "--XX--").empty());
}

TEST(FormData, IsRecognisedByItsType) {
  EXPECT_TRUE(is_form_data("multipart/form-data; boundary=x"));
  EXPECT_TRUE(is_form_data("Multipart/Form-Data"));
  for (const char* type : {"", "application/json", "multipart/mixed", "multipart/form-data2"})
    EXPECT_FALSE(is_form_data(type)) << type;
}

TEST(FormData, ThatIsNotWellFormedIsRefused) {
  const auto refused = [](const std::string& type, const std::string& body) {
    try {
      parse_form_data(type, body);
      ADD_FAILURE() << "accepted: " << type << " " << body.substr(0, 100);
    } catch (const ApiError& error) {
      EXPECT_EQ(error.status, 400);
    }
  };
  const std::string good = part("name=a", "1") + "--XX--\r\n";
  EXPECT_NO_THROW(parse_form_data(kType, good));
  refused("multipart/form-data", good);
  refused("multipart/form-data; boundary=", good);
  refused("multipart/form-data; boundary=\"XX", good);
  refused("multipart/form-data; boundary=" + std::string(71, 'X'), good);
  refused("multipart/form-data; boundary=YY", good);
  refused(kType, "");
  for (std::size_t size = 0; size + 4 < good.size(); ++size) refused(kType, good.substr(0, size));
  refused(kType, "--XX\r\nContent-Disposition: form-data\r\n\r\n1\r\n--XX--");
  refused(kType, "--XX\r\nContent-Disposition: form-data; name=\"a\r\n\r\n1\r\n--XX--");
  refused(kType, "--XX\r\nX: y\r\n\r\n1\r\n--XX--");
  refused(kType, "--XX\r\nX: " + std::string(5000, 'y') + "\r\n\r\n1\r\n--XX--");
  std::string many;
  for (int i = 0; i < 65; ++i) many += part("name=a", "1");
  refused(kType, many + "--XX--");
}

}  // namespace
}  // namespace ernie_image
