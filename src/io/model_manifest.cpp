#include "io/model_manifest.h"

#include <algorithm>
#include <tuple>

#include "ernie_image/error.h"
#include "io/atomic_file.h"
#include "io/file_view.h"
#include "io/json.h"
#include "io/sha256.h"

namespace ernie_image {
namespace {

using nlohmann::json;

constexpr int kFormat = 1;
constexpr std::size_t kPieceBytes = std::size_t{16} << 20;

[[noreturn]] void throw_corrupt(const std::string& path, const std::string& problem) {
  throw Error(ErrorKind::corrupt_file,
              path + ": " + problem + "; not written by this program, or damaged");
}

const json& field(const std::string& path, const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end()) throw_corrupt(path, std::string(key) + " is missing");
  return *found;
}

std::string text(const std::string& path, const json& object, const char* key) {
  const json& value = field(path, object, key);
  if (!value.is_string()) throw_corrupt(path, std::string(key) + " is no text");
  return value.get<std::string>();
}

std::uint64_t count(const std::string& path, const json& object, const char* key) {
  const json& value = field(path, object, key);
  if (!value.is_number_unsigned()) throw_corrupt(path, std::string(key) + " is no byte count");
  return value.get<std::uint64_t>();
}

/// "name" or "folder/name": joined to the model's folder it cannot lead out of it.
bool is_file_of_model(const std::string& name) {
  const auto is_plain = [](std::string_view part) {
    return !part.empty() && part != "." && part != ".." &&
           part.find_first_of(std::string_view("/\0", 2)) == std::string_view::npos;
  };
  const std::string_view whole = name;
  const std::size_t slash = whole.find('/');
  if (slash == std::string_view::npos) return is_plain(whole);
  return is_plain(whole.substr(0, slash)) && is_plain(whole.substr(slash + 1));
}

std::map<std::string, FileDigest> read_files(const std::string& path, const json& list) {
  if (!list.is_object()) throw_corrupt(path, "files is no object");
  std::map<std::string, FileDigest> files;
  for (const auto& [name, entry] : list.items()) {
    if (!is_file_of_model(name) || !entry.is_object())
      throw_corrupt(path, "files: " + printable(name) + " is no file of the folder");
    files[name] = {count(path, entry, "bytes"), text(path, entry, "sha256")};
  }
  return files;
}

json to_json(const ModelManifest& manifest) {
  json files = json::object();
  for (const auto& [name, digest] : manifest.files)
    files[name] = {{"bytes", digest.bytes}, {"sha256", digest.sha256}};
  return {{"format", kFormat},
          {"quantization", manifest.quantization},
          {"components", manifest.components},
          {"source", {{"name", manifest.source_name}, {"hash", manifest.source_hash}}},
          {"max_shard_bytes", manifest.max_shard_bytes},
          {"files", files}};
}

std::string problem_of(const std::string& folder, const std::string& name,
                       const FileDigest& expected) {
  const std::string path = join_path(folder, name);
  if (!file_exists(path)) return name + ": missing";
  const std::size_t bytes = open_file(path).bytes.size();
  if (bytes != expected.bytes) {
    return name + ": " + std::to_string(bytes) + " bytes, expected " +
           std::to_string(expected.bytes);
  }
  return digest_file(path) == expected ? "" : name + ": its SHA-256 is another";
}

}  // namespace

std::optional<ModelManifest> ModelManifest::read(const std::string& folder) {
  const std::string path = join_path(folder, kManifestName);
  if (!file_exists(path)) return std::nullopt;
  const json whole = parse_json(open_file(path));
  if (!whole.is_object()) throw_corrupt(path, "no JSON object");
  if (field(path, whole, "format") != kFormat)
    throw_corrupt(path, "format is " + printable_json(whole["format"]) + ", expected 1");
  const json& source = field(path, whole, "source");
  const json& components = field(path, whole, "components");
  if (!source.is_object()) throw_corrupt(path, "source is no object");
  const bool texts = components.is_array() &&
                     std::ranges::all_of(components, [](const json& c) { return c.is_string(); });
  if (!texts) throw_corrupt(path, "components is no list of texts");
  ModelManifest manifest;
  manifest.quantization = text(path, whole, "quantization");
  manifest.components = components.get<std::vector<std::string>>();
  manifest.source_name = text(path, source, "name");
  manifest.source_hash = text(path, source, "hash");
  manifest.max_shard_bytes = count(path, whole, "max_shard_bytes");
  manifest.files = read_files(path, field(path, whole, "files"));
  return manifest;
}

void ModelManifest::write(const std::string& folder) const {
  const std::string content =
      to_json(*this).dump(2, ' ', false, json::error_handler_t::replace) + "\n";
  write_file_atomically(join_path(folder, kManifestName), std::as_bytes(std::span(content)));
}

bool ModelManifest::is_same_job(const ModelManifest& other) const {
  const auto job = [](const ModelManifest& m) {
    return std::tie(m.quantization, m.components, m.source_hash, m.max_shard_bytes);
  };
  return job(*this) == job(other);
}

FileDigest digest_file(const std::string& path, const OnBytes& on_bytes) {
  const FileView file = open_file(path);
  Sha256 hash;
  for (std::size_t begin = 0; begin < file.bytes.size(); begin += kPieceBytes) {
    const std::string_view piece = file.text().substr(begin, kPieceBytes);
    hash.update(piece);
    release_pages(file);
    if (on_bytes) on_bytes(piece.size());
  }
  return {file.bytes.size(), hash.hex()};
}

std::vector<std::string> damaged_files(const std::string& folder, const ModelManifest& manifest) {
  std::vector<std::string> problems;
  for (const auto& [name, digest] : manifest.files) {
    std::string problem = problem_of(folder, name, digest);
    if (!problem.empty()) problems.push_back(std::move(problem));
  }
  return problems;
}

}  // namespace ernie_image
