#include "io/model_folder.h"

#include <chrono>
#include <filesystem>
#include <optional>

#include "io/file_view.h"
#include "io/model_cache.h"
#include "test_files.h"

namespace ernie_image {
namespace {

namespace fs = std::filesystem;
using test::expect_error;
using test::ScopedVariable;

constexpr const char* kId = "baidu/ERNIE-Image-Turbo";

std::string model_index(const std::string& pe = R"(["transformers", "X"])") {
  return R"({"_class_name": "ErnieImagePipeline", "pe": )" + pe + R"(, "pe_tokenizer": )" + pe +
         R"(, "scheduler": ["d", "S"], "text_encoder": ["t", "E"], "tokenizer": ["t", "T"],
             "transformer": ["d", "M"], "vae": ["d", "V"]})";
}

class ModelFolderTest : public test::TemporaryFolder {
 protected:
  /// No model, no cache, home in the temporary folder.
  ModelFolderTest() { home_.emplace("HOME", folder_.c_str()); }

  /// A folder with every component, empty but for the index.
  std::string make_model(const std::string& name, const std::string& index = model_index()) const {
    write(name + "/model_index.json", index);
    for (const char* part :
         {"scheduler", "text_encoder", "tokenizer", "transformer", "vae", "pe", "pe_tokenizer"}) {
      fs::create_directories(path(name) + "/" + part);
    }
    return path(name);
  }

  ScopedVariable model_{"ERNIE_IMAGE_MODEL", nullptr};
  ScopedVariable hub_cache_{"HF_HUB_CACHE", nullptr};
  ScopedVariable old_hub_cache_{"HUGGINGFACE_HUB_CACHE", nullptr};
  ScopedVariable hf_home_{"HF_HOME", nullptr};
  ScopedVariable xdg_{"XDG_CACHE_HOME", nullptr};
  ScopedVariable modelscope_{"MODELSCOPE_CACHE", nullptr};
  std::optional<ScopedVariable> home_;
};

TEST_F(ModelFolderTest, TakesAFolder) {
  const std::string folder = make_model("my-model");
  const ModelFolder model = resolve_model(folder + "//");
  EXPECT_EQ(model.path, folder);
  EXPECT_EQ(model.name, "my-model");
  EXPECT_TRUE(model.has_prompt_enhancer);
  EXPECT_EQ(model.component("vae"), folder + "/vae");
  EXPECT_EQ(resolve_model(folder + "/vae/..").name, "my-model");
}

TEST_F(ModelFolderTest, WithoutAnythingTheEmbeddedModelIsUsed) {
  const ModelFolder model = resolve_model("");
  EXPECT_EQ(model.path, kEmbeddedModel);
  EXPECT_EQ(model.name, "emoji-tiny");
  EXPECT_TRUE(model.has_prompt_enhancer);
  const ScopedVariable empty("ERNIE_IMAGE_MODEL", "");
  EXPECT_EQ(resolve_model("").path, kEmbeddedModel);
}

TEST_F(ModelFolderTest, TheEnvironmentNamesTheDefault) {
  const std::string folder = make_model("m");
  const ScopedVariable variable("ERNIE_IMAGE_MODEL", folder.c_str());
  EXPECT_EQ(resolve_model("").path, folder);
  EXPECT_EQ(resolve_model(kEmbeddedModel).path, kEmbeddedModel) << "an argument goes first";
}

TEST_F(ModelFolderTest, UnknownEmbeddedModelIsNotFound) {
  expect_error(ErrorKind::not_found, {"embedded:none"}, [] { resolve_model("embedded:none"); });
}

TEST_F(ModelFolderTest, PromptEnhancerIsOptional) {
  EXPECT_FALSE(resolve_model(make_model("null", model_index("[null, null]"))).has_prompt_enhancer);
  EXPECT_FALSE(resolve_model(make_model("gone", model_index("null"))).has_prompt_enhancer);
  const std::string half = make_model("half");
  fs::remove(half + "/pe_tokenizer");
  EXPECT_FALSE(resolve_model(half).has_prompt_enhancer);
}

