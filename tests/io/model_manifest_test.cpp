#include "io/model_manifest.h"

#include <filesystem>

#include "test_files.h"

namespace ernie_image {
namespace {

using test::expect_error;

class ModelManifestTest : public test::TemporaryFolder {
 protected:
  ModelManifestTest() {
    write("vae/config.json", "abc");
    manifest_.quantization = "int8";
    manifest_.components = {"pe", "transformer"};
    manifest_.source_name = "baidu/ERNIE-Image";
    manifest_.source_hash = "00ff";
    manifest_.max_shard_bytes = 4'000'000'000;
    manifest_.files["vae/config.json"] = digest_file(path("vae/config.json"));
    manifest_.write(folder_);
  }
  ModelManifest manifest_;
};

TEST_F(ModelManifestTest, ReadsWhatItWrites) {
  const auto read = ModelManifest::read(folder_);
  ASSERT_TRUE(read);
  EXPECT_TRUE(read->is_same_job(manifest_));
  EXPECT_EQ(read->source_name, "baidu/ERNIE-Image");
  EXPECT_EQ(read->files, manifest_.files);
  EXPECT_FALSE(ModelManifest::read(path("vae")));
}

TEST_F(ModelManifestTest, DigestIsTheSha256OfTheFile) {
  // Of "abc", from FIPS 180-2, appendix B.1.
  EXPECT_EQ(manifest_.files["vae/config.json"].sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(manifest_.files["vae/config.json"].bytes, 3u);
}

TEST_F(ModelManifestTest, NamesDamagedFiles) {
  EXPECT_TRUE(damaged_files(folder_, manifest_).empty());
  write("vae/config.json", "abd");
  EXPECT_EQ(damaged_files(folder_, manifest_).at(0), "vae/config.json: its SHA-256 is another");
  write("vae/config.json", "ab");
  EXPECT_EQ(damaged_files(folder_, manifest_).at(0), "vae/config.json: 2 bytes, expected 3");
  std::filesystem::remove(path("vae/config.json"));
  EXPECT_EQ(damaged_files(folder_, manifest_).at(0), "vae/config.json: missing");
}

TEST_F(ModelManifestTest, OtherJobsDiffer) {
  ModelManifest other = manifest_;
  other.files.clear();
  other.source_name = "renamed";
  EXPECT_TRUE(other.is_same_job(manifest_));
  other.components = {"transformer"};
  EXPECT_FALSE(other.is_same_job(manifest_));
}

TEST_F(ModelManifestTest, HostileManifestsAreCorrupt) {
  const std::string good = test::read_whole(path(kManifestName));
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    text.replace(text.find(from), from.size(), to);
    return text;
  };
  const std::vector<std::string> bad = {"",
                                        "[]",
                                        "{",
                                        replaced("\"format\": 1", "\"format\": 2"),
                                        replaced("\"int8\"", "8"),
                                        replaced("\"pe\"", "1"),
                                        replaced("vae/config.json", "../config.json"),
                                        replaced("vae/config.json", "/etc/passwd"),
                                        replaced("vae/config.json", "a/b/c"),
                                        replaced("\"bytes\": 3", "\"bytes\": -3"),
                                        replaced("\"bytes\": 3", "\"bytes\": \"3\""),
                                        replaced("\"files\"", "\"file\"")};
  for (const std::string& text : bad) {
    write(kManifestName, text);
    expect_error(ErrorKind::corrupt_file, {kManifestName}, [&] { ModelManifest::read(folder_); });
  }
}

}  // namespace
}  // namespace ernie_image
