// libjpeg reports errors by longjmp: between setjmp and its calls live only plain values.
#include <csetjmp>
#include <cstdio>  // jpeglib.h does not include what it uses
#include <cstdlib>

#include <jpeglib.h>

#include "ernie_image/error.h"
#include "io/image_writers.h"

namespace ernie_image {
namespace {

static_assert(kMaxJpegSidePx == JPEG_MAX_DIMENSION);

class JpegWriter {
 public:
  JpegWriter() {
    info_.err = jpeg_std_error(&errors_);
    errors_.error_exit = on_error;
    errors_.output_message = [](j_common_ptr) {};
    info_.client_data = this;
  }
  JpegWriter(const JpegWriter&) = delete;
  JpegWriter& operator=(const JpegWriter&) = delete;
  ~JpegWriter() {
    jpeg_destroy_compress(&info_);
    std::free(bytes_);
  }

  std::vector<std::uint8_t> write(const Image& image, int quality, const std::string& app1) {
    if (!write_all(image, quality, app1)) {
      bytes_ = nullptr;  // freed already if it had to grow: rather a leak than a second free
      throw Error(ErrorKind::io, std::string("cannot encode the JPEG: ") + message_);
    }
    return {bytes_, bytes_ + size_};
  }

 private:
  [[noreturn]] static void on_error(j_common_ptr info) {
    auto* writer = static_cast<JpegWriter*>(info->client_data);
    writer->errors_.format_message(info, writer->message_);
    std::longjmp(writer->jump_, 1);
  }

  bool write_all(const Image& image, int quality, const std::string& app1) {
    if (setjmp(jump_) != 0) return false;
    jpeg_create_compress(&info_);
    jpeg_mem_dest(&info_, &bytes_, &size_);
    info_.image_width = static_cast<JDIMENSION>(image.width_px);
    info_.image_height = static_cast<JDIMENSION>(image.height_px);
    info_.input_components = 3;
    info_.in_color_space = JCS_RGB;
    jpeg_set_defaults(&info_);
    jpeg_set_quality(&info_, quality, TRUE);
    info_.optimize_coding = TRUE;
    // Colour at full resolution: halving it smears the sharp edges of drawings and lettering.
    info_.comp_info[0].h_samp_factor = 1;
    info_.comp_info[0].v_samp_factor = 1;
    jpeg_start_compress(&info_, TRUE);
    if (!app1.empty()) {
      jpeg_write_marker(&info_, JPEG_APP0 + 1, reinterpret_cast<const JOCTET*>(app1.data()),
                        static_cast<unsigned>(app1.size()));
    }
    while (info_.next_scanline < info_.image_height) {
      const std::size_t offset = std::size_t{3} * info_.image_width * info_.next_scanline;
      JSAMPROW row = const_cast<JSAMPROW>(image.rgb.data() + offset);  // only read
      jpeg_write_scanlines(&info_, &row, 1);
    }
    jpeg_finish_compress(&info_);
    return true;
  }

  jpeg_compress_struct info_{};
  jpeg_error_mgr errors_{};
  std::jmp_buf jump_;
  unsigned char* bytes_ = nullptr;  // malloc'ed by jpeg_mem_dest
  unsigned long size_ = 0;
  char message_[JMSG_LENGTH_MAX] = "";
};

}  // namespace

std::vector<std::uint8_t> encode_jpeg(const Image& image, int quality, const std::string& exif) {
  const std::string app1 = exif.empty() ? "" : std::string(kExifPrefix) + exif;
  return JpegWriter().write(image, quality, app1);
}

}  // namespace ernie_image