TEST_F(ModelFolderTest, FolderWithoutIndexSaysWhatIsExpected) {
  fs::create_directories(path("empty"));
  expect_error(ErrorKind::corrupt_file, {"empty", "model_index.json", "diffusers layout"},
               [&] { resolve_model(path("empty")); });
}

TEST_F(ModelFolderTest, AnotherPipelineIsRefusedByName) {
  const std::string other = make_model("flux", R"({"_class_name": "FluxPipeline"})");
  expect_error(ErrorKind::corrupt_file, {"\"FluxPipeline\"", "ErnieImagePipeline"},
               [&] { resolve_model(other); });
  for (const char* index : {"{}", "[]", "5", R"({"_class_name": 5})"}) {
    const std::string folder = make_model("odd", index);
    expect_error(ErrorKind::corrupt_file, {"_class_name"}, [&] { resolve_model(folder); });
  }
  const std::string pointer = make_model("lfs", "version https://git-lfs.github.com/spec/v1\n");
  expect_error(ErrorKind::corrupt_file, {"git-lfs"}, [&] { resolve_model(pointer); });
}

TEST_F(ModelFolderTest, EveryMissingComponentIsNamed) {
  const std::string folder = make_model("m");
  fs::remove(folder + "/vae");
  fs::remove(folder + "/tokenizer");
  expect_error(ErrorKind::corrupt_file, {"missing parts", "tokenizer, vae"},
               [&] { resolve_model(folder); });
  const std::string unlisted = make_model("u", R"({"_class_name": "ErnieImagePipeline"})");
  expect_error(ErrorKind::corrupt_file, {"vae (not listed"}, [&] { resolve_model(unlisted); });
}

TEST_F(ModelFolderTest, FileInPlaceOfAFolderIsRefused) {
  const std::string file = write("model.safetensors", "x");
  expect_error(ErrorKind::corrupt_file, {file, "not a safetensors file"},
               [&] { resolve_model(file); });
}

TEST_F(ModelFolderTest, WhatIsNeitherFolderNorHubIdIsNotFound) {
  for (const char* name : {"nothing", "a/b/c", "../up", "a/..", "/none/here", "own er/name", "a/",
                           "/b", "a/b\n", "ö/x"}) {
    expect_error(ErrorKind::not_found, {"no such folder"}, [&] { resolve_model(name); });
  }
}

TEST_F(ModelFolderTest, UncachedIdTellsWhereItLookedAndHowToGetIt) {
  const ScopedVariable nothing_installed("PATH", path("none").c_str());
  expect_error(ErrorKind::not_found,
               {kId, folder_ + "/.cache/huggingface/hub/models--baidu--ERNIE-Image-Turbo/snapshots",
                folder_ + "/.cache/modelscope/hub/models/baidu/ERNIE-Image-Turbo",
                folder_ + "/.cache/modelscope/models/baidu--ERNIE-Image-Turbo/snapshots",
                std::string("ernie-image pull ") + kId, std::string("\n  hf download ") + kId,
                std::string("modelscope download --model ") + kId},
               [] { resolve_model(kId); });
}

TEST_F(ModelFolderTest, AdviceIsOfTheClientThatIsInstalled) {
  const auto install = [this](const std::string& name) {
    fs::permissions(write("bin/" + name, "#!/bin/sh\n"), fs::perms::owner_all);
  };
  install("modelscope");
  const ScopedVariable nothing_installed("PATH", path("none").c_str());
  EXPECT_EQ(download_advice("a/b"), "  hf download a/b\n  modelscope download --model a/b");
  const ScopedVariable path_variable("PATH", (path("none") + ":" + path("bin")).c_str());
  EXPECT_EQ(download_advice("a/b"), "  modelscope download --model a/b");
  install("huggingface-cli");
  EXPECT_EQ(download_advice("a/b"),
            "  huggingface-cli download a/b\n  modelscope download --model a/b");
  install("hf");
  EXPECT_EQ(download_advice("a/b"), "  hf download a/b\n  modelscope download --model a/b");
}

