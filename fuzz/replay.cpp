// The fuzzers' parsers without libFuzzer, for every build under sanitizers:
//     fuzz_replay TARGET SECONDS FOLDER
// runs the one of TARGET on each file of FOLDER and then on files that are changed at random, the
// same ones every time, until the seconds are over. What it was at when it failed is left in
// TARGET.crash.
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

#include "fuzz_targets.h"

#define ERNIE_IMAGE_DECLARE(name) \
  extern "C" int fuzz_##name(const std::uint8_t* data, std::size_t size);
ERNIE_IMAGE_FUZZ_TARGETS(ERNIE_IMAGE_DECLARE)
#undef ERNIE_IMAGE_DECLARE

namespace {

using Entry = int (*)(const std::uint8_t*, std::size_t);

struct Target {
  const char* name;
  Entry entry;
};

constexpr Target kTargets[] = {
#define ERNIE_IMAGE_LIST(name) {#name, fuzz_##name},
    ERNIE_IMAGE_FUZZ_TARGETS(ERNIE_IMAGE_LIST)
#undef ERNIE_IMAGE_LIST
};

constexpr std::size_t kMostBytes =
    4096;  // as fuzz/run.sh has it: longer inputs are slower, not different

// What a handler of signals needs.
std::string crash_path;
std::string input;

extern "C" void keep_input(int signal) {
  const int file = open(crash_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (file >= 0) {
    if (write(file, input.data(), input.size()) < 0) std::_Exit(2);
    close(file);
  }
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

void run(Entry entry) { entry(reinterpret_cast<const std::uint8_t*>(input.data()), input.size()); }

constexpr std::string_view kTelling("\x00\x01\x7f\x80\xff{}[]\",:09-", 15);

class Changes {
 public:
  explicit Changes(const std::vector<std::string>& seeds) : seeds_(seeds) {}

  std::string next() {
    std::string text = any_seed();
    for (std::size_t count = 1 + below(4); count > 0; --count) change(text);
    if (text.size() > kMostBytes) text.resize(kMostBytes);
    return text;
  }

 private:
  std::size_t below(std::size_t end) { return end == 0 ? 0 : random_() % end; }
  const std::string& any_seed() { return seeds_[below(seeds_.size())]; }

  void change(std::string& text) {
    const std::size_t at = below(text.size() + 1), length = 1 + below(16);
    switch (below(7)) {
      case 0:
        if (at < text.size()) text[at] = static_cast<char>(text[at] ^ (1 << below(8)));
        break;
      case 1:  // numbers at which counts and signs turn, and what parts texts
        if (at < text.size()) text[at] = kTelling[below(kTelling.size())];
        break;
      case 2:
        text.insert(at, length, static_cast<char>(below(256)));
        break;
      case 3:
        text.erase(at, length);
        break;
      case 4: {
        const std::string& other = any_seed();
        const std::size_t from = below(other.size() + 1);
        text.insert(at, other.substr(from, below(128)));
        break;
      }
      case 5:
        text.resize(at);
        break;
      default:
        for (std::size_t i = at; i < text.size() && i < at + 8; ++i)
          text[i] = static_cast<char>(below(2) * 255);
    }
  }

  const std::vector<std::string>& seeds_;
  std::mt19937_64 random_{1};
};

std::vector<std::string> read_seeds(const std::string& folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& file : std::filesystem::directory_iterator(folder)) paths.push_back(file.path());
  std::sort(paths.begin(), paths.end());
  std::vector<std::string> seeds;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return seeds;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 4) return std::fputs("usage: fuzz_replay TARGET SECONDS FOLDER\n", stderr), 2;
  const std::string name = arguments[1];
  Entry entry = nullptr;
  for (const Target& target : kTargets) {
    if (name == target.name) entry = target.entry;
  }
  const std::vector<std::string> seeds = read_seeds(arguments[3]);
  if (entry == nullptr || seeds.empty())
    return std::fputs("no such target, or no seeds\n", stderr), 2;
  crash_path = name + ".crash";
  std::signal(SIGABRT, keep_input);

  for (const std::string& seed : seeds) {
    input = seed;
    run(entry);
  }
  Changes changes(seeds);
  std::uint64_t runs = seeds.size();
  const auto end =
      std::chrono::steady_clock::now() + std::chrono::duration<double>(std::atof(arguments[2]));
  for (; std::chrono::steady_clock::now() < end; ++runs) {
    input = changes.next();
    run(entry);
  }
  std::printf("%s: %llu inputs\n", name.c_str(), static_cast<unsigned long long>(runs));
  return 0;
}
