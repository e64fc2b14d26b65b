#include "core/ledger.h"

#include <gtest/gtest.h>

#include "core/tensor.h"

namespace ernie_image {
namespace {

TEST(Ledger, CountsWhatIsHeldAndTheMostOfIt) {
  Ledger ledger;
  {
    const auto block = ledger.take(100);
    const auto copy = ledger.take(30, &Ledger::Held::copies);
    EXPECT_TRUE(is_booked(block.get()));
    EXPECT_NE(block.get(), copy.get());
    EXPECT_EQ(ledger.held().total(), 130u);
  }
  EXPECT_EQ(ledger.held().total(), 0u);
  EXPECT_EQ(ledger.peak().activations, 100u);
  EXPECT_EQ(ledger.peak().copies, 30u);
  ledger.reset_peak();
  EXPECT_EQ(ledger.peak().total(), 0u);
}

TEST(Ledger, BlocksMayOutliveIt) {
  std::shared_ptr<std::byte> block;
  {
    Ledger ledger;
    block = ledger.take(100);
  }
  block.reset();
}

TEST(Ledger, PagesAreThereOnceTheyAreTouched) {
  Ledger ledger;
  const std::byte* const table = ledger.add_pages(1000, 0);
  ledger.assign_layer(table, -1);
  ledger.touch(table, 64);
  EXPECT_EQ(ledger.held().weights, 64u);
  ledger.touch(table, 32);
  EXPECT_EQ(ledger.held().weights, 96u);
  ledger.touch(table);
  ledger.touch(table);
  EXPECT_EQ(ledger.held().weights, 1000u);
  ledger.release_network(1);
  EXPECT_EQ(ledger.held().weights, 1000u);
  ledger.release_network(0);
  EXPECT_EQ(ledger.held().weights, 0u);
}

TEST(HostRehearsal, TensorsOfTheHostHaveNoData) {
  Ledger ledger;
  Tensor real = Tensor::host(DType::f32, {2, 3});
  EXPECT_FALSE(real.is_booked());
  {
    const HostRehearsal scope(ledger);
    const Tensor large = Tensor::host(DType::f32, {std::int64_t{1} << 40});
    EXPECT_TRUE(large.is_booked());
    EXPECT_TRUE(large.slice(5, 7).is_booked());
    EXPECT_GE(ledger.held().activations, std::uint64_t{4} << 40);
    EXPECT_TRUE(round_to(real, DType::bf16).is_booked());
  }
  EXPECT_EQ(ledger.held().activations, 0u);
  EXPECT_FALSE(Tensor::host(DType::f32, {1}).is_booked());
}

}  // namespace
}  // namespace ernie_image
