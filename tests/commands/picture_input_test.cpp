// Pictures as input of `ernie-image generate` and `rerun`.
#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "io/image_file.h"
#include "program.h"

namespace ernie_image::cli_test {
namespace {

using Names = std::vector<std::string>;

std::string bytes_of(const Image& image, ImageFormat format) {
  const std::vector<std::uint8_t> bytes = encode_image(image, {format, 100}, {});
  return {bytes.begin(), bytes.end()};
}

/// Slopes of colour, with a dark half.
Image picture(int width, int height) {
  Image image{width, height, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      image.rgb.push_back(static_cast<std::uint8_t>(255 * x / width));
      image.rgb.push_back(static_cast<std::uint8_t>(255 * y / height));
      image.rgb.push_back(x < width / 2 ? 20 : 200);
    }
  }
  return image;
}

class PictureInput : public ::testing::Test {
 protected:
  PictureInput() { write_bytes(folder_ / "in.png", bytes_of(picture(80, 48), ImageFormat::png)); }

  Outcome generate(const std::string& output, const Names& more, const std::string& input = {}) {
    Names arguments = {"generate", "-p", "a cat",   "-m", model_,
                       "--steps",  "4",  "--quiet", "-o", folder_ / output};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_program(arguments, {.input = input});
  }
  Image made(const std::string& output, const Names& more, const std::string& input = {}) {
    const Outcome outcome = generate(output, more, input);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome.exit_code == 0 ? read_image(folder_ / output).image : Image{};
  }

