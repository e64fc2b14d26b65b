// Which pages are in memory while a model works through its layers.
#include "memory/weight_residency.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "io/test_files.h"

namespace ernie_image {
namespace {

constexpr std::int64_t kLayers = 5;
constexpr std::int64_t kLayerBytes = std::int64_t{8} << 20;  // the kernel may map 2 MiB at a time

std::size_t page_size() { return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)); }

/// The pages of `bytes` that this process maps, by /proc/self/pagemap; -1 where it cannot be read.
std::int64_t mapped_pages(std::span<const std::byte> bytes) {
  const int pagemap = ::open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
  if (pagemap < 0) return -1;
  constexpr std::uint64_t kPresent = std::uint64_t{1} << 63;
  const std::size_t first = reinterpret_cast<std::uintptr_t>(bytes.data()) / page_size();
  const std::size_t last =
      (reinterpret_cast<std::uintptr_t>(bytes.data()) + bytes.size() - 1) / page_size();
  std::vector<std::uint64_t> entries(last - first + 1);
  const auto size = static_cast<::ssize_t>(entries.size() * sizeof(std::uint64_t));
  const ::ssize_t got = ::pread(pagemap, entries.data(), static_cast<std::size_t>(size),
                                static_cast<::off_t>(first * sizeof(std::uint64_t)));
  ::close(pagemap);
  if (got != size) return -1;
  return std::ranges::count_if(entries,
                               [](std::uint64_t entry) { return (entry & kPresent) != 0; });
}

/// The pages of `part` in the system's page cache.
std::int64_t cached_pages(const FilePart& part) {
  const std::size_t first = reinterpret_cast<std::uintptr_t>(part.bytes.data()) % page_size();
  std::vector<unsigned char> flags((first + part.bytes.size() + page_size() - 1) / page_size());
  void* begin = const_cast<std::byte*>(part.bytes.data() - first);
  if (::mincore(begin, first + part.bytes.size(), flags.data()) != 0) return -1;
  return std::ranges::count_if(flags, [](unsigned char flag) { return (flag & 1) != 0; });
}

class WeightResidencyTest : public test::TemporaryFolder {
 protected:
  WeightResidencyTest() {
    std::vector<std::string> entries;
    for (std::int64_t i = 0; i < kLayers; ++i) {
      entries.push_back(
          test::entry("layers." + std::to_string(i) + ".w", "BF16", "[1024,4096]",
                      test::offsets(static_cast<std::size_t>(i * kLayerBytes),
                                    static_cast<std::size_t>((i + 1) * kLayerBytes))));
    }
    write("model.safetensors", test::safetensors(test::header_of(entries),
                                                 static_cast<std::size_t>(kLayers * kLayerBytes)));
    files_.emplace(folder_, "model");
    if (mapped_pages(layer(0).bytes) < 0) unreadable_ = true;
  }

  void SetUp() override {
    if (unreadable_) GTEST_SKIP() << "the system does not tell which pages are mapped";
  }

  void sync_to_disk() const {
    const int file = ::open(path("model.safetensors").c_str(), O_RDONLY | O_CLOEXEC);
    ::fsync(file);
    ::close(file);
  }

  FilePart layer(std::int64_t index) const {
    return files_->parts("layers." + std::to_string(index) + ".").at(0);
  }

  /// Touches each page of a layer, as a model would.
  void use(LayerListener& listener, std::int64_t index) const {
    listener.before_layer(index);
    const std::span<const std::byte> bytes = layer(index).bytes;
    unsigned sum = 0;
    for (std::size_t i = 0; i < bytes.size(); i += 511) sum += std::to_integer<unsigned>(bytes[i]);
    EXPECT_GT(sum, 0u);
  }

  /// Layers of which at least half the pages are mapped: neighbours share pages.
  std::vector<std::int64_t> mapped_layers() const {
    std::vector<std::int64_t> layers;
    for (std::int64_t i = 0; i < kLayers; ++i) {
      const std::int64_t pages = kLayerBytes / static_cast<std::int64_t>(page_size());
      if (mapped_pages(layer(i).bytes) > pages / 2) layers.push_back(i);
    }
    return layers;
  }

