// Components that do not fit together are refused before any weight is read.
#include "checkpoint/model.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "../io/test_files.h"

namespace ernie_image {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

class CheckpointTest : public test::TemporaryFolder {
 protected:
  CheckpointTest() {
    fs::copy(std::string(ERNIE_IMAGE_TEST_DATA) + "/reference/models/tiny_a", path("m"),
             fs::copy_options::recursive);
  }

  /// Adds to a number of transformer/config.json.
  void add(const std::string& key, int amount) const {
    const std::string name = "m/transformer/config.json";
    json config = json::parse(test::read_whole(path(name)));
    config[key] = config.at(key).get<int>() + amount;
    write(name, config.dump());
  }

  void expect_refused(const std::vector<std::string>& parts) const {
    const ModelFolder folder = resolve_model(path("m"));
    test::expect_error(ErrorKind::corrupt_file, parts, [&] { ModelConfigs::read(folder); });
  }
};

TEST_F(CheckpointTest, ComponentsOfOneModelFit) {
  EXPECT_NO_THROW(ModelConfigs::read(resolve_model(path("m"))));
}

TEST_F(CheckpointTest, TextEncoderOfAnotherWidthIsRefused) {
  for (const int amount : {8, -16}) {  // wider than the encoder, then narrower
    add("text_in_dim", amount);
    expect_refused({"hidden_size", "text_in_dim"});
  }
}

TEST_F(CheckpointTest, LatentsOfAnotherDepthAreRefused) {
  add("in_channels", 4);
  expect_refused({"in_channels", "out_channels"});
  add("out_channels", 4);
  expect_refused({"in_channels", "latent_channels"});
}

}  // namespace
}  // namespace ernie_image
