// Pictures of every kind that people bring, and what a hostile one may try.
#include "io/picture_reader.h"

#include <gtest/gtest.h>
#include <png.h>
#include <webp/encode.h>
#include <webp/mux.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "io/exif.h"
#include "io/image_file.h"
#include "test_files.h"

namespace ernie_image {
namespace {

using Bytes = std::vector<std::uint8_t>;
using test::expect_error;

Image read(const Bytes& bytes) { return read_picture(std::as_bytes(std::span(bytes)), "a file"); }

void expect_rejected(ErrorKind kind, const Bytes& bytes, const std::string& part) {
  expect_error(kind, {"a file", part}, [&] { read(bytes); });
}

/// Red, green / blue, white / black, yellow: no two corners alike, higher than wide.
Image corners(int scale) {
  const std::uint8_t colours[6][3] = {{255, 0, 0},     {0, 255, 0}, {0, 0, 255},
                                      {255, 255, 255}, {0, 0, 0},   {255, 255, 0}};
  Image image{2 * scale, 3 * scale, {}};
  for (int y = 0; y < 3 * scale; ++y) {
    for (int x = 0; x < 2 * scale; ++x) {
      const auto& colour = colours[y / scale * 2 + x / scale];
      image.rgb.insert(image.rgb.end(), std::begin(colour), std::end(colour));
    }
  }
  return image;
}

Bytes png_of(const void* pixels, int width, int height, png_uint_32 format,
             const void* colormap = nullptr, int entries = 0) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(width);
  image.height = static_cast<png_uint_32>(height);
  image.format = format;
  image.colormap_entries = static_cast<png_uint_32>(entries);
  png_alloc_size_t size = 0;
  png_image_write_to_memory(&image, nullptr, &size, 0, pixels, 0, colormap);
  Bytes bytes(size);
  png_image_write_to_memory(&image, bytes.data(), &size, 0, pixels, 0, colormap);
  return bytes;
}

/// A TIFF structure of one entry, the orientation.
std::string orientation_exif(int orientation, bool big_endian) {
  const auto number = [&](int value, int size) {
    std::string text;
    for (int i = 0; i < size; ++i)
      text += static_cast<char>(value >> 8 * (big_endian ? size - 1 - i : i));
    return text;
  };
  return (big_endian ? "MM" : "II") + number(42, 2) + number(8, 4) + number(1, 2) +
         number(0x0112, 2) + number(3, 2) + number(1, 4) + number(orientation, 2) + number(0, 2) +
         number(0, 4);
}

Bytes jpeg_with_exif(const Image& image, const std::string& exif) {
  Bytes bytes = encode_image(image, {ImageFormat::jpeg, 100}, {});
  const std::string body = std::string("Exif\0\0", 6) + exif;
  const std::size_t length = body.size() + 2;
  Bytes segment = {0xff, 0xe1, static_cast<std::uint8_t>(length >> 8),
                   static_cast<std::uint8_t>(length)};
  segment.insert(segment.end(), body.begin(), body.end());
  bytes.insert(bytes.begin() + 2, segment.begin(), segment.end());
  return bytes;
}

Bytes webp_with_exif(const Image& image, const std::string& exif) {
  const Bytes plain = encode_image(image, {ImageFormat::webp, 100}, {});
  const WebPData file{plain.data(), plain.size()};
  const WebPData chunk{reinterpret_cast<const std::uint8_t*>(exif.data()), exif.size()};
  WebPMux* mux = WebPMuxCreate(&file, 1);
  WebPMuxSetChunk(mux, "EXIF", &chunk, 1);
  WebPData assembled{};
  WebPMuxAssemble(mux, &assembled);
  Bytes bytes(assembled.bytes, assembled.bytes + assembled.size);
  WebPDataClear(&assembled);
  WebPMuxDelete(mux);
  return bytes;
}

/// Of a picture that JPEG has blurred.
bool is_near(const std::uint8_t* pixel, const std::uint8_t* expected) {
  for (int c = 0; c < 3; ++c) {
    if (std::abs(pixel[c] - expected[c]) > 40) return false;
  }
  return true;
}

TEST(PictureReader, ReadsWhatThisProgramWrites) {
  const Image image = corners(16);
  for (const ImageFormat format : {ImageFormat::png, ImageFormat::webp}) {
    const Image found = read(encode_image(image, {format, 100}, {{"parameters", "text"}}));
    EXPECT_EQ(found.width_px, 32);
    EXPECT_EQ(found.height_px, 48);
    EXPECT_EQ(found.rgb, image.rgb);
  }
  const Image jpeg = read(encode_image(image, {ImageFormat::jpeg, 100}, {{"parameters", "text"}}));
  ASSERT_EQ(jpeg.rgb.size(), image.rgb.size());
  for (std::size_t i = 0; i < image.rgb.size(); i += 3)
    EXPECT_TRUE(is_near(jpeg.rgb.data() + i, image.rgb.data() + i)) << i;
}

TEST(PictureReader, TransparencyShowsWhite) {
  const Bytes rgba = {10, 20, 30, 255, 10, 20, 30, 0, 0, 0, 0, 128};
  EXPECT_EQ(read(png_of(rgba.data(), 3, 1, PNG_FORMAT_RGBA)).rgb,
            (Bytes{10, 20, 30, 255, 255, 255, 127, 127, 127}));
  std::uint8_t* encoded = nullptr;
  const std::size_t size = WebPEncodeLosslessRGBA(rgba.data(), 3, 1, 12, &encoded);
  const Bytes webp(encoded, encoded + size);
  WebPFree(encoded);
  EXPECT_EQ(read(webp).rgb, (Bytes{10, 20, 30, 255, 255, 255, 127, 127, 127}));
}

TEST(PictureReader, GreysAndPalettesBecomeRgb) {
  const Bytes grey = {0, 128, 255};
  EXPECT_EQ(read(png_of(grey.data(), 3, 1, PNG_FORMAT_GRAY)).rgb,
            (Bytes{0, 0, 0, 128, 128, 128, 255, 255, 255}));
  const Bytes palette = {255, 0, 0, 255, 0, 0, 255, 0};  // RGBA: red, blue that cannot be seen
  const Bytes indices = {1, 0};
  EXPECT_EQ(read(png_of(indices.data(), 2, 1, PNG_FORMAT_RGBA_COLORMAP, palette.data(), 2)).rgb,
            (Bytes{255, 255, 255, 255, 0, 0}));
}

TEST(PictureReader, SixteenBitsBecomeEight) {
  const std::uint16_t white[4] = {65535, 65535, 65535, 65535};  // linear, as the writer wants it
  EXPECT_EQ(read(png_of(white, 1, 1, PNG_FORMAT_LINEAR_RGB_ALPHA)).rgb, (Bytes{255, 255, 255}));
}

TEST(PictureReader, StandsUprightByItsOrientation) {
  const Image stored = corners(16);
  // The stored corner that comes to the upper left, and the one that comes to the upper right:
  // 0 upper left, 1 upper right, 4 lower left, 5 lower right of the six fields.
  const int upper_left[9] = {0, 0, 1, 5, 4, 0, 4, 5, 1};
  const int upper_right[9] = {1, 1, 0, 4, 5, 4, 0, 1, 5};
  const auto stored_at = [&](int field) {
    return stored.rgb.data() + 3 * ((field / 2 * 16 + 8) * 32 + field % 2 * 16 + 8);
  };
  for (int orientation = 1; orientation <= 8; ++orientation) {
    for (const bool big_endian : {false, true}) {
      const std::string exif = orientation_exif(orientation, big_endian);
      for (const Bytes& bytes : {jpeg_with_exif(stored, exif), webp_with_exif(stored, exif)}) {
        const Image found = read(bytes);
        ASSERT_EQ(found.width_px, orientation < 5 ? 32 : 48) << orientation;
        ASSERT_EQ(found.height_px, orientation < 5 ? 48 : 32) << orientation;
        const auto found_at = [&](int x, int y) {
          return found.rgb.data() + 3 * (y * found.width_px + x);
        };
        EXPECT_TRUE(is_near(found_at(8, 8), stored_at(upper_left[orientation]))) << orientation;
        EXPECT_TRUE(is_near(found_at(found.width_px - 8, 8), stored_at(upper_right[orientation])))
            << orientation;
      }
    }
  }
}

TEST(PictureReader, ADamagedOrientationIsNone) {
  const Image image = corners(8);
  const std::string exif = orientation_exif(6, true);
  for (std::size_t length = 0; length < exif.size(); ++length)
    EXPECT_NO_THROW(exif_orientation(std::as_bytes(std::span(exif.data(), length))));
  std::string lying = exif;
  lying[8] = lying[9] = '\xff';  // 65535 entries
  EXPECT_EQ(exif_orientation(std::as_bytes(std::span(lying))), 6);
  lying[4] = '\xff';  // far beyond the end
  EXPECT_EQ(exif_orientation(std::as_bytes(std::span(lying))), 1);
  EXPECT_EQ(read(jpeg_with_exif(image, orientation_exif(9, true))).width_px, 16);
}

TEST(PictureReader, RejectsWhatIsNoPicture) {
  expect_rejected(ErrorKind::corrupt_file, {}, "PNG, JPEG or WebP");
  expect_rejected(ErrorKind::corrupt_file, {'G', 'I', 'F', '8', '9', 'a'}, "PNG, JPEG or WebP");
  expect_rejected(ErrorKind::corrupt_file, {0xff, 0xd8, 0xff}, "JPEG");
}

/// Cut at any place it is an error, never grey pixels in place of what is missing.
TEST(PictureReader, RejectsPicturesCutShort) {
  const Image image = corners(8);
  for (const ImageFormat format : {ImageFormat::png, ImageFormat::jpeg, ImageFormat::webp}) {
    const Bytes whole = encode_image(image, {format, 90}, {});
    for (std::size_t length = 0; length + 12 < whole.size(); length += 7) {
      const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
      EXPECT_THROW(read(cut), Error) << length << " of " << whole.size();
    }
  }
}

TEST(PictureReader, RejectsTooManyPixelsBeforeDecodingThem) {
  Bytes jpeg = encode_image(corners(8), {ImageFormat::jpeg, 90}, {});
  // The frame header: FF C0, length, precision, then height and width of 16 bits.
  for (std::size_t i = 0; i + 9 < jpeg.size(); ++i) {
    if (jpeg[i] == 0xff && jpeg[i + 1] == 0xc0) {
      jpeg[i + 5] = jpeg[i + 7] = 0xff;
      break;
    }
  }
  expect_rejected(ErrorKind::unsupported, jpeg, "pixels");
  Bytes png = encode_image(corners(8), {ImageFormat::png, 90}, {});
  png[16] = png[20] = 0x7f;  // width and height, whose checksum is wrong now as well
  EXPECT_THROW(read(png), Error);
}

TEST(PictureReader, RejectsWebPsThatMove) {
  const Bytes frame = encode_image(corners(8), {ImageFormat::webp, 100}, {});
  const WebPData data{frame.data(), frame.size()};
  WebPMux* mux = WebPMuxNew();
  WebPMuxFrameInfo info{};
  info.bitstream = data;
  info.id = WEBP_CHUNK_ANMF;
  info.duration = 100;
  WebPMuxPushFrame(mux, &info, 1);
  WebPMuxPushFrame(mux, &info, 1);
  const WebPMuxAnimParams params{0xffffffffu, 0};
  WebPMuxSetAnimationParams(mux, &params);
  WebPData assembled{};
  WebPMuxAssemble(mux, &assembled);
  const Bytes bytes(assembled.bytes, assembled.bytes + assembled.size);
  WebPDataClear(&assembled);
  WebPMuxDelete(mux);
  expect_rejected(ErrorKind::unsupported, bytes, "moves");
}

}  // namespace
}  // namespace ernie_image
