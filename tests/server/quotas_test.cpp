#include "server/quotas.h"

#include <gtest/gtest.h>

#include "server/api_error.h"

namespace ernie_image {
namespace {

using std::chrono::seconds;

ApiKey key(double requests_per_minute, double megapixels_per_hour) {
  return {"alice", {}, requests_per_minute, megapixels_per_hour};
}

/// 0: taken; else seconds to wait.
int wait_of(Quotas& quotas, const ApiKey& key, double pixels, Bucket::Time now) {
  try {
    quotas.take(key, pixels, now);
    return 0;
  } catch (const ApiError& error) {
    EXPECT_EQ(error.status, 429);
    return error.retry_after_seconds;
  }
}

TEST(Quotas, GivesBackARequestAtItsRate) {
  Quotas quotas;
  const Bucket::Time start{};
  EXPECT_EQ(wait_of(quotas, key(2, 0), 1e9, start), 0);
  EXPECT_EQ(wait_of(quotas, key(2, 0), 1e9, start), 0);
  EXPECT_EQ(wait_of(quotas, key(2, 0), 1e9, start), 30);
  EXPECT_EQ(wait_of(quotas, key(2, 0), 1e9, start + seconds(29)), 1);
  EXPECT_EQ(wait_of(quotas, key(2, 0), 1e9, start + seconds(31)), 0);
}

TEST(Quotas, CountsPixels) {
  Quotas quotas;
  const Bucket::Time start{};
  EXPECT_EQ(wait_of(quotas, key(0, 3.6), 3.6e6, start), 0);
  EXPECT_EQ(wait_of(quotas, key(0, 3.6), 1e6, start), 1000);
}

TEST(Quotas, ServesWhatIsLargerThanTheBucketOnceThatIsFull) {
  Quotas quotas;
  const Bucket::Time start{};
  EXPECT_EQ(wait_of(quotas, key(0, 1), 2e6, start), 0);
  EXPECT_EQ(wait_of(quotas, key(0, 1), 1e6, start + seconds(1)), 7199);
}

TEST(Quotas, TakesNothingOfOneWhereTheOtherIsUsedUp) {
  Quotas quotas;
  const Bucket::Time start{};
  EXPECT_EQ(wait_of(quotas, key(2, 1), 1e6, start), 0);
  EXPECT_GT(wait_of(quotas, key(2, 1), 1e6, start), 0);
  EXPECT_EQ(wait_of(quotas, key(2, 1), 0, start), 0);
}

}  // namespace
}  // namespace ernie_image
