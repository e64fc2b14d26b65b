// tools/make_random_model.py at small sizes: what it writes is a model.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "ernie_image/pipeline.h"
#include "io/test_files.h"
#include "support/golden.h"

namespace ernie_image {
namespace {

bool succeeds(const std::string& command) { return std::system(command.c_str()) == 0; }

class RandomModel : public test::TemporaryFolder {
 protected:
  void SetUp() override {
    // A python3 of the user's own may come first in PATH and lack what the system's has.
    for (const std::string python : {"python3", "/usr/bin/python3"}) {
      if (succeeds(python + " -c 'import numpy' 2>/dev/null")) python_ = python;
    }
    if (python_.empty()) GTEST_SKIP() << "needs python3-numpy";
    ASSERT_TRUE(make());
  }

  bool make() const {
    const std::string root = golden::data_path("../..");
    return succeeds(python_ + " '" + root + "/tools/make_random_model.py' --tiny --layers 2" +
                    " --text-layers 2 --tokenizer '" + root + "/models/emoji-tiny/tokenizer'" +
                    " --output '" + folder_ + "' 2>/dev/null");
  }

  std::string weights() const { return path("transformer/diffusion_pytorch_model.safetensors"); }

 private:
  std::string python_;
};

TEST_F(RandomModel, Generates) {
  golden::TensorMap tensors;
  Request request;
  request.prompts = {"a red apple"};
  request.height_px = request.width_px = 32;
  request.num_inference_steps = 2;
  request.trace = &tensors;
  LoadOptions options;
  options.model = folder_;
  const Result result = Pipeline::load(options).generate(request);
  ASSERT_EQ(result.images.size(), 1u);
  EXPECT_EQ(result.images[0].rgb.size(), 32u * 32 * 3);
  const Tensor pixels = tensors.tensors.at("vae.output");
  for (const float value : pixels.span<float>()) EXPECT_TRUE(std::isfinite(value));
}

TEST_F(RandomModel, LayersDiffer) {
  const SafetensorsFile file = SafetensorsFile::open(weights());
  for (const char* name :
       {"self_attention.to_q.weight", "mlp.up_proj.weight", "adaLN_sa_ln.weight"}) {
    EXPECT_GT(golden::compare(file.tensor(std::string("layers.0.") + name),
                              file.tensor(std::string("layers.1.") + name))
                  .nmse,
              0.01)
        << name;
  }
}

TEST_F(RandomModel, WritesMissingFilesAgainAndTheSame) {
  const std::string before = test::read_whole(weights());
  const auto kept = path("vae/diffusion_pytorch_model.safetensors");
  const auto kept_time = std::filesystem::last_write_time(kept);
  std::filesystem::remove(weights());
  ASSERT_TRUE(make());
  EXPECT_TRUE(test::read_whole(weights()) == before);
  EXPECT_EQ(std::filesystem::last_write_time(kept), kept_time);
}

}  // namespace
}  // namespace ernie_image
