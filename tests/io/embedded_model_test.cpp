// The built-in model behaves as the folder it was made from.
#include <cstdint>

#include "io/embedded_files.h"
#include "io/file_view.h"
#include "io/model_folder.h"
#include "io/weight_files.h"
#include "test_files.h"

namespace ernie_image {
namespace {

using test::expect_error;

const std::string kFolder = std::string(ERNIE_IMAGE_MODELS) + "/emoji-tiny";

TEST(EmbeddedModel, HoldsEveryFileOfTheFolderByteForByte) {
  ASSERT_FALSE(embedded_files().empty());
  for (const EmbeddedFile& file : embedded_files()) {
    const FileView original =
        open_file(std::string(ERNIE_IMAGE_MODELS) + "/" + std::string(file.name));
    EXPECT_EQ(open_file("embedded:" + std::string(file.name)).text(), original.text()) << file.name;
  }
}

TEST(EmbeddedModel, ListsTheSameFilesAsTheFolder) {
  for (const char* part : {"transformer", "text_encoder", "tokenizer", "vae", "scheduler", "pe"}) {
    EXPECT_EQ(list_files(join_path(kEmbeddedModel, part)), list_files(join_path(kFolder, part)));
  }
  EXPECT_EQ(list_files(kEmbeddedModel), list_files(kFolder));
  EXPECT_TRUE(list_files("embedded:emoji").empty()) << "a prefix of a name is no folder";
}

TEST(EmbeddedModel, TellsFilesFromFolders) {
  EXPECT_TRUE(directory_exists(kEmbeddedModel));
  EXPECT_TRUE(directory_exists("embedded:emoji-tiny/vae/"));
  EXPECT_FALSE(directory_exists("embedded:emoji-tiny/model_index.json"));
  EXPECT_FALSE(directory_exists("embedded:emoji"));
  EXPECT_TRUE(file_exists("embedded:emoji-tiny/model_index.json"));
  EXPECT_FALSE(file_exists("embedded:emoji-tiny/vae"));
  EXPECT_FALSE(file_exists("embedded:"));
}

TEST(EmbeddedModel, AbsentFileIsNotFound) {
  expect_error(ErrorKind::not_found, {"embedded:emoji-tiny/none", "built-in"},
               [] { open_file("embedded:emoji-tiny/none"); });
}

TEST(EmbeddedModel, IsAlignedForVectorLoads) {
  for (const EmbeddedFile& file : embedded_files()) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(file.bytes.data()) % 64, 0u) << file.name;
  }
}

TEST(EmbeddedModel, WeightsAreReadInPlace) {
  const WeightFiles weights("embedded:emoji-tiny/transformer", "diffusion_pytorch_model");
  EXPECT_GT(weights.all().size(), 10u);
  const FileView& file = weights.files()[0]->file();
  for (const Weight& weight : weights.all()) {
    EXPECT_GE(weight.data, file.bytes.data());
    EXPECT_LE(weight.data + weight.size_bytes(), file.bytes.data() + file.bytes.size());
  }
  weights.release_pages();  // must leave the program's own pages alone
  EXPECT_EQ(weights.files()[0]->file().bytes[8], std::byte{'{'});
}

TEST(EmbeddedModel, HasTheContentHashOfItsFolder) {
  EXPECT_EQ(content_hash(resolve_model(kEmbeddedModel)), content_hash(resolve_model(kFolder)));
}

}  // namespace
}  // namespace ernie_image
