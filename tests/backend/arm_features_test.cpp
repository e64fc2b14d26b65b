// That the emulation offers what kernels for newer processors ask for: otherwise their tests would
// be skipped unnoticed.
#include <gtest/gtest.h>
#include <sys/auxv.h>

#include <cstdlib>

namespace ernie_image {
namespace {

// asm/hwcap.h of Linux; older headers lack the second.
constexpr unsigned long kHwcapAsimdDp = 1UL << 20;
constexpr unsigned long kHwcap2I8mm = 1UL << 13;

TEST(ArmEmulation, HasDotProductAndInt8MatrixProduct) {
  if (std::getenv("ERNIE_IMAGE_EMULATED") == nullptr) GTEST_SKIP() << "not emulated";
  EXPECT_NE(getauxval(AT_HWCAP) & kHwcapAsimdDp, 0u);
  EXPECT_NE(getauxval(AT_HWCAP2) & kHwcap2I8mm, 0u);
}

}  // namespace
}  // namespace ernie_image
