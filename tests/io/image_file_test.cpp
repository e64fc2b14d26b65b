#include "io/image_file.h"
#include "io/exif.h"

#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <cstdlib>

#include <jpeglib.h>
#include <webp/decode.h>
#include <webp/mux.h>

#include <filesystem>
#include <fstream>

#include "ernie_image/error.h"
#include "test_files.h"

namespace ernie_image {
namespace {

using test::expect_error;

/// Smooth colours, so that lossy formats have an easy task.
Image gradient(int width, int height) {
  Image image{width, height, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      image.rgb.push_back(static_cast<std::uint8_t>(x * 255 / width));
      image.rgb.push_back(static_cast<std::uint8_t>(y * 255 / height));
      image.rgb.push_back(static_cast<std::uint8_t>((x + y) % 256));
    }
  }
  return image;
}

class ImageFileTest : public test::TemporaryFolder {
 protected:
  ImageFile round_trip(const Image& image, const ImageMetadata& metadata) const {
    const auto bytes = encode_image(image, {}, metadata);
    return read_image(write("a.png", {reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
  }
};

bool contains(const std::vector<std::uint8_t>& bytes, std::string_view text) {
  return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()).find(text) !=
         std::string_view::npos;
}

TEST(ImageFormat, FollowsTheExtension) {
  EXPECT_EQ(image_format_of("a/b.PNG"), ImageFormat::png);
  EXPECT_EQ(image_format_of("b.x.jpg"), ImageFormat::jpeg);
  EXPECT_EQ(image_format_of("b.Jpeg"), ImageFormat::jpeg);
  EXPECT_EQ(image_format_of("b.webp"), ImageFormat::webp);
  for (const char* name : {"b", "b.gif", ".png", "b.png/", "b.png~", "b.pn\xc3\x87"}) {
    expect_error(ErrorKind::invalid_argument, {".png", ".jpg", ".webp"},
                 [&] { image_format_of(name); });
  }
}

TEST_F(ImageFileTest, PngKeepsEveryPixel) {
  for (const auto& [width, height] : {std::pair{1, 1}, {64, 48}, {257, 3}}) {
    const Image image = gradient(width, height);
    const ImageFile file = round_trip(image, {});
    EXPECT_EQ(file.image.width_px, width);
    EXPECT_EQ(file.image.height_px, height);
    EXPECT_EQ(file.image.rgb, image.rgb);
    EXPECT_TRUE(file.metadata.empty());
  }
}

TEST_F(ImageFileTest, PngKeepsTextOfAnyLanguage) {
  const ImageMetadata metadata = {
      {"parameters", "a café\nSteps: 8, Seed: 42"},
      {"ernie_image", R"({"prompt":"静かな 🐼 \t","n":1})"},
      {"control", "tab\there, c1 \xc2\x85"},
      {"empty", ""},
  };
  EXPECT_EQ(round_trip(gradient(8, 8), metadata).metadata, metadata);
}

TEST(ImageEncoding, PngUsesTextChunkForLatin1AndInternationalTextElsewhere) {
  const auto latin = encode_image(gradient(4, 4), {}, {{"parameters", "caf\xc3\xa9"}});
  EXPECT_TRUE(contains(latin, std::string_view("tEXtparameters\0caf\xe9", 19)));
  EXPECT_FALSE(contains(latin, "iTXt"));
  // keyword, compression flag and method 0, empty language and translated keyword, then UTF-8
  const auto chinese = encode_image(gradient(4, 4), {}, {{"parameters", "静"}});
  EXPECT_TRUE(contains(chinese, std::string_view("iTXtparameters\0\0\0\0\0\xe9\x9d\x99", 22)));
  EXPECT_FALSE(contains(chinese, "tEXt"));
}

TEST(ImageEncoding, RejectsMetadataThatCannotBeStored) {
  const Image image = gradient(4, 4);
  const auto fails = [&](const ImageMetadata& metadata, ImageFormat format) {
    expect_error(ErrorKind::invalid_argument, {""},
                 [&] { encode_image(image, {.format = format}, metadata); });
  };
  fails({{"parameters", "\xff"}}, ImageFormat::png);
  fails({{"parameters", std::string("a\0b", 3)}}, ImageFormat::png);
  fails({{"", "x"}}, ImageFormat::png);
  fails({{std::string(80, 'k'), "x"}}, ImageFormat::png);
  fails({{" k", "x"}}, ImageFormat::png);
  fails({{"schlüssel", "x"}}, ImageFormat::png);
  fails({{"parameters", "\xff"}}, ImageFormat::jpeg);
  fails({{"parameters", std::string(40000, 'x')}}, ImageFormat::jpeg);
}

TEST(ImageEncoding, RejectsImagesThatAreNone) {
  const auto fails = [](const Image& image, const ImageEncoding& encoding) {
    expect_error(ErrorKind::invalid_argument, {""}, [&] { encode_image(image, encoding, {}); });
  };
  fails({}, {});
  fails({-1, 4, {}}, {});
  fails({4, 4, std::vector<std::uint8_t>(47)}, {});
  fails({1 << 30, 1 << 30, {}}, {});
  fails(gradient(4, 4), {.format = ImageFormat::jpeg, .quality = 0});
  fails(gradient(4, 4), {.format = ImageFormat::webp, .quality = 101});
  fails(gradient(16384, 1), {.format = ImageFormat::webp});
  fails(gradient(65501, 1), {.format = ImageFormat::jpeg});
}

Image decode_jpeg(const std::vector<std::uint8_t>& bytes) {
  jpeg_decompress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);  // an error ends the test program, which is what it should
  jpeg_create_decompress(&info);
  jpeg_mem_src(&info, bytes.data(), bytes.size());
  jpeg_read_header(&info, TRUE);
  jpeg_start_decompress(&info);
  Image image{static_cast<int>(info.output_width), static_cast<int>(info.output_height), {}};
  image.rgb.resize(std::size_t{3} * info.output_width * info.output_height);
  while (info.output_scanline < info.output_height) {
    JSAMPROW row = image.rgb.data() + std::size_t{3} * info.output_width * info.output_scanline;
    jpeg_read_scanlines(&info, &row, 1);
  }
  jpeg_finish_decompress(&info);
  jpeg_destroy_decompress(&info);
  return image;
}

Image decode_webp(const std::vector<std::uint8_t>& bytes) {
  Image image;
  std::uint8_t* rgb = WebPDecodeRGB(bytes.data(), bytes.size(), &image.width_px, &image.height_px);
  if (rgb == nullptr) return image;
  image.rgb.assign(rgb, rgb + std::size_t{3} * image.width_px * image.height_px);
  WebPFree(rgb);
  return image;
}

double mean_difference(const Image& a, const Image& b) {
  if (a.rgb.size() != b.rgb.size()) return 255;
  double sum = 0;
  for (std::size_t i = 0; i < a.rgb.size(); ++i) sum += std::abs(int{a.rgb[i]} - int{b.rgb[i]});
  return sum / static_cast<double>(a.rgb.size());
}

TEST(ImageEncoding, LossyFormatsStayClose) {
  const Image image = gradient(200, 120);
  // A gradient loses about half a grey level at quality 95; WebP halves the colour resolution.
  const auto jpeg = encode_image(image, {.format = ImageFormat::jpeg}, {});
  EXPECT_LT(mean_difference(decode_jpeg(jpeg), image), 2.0);
  const auto webp = encode_image(image, {.format = ImageFormat::webp}, {});
  EXPECT_LT(mean_difference(decode_webp(webp), image), 4.0);
  const auto poor = encode_image(image, {.format = ImageFormat::jpeg, .quality = 5}, {});
  EXPECT_LT(poor.size(), jpeg.size() / 2) << "quality matters";
}

TEST(ImageEncoding, WebpAtQuality100IsLossless) {
  const Image image = gradient(61, 47);
  const auto bytes =
      encode_image(image, {.format = ImageFormat::webp, .quality = 100}, {{"parameters", "x"}});
  EXPECT_EQ(decode_webp(bytes).rgb, image.rgb);
}

// TIFF header, IFD0 with the pointer, Exif IFD with version and comment, then "A🐼" in UTF-16BE.
const std::string kExif(
    "MM\0\x2a\0\0\0\x08"
    "\0\1"
    "\x87\x69\0\4\0\0\0\1\0\0\0\x1a"
    "\0\0\0\0"
    "\0\2"
    "\x90\0\0\7\0\0\0\4"
    "0232"
    "\x92\x86\0\7\0\0\0\x0e\0\0\0\x38"
    "\0\0\0\0"
    "UNICODE\0"
    "\0A\xd8\x3d\xdc\x3c",
    70);

TEST(ImageEncoding, JpegCarriesTheParametersAsExifComment) {
  const auto bytes = encode_image(gradient(16, 16), {.format = ImageFormat::jpeg},
                                  {{"parameters", "A🐼"}, {"other", "left out"}});
  EXPECT_TRUE(contains(bytes, "\xff\xe1" +
                                  std::string("\0\x4e"
                                              "Exif\0\0",
                                              8) +
                                  kExif));
  EXPECT_FALSE(contains(bytes, "left out"));
  EXPECT_EQ(decode_jpeg(bytes).width_px, 16);
}

TEST(ImageEncoding, WebpCarriesTheParametersAsExifComment) {
  const auto bytes =
      encode_image(gradient(16, 16), {.format = ImageFormat::webp}, {{"parameters", "A🐼"}});
  const WebPData data{bytes.data(), bytes.size()};
  WebPMux* mux = WebPMuxCreate(&data, 0);
  ASSERT_NE(mux, nullptr);
  WebPData exif{};
  ASSERT_EQ(WebPMuxGetChunk(mux, "EXIF", &exif), WEBP_MUX_OK);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(exif.bytes), exif.size), kExif);
  WebPMuxDelete(mux);
  EXPECT_EQ(decode_webp(bytes).width_px, 16);
}