  /// The reader works on its own time.
  bool comes_true(const std::function<bool()>& condition) const {
    for (int i = 0; i < 1000 && !condition(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return condition();
  }

  std::optional<WeightFiles> files_;
  bool unreadable_ = false;
};

using Layers = std::vector<std::int64_t>;

TEST_F(WeightResidencyTest, StreamsThroughAWindowBehindTheLayersThatStay) {
  WeightResidency residency(*files_, "layers.", {kLayers, 2, 1});
  for (int step = 0; step < 2; ++step) {
    use(residency, 0);
    use(residency, 1);
    for (std::int64_t i = 2; i < kLayers; ++i) {
      use(residency, i);
      EXPECT_EQ(mapped_layers(), (Layers{0, 1, i})) << "step " << step;
    }
  }
}

TEST_F(WeightResidencyTest, ReadsAheadAsFarAsTheWindowAllows) {
  WeightResidency residency(*files_, "layers.", {kLayers, 1, 2});
  use(residency, 0);
  EXPECT_TRUE(comes_true([&] { return mapped_layers() == Layers{0, 1, 2}; }));
  use(residency, 1);
  EXPECT_EQ(mapped_layers(), (Layers{0, 1, 2}));
  use(residency, 2);
  EXPECT_TRUE(comes_true([&] { return mapped_layers() == Layers{0, 2, 3}; }));
  use(residency, 4);
  EXPECT_EQ(mapped_layers(), (Layers{0, 4})) << "one that was read and skipped goes as well";
}

TEST_F(WeightResidencyTest, WithoutALimitNothingGoesBeforeTheEnd) {
  {
    WeightResidency residency(*files_, "layers.", {kLayers, kLayers, 0});
    for (std::int64_t i = 0; i < kLayers; ++i) use(residency, i);
    EXPECT_EQ(mapped_layers(), (Layers{0, 1, 2, 3, 4}));
  }
  EXPECT_EQ(mapped_layers(), Layers());
}

TEST_F(WeightResidencyTest, DropsThePageCacheOnlyWhenTold) {
  sync_to_disk();  // dirty pages cannot leave the page cache
  const auto used_and_left = [&](PageCache streamed) {
    WeightResidency residency(*files_, "layers.", {kLayers, 0, 1, streamed, PageCache::keep});
    use(residency, 0);
    use(residency, 1);
    return cached_pages(layer(0));
  };
  const std::int64_t pages = kLayerBytes / static_cast<std::int64_t>(page_size());
  if (used_and_left(PageCache::keep) < pages) GTEST_SKIP() << "mincore does not tell";
  // Pages at the edges stay where the kernel keeps 2 MiB of the file as one piece.
  EXPECT_LT(used_and_left(PageCache::drop), pages / 2);
}

TEST_F(WeightResidencyTest, StopsReadingWhenTheWorkIsBrokenOff) {
  for (int i = 0; i < 50; ++i) {
    WeightResidency residency(*files_, "layers.", {kLayers, 0, 3});
    residency.before_layer(i % kLayers);
  }
  EXPECT_EQ(mapped_layers(), Layers());
}

TEST(WeightResidency, HasNothingToDoForLayersThatAreNotInThePlan) {
  const WeightFiles files("embedded:emoji-tiny/transformer", "diffusion_pytorch_model");
  WeightResidency residency(files, "layers.", {});
  EXPECT_NO_THROW(residency.before_layer(0));
}

TEST(WeightResidency, LeavesTheEmbeddedModelAlone) {
  const WeightFiles files("embedded:emoji-tiny/transformer", "diffusion_pytorch_model");
  EXPECT_TRUE(files.parts("layers.0.").empty());
  WeightResidency residency(files, "layers.", {4, 0, 1, PageCache::drop, PageCache::drop});
  for (std::int64_t i = 0; i < 4; ++i) residency.before_layer(i);
}

}  // namespace
}  // namespace ernie_image
