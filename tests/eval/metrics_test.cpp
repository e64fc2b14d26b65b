// Image metrics against those that scikit-image computed (tests/data/metrics).
#include "eval/metrics.h"

#include <gtest/gtest.h>

#include <fstream>

#include <nlohmann/json.hpp>

#include "io/image_file.h"
#include "program.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

std::string picture(const std::string& name) {
  return golden::data_path("metrics/" + name + ".png");
}

TEST(Metrics, AreThoseOfScikitImage) {
  std::ifstream file(golden::data_path("metrics/golden.json"));
  const auto golden = nlohmann::json::parse(file);
  ASSERT_EQ(golden["cases"].size(), 4u);
  for (const auto& expected : golden["cases"]) {
    const std::string name = expected["name"];
    SCOPED_TRACE(name);
    const ImageMetrics metrics = compare_images(read_image(picture(name + "_a")).image,
                                                read_image(picture(name + "_b")).image);
    // Both sum doubles, in another order.
    EXPECT_NEAR(metrics.nmse_percent, expected["nmse_percent"].get<double>(), 1e-9);
    EXPECT_NEAR(metrics.psnr_db.value(), expected["psnr_db"].get<double>(), 1e-9);
    EXPECT_NEAR(metrics.ssim.value(), expected["ssim"].get<double>(), 1e-9);
    EXPECT_NEAR(metrics.mean_absolute_difference,
                expected["mean_absolute_difference"].get<double>(), 1e-9);
    EXPECT_EQ(metrics.max_absolute_difference, expected["max_absolute_difference"].get<int>());
    if (expected["ms_ssim"].is_null()) continue;
    EXPECT_EQ(metrics.ms_ssim_scales, 5);
    // The reference's Gaussian window is float.
    EXPECT_NEAR(metrics.ms_ssim.value(), expected["ms_ssim"].get<double>(), 1e-4);
  }
}

TEST(Metrics, OfEqualPicturesAreTheBestThereAre) {
  const Image image = read_image(picture("waves_a")).image;
  const ImageMetrics metrics = compare_images(image, image);
  EXPECT_EQ(metrics.nmse_percent, 0);
  EXPECT_FALSE(metrics.psnr_db.has_value());
  EXPECT_NEAR(metrics.ssim.value(), 1, 1e-12);
  EXPECT_NEAR(metrics.ms_ssim.value(), 1, 1e-12);
}

TEST(Metrics, SmallPicturesHaveNoSimilarity) {
  const Image dot{1, 1, {1, 2, 3}};
  const ImageMetrics metrics = compare_images(dot, {1, 1, {1, 2, 6}});
  EXPECT_FALSE(metrics.ssim.has_value());
  EXPECT_FALSE(metrics.ms_ssim.has_value());
  EXPECT_EQ(metrics.max_absolute_difference, 3);
}

TEST(Metrics, DifferentSizesAreAnError) {
  EXPECT_THROW(
      compare_images({1, 2, std::vector<std::uint8_t>(6)}, {2, 1, std::vector<std::uint8_t>(6)}),
      Error);
  EXPECT_THROW(compare_images({}, {}), Error);
}

TEST(MetricsCommand, PrintsTextAndJson) {
  using cli_test::run_program;
  const std::string a = picture("shifted_a"), b = picture("shifted_b");
  const auto text = run_program({"metrics", a, b});
  EXPECT_EQ(text.exit_code, 0) << text.err;
  EXPECT_NE(text.out.find("PSNR      27.4321 dB"), std::string::npos) << text.out;
  const auto json = run_program({"metrics", a, b, "--json"}).json();
  EXPECT_NEAR(json["ssim"].get<double>(), 0.8549944745897862, 1e-9);
  EXPECT_TRUE(run_program({"metrics", a, a, "--json"}).json()["psnr_db"].is_null());
}

TEST(MetricsCommand, RefusesWhatCannotBeCompared) {
  using cli_test::run_program;
  const auto sizes = run_program({"metrics", picture("noise_a"), picture("edge_a")});
  EXPECT_EQ(sizes.exit_code, 2);
  EXPECT_NE(sizes.err.find("45x31 and 12x7"), std::string::npos) << sizes.err;
  EXPECT_EQ(run_program({"metrics", picture("noise_a"), "absent.png"}).exit_code, 1);
  EXPECT_EQ(run_program({"metrics", picture("noise_a"), golden::data_path("metrics/golden.json")})
                .exit_code,
            1);
  EXPECT_EQ(run_program({"metrics", picture("noise_a")}).exit_code, 2);
}

TEST(MetricsCommand, ReadsEveryFormat) {
  using cli_test::run_program;
  const cli_test::TemporaryFolder folder;
  const Image image = read_image(picture("noise_a")).image;
  for (const char* name : {"a.jpg", "a.webp"}) {
    save_image(folder / name, image);
    const auto outcome = run_program({"metrics", folder / name, picture("noise_a"), "--json"});
    EXPECT_GT(outcome.json()["psnr_db"].get<double>(), 10) << outcome.err;
  }
}

TEST(MetricsCommand, RefusesTransparency) {
  const std::string transparent = golden::data_path("metrics/transparent.png");
  const auto outcome = cli_test::run_program({"metrics", transparent, transparent});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_NE(outcome.err.find("transparent in places"), std::string::npos) << outcome.err;
}

}  // namespace
}  // namespace ernie_image
