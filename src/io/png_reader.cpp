// libpng reports errors by longjmp: between setjmp and its calls live only plain values, everything
// with a destructor belongs to the caller's frame.
#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "ernie_image/error.h"
#include "io/exif.h"
#include "io/file_view.h"
#include "io/image_file.h"
#include "io/picture_decoders.h"
#include "io/text_encoding.h"

namespace ernie_image {
namespace {

constexpr png_uint_32 kMaxSide = 16384;  // pixels
constexpr std::size_t kMaxUnusedTextBytes = std::size_t{16} << 20;
constexpr int kMaxChunks = 256;  // kept besides the picture
// libpng holds a text up to three times (chunk, inflated, entry); the rest is its own need.
constexpr std::size_t kMaxOtherBytes = std::size_t{16} << 20;
constexpr std::uint64_t kMaxDeflateRatio = 1032;  // the most that one compressed byte can become

class PngReader {
 public:
  PngReader(const FileView& file, std::size_t max_text_bytes)
      : file_(file),
        left_(file.bytes),
        max_text_bytes_(max_text_bytes),
        allocation_left_(3 * max_text_bytes + kMaxOtherBytes) {
    png_ = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, this, on_error, on_warning, this,
                                    allocate, release);
    info_ = png_ == nullptr ? nullptr : png_create_info_struct(png_);
    if (info_ == nullptr) {
      png_destroy_read_struct(&png_, nullptr, nullptr);
      throw Error(ErrorKind::out_of_memory, "cannot allocate a PNG decoder");
    }
    png_set_read_fn(png_, this, on_read);
    png_set_chunk_malloc_max(png_, max_text_bytes_);
    png_set_chunk_cache_max(png_, kMaxChunks);
  }
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;
  ~PngReader() { png_destroy_read_struct(&png_, &info_, nullptr); }

  /// With its transparency over white, and its orientation.
  DecodedPicture read(std::size_t max_pixels, bool with_texts) {
    read_checked_header(max_pixels);
    const std::size_t row_bytes = std::size_t{4} * png_get_image_width(png_, info_);
    std::vector<std::uint8_t> rgba(row_bytes * png_get_image_height(png_, info_));
    if (!read_pixels(rgba.data(), row_bytes)) throw_error();
    DecodedPicture picture{over_white(rgba, static_cast<int>(png_get_image_width(png_, info_)),
                                      static_cast<int>(png_get_image_height(png_, info_))),
                           orientation(), alpha_of(rgba)};
    if (with_texts) picture.metadata = read_metadata();
    return picture;
  }

  ImageMetadata read_texts(std::size_t max_pixels) {
    read_checked_header(max_pixels);
    std::vector<std::uint8_t> row(png_get_rowbytes(png_, info_));
    if (!pass_pixels(row.data())) throw_error();
    return read_metadata();
  }

 private:
  [[noreturn]] static void on_error(png_structp png, png_const_charp message) {
    auto* reader = static_cast<PngReader*>(png_get_error_ptr(png));
    std::snprintf(reader->message_, sizeof reader->message_, "%s", message);
    png_longjmp(png, 1);
  }
  static void on_warning(png_structp, png_const_charp) {}

  static void on_read(png_structp png, png_bytep target, png_size_t size) {
    auto* reader = static_cast<PngReader*>(png_get_io_ptr(png));
    if (size > reader->left_.size()) png_error(png, "cut short");
    std::memcpy(target, reader->left_.data(), size);
    reader->left_ = reader->left_.subspan(size);
  }

  /// Counts what is ever allocated, so that a file of many compressed texts cannot fill the memory.
  static png_voidp allocate(png_structp png, png_alloc_size_t size) {
    auto* reader = static_cast<PngReader*>(png_get_mem_ptr(png));
    if (size > reader->allocation_left_) {
      reader->too_much_text_ = true;
      return nullptr;
    }
    reader->allocation_left_ -= size;
    return std::malloc(size);
  }
  static void release(png_structp, png_voidp memory) { std::free(memory); }

  bool read_header() {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_read_info(png_, info_);
    return true;
  }

  void read_checked_header(std::size_t max_pixels) {
    if (!read_header()) throw_error();
    check_picture_size(png_get_image_width(png_, info_), png_get_image_height(png_, info_),
                       max_pixels, file_.path);
    check_size();
  }

  bool pass_pixels(png_bytep row) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    const int passes = png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    const png_uint_32 height = png_get_image_height(png_, info_);
    for (int pass = 0; pass < passes; ++pass) {
      for (png_uint_32 y = 0; y < height; ++y) png_read_row(png_, row, nullptr);
    }
    png_read_end(png_, info_);
    return true;
  }

