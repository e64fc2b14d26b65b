// A network whose layers come to a card and leave it, and a card whose memory is counted.
#pragma once

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "backend/card_books.h"
#include "backend/registry.h"
#include "verify/oracle.h"

namespace ernie_image {

inline constexpr std::int64_t kNetworkWidth = 384;
inline constexpr int kNetworkLayers = 6;
inline constexpr std::uint64_t kLayerBytes = 2 * kNetworkWidth * kNetworkWidth * sizeof(float);
/// Workspace, activations, alignment.
inline constexpr std::uint64_t kSlackBytes = std::uint64_t{512} << 10;

inline Tensor random_tensor(Shape shape, float magnitude, unsigned seed) {
  Tensor tensor = Tensor::host(DType::f32, std::move(shape));
  if (tensor.is_booked()) return tensor;
  std::mt19937 generator(seed);
  std::uniform_real_distribution<float> uniform(-magnitude, magnitude);
  for (float& value : tensor.span<float>()) value = uniform(generator);
  return tensor;
}

inline Weight weight_of(const std::string& name, const Tensor& values) {
  return {name, values.dtype(), values.shape(), values.bytes(), std::make_shared<Tensor>(values)};
}

inline double nmse(const Tensor& actual, const Tensor& expected) {
  const Tensor a = to_float(actual), e = to_float(expected);
  double error = 0, square = 0;
  for (std::int64_t i = 0; i < e.size(); ++i) {
    const double difference = double{a.data<float>()[i]} - e.data<float>()[i];
    error += difference * difference;
    square += double{e.data<float>()[i]} * e.data<float>()[i];
  }
  return error / square;
}

/// Two equal matrices a layer.
class Network {
 public:
  Network(Backend& ops, const std::string& prefix, Quantization quantization = Quantization::none)
      : ops_(ops) {
    for (int layer = 0; layer < kNetworkLayers; ++layer) {
      for (const char* name : {"a", "b"}) {
        Weight weight = weight_of(std::string(name) + ".weight", layer_values(layer));
        weight.network = prefix + "layers";
        weight.layer = layer;
        weights_.push_back(ops.prepare(weight, WeightUse::linear, quantization));
      }
    }
  }

  Tensor run() const {
    Tensor x = ops_.upload(input());
    for (const WeightHandle& weight : weights_) x = ops_.linear(x, *weight);
    return ops_.download(x);
  }

  static Tensor input() { return random_tensor({3, kNetworkWidth}, 3, 9); }
  const PreparedWeight& first() const { return *weights_.front(); }

  /// In double.
  static const Tensor& expected() {
    static const Tensor result = [] {
      Tensor x = input();
      for (int i = 0; i < 2 * kNetworkLayers; ++i) x = oracle::linear(x, layer_values(i / 2));
      return x;
    }();
    return result;
  }

 private:
  static Tensor layer_values(int layer) {
    return random_tensor({kNetworkWidth, kNetworkWidth}, 0.08f, 7 + static_cast<unsigned>(layer));
  }

  Backend& ops_;
  std::vector<WeightHandle> weights_;
};

/// The rounding of some hundred products in float, twelve times over: 1e-13 measured.
inline void expect_network_right(const Tensor& actual, double limit = 1e-10) {
  EXPECT_LT(nmse(actual, Network::expected()), limit);
}

/// The first card of a stand-in, whose memory is counted and can be made small.
class CountedCard {
 public:
  explicit CountedCard(CardBooks books)
      : books_(std::move(books)), at_start_(books_.bytes_in_use()) {
    books_.reset_peak();
  }
  ~CountedCard() { books_.set_capacity(std::uint64_t{8} << 30); }
  CountedCard(const CountedCard&) = delete;
  CountedCard& operator=(const CountedCard&) = delete;

  std::uint64_t in_use() const { return books_.bytes_in_use() - at_start_; }
  std::uint64_t peak() const { return books_.peak_bytes() - at_start_; }
  std::uint64_t violations() const { return books_.violations(); }
  void set_capacity(std::uint64_t bytes) const { books_.set_capacity(at_start_ + bytes); }

 private:
  CardBooks books_;
  std::uint64_t at_start_;
};

}  // namespace ernie_image
