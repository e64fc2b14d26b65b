// Settings as the A1111 web UI writes them.
#include "common/infotext.h"

#include <gtest/gtest.h>

namespace ernie_image {
namespace {

using Settings = std::vector<std::pair<std::string, std::string>>;

TEST(Infotext, IsTakenApart) {
  const Infotext text = parse_infotext(
      "a cat,\non a mat\nNegative prompt: dogs\nmice \nSteps: 20, Sampler: DPM++ 2M, CFG scale: 7, "
      "Seed: 1, Size: 512x768, Model: \"a, b: c\", Hires upscale: 2, Version: v1.10.0");
  EXPECT_EQ(text.prompt, "a cat,\non a mat");
  EXPECT_EQ(text.negative_prompt, "dogs\nmice");
  EXPECT_EQ(text.settings, (Settings{{"Steps", "20"},
                                     {"Sampler", "DPM++ 2M"},
                                     {"CFG scale", "7"},
                                     {"Seed", "1"},
                                     {"Size", "512x768"},
                                     {"Model", "a, b: c"},
                                     {"Hires upscale", "2"},
                                     {"Version", "v1.10.0"}}));
}

TEST(Infotext, ALastLineOfFewSettingsIsPrompt) {
  const Infotext text = parse_infotext("a sign that says\nSteps: 3, Exit: left");
  EXPECT_EQ(text.prompt, "a sign that says\nSteps: 3, Exit: left");
  EXPECT_TRUE(text.settings.empty());
}

TEST(Infotext, AnyTextGivesSomething) {
  EXPECT_EQ(parse_infotext("").prompt, "");
  EXPECT_EQ(parse_infotext("Steps: 8, Seed: 1, Size: 64x64").prompt, "");
  EXPECT_EQ(parse_infotext("Steps: 8, Seed: 1, Size: 64x64").settings.size(), 3u);
  EXPECT_EQ(parse_infotext("a\nA1: \"x, B2: \\, C3: \"").settings.size(), 3u);
  EXPECT_EQ(parse_infotext(":::,,,:\n\n::,").prompt, ":::,,,:\n\n::,");
  const std::string long_line(100000, ',');
  EXPECT_EQ(parse_infotext(long_line).prompt, long_line);
}

}  // namespace
}  // namespace ernie_image
