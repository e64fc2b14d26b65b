// libjpeg reports errors by longjmp: between setjmp and its calls live only plain values,
// everything with a destructor belongs to the caller's frame.
#include <csetjmp>
#include <cstdio>  // jpeglib.h does not include what it uses
#include <cstring>

#include <jpeglib.h>

#include "ernie_image/error.h"
#include "io/exif.h"
#include "io/picture_decoders.h"

namespace ernie_image {
namespace {

/// A progressive file may say the same pixels again and again; encoders write some ten scans.
constexpr int kMaxScans = 100;
constexpr int kExifMarker = JPEG_APP0 + 1;
constexpr unsigned kMarkerLimit = 0xffff;

class JpegReader {
 public:
  JpegReader(std::span<const std::byte> bytes, const std::string& name)
      : bytes_(bytes), name_(name) {
    info_.err = jpeg_std_error(&errors_);
    errors_.error_exit = on_error;
    errors_.emit_message = on_message;
    info_.client_data = this;
  }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;
  ~JpegReader() { jpeg_destroy_decompress(&info_); }

  DecodedPicture read(const DecodingLimits& limits) {
    if (!read_header()) throw_error();
    check_picture_size(info_.image_width, info_.image_height, limits.max_pixels, name_);
    if (info_.num_components != 1 && info_.num_components != 3) {
      throw Error(ErrorKind::unsupported, name_ + ": a JPEG of " +
                                              std::to_string(info_.num_components) +
                                              " channels (CMYK?); RGB and grey are read");
    }
    DecodedPicture picture;
    picture.orientation = exif_orientation(exif());
    if (limits.max_text_bytes > 0) {
      ExifMetadata texts = metadata_of_exif(exif());
      picture.metadata = std::move(texts.metadata);
      picture.quality = texts.quality;
    }
    picture.image.width_px = static_cast<int>(info_.image_width);
    picture.image.height_px = static_cast<int>(info_.image_height);
    picture.image.rgb.resize(std::size_t{3} * info_.image_width * info_.image_height);
    if (!read_pixels(picture.image.rgb.data())) throw_error();
    return picture;
  }

  ImageMetadata read_texts() {
    if (!read_header()) throw_error();
    return metadata_of_exif(exif()).metadata;
  }

 private:
  [[noreturn]] static void on_error(j_common_ptr info) {
    auto* reader = static_cast<JpegReader*>(info->client_data);
    reader->errors_.format_message(info, reader->message_);
    std::longjmp(reader->jump_, 1);
  }
  /// What libjpeg calls a warning is a file cut short or damaged, whose rest it would paint grey.
  static void on_message(j_common_ptr info, int level) {
    if (level < 0) on_error(info);
  }
  static void on_progress(j_common_ptr info) {
    auto* reader = static_cast<JpegReader*>(info->client_data);
    if (reader->info_.input_scan_number <= kMaxScans) return;
    std::snprintf(reader->message_, sizeof reader->message_, "more than %d scans", kMaxScans);
    std::longjmp(reader->jump_, 1);
  }

  bool read_header() {
    if (setjmp(jump_) != 0) return false;
    jpeg_create_decompress(&info_);
    progress_.progress_monitor = on_progress;
    info_.progress = &progress_;
    jpeg_save_markers(&info_, kExifMarker, kMarkerLimit);
    jpeg_mem_src(&info_, reinterpret_cast<const unsigned char*>(bytes_.data()),
                 static_cast<unsigned long>(bytes_.size()));
    jpeg_read_header(&info_, TRUE);
    return true;
  }

  bool read_pixels(std::uint8_t* target) {
    if (setjmp(jump_) != 0) return false;
    info_.out_color_space = JCS_RGB;
    jpeg_start_decompress(&info_);
    while (info_.output_scanline < info_.output_height) {
      JSAMPROW row = target + std::size_t{3} * info_.output_width * info_.output_scanline;
      jpeg_read_scanlines(&info_, &row, 1);
    }
    jpeg_finish_decompress(&info_);
    return true;
  }

  std::span<const std::byte> exif() const {
    constexpr std::size_t kName = 6;  // "Exif\0\0"
    for (auto marker = info_.marker_list; marker != nullptr; marker = marker->next) {
      if (marker->marker != kExifMarker || marker->data_length < kName) continue;
      if (std::memcmp(marker->data, "Exif\0", kName) != 0) continue;
      return std::as_bytes(std::span(marker->data, marker->data_length)).subspan(kName);
    }
    return {};
  }

  [[noreturn]] void throw_error() const {
    throw Error(ErrorKind::corrupt_file, name_ + ": not a valid JPEG file: " + message_);
  }

  std::span<const std::byte> bytes_;
  const std::string& name_;
  jpeg_decompress_struct info_{};
  jpeg_error_mgr errors_{};
  jpeg_progress_mgr progress_{};
  std::jmp_buf jump_;
  char message_[JMSG_LENGTH_MAX] = "";
};

}  // namespace

DecodedPicture decode_jpeg(std::span<const std::byte> bytes, const std::string& name,
                           const DecodingLimits& limits) {
  return JpegReader(bytes, name).read(limits);
}

ImageMetadata read_jpeg_texts(std::span<const std::byte> bytes, const std::string& name) {
  return JpegReader(bytes, name).read_texts();
}

}  // namespace ernie_image
