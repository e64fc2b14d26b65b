#include "quantize/tensor_encoding.h"

#include <algorithm>
#include <cmath>

#include "adapters/weight_rows.h"
#include "ernie_image/error.h"
#include "io/gguf_encode.h"
#include "io/json.h"
#include "io/small_floats.h"

namespace ernie_image {
namespace {

constexpr std::size_t kEncodedPieceBytes = std::size_t{16} << 20;

std::int64_t rows_of(const Weight& weight) { return weight.shape.size() < 2 ? 1 : weight.shape[0]; }

std::int64_t columns_of(const Weight& weight) {
  const std::int64_t rows = rows_of(weight);
  return rows == 0 ? 0 : num_elements(weight.shape) / rows;
}

/// As one matrix, whatever its axes.
Weight as_matrix(Weight weight) {
  weight.shape = {rows_of(weight), columns_of(weight)};
  return weight;
}

/// Writes row `row` of the result from its numbers.
using EncodeRow = std::function<void(std::int64_t row, const float* values, std::byte* target)>;

void write_rows(ThreadPool& pool, const Weight& weight, std::size_t row_bytes,
                const RowOrder& order, const EncodeRow& encode, const AppendBytes& append) {
  const Weight matrix = as_matrix(weight);
  const std::int64_t rows = matrix.shape[0], columns = matrix.shape[1];
  if (rows == 0 || columns == 0) return;
  const auto at_once = std::clamp<std::int64_t>(
      static_cast<std::int64_t>(kEncodedPieceBytes / std::max<std::size_t>(1, row_bytes)), 1, rows);
  std::vector<std::byte> piece(static_cast<std::size_t>(at_once) * row_bytes);
  std::vector<std::vector<float>> values(static_cast<std::size_t>(pool.num_threads()),
                                         std::vector<float>(static_cast<std::size_t>(columns)));
  for (std::int64_t first = 0; first < rows; first += at_once) {
    const std::int64_t count = std::min(at_once, rows - first);
    pool.parallel_for(count, [&](std::int64_t i, int thread) {
      float* row = values[static_cast<std::size_t>(thread)].data();
      read_rows(matrix, order ? order(first + i) : first + i, 1, row);
      encode(first + i, row, piece.data() + static_cast<std::size_t>(i) * row_bytes);
    });
    append(std::span(piece).first(static_cast<std::size_t>(count) * row_bytes));
  }
}

[[noreturn]] void throw_named(const Weight& weight, const Error& error) {
  throw Error(error.kind(), printable(weight.name) + ": " + error.what());
}

/// The largest magnitude of each row. Throws Error(invalid_argument) for what is not finite.
std::vector<float> row_magnitudes(ThreadPool& pool, const Weight& weight) {
  std::vector<float> magnitudes(static_cast<std::size_t>(weight.shape[0]));
  const auto columns = static_cast<std::size_t>(weight.shape[1]);
  write_rows(
      pool, weight, 0, {},
      [&](std::int64_t row, const float* values, std::byte*) {
        float most = 0;
        for (const float value : std::span(values, columns)) {
          if (!std::isfinite(value)) {
            throw Error(ErrorKind::invalid_argument,
                        printable(weight.name) + ": a weight is not finite");
          }
          most = std::max(most, std::abs(value));
        }
        magnitudes[static_cast<std::size_t>(row)] = most;
      },
      [](std::span<const std::byte>) {});
  return magnitudes;
}

constexpr float kMostE4m3 = 448;

/// One for all rows, or one each; made when first asked for.
class ComfyScales {
 public:
  ComfyScales(Weight weight, bool by_row) : weight_(std::move(weight)), by_row_(by_row) {}

  const std::vector<float>& get(ThreadPool& pool) {
    if (!scales_.empty()) return scales_;
    std::vector<float> scales = row_magnitudes(pool, weight_);
    if (!by_row_) scales = {scales.empty() ? 0.0f : *std::ranges::max_element(scales)};
    for (float& scale : scales) {
      scale /= by_row_ ? 127.0f : kMostE4m3;
      if (scale == 0) scale = 1;
    }
    return scales_ = std::move(scales);
  }

