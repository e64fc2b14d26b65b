// libpng reports errors by longjmp: between setjmp and its calls live only plain values, everything
// with a destructor belongs to the caller's frame.
#include <png.h>

#include <csetjmp>
#include <cstdio>
#include <new>

#include "ernie_image/error.h"
#include "io/image_writers.h"
#include "io/text_encoding.h"

namespace ernie_image {
namespace {

/// An entry in the form and character set it is stored in.
struct TextChunk {
  bool is_latin1;
  std::string keyword;
  std::string text;
};

/// What tEXt may hold by the PNG specification: printable Latin-1 and newline.
bool is_plain_latin1(char32_t point) {
  return point == '\n' || (point >= 0x20 && point <= 0x7e) || (point >= 0xa0 && point <= 0xff);
}

void check_keyword(const std::string& keyword) {
  bool valid = !keyword.empty() && keyword.size() <= 79 && keyword.front() != ' ' &&
               keyword.back() != ' ' && keyword.find("  ") == std::string::npos;
  for (const char c : keyword) valid = valid && c >= 0x20 && c <= 0x7e;
  if (!valid) {
    throw Error(ErrorKind::invalid_argument,
                "PNG keyword \"" + keyword + "\", expected 1 to 79 printable ASCII characters");
  }
}

TextChunk make_chunk(const std::string& keyword, const std::string& text) {
  check_keyword(keyword);
  const auto points = decode_utf8(text);
  if (!points || points->find(U'\0') != std::u32string::npos) {
    throw Error(ErrorKind::invalid_argument,
                "metadata \"" + keyword + "\" is not UTF-8 text without zero bytes");
  }
  TextChunk chunk{true, keyword, ""};
  for (const char32_t point : *points) {
    chunk.is_latin1 = chunk.is_latin1 && is_plain_latin1(point);
    chunk.text += static_cast<char>(point);
  }
  if (!chunk.is_latin1) chunk.text = text;
  return chunk;
}

png_text libpng_text(TextChunk& chunk) {
  png_text text{};
  text.key = chunk.keyword.data();
  text.text = chunk.text.data();
  text.compression = chunk.is_latin1 ? PNG_TEXT_COMPRESSION_NONE : PNG_ITXT_COMPRESSION_NONE;
  text.text_length = chunk.is_latin1 ? chunk.text.size() : 0;
  text.itxt_length = chunk.is_latin1 ? 0 : chunk.text.size();
  return text;
}

class PngWriter {
 public:
  PngWriter() {
    png_ = png_create_write_struct(PNG_LIBPNG_VER_STRING, this, on_error, on_warning);
    info_ = png_ == nullptr ? nullptr : png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_write_struct(&png_, nullptr);
      throw Error(ErrorKind::out_of_memory, "cannot allocate a PNG encoder");
    }
    png_set_write_fn(png_, &bytes_, on_data, nullptr);
  }
  PngWriter(const PngWriter&) = delete;
  PngWriter& operator=(const PngWriter&) = delete;
  ~PngWriter() { png_destroy_write_struct(&png_, &info_); }

  std::vector<std::uint8_t> write(const Image& image, const ImageMetadata& metadata) {
    std::vector<TextChunk> chunks;
    for (const auto& [keyword, text] : metadata) chunks.push_back(make_chunk(keyword, text));
    std::vector<png_text> texts;
    for (TextChunk& chunk : chunks) texts.push_back(libpng_text(chunk));
    if (!write_all(image, texts)) {
      throw Error(ErrorKind::io, std::string("cannot encode the PNG: ") + message_);
    }
    return std::move(bytes_);
  }

 private:
  [[noreturn]] static void on_error(png_structp png, png_const_charp message) {
    auto* writer = static_cast<PngWriter*>(png_get_error_ptr(png));
    std::snprintf(writer->message_, sizeof writer->message_, "%s", message);
    png_longjmp(png, 1);
  }
  static void on_warning(png_structp, png_const_charp) {}

  static void on_data(png_structp png, png_bytep data, png_size_t size) {
    auto* bytes = static_cast<std::vector<std::uint8_t>*>(png_get_io_ptr(png));
    bool stored = true;
    try {
      bytes->insert(bytes->end(), data, data + size);
    } catch (const std::bad_alloc&) {
      stored = false;
    }
    if (!stored) png_error(png, "out of memory");  // not from the handler: it would never be left
  }

  bool write_all(const Image& image, const std::vector<png_text>& texts) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    const auto width = static_cast<png_uint_32>(image.width_px);
    const auto height = static_cast<png_uint_32>(image.height_px);
    png_set_IHDR(png_, info_, width, height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_set_text(png_, info_, texts.data(), static_cast<int>(texts.size()));
    png_write_info(png_, info_);
    for (png_uint_32 y = 0; y < height; ++y) {
      png_write_row(png_, image.rgb.data() + std::size_t{3} * width * y);
    }
    png_write_end(png_, nullptr);
    return true;
  }

  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  std::vector<std::uint8_t> bytes_;
  char message_[256] = "";
};

}  // namespace

std::vector<std::uint8_t> encode_png(const Image& image, const ImageMetadata& metadata) {
  return PngWriter().write(image, metadata);
}

}  // namespace ernie_image
