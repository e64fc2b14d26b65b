#include "eval/statistics.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace ernie_image {
namespace {

TEST(Statistics, AreNumpysForAnUnsortedSample) {
  // numpy: mean, median, percentile(95), std(ddof=1) of [4, 1, 3, 10]
  const Statistics s = statistics_of({4, 1, 3, 10});
  EXPECT_DOUBLE_EQ(s.mean, 4.5);
  EXPECT_DOUBLE_EQ(s.min, 1);
  EXPECT_DOUBLE_EQ(s.max, 10);
  EXPECT_DOUBLE_EQ(s.median, 3.5);
  EXPECT_NEAR(s.p95, 9.1, 1e-12);
  EXPECT_NEAR(s.standard_deviation, 3.872983346207417, 1e-12);
}

TEST(Statistics, OfOneValueHaveNoSpread) {
  const Statistics s = statistics_of({2.5});
  EXPECT_EQ(s.median, 2.5);
  EXPECT_EQ(s.p95, 2.5);
  EXPECT_EQ(s.standard_deviation, 0);
  EXPECT_EQ(to_json(s)["mean"], 2.5);
}

}  // namespace
}  // namespace ernie_image