 private:
  Weight weight_;
  bool by_row_;
  std::vector<float> scales_;
};

}  // namespace

EncodedTensor encode_tensor(const Weight& weight, const std::string& name, const GgufType& type,
                            const RowOrder& order) {
  EncodedTensor tensor{name, std::string(type.name), weight.shape, 0, weight.size_bytes(), {}};
  const std::int64_t columns = columns_of(weight);
  const auto row_bytes = static_cast<std::size_t>(columns / type.weights * type.bytes);
  tensor.bytes = row_bytes * static_cast<std::size_t>(rows_of(weight));
  tensor.write = [=](ThreadPool& pool, const AppendBytes& append) {
    try {
      write_rows(
          pool, weight, row_bytes, order,
          [&](std::int64_t, const float* values, std::byte* target) {
            encode_gguf(type, values, columns, target);
          },
          append);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::invalid_argument) throw;
      throw_named(weight, error);
    }
  };
  return tensor;
}

EncodedTensor copy_tensor(const Weight& weight, const std::string& name) {
  const std::size_t bytes = weight.size_bytes();
  return {name,
          std::string(dtype_name(weight.dtype)),
          weight.shape,
          bytes,
          bytes,
          [weight, bytes](ThreadPool&, const AppendBytes& append) {
            for (std::size_t begin = 0; begin < bytes; begin += kEncodedPieceBytes)
              append({weight.data + begin, std::min(kEncodedPieceBytes, bytes - begin)});
          }};
}

EncodedTensor text_tensor(const std::string& name, const std::string& text) {
  return {
      name,
      "U8",
      {static_cast<std::int64_t>(text.size())},
      text.size(),
      0,
      [text](ThreadPool&, const AppendBytes& append) { append(std::as_bytes(std::span(text))); }};
}

std::vector<EncodedTensor> encode_comfy(const Weight& weight, const std::string& module,
                                        const std::string& type) {
  const bool by_row = type == "I8";
  const Weight matrix = as_matrix(weight);
  const std::int64_t rows = matrix.shape[0], columns = matrix.shape[1];
  const auto scales = std::make_shared<ComfyScales>(matrix, by_row);
  const auto bytes = static_cast<std::uint64_t>(rows * columns);

  EncodedTensor codes{module + ".weight", type, {rows, columns}, bytes, weight.size_bytes(), {}};
  codes.write = [=](ThreadPool& pool, const AppendBytes& append) {
    const std::vector<float>& scale = scales->get(pool);
    const auto width = static_cast<std::size_t>(columns);
    write_rows(
        pool, matrix, width, {},
        [&](std::int64_t row, const float* values, std::byte* target) {
          const float divisor = scale[by_row ? static_cast<std::size_t>(row) : 0];
          for (std::size_t i = 0; i < width; ++i) {
            const float value = values[i] / divisor;
            target[i] = by_row ? std::byte(static_cast<std::uint8_t>(static_cast<std::int8_t>(
                                     std::nearbyint(std::clamp(value, -127.0f, 127.0f)))))
                               : std::byte(float_to_e4m3(value));
          }
        },
        append);
  };

  const Shape scale_shape = by_row ? Shape{rows, 1} : Shape{};
  EncodedTensor factor{module + ".weight_scale",
                       "F32",
                       scale_shape,
                       sizeof(float) * static_cast<std::uint64_t>(num_elements(scale_shape)),
                       0,
                       [=](ThreadPool& pool, const AppendBytes& append) {
                         append(std::as_bytes(std::span(scales->get(pool))));
                       }};
  const std::string format = by_row ? "int8_tensorwise" : "float8_e4m3fn";
  return {codes, factor, text_tensor(module + ".comfy_quant", "{\"format\": \"" + format + "\"}")};
}

}  // namespace ernie_image