  bool read_pixels(png_bytep target, std::size_t row_bytes) {
    if (setjmp(png_jmpbuf(png_)) != 0) return false;
    png_set_expand(png_);
    png_set_scale_16(png_);
    png_set_gray_to_rgb(png_);
    png_set_add_alpha(png_, 0xff, PNG_FILLER_AFTER);
    const int passes = png_set_interlace_handling(png_);
    png_read_update_info(png_, info_);
    if (png_get_rowbytes(png_, info_) != row_bytes) png_error(png_, "unexpected row size");
    const png_uint_32 height = png_get_image_height(png_, info_);
    for (int pass = 0; pass < passes; ++pass) {
      for (png_uint_32 y = 0; y < height; ++y) png_read_row(png_, target + row_bytes * y, nullptr);
    }
    png_read_end(png_, info_);
    return true;
  }

  int orientation() {
    png_bytep exif = nullptr;
    png_uint_32 size = 0;
    if (png_get_eXIf_1(png_, info_, &size, &exif) == 0) return 1;
    return exif_orientation(std::as_bytes(std::span(exif, size)));
  }

  /// Before any memory is taken for the pixels.
  void check_size() const {
    const png_uint_32 width = png_get_image_width(png_, info_);
    const png_uint_32 height = png_get_image_height(png_, info_);
    if (width > kMaxSide || height > kMaxSide) {
      throw Error(ErrorKind::unsupported, file_.path + ": " + std::to_string(width) + "x" +
                                              std::to_string(height) +
                                              " pixels, at most 16384x16384 are read");
    }
    const std::uint64_t raw_bytes = std::uint64_t{png_get_rowbytes(png_, info_)} * height;
    if (raw_bytes / kMaxDeflateRatio > file_.bytes.size()) {
      throw Error(ErrorKind::corrupt_file, file_.path + ": " + std::to_string(width) + "x" +
                                               std::to_string(height) + " pixels cannot be in " +
                                               std::to_string(file_.bytes.size()) +
                                               " bytes; the file is cut short or forged");
    }
  }

  [[noreturn]] void throw_text_error() const {
    throw Error(ErrorKind::unsupported, file_.path + ": more than " +
                                            std::to_string(max_text_bytes_ >> 20) + " MiB of text");
  }

  [[noreturn]] void throw_error() const {
    if (too_much_text_) throw_text_error();
    throw Error(ErrorKind::corrupt_file, file_.path + ": not a valid PNG file: " + message_);
  }

  /// The first entry of each keyword.
  ImageMetadata read_metadata() {
    if (too_much_text_) throw_text_error();
    png_textp texts = nullptr;
    int count = 0;
    png_get_text(png_, info_, &texts, &count);
    ImageMetadata metadata;
    std::size_t total = 0;
    for (const png_text& entry : std::span(texts, static_cast<std::size_t>(count))) {
      const bool is_utf8 = entry.compression >= PNG_ITXT_COMPRESSION_NONE;
      const std::string_view text(entry.text, is_utf8 ? entry.itxt_length : entry.text_length);
      total += text.size();
      if (total > max_text_bytes_) throw_text_error();
      if (is_utf8 && !decode_utf8(text)) {
        throw Error(ErrorKind::corrupt_file, file_.path + ": an iTXt entry is not UTF-8");
      }
      metadata.emplace(utf8_from_latin1(entry.key),
                       is_utf8 ? std::string(text) : utf8_from_latin1(text));
    }
    return metadata;
  }

  const FileView& file_;
  std::span<const std::byte> left_;
  std::size_t max_text_bytes_;
  std::size_t allocation_left_;
  png_structp png_ = nullptr;
  png_infop info_ = nullptr;
  bool too_much_text_ = false;
  char message_[256] = "";
};

}  // namespace

DecodedPicture decode_png(std::span<const std::byte> bytes, const std::string& name,
                          const DecodingLimits& limits) {
  const FileView file{name, bytes, nullptr, -1};
  const bool with_texts = limits.max_text_bytes > 0;
  return PngReader(file, with_texts ? limits.max_text_bytes : kMaxUnusedTextBytes)
      .read(limits.max_pixels, with_texts);
}

ImageMetadata read_png_texts(std::span<const std::byte> bytes, const std::string& name,
                             const DecodingLimits& limits) {
  const FileView file{name, bytes, nullptr, -1};
  return PngReader(file, limits.max_text_bytes).read_texts(limits.max_pixels);
}

}  // namespace ernie_image
