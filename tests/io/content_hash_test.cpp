#include <filesystem>

#include "io/file_view.h"
#include "io/model_folder.h"
#include "test_files.h"

namespace ernie_image {
namespace {

namespace fs = std::filesystem;

class ContentHashTest : public test::TemporaryFolder {
 protected:
  ContentHashTest() {
    fs::copy(std::string(ERNIE_IMAGE_MODELS) + "/emoji-tiny", path("m"),
             fs::copy_options::recursive);
  }
  std::string hash() const { return content_hash(resolve_model(path("m"))); }
};

TEST_F(ContentHashTest, IsAStableSha256) {
  const std::string before = hash();
  EXPECT_EQ(before.size(), 64u);
  EXPECT_EQ(before.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_EQ(hash(), before);
  fs::rename(path("m"), path("n"));
  EXPECT_EQ(content_hash(resolve_model(path("n"))), before) << "where the folder lies is no matter";
}

TEST_F(ContentHashTest, ChangesWithConfigsTokenizerAndHeaders) {
  const std::string before = hash();
  const std::string config = test::read_whole(path("m/vae/config.json"));
  write("m/vae/config.json", config + " ");
  EXPECT_NE(hash(), before);
  write("m/vae/config.json", config);
  EXPECT_EQ(hash(), before);
  write("m/tokenizer/tokenizer.json", "{}");
  EXPECT_NE(hash(), before);
}

TEST_F(ContentHashTest, ChangesWithATensorsShapeButNotItsValues) {
  using test::entry;
  using test::header_of;
  const std::string file = "m/transformer/diffusion_pytorch_model.safetensors";
  write(file, test::safetensors(header_of({entry("x", "U8", "[2,3]", "[0,6]")}), 6));
  const std::string before = hash();
  std::string other_values = test::read_whole(path(file));
  other_values.back() = '\x55';
  write(file, other_values);
  EXPECT_EQ(hash(), before);
  write(file, test::safetensors(header_of({entry("x", "U8", "[3,2]", "[0,6]")}), 6));
  EXPECT_NE(hash(), before);
}

TEST_F(ContentHashTest, IgnoresWhatIsNoPartOfTheModel) {
  const std::string before = hash();
  write("m/README.md", "text");
  write("m/transformer/.gitattributes", "text");
  write("m/extra/config.json", "{}");
  EXPECT_EQ(hash(), before);
}

}  // namespace
}  // namespace ernie_image