TEST_F(ModelFolderTest, FindsTheSnapshotOfRefsMain) {
  const std::string repository = ".cache/huggingface/hub/models--baidu--ERNIE-Image-Turbo";
  make_model(repository + "/snapshots/new");
  const std::string wanted = make_model(repository + "/snapshots/abc123");
  fs::last_write_time(wanted, fs::file_time_type::clock::now() - std::chrono::hours(1));
  write(repository + "/refs/main", "abc123\n");
  EXPECT_EQ(resolve_model(kId).path, wanted);
  EXPECT_EQ(resolve_model(kId).name, kId);
}

TEST_F(ModelFolderTest, WithoutRefsTheNewestSnapshotIsTaken) {
  const std::string repository = ".cache/huggingface/hub/models--baidu--ERNIE-Image-Turbo";
  const std::string newest = make_model(repository + "/snapshots/aaa");
  const std::string older = make_model(repository + "/snapshots/zzz");
  fs::last_write_time(older, fs::file_time_type::clock::now() - std::chrono::hours(1));
  EXPECT_EQ(resolve_model(kId).path, newest);
}

TEST_F(ModelFolderTest, UnfinishedSnapshotIsExplained) {
  write(".cache/huggingface/hub/models--baidu--ERNIE-Image-Turbo/refs/main", "abc123");
  expect_error(ErrorKind::not_found, {"snapshots/abc123", "unfinished download"},
               [] { resolve_model(kId); });
}

TEST_F(ModelFolderTest, HostileRefIsNotFollowed) {
  make_model("outside");
  const std::string repository = ".cache/huggingface/hub/models--baidu--ERNIE-Image-Turbo";
  fs::create_directories(path(repository + "/snapshots"));
  for (const std::string ref : {"../../../../../outside", "/etc", "..", "a\nb", ""}) {
    write(repository + "/refs/main", ref);
    EXPECT_THROW(resolve_model(kId), Error) << ref;
  }
}

TEST_F(ModelFolderTest, EnvironmentMovesTheHuggingFaceCache) {
  const std::string snapshot = "/models--baidu--ERNIE-Image-Turbo/snapshots/a";
  const std::string in_hub = make_model("hub-cache" + snapshot);
  const std::string in_home = make_model("hf-home/hub" + snapshot);
  const std::string in_xdg = make_model("xdg/huggingface/hub" + snapshot);
  const ScopedVariable xdg("XDG_CACHE_HOME", path("xdg").c_str());
  EXPECT_EQ(resolve_model(kId).path, in_xdg);
  const ScopedVariable home("HF_HOME", "~/hf-home");
  EXPECT_EQ(resolve_model(kId).path, in_home);
  const ScopedVariable cache("HF_HUB_CACHE", path("hub-cache").c_str());
  EXPECT_EQ(resolve_model(kId).path, in_hub);
}

TEST_F(ModelFolderTest, VariablesWithinVariablesAreReplaced) {
  const std::string snapshot = "/models--baidu--ERNIE-Image-Turbo/snapshots/a";
  const std::string in_home = make_model("hf/hub" + snapshot);
  const std::string in_cache = make_model("$hf/other" + snapshot);
  const ScopedVariable root("ROOT_OF_TEST", folder_.c_str());
  for (const char* text : {"$ROOT_OF_TEST/hf", "${ROOT_OF_TEST}/hf", "~/hf", "$HOME/hf"}) {
    const ScopedVariable home("HF_HOME", text);
    EXPECT_EQ(resolve_model(kId).path, in_home) << text;
  }
  // What is not set, or no name, stays as it is.
  const ScopedVariable cache("HF_HUB_CACHE", "${ROOT_OF_TEST}/$hf/other");
  EXPECT_EQ(resolve_model(kId).path, in_cache);
  const ScopedVariable unclosed("HF_HUB_CACHE", "${ROOT_OF_TEST");
  EXPECT_THROW(resolve_model(kId), Error);
}

