// Every colour type, and what a hostile PNG may try.
#include <png.h>
#include <zlib.h>

#include <cstdint>
#include <filesystem>

#include "ernie_image/error.h"
#include "io/image_file.h"
#include "test_files.h"

namespace ernie_image {
namespace {

using test::expect_error;

std::string big_endian(std::uint32_t value) {
  std::string text;
  for (int shift = 24; shift >= 0; shift -= 8) text += static_cast<char>(value >> shift);
  return text;
}

std::string chunk(const std::string& type, const std::string& data) {
  const std::string body = type + data;
  const auto crc =
      ::crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
  return big_endian(static_cast<std::uint32_t>(data.size())) + body +
         big_endian(static_cast<std::uint32_t>(crc));
}

std::string deflated(const std::string& data) {
  uLongf size = ::compressBound(data.size());
  std::string result(size, '\0');
  ::compress2(reinterpret_cast<Bytef*>(result.data()), &size,
              reinterpret_cast<const Bytef*>(data.data()), data.size(), 9);
  result.resize(size);
  return result;
}

std::string header(std::uint32_t width, std::uint32_t height, int bit_depth, int colour_type,
                   int interlace = 0) {
  std::string data = big_endian(width) + big_endian(height);
  for (const int value : {bit_depth, colour_type, 0, 0, interlace})
    data += static_cast<char>(value);
  return "\x89PNG\r\n\x1a\n" + chunk("IHDR", data);
}

const std::string kEnd = chunk("IEND", "");

class PngReaderTest : public test::TemporaryFolder {
 protected:
  ImageFile read(const std::string& content) const { return read_image(write("a.png", content)); }
  void expect_rejected(ErrorKind kind, const std::string& content, const std::string& part) const {
    expect_error(kind, {path("a.png"), part}, [&] { read(content); });
  }
  /// One row of two pixels, with a filter byte 0 before it.
  std::vector<std::uint8_t> two_pixels(int bit_depth, int colour_type, const std::string& row,
                                       const std::string& extra_chunks = "") const {
    return read(header(2, 1, bit_depth, colour_type) + extra_chunks +
                chunk("IDAT", deflated(std::string(1, '\0') + row)) + kEnd)
        .image.rgb;
  }
};

using Rgb = std::vector<std::uint8_t>;

TEST_F(PngReaderTest, ConvertsEveryColourTypeToRgb) {
  EXPECT_EQ(two_pixels(8, 2, "\1\2\3\4\5\6"), (Rgb{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(two_pixels(8, 0, "\x10\x20"), (Rgb{16, 16, 16, 32, 32, 32}));
  EXPECT_EQ(two_pixels(1, 0, "\x40"), (Rgb{0, 0, 0, 255, 255, 255}));
  EXPECT_EQ(two_pixels(4, 0, "\x1f"), (Rgb{17, 17, 17, 255, 255, 255}));
  EXPECT_EQ(two_pixels(16, 0, std::string("\xff\xff\0\0", 4)), (Rgb{255, 255, 255, 0, 0, 0}));
  EXPECT_EQ(two_pixels(16, 2, std::string("\xff\xff\0\0\x80\x80\0\0\0\0\0\0", 12)),
            (Rgb{255, 0, 128, 0, 0, 0}));
  EXPECT_EQ(two_pixels(8, 4, "\x10\x01\x20\xff"), (Rgb{254, 254, 254, 32, 32, 32}));
  EXPECT_EQ(two_pixels(8, 6, "\1\2\3\x7f\4\5\6\x01"), (Rgb{128, 129, 129, 254, 254, 254}));
  const std::string palette = chunk("PLTE", "\x0a\x0b\x0c\x0d\x0e\x0f");
  EXPECT_EQ(two_pixels(8, 3, std::string("\1\0", 2), palette), (Rgb{13, 14, 15, 10, 11, 12}));
  EXPECT_EQ(two_pixels(2, 3, "\x10", palette), (Rgb{10, 11, 12, 13, 14, 15}));
  const std::string transparent = palette + chunk("tRNS", "\x05");
  EXPECT_EQ(two_pixels(8, 3, std::string("\1\0", 2), transparent),
            (Rgb{13, 14, 15, 250, 250, 250}));
}

TEST_F(PngReaderTest, SaysWhatIsTransparent) {
  const auto alpha_of = [&](int colour_type, const std::string& row) {
    return read(header(2, 1, 8, colour_type) + chunk("IDAT", deflated(std::string(1, '\0') + row)) +
                kEnd)
        .alpha;
  };
  EXPECT_EQ(alpha_of(4, "\x10\x01\x20\xff"), (Rgb{1, 255}));
  EXPECT_EQ(alpha_of(4, "\x10\xff\x20\xff"), Rgb{});
  EXPECT_EQ(alpha_of(0, "\x10\x20"), Rgb{});
}

TEST_F(PngReaderTest, ReadsInterlacedImages) {
  // 2x2 in Adam7: pixel (0,0) in pass 1, (1,0) in pass 6, both of the second row in pass 7.
  const std::string rows("\0\x01\0\x02\0\x03\x04", 7);
  const ImageFile file = read(header(2, 2, 8, 0, 1) + chunk("IDAT", deflated(rows)) + kEnd);
  EXPECT_EQ(file.image.rgb, (Rgb{1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4}));
}

const std::string kPixel = chunk("IDAT", deflated(std::string("\0\x42", 2)));  // 1x1 grey

TEST_F(PngReaderTest, ReadsTextBeforeAndAfterThePixels) {
  const ImageFile file = read(header(1, 1, 8, 0) + chunk("tEXt", std::string("a\0caf\xe9", 6)) +
                              chunk("zTXt", std::string("z\0\0", 3) + deflated("packed")) + kPixel +
                              chunk("iTXt", std::string("i\0\0\0en\0i\0", 9) + "静") +
                              chunk("iTXt", std::string("j\0\1\0\0\0", 6) + deflated("🐼")) +
                              chunk("tEXt", std::string("a\0second", 8)) + kEnd);
  const ImageMetadata expected = {{"a", "café"}, {"z", "packed"}, {"i", "静"}, {"j", "🐼"}};
  EXPECT_EQ(file.metadata, expected) << "the first entry of a keyword counts";
  EXPECT_EQ(read_image_metadata(open_file(path("a.png")), 1 << 20), expected);
}

TEST_F(PngReaderTest, InternationalTextMustBeUtf8) {
  expect_rejected(
      ErrorKind::corrupt_file,
      header(1, 1, 8, 0) + chunk("iTXt", std::string("i\0\0\0\0\0\xff\xfe", 8)) + kPixel + kEnd,
      "not UTF-8");
}

TEST_F(PngReaderTest, EveryTruncationIsAnError) {
  const std::string whole =
      header(1, 1, 8, 0) + chunk("tEXt", std::string("a\0b", 3)) + kPixel + kEnd;
  ASSERT_EQ(read(whole).image.rgb, (Rgb{0x42, 0x42, 0x42}));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    expect_rejected(ErrorKind::corrupt_file, whole.substr(0, size), "");
  }
}

TEST_F(PngReaderTest, EveryFlippedByteIsAnErrorOrHarmless) {
  const std::string whole =
      header(1, 1, 8, 0) + chunk("tEXt", std::string("a\0b", 3)) + kPixel + kEnd;
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string flipped = whole;
    flipped[at] = static_cast<char>(flipped[at] ^ 0x55);
    try {
      EXPECT_EQ(read(flipped).image.rgb, (Rgb{0x42, 0x42, 0x42})) << "byte " << at;
    } catch (const Error& error) {
      // A length with a high bit set may also claim more text than is read.
      EXPECT_TRUE(error.kind() == ErrorKind::corrupt_file || error.kind() == ErrorKind::unsupported)
          << error.what();
    }
  }
}

TEST_F(PngReaderTest, RejectsWhatIsNoPng) {
  expect_rejected(ErrorKind::corrupt_file, "GIF89a, surely not a PNG", "not a PNG, JPEG or WebP");
  expect_rejected(ErrorKind::corrupt_file, "<!DOCTYPE html>", "web page");
  expect_rejected(ErrorKind::corrupt_file, "", "empty");
  expect_rejected(ErrorKind::corrupt_file, header(0, 1, 8, 0) + kPixel + kEnd, "not a valid PNG");
  expect_rejected(ErrorKind::corrupt_file, header(1, 1, 3, 2) + kPixel + kEnd, "not a valid PNG");
  expect_rejected(ErrorKind::corrupt_file, header(1, 1, 8, 0) + kEnd, "not a valid PNG");
  expect_error(ErrorKind::not_found, {"none.png"}, [&] { read_image(path("none.png")); });
}

TEST_F(PngReaderTest, RejectsSizesAboveTheLimitBeforeAllocating) {
  expect_rejected(ErrorKind::unsupported, header(16385, 1, 8, 2) + kPixel + kEnd, "16384x16384");
  expect_rejected(ErrorKind::unsupported, header(1, 1'000'000, 8, 2) + kPixel + kEnd,
                  "16384x16384");
  expect_rejected(ErrorKind::corrupt_file, header(0xffffffff, 0xffffffff, 8, 2) + kPixel + kEnd,
                  "not a valid PNG");
}

TEST_F(PngReaderTest, RejectsPixelsThatCannotBeInTheFile) {
  expect_rejected(ErrorKind::corrupt_file, header(16384, 16384, 16, 6) + kPixel + kEnd,
                  "cut short or forged");
}

TEST_F(PngReaderTest, RejectsCompressedTextThatFillsTheMemory) {
  // Each 32 MiB from 32 KiB; together more than the limit of 64 MiB.
  const std::string bomb =
      chunk("zTXt", std::string("z\0\0", 3) + deflated(std::string(32 << 20, 'x')));
  std::string content = header(1, 1, 8, 0);
  for (int i = 0; i < 4; ++i) content += bomb;
  expect_rejected(ErrorKind::unsupported, content + kPixel + kEnd, "64 MiB of text");
}

TEST_F(PngReaderTest, RejectsPlainTextAboveTheLimit) {
  const std::string text = chunk("tEXt", std::string("t\0", 2) + std::string(33 << 20, 'x'));
  expect_rejected(ErrorKind::unsupported, header(1, 1, 8, 0) + text + text + kPixel + kEnd,
                  "64 MiB of text");
}

}  // namespace
}  // namespace ernie_image
