#include <algorithm>
#include <array>
#include <vector>

#include "verify/conformance.h"
#include "verify/oracle.h"

namespace ernie_image::verify {
namespace {

void upload_and_download_change_nothing(Verifier& v) {
  for (const Shape& shape : {Shape{1}, Shape{3, 5}, Shape{2, 130, 17}, Shape{0, 4}}) {
    const Tensor x = v.random(shape, 100);
    v.expect_close(v.up(x), x, kExact);
  }
}

void concat_rows_joins_within_each_batch_row(Verifier& v) {
  for (const Shape& sizes : {Shape{3, 5, 2, 33}, Shape{1, 64, 9, 4096}}) {
    const Tensor a = v.random({sizes[0], sizes[1], sizes[3]});
    const Tensor b = v.random({sizes[0], sizes[2], sizes[3]});
    v.expect_close(v.ops().concat_rows(v.up(a), v.up(b)), oracle::concat_rows(a, b), kExact);
  }
}

void slice_rows_cuts_each_batch_row(Verifier& v) {
  const Tensor x = v.random({3, 9, 33});
  v.expect_close(v.ops().slice_rows(v.up(x), 2, 4), oracle::slice_rows(x, 2, 4), kExact);
  v.expect_close(v.ops().slice_rows(v.up(x), 8, 1), oracle::slice_rows(x, 8, 1), kExact);
}

/// A cache that grows row by row, of rows whose size is a multiple of nothing.
void write_rows_overwrites_only_its_rows(Verifier& v) {
  for (const std::int64_t width : {3, 128}) {
    const Tensor cache = v.random({7, 2, width});
    const Tensor rows = v.random({3, 2, width});
    Tensor expected = round_to(to_float(cache), v.dtype());
    const Tensor part = expected.slice(2, 3);
    std::copy_n(rows.bytes(), rows.size_bytes(), part.bytes());
    Tensor target = v.ops().empty(v.dtype(), cache.shape());
    v.ops().write_rows(target, 0, v.up(cache));
    v.ops().write_rows(target, 2, v.up(rows));
    v.expect_close(target, expected, kExact);
    v.expect_close(target.slice(1, 3), expected.slice(1, 3), kExact);
  }
}

void transpose_rows_swaps_the_last_two_axes(Verifier& v) {
  for (const Shape& shape : {Shape{1, 1, 1}, Shape{2, 3, 200}, Shape{2, 130, 17}}) {
    const Tensor x = v.random(shape);
    v.expect_close(v.ops().transpose_rows(v.up(x)), oracle::transpose_rows(x), kExact);
  }
}

void upsample_repeats_each_pixel_four_times(Verifier& v) {
  for (const Shape& shape : {Shape{2, 3, 5, 7}, Shape{1, 1, 1, 1}, Shape{1, 6, 4, 512}}) {
    const Tensor x = v.random(shape);
    v.expect_close(v.ops().upsample_nearest2x(v.up(x)), oracle::upsample_nearest2x(x), kExact);
  }
}

constexpr std::array kCases = {
    ConformanceCase{"upload", "AndDownloadChangeNothing", upload_and_download_change_nothing},
    ConformanceCase{"concat_rows", "JoinsWithinEachBatchRow",
                    concat_rows_joins_within_each_batch_row},
    ConformanceCase{"slice_rows", "CutsEachBatchRow", slice_rows_cuts_each_batch_row},
    ConformanceCase{"write_rows", "OverwritesOnlyItsRows", write_rows_overwrites_only_its_rows},
    ConformanceCase{"transpose_rows", "SwapsTheLastTwoAxes",
                    transpose_rows_swaps_the_last_two_axes},
    ConformanceCase{"upsample_nearest2x", "RepeatsEachPixelFourTimes",
                    upsample_repeats_each_pixel_four_times},
};

}  // namespace

std::span<const ConformanceCase> layout_cases() { return kCases; }

}  // namespace ernie_image::verify