TEST_F(ImageFileTest, EveryFormatKeepsBothTextsAndItsQuality) {
  const ImageMetadata metadata = {{"parameters", "A🐼\nSteps: 8"}, {"ernie_image", "{\"a\": 1}"}};
  for (const ImageFormat format : {ImageFormat::png, ImageFormat::jpeg, ImageFormat::webp}) {
    const auto bytes = encode_image(gradient(16, 16), {format, 80}, metadata);
    const std::string file =
        write("any.name", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    const ImageFile found = read_image(file);
    EXPECT_EQ(found.metadata, metadata);
    EXPECT_EQ(found.encoding.format, format);
    EXPECT_EQ(found.encoding.quality, format == ImageFormat::png ? 0 : 80);
    EXPECT_EQ(read_image_metadata(open_file(file), 1 << 20), metadata);
  }
}

TEST_F(ImageFileTest, AJpegWithoutRoomKeepsItsParameters) {
  const ImageMetadata metadata = {{"parameters", "A"}, {"ernie_image", std::string(65500, ' ')}};
  const auto bytes = encode_image(gradient(16, 16), {ImageFormat::jpeg, 80}, metadata);
  const ImageFile found =
      read_image(write("a.jpg", {reinterpret_cast<const char*>(bytes.data()), bytes.size()}));
  EXPECT_EQ(found.metadata, (ImageMetadata{{"parameters", "A"}}));
  EXPECT_EQ(found.encoding.quality, 0);
}

/// A TIFF structure of either byte order with a UserComment.
std::string comment_exif(const std::string& comment, bool big_endian) {
  const auto number = [&](std::size_t value, int size) {
    std::string text;
    for (int i = 0; i < size; ++i)
      text += static_cast<char>(value >> 8 * (big_endian ? size - 1 - i : i));
    return text;
  };
  const auto entry = [&](int tag, int type, std::size_t count, std::size_t value) {
    return number(tag, 2) + number(type, 2) + number(count, 4) + number(value, 4);
  };
  return (big_endian ? "MM" : "II") + number(42, 2) + number(8, 4) + number(1, 2) +
         entry(0x8769, 4, 1, 26) + number(0, 4) + number(1, 2) +
         entry(0x9286, 7, comment.size(), 44) + number(0, 4) + comment;
}

TEST(Exif, ReadsTheCommentsOfOtherPrograms) {
  const auto comment_of = [](const std::string& exif) {
    return metadata_of_exif(std::as_bytes(std::span(exif))).metadata["parameters"];
  };
  const std::string unicode("UNICODE\0", 8), ascii("ASCII\0\0\0", 8), plain(8, '\0');
  const std::string big("\0A\x84\xdd\xd8\x3d\xdc\x3c", 8), little("A\0\xdd\x84\x3d\xd8\x3c\xdc", 8);
  for (const bool big_endian : {false, true}) {
    EXPECT_EQ(comment_of(comment_exif(unicode + big, big_endian)), "A蓝🐼");
    EXPECT_EQ(comment_of(comment_exif(unicode + little, big_endian)), "A蓝🐼");
    EXPECT_EQ(comment_of(comment_exif(ascii + "Steps: 8", big_endian)), "Steps: 8");
    EXPECT_EQ(comment_of(comment_exif(plain + "caf\xe9", big_endian)), "café");
    EXPECT_EQ(comment_of(comment_exif(unicode + "A", big_endian)), "") << "half a character";
    EXPECT_EQ(comment_of(comment_exif("unknown.text", big_endian)), "");
  }
  const std::string whole = comment_exif(unicode + big, true);
  for (std::size_t length = 0; length < whole.size(); ++length)
    EXPECT_EQ(comment_of(whole.substr(0, length)), "") << length;
}

TEST(ImageEncoding, WithoutParametersThereIsNoExif) {
  EXPECT_FALSE(contains(encode_image(gradient(8, 8), {.format = ImageFormat::jpeg}, {}), "Exif"));
  EXPECT_FALSE(contains(encode_image(gradient(8, 8), {.format = ImageFormat::webp}, {}), "EXIF"));
}

TEST_F(ImageFileTest, SaveImageTakesTheFormatFromTheName) {
  const Image image = gradient(20, 10);
  save_image(path("a.png"), image);
  EXPECT_EQ(read_image(path("a.png")).image.rgb, image.rgb);
  save_image(path("a.jpg"), image);
  EXPECT_TRUE(test::read_whole(path("a.jpg")).starts_with("\xff\xd8\xff"));
  save_image(path("a.webp"), image);
  EXPECT_EQ(test::read_whole(path("a.webp")).substr(8, 4), "WEBP");
  expect_error(ErrorKind::invalid_argument, {".png"}, [&] { save_image(path("a.bmp"), image); });
  expect_error(ErrorKind::not_found, {"does not exist"},
               [&] { save_image(path("no/a.png"), image); });
}

TEST(CheckEncodable, KnowsTheLimitsOfEachFormat) {
  const auto refused = [](int width_px, ImageFormat format, const std::string& text) {
    try {
      check_encodable(width_px, 16, {format, 95}, {{"parameters", text}});
      return false;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
      return true;
    }
  };
  EXPECT_FALSE(refused(16383, ImageFormat::webp, "a"));
  EXPECT_TRUE(refused(16384, ImageFormat::webp, "a"));
  EXPECT_FALSE(refused(16384, ImageFormat::jpeg, "a"));
  EXPECT_FALSE(refused(16384, ImageFormat::png, std::string(100000, 'a')));
  EXPECT_FALSE(refused(16, ImageFormat::webp, std::string(100000, 'a')));
  // Two bytes a character, and 82 of EXIF around them.
  EXPECT_FALSE(refused(16, ImageFormat::jpeg, std::string(32700, 'a')));
  EXPECT_TRUE(refused(16, ImageFormat::jpeg, std::string(32800, 'a')));
}

/// The border as the encoder itself has it.
TEST(CheckEncodable, RefusesWhatTheEncoderRefuses) {
  const Image image{16, 16, std::vector<std::uint8_t>(768)};
  for (std::size_t length = 32715; length < 32735; ++length) {
    const ImageMetadata metadata = {{"parameters", std::string(length, 'a')}};
    bool is_refused = false;
    try {
      check_encodable(16, 16, {ImageFormat::jpeg, 95}, metadata);
    } catch (const Error&) {
      is_refused = true;
    }
    if (is_refused) {
      EXPECT_THROW(encode_image(image, {ImageFormat::jpeg, 95}, metadata), Error) << length;
    } else {
      EXPECT_NO_THROW(encode_image(image, {ImageFormat::jpeg, 95}, metadata)) << length;
    }
  }
}

}  // namespace
}  // namespace ernie_image
