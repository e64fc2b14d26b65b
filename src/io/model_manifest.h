// quantization.json: how a quantised model folder was made, and the checksums of its files.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace ernie_image {

inline constexpr const char* kManifestName = "quantization.json";

struct FileDigest {
  std::uint64_t bytes = 0;
  std::string sha256;  ///< hex

  bool operator==(const FileDigest&) const = default;
};

struct ModelManifest {
  std::string quantization;             ///< "int8", "int4" or "int8_rows"
  std::vector<std::string> components;  ///< those that are quantised, sorted
  std::string source_name;              ///< of the model it was made from
  std::string source_hash;              ///< model_folder.h: sampled_hash
  std::uint64_t max_shard_bytes = 0;
  /// By name relative to the folder, "vae/config.json". Of an unfinished folder: those done so far.
  std::map<std::string, FileDigest> files;

  /// Nothing if the folder has none. Throws Error(corrupt_file).
  static std::optional<ModelManifest> read(const std::string& folder);
  void write(const std::string& folder) const;

  /// Whether both are to become the same folder.
  bool is_same_job(const ModelManifest& other) const;
};

/// Called with the bytes that were read since the last call; may throw to stop.
using OnBytes = std::function<void(std::uint64_t)>;

/// Reads the whole file. Throws Error(not_found | io).
FileDigest digest_file(const std::string& path, const OnBytes& on_bytes = {});

/// What is wrong with each file that is not as the manifest says: "vae/config.json: missing".
std::vector<std::string> damaged_files(const std::string& folder, const ModelManifest& manifest);

}  // namespace ernie_image
