#include "eval/html.h"

#include <vector>

#include <openssl/evp.h>

#include "io/image_file.h"

namespace ernie_image {
namespace {

std::string base64(const std::vector<std::uint8_t>& bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');  // EVP_EncodeBlock ends with a zero byte
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()), bytes.data(),
                                     static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(length));
  return text;
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string escaped;
  for (const char c : text) {
    switch (c) {
      case '&':
        escaped += "&amp;";
        break;
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

std::string embedded_image(const Image& image, std::string_view alt) {
  return "<img width=\"" + std::to_string(image.width_px) + "\" height=\"" +
         std::to_string(image.height_px) + "\" alt=\"" + escape_html(alt) +
         "\" src=\"data:image/png;base64," + base64(encode_image(image, {}, {})) + "\">";
}

}  // namespace ernie_image