TEST_F(ModelFolderTest, TheHomeOfAnotherUserIsKnown) {
  const ScopedVariable home("HF_HOME", "~root/none");
  expect_error(ErrorKind::not_found, {"/root/none/hub/models--"}, [] { resolve_model(kId); });
  const ScopedVariable nobody("HF_HOME", "~no-such-user/none");
  expect_error(ErrorKind::not_found, {"~no-such-user/none"}, [] { resolve_model(kId); });
}

TEST_F(ModelFolderTest, TheModelOfTheEnvironmentIsNamedWhenItIsWrong) {
  for (const std::string& wrong : {path("none"), std::string(kId)}) {
    const ScopedVariable model("ERNIE_IMAGE_MODEL", wrong.c_str());
    expect_error(ErrorKind::not_found, {"ERNIE_IMAGE_MODEL", wrong}, [] { resolve_model(""); });
    try {
      resolve_model(wrong);
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find("ERNIE_IMAGE_MODEL"), std::string::npos);
    }
  }
}

TEST_F(ModelFolderTest, FindsThePresentLayoutOfModelScope) {
  const std::string snapshots = ".cache/modelscope/models/baidu--ERNIE-Image.v1.5/snapshots/";
  const ScopedVariable xdg("XDG_CACHE_HOME", path("elsewhere").c_str());  // which it does not read
  const std::string id = "baidu/ERNIE-Image.v1.5";
  const std::string tagged = make_model(snapshots + "v1");
  EXPECT_EQ(resolve_model(id).path, tagged);
  make_model(snapshots + "v2");
  EXPECT_THROW(resolve_model(id), Error);  // which of the two?
  const std::string master = make_model(snapshots + "master");
  EXPECT_EQ(resolve_model(id).path, master);
  const std::string moved = make_model("ms/models/baidu--ERNIE-Image.v1.5/snapshots/master");
  const ScopedVariable cache("MODELSCOPE_CACHE", path("ms").c_str());
  EXPECT_EQ(resolve_model(id).path, moved);
}

TEST_F(ModelFolderTest, FindsTheOlderLayoutsOfModelScope) {
  const ScopedVariable cache("MODELSCOPE_CACHE", path("ms").c_str());
  const std::string id = "PaddlePaddle/ERNIE-Image-1.5";
  for (const char* layout : {"models", "hub", "hub/models"}) {
    const std::string folder =
        make_model(std::string("ms/") + layout + "/PaddlePaddle/ERNIE-Image-1___5");
    EXPECT_EQ(resolve_model(id).path, folder);
  }
}

TEST_F(ModelFolderTest, FolderWinsOverHubId) {
  make_model(".cache/huggingface/hub/models--a--b/snapshots/s");
  make_model("a/b");
  const fs::path before = fs::current_path();
  fs::current_path(folder_);
  const ModelFolder model = resolve_model("a/b");
  fs::current_path(before);
  EXPECT_EQ(model.path, "a/b");
  EXPECT_EQ(model.name, "b");
}

TEST(HubId, AllowsOnlySafeCharacters) {
  EXPECT_TRUE(is_hub_id("baidu/ERNIE-Image-Turbo"));
  EXPECT_TRUE(is_hub_id("a.b_c-1/d"));
  for (const char* text : {"", "a", "/", "a/", "/b", "a/b/c", "a/../b", "../b", "a/..", "./b",
                           "a/.", "a/b..c", "a b/c", "a/b%2f", "~/b"}) {
    EXPECT_FALSE(is_hub_id(text)) << text;
  }
}

}  // namespace
}  // namespace ernie_image