  const TemporaryFolder folder_;
  const std::string model_ = std::string(ERNIE_IMAGE_TEST_DATA) + "/reference/models/tiny_a";
};

TEST_F(PictureInput, KeepsTheSizeOfThePictureAndRecordsWhatWasDone) {
  const Image image = made(
      "a.png", {"--image", folder_ / "in.png", "--strength", "0.5", "--strength-mode", "sdcpp"});
  EXPECT_EQ(image.width_px, 80);
  EXPECT_EQ(image.height_px, 48);
  const nlohmann::json record = record_of(folder_ / "a.png");
  EXPECT_EQ(record["image"]["strength"], 0.5);
  EXPECT_EQ(record["image"]["strength_mode"], "sdcpp");
  EXPECT_EQ(record["image"]["resize"], "crop");
  EXPECT_EQ(record["image"]["sha256"].get<std::string>().size(), 64u);
  EXPECT_NE(read_image(folder_ / "a.png").metadata.at("parameters").find("Denoising strength: 0.5"),
            std::string::npos);
}

/// Noise between two noises, a second run and boxes are kept, and made again.
TEST_F(PictureInput, RerunMakesFurtherRunsAgain) {
  const Image image = made("a.png", {"-W",
                                     "48",
                                     "-H",
                                     "32",
                                     "--seed",
                                     "3",
                                     "--variation-seed",
                                     "4",
                                     "--variation-strength",
                                     "0.3",
                                     "--hires",
                                     "2",
                                     "--hires-strength",
                                     "0.5",
                                     "--boxes",
                                     "8,8,32,24",
                                     "--boxes",
                                     "60,30,20,20",
                                     "--strength",
                                     "0.4"});
  EXPECT_EQ(image.width_px, 96);
  EXPECT_EQ(image.height_px, 64);
  const nlohmann::json record = record_of(folder_ / "a.png");
  EXPECT_EQ(record["variation_seeds"], nlohmann::json({4}));
  EXPECT_EQ(record["variation_strength"], 0.3);
  EXPECT_EQ(record["hires_scale"], 2.0);
  EXPECT_EQ(record["boxes"].size(), 2u);
  EXPECT_EQ(record["boxes_strength"], 0.4);
  const Outcome again = run_program({"rerun", folder_ / "a.png", "-m", model_, "--quiet"});
  EXPECT_EQ(again.exit_code, 0) << again.out << again.err;
}

TEST_F(PictureInput, FlagsOfFurtherRunsNeedEachOther) {
  for (const Names& flags : {Names{"--variation-seed", "4"},
                             {"--variation-strength", "0.4"},
                             {"--hires-steps", "4"},
                             {"--hires", "2x"},
                             {"--hires", "0.5"},
                             {"--boxes", "1,2,3"},
                             {"--strength", "0.4"}}) {
    const Outcome outcome = generate("a.png", flags);
    EXPECT_EQ(outcome.exit_code, 2) << flags.front();
    EXPECT_NE(outcome.err.find(flags.front()), std::string::npos) << outcome.err;
  }
  const Outcome outside = generate("a.png", {"-W", "32", "-H", "32", "--boxes", "20,0,16,16"});
  EXPECT_EQ(outside.exit_code, 2);
  EXPECT_NE(outside.err.find("20,0,16,16 is not within"), std::string::npos) << outside.err;
}

TEST_F(PictureInput, OfStrengthOneChangesNothing) {
  const Image with = made("a.png", {"--image", folder_ / "in.png", "--strength", "1"});
  const Image without = made("b.png", {"-W", "80", "-H", "48", "--no-enhance"});
  EXPECT_EQ(with.rgb, without.rgb);
}

TEST_F(PictureInput, ComesFromStandardInputToo) {
  const Image from_file = made("a.png", {"--image", folder_ / "in.png"});
  const Image from_input =
      made("b.png", {"--image", "-"}, bytes_of(picture(80, 48), ImageFormat::png));
  EXPECT_EQ(from_file.rgb, from_input.rgb);
  const Image of_webp =
      made("c.png", {"--image", "-"}, bytes_of(picture(80, 48), ImageFormat::webp));
  EXPECT_EQ(from_file.rgb, of_webp.rgb);
}

TEST_F(PictureInput, OfABatchIsThatOfEachOfItsPictures) {
  write_bytes(folder_ / "b.jsonl", "{\"prompt\": \"a cat\"}\n{\"prompt\": \"a dog\"}\n");
  const std::string in = bytes_of(picture(80, 48), ImageFormat::png);
  const auto batch = [&](const std::string& strength, const std::string& input) {
    return run_program({"generate", "--batch", folder_ / "b.jsonl", "-m", model_, "--steps", "4",
                        "--image", "-", "--strength", strength, "-o", folder_ / "%d.png"},
                       {.input = input});
  };
  const Outcome drawn = batch("0.5", in);  // which can be read once
  ASSERT_EQ(drawn.exit_code, 0) << drawn.err;
  const std::string first = read_bytes(folder_ / "1.png");
  for (const char* name : {"1.png", "2.png"}) {
    EXPECT_EQ(read_image(folder_ / name).image.width_px, 80) << name;
    EXPECT_EQ(record_of(folder_ / name)["image"]["strength"], 0.5) << name;
  }
  std::filesystem::remove(folder_ / "2.png");
  const Outcome again = batch("0.5", in);
  EXPECT_NE(again.err.find("1 of 2 pictures are there already"), std::string::npos) << again.err;
  EXPECT_EQ(read_bytes(folder_ / "1.png"), first);
  for (const Outcome& other :
       {batch("0.6", in), batch("0.5", bytes_of(picture(81, 48), ImageFormat::png))}) {
    EXPECT_EQ(other.exit_code, 1);
    EXPECT_NE(other.err.find("is there already"), std::string::npos) << other.err;
  }
}

TEST_F(PictureInput, IsScaledToTheSizeAskedFor) {
  std::vector<std::vector<std::uint8_t>> results;
  for (const std::string fit : {"stretch", "crop", "fit"}) {
    const Image image = made("a.png", {"-i", folder_ / "in.png", "-W", "32", "-H", "64", "--resize",
                                       fit, "--strength", "0.3"});
    EXPECT_EQ(image.width_px, 32) << fit;
    EXPECT_EQ(image.height_px, 64) << fit;
    for (const auto& other : results) EXPECT_NE(image.rgb, other) << fit;
    results.push_back(image.rgb);
  }
  const Image narrow = made("a.png", {"-i", folder_ / "in.png", "-W", "32"});
  EXPECT_EQ(narrow.height_px, 16);  // 19.2 in proportion
}

TEST_F(PictureInput, ThatCannotBeReadIsAnErrorBeforeAnyWork) {
  write_bytes(folder_ / "text.png", "no picture");
  const Outcome wrong = generate("a.png", {"--image", folder_ / "text.png"});
  EXPECT_EQ(wrong.exit_code, 1);
  EXPECT_NE(wrong.err.find("text.png: not a PNG, JPEG or WebP"), std::string::npos) << wrong.err;
  const Outcome mask =
      generate("a.png", {"--image", folder_ / "in.png", "--mask", folder_ / "text.png"});
  EXPECT_EQ(mask.exit_code, 1);
  EXPECT_NE(mask.err.find("ernie-image: --mask: "), std::string::npos) << mask.err;
  EXPECT_EQ(generate("a.png", {"--image", folder_ / "none.png"}).exit_code, 1);
  EXPECT_FALSE(std::filesystem::exists(folder_ / "a.png"));
}

TEST_F(PictureInput, FlagsOfAPictureNeedOne) {
  for (const Names& flags :
       {Names{"--strength", "0.5"}, Names{"--strength-mode", "exact"}, Names{"--resize", "fit"}}) {
    const Outcome outcome = generate("a.png", flags);
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_NE(outcome.err.find("--image"), std::string::npos) << outcome.err;
  }
  const std::string image = folder_ / "in.png";
  EXPECT_EQ(generate("a.png", {"--image", image, "--strength", "1.5"}).exit_code, 2);
  EXPECT_EQ(generate("a.png", {"--image", image, "--strength-mode", "all"}).exit_code, 2);
  EXPECT_EQ(generate("a.png", {"--image", image, "--strength", "0"}).exit_code, 2);
}

TEST_F(PictureInput, RerunWantsTheSamePicture) {
  made("a.png", {"--image", folder_ / "in.png", "-W", "32", "-H", "32", "--resize", "fit"});
  const Names rerun = {"rerun", folder_ / "a.png", "-m", model_, "--quiet"};
  const auto with_image = [&](const std::string& image) {
    Names arguments = rerun;
    arguments.insert(arguments.end(), {"--image", image});
    return run_program(arguments);
  };
  const Outcome without = run_program(rerun);
  EXPECT_EQ(without.exit_code, 2);
  EXPECT_NE(without.err.find("--image"), std::string::npos) << without.err;
  const Outcome equal = with_image(folder_ / "in.png");
  EXPECT_EQ(equal.exit_code, 0) << equal.out << equal.err;
  write_bytes(folder_ / "other.png", bytes_of(picture(81, 48), ImageFormat::png));
  const Outcome other = with_image(folder_ / "other.png");
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_NE(other.err.find("is not what"), std::string::npos) << other.err;
}

/// White to the right of its middle.
Image right_half(int width, int height) {
  Image image{width, height, {}};
  for (int i = 0; i < width * height; ++i)
    image.rgb.insert(image.rgb.end(), 3,
                     i % width < width / 2 ? std::uint8_t{0} : std::uint8_t{255});
  return image;
}

class MaskInput : public PictureInput {
 protected:
  MaskInput() { write_bytes(folder_ / "mask.png", bytes_of(right_half(80, 48), ImageFormat::png)); }
  /// How many pixels of its left and right half are not those of in.png.
  std::pair<int, int> changed(const Image& image) const {
    const Image before = picture(80, 48);
    std::pair<int, int> count;
    for (int i = 0; i < 80 * 48; ++i) {
      const auto at = static_cast<std::ptrdiff_t>(3 * i);
      const bool is_same =
          std::equal(image.rgb.begin() + at, image.rgb.begin() + at + 3, before.rgb.begin() + at);
      (i % 80 < 40 ? count.first : count.second) += !is_same;
    }
    return count;
  }
  const Names with_mask_ = {"--image", folder_ / "in.png", "--mask", folder_ / "mask.png"};
};

TEST_F(MaskInput, KeepsEveryByteOutsideOfTheMask) {
  const auto [left, right] = changed(made("a.png", with_mask_));
  EXPECT_EQ(left, 0);
  EXPECT_GT(right, 40 * 48 / 2);
  Names inverted = with_mask_;
  inverted.push_back("--invert-mask");
  const auto [left_of_inverted, right_of_inverted] = changed(made("b.png", inverted));
  EXPECT_GT(left_of_inverted, 40 * 48 / 2);
  EXPECT_EQ(right_of_inverted, 0);
}

TEST_F(MaskInput, MayBeSmallerAndSoft) {
  write_bytes(folder_ / "small.png", bytes_of(right_half(20, 12), ImageFormat::png));
  const Image image = made("a.png", {"--image", folder_ / "in.png", "--mask", folder_ / "small.png",
                                     "--mask-blur", "3"});
  const auto [left, right] = changed(image);
  EXPECT_GT(left, 0);
  EXPECT_LE(left, 12 * 48);  // what scaling and blur reach
  EXPECT_GT(right, 0);
  const nlohmann::json mask = record_of(folder_ / "a.png")["image"]["mask"];
  EXPECT_EQ(mask["blur"], 3);
  EXPECT_EQ(mask["inverted"], false);
  EXPECT_EQ(mask["sha256"].get<std::string>().size(), 64u);
}

TEST_F(MaskInput, MayBeOfWhatIsAddedToAPicture) {
  const Names flags = {"--image",   folder_ / "in.png", "--outpaint",
                       "0,16,32,0", "--fill",           "mirror"};
  const Image image = made("a.png", flags);
  ASSERT_EQ(image.width_px, 112);
  ASSERT_EQ(image.height_px, 64);
  const Image before = picture(80, 48);
  int changed = 0;
  for (int y = 0; y < 64; ++y) {
    for (int x = 0; x < 64; ++x) {  // what is not next to what is new
      const auto at = static_cast<std::size_t>(3 * (y * 112 + x));
      const auto from = static_cast<std::size_t>(3 * ((y - 16) * 80 + x));
      if (y >= 32) {
        EXPECT_EQ(image.rgb[at], before.rgb[from]) << x << " " << y;
      }
      changed += y < 16 && image.rgb[at] != before.rgb[static_cast<std::size_t>(3 * x)];
    }
  }
  EXPECT_GT(changed, 64 * 16 / 2);
  const Names rerun = {"rerun",   folder_ / "a.png", "-m", model_, "--quiet",
                       "--image", folder_ / "in.png"};
  const Outcome equal = run_program(rerun);
  EXPECT_EQ(equal.exit_code, 0) << equal.out << equal.err;
  for (const std::string wrong : {"1,2,3", "1,2,3,4,5", "a,0,0,0", "-1,0,0,0", "0,0,0,99999"}) {
    EXPECT_EQ(generate("b.png", {"--image", folder_ / "in.png", "--outpaint", wrong}).exit_code, 2);
  }
}

TEST_F(MaskInput, MayBeDrawnByItself) {
  Names flags = with_mask_;
  flags.insert(flags.end(), {"--inpaint-area", "masked", "--padding", "4", "-W", "48", "-H", "48"});
  const Image image = made("a.png", flags);
  EXPECT_EQ(image.width_px, 80);  // of the picture
  const auto [left, right] = changed(image);
  EXPECT_EQ(left, 0);
  EXPECT_GT(right, 40 * 48 / 2);
  EXPECT_EQ(record_of(folder_ / "a.png")["image"]["mask"]["area_padding"], 4);
  const Outcome equal = run_program({"rerun", folder_ / "a.png", "-m", model_, "--quiet", "--image",
                                     folder_ / "in.png", "--mask", folder_ / "mask.png"});
  EXPECT_EQ(equal.exit_code, 0) << equal.out << equal.err;
  EXPECT_EQ(
      generate("b.png", {"--image", folder_ / "in.png", "--inpaint-area", "masked"}).exit_code, 2);
}

TEST_F(MaskInput, ThatDoesNotFitIsAnError) {
  write_bytes(folder_ / "high.png", bytes_of(right_half(48, 80), ImageFormat::png));
  const Outcome high =
      generate("a.png", {"--image", folder_ / "in.png", "--mask", folder_ / "high.png"});
  EXPECT_NE(high.exit_code, 0);
  EXPECT_NE(high.err.find("48x80"), std::string::npos) << high.err;
  for (const Names& flags :
       {Names{"--mask", folder_ / "mask.png"},
        Names{"--image", folder_ / "in.png", "--mask-blur", "3"},
        Names{"--image", folder_ / "in.png", "--invert-mask"},
        Names{"--image", folder_ / "in.png", "--mask", folder_ / "mask.png", "--mask-blur", "-1"},
        Names{"--image", "-", "--mask", "-"}}) {
    EXPECT_EQ(generate("a.png", flags).exit_code, 2);
  }
}

TEST_F(MaskInput, RerunWantsTheSameMask) {
  Names more = with_mask_;
  more.insert(more.end(), {"--invert-mask", "--mask-blur", "2", "-W", "48", "-H", "32"});
  made("a.png", more);
  const auto rerun = [&](const Names& mask) {
    Names arguments = {"rerun",   folder_ / "a.png", "-m", model_, "--quiet",
                       "--image", folder_ / "in.png"};
    arguments.insert(arguments.end(), mask.begin(), mask.end());
    return run_program(arguments);
  };
  const Outcome without = rerun({});
  EXPECT_EQ(without.exit_code, 2);
  EXPECT_NE(without.err.find("--mask"), std::string::npos) << without.err;
  EXPECT_EQ(without.err.find("--image"), std::string::npos) << without.err;
  const Outcome without_both = run_program({"rerun", folder_ / "a.png", "-m", model_});
  EXPECT_EQ(without_both.exit_code, 2);
  EXPECT_NE(without_both.err.find("--image FILE and --mask FILE"), std::string::npos)
      << without_both.err;
  const Outcome equal = rerun({"--mask", folder_ / "mask.png"});
  EXPECT_EQ(equal.exit_code, 0) << equal.out << equal.err;
  const Outcome other = rerun({"--mask", folder_ / "in.png"});
  EXPECT_EQ(other.exit_code, 1);
  EXPECT_NE(other.err.find("is not what"), std::string::npos) << other.err;
}

}  // namespace
}  // namespace ernie_image::cli_test
