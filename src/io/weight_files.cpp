#include "io/weight_files.h"

#include <algorithm>

#include "ernie_image/error.h"
#include "io/json.h"

namespace ernie_image {
namespace {

constexpr std::size_t kMaxListed = 20;  // problems spelled out in one message

using WeightMap = std::map<std::string, std::string>;  // tensor name -> shard's file name

[[noreturn]] void throw_corrupt(const std::string& where, const std::string& problem) {
  throw Error(ErrorKind::corrupt_file, where + ": " + problem);
}

/// "a, b, and 3 more"
std::string listed(const std::vector<std::string>& items, const std::string& separator) {
  std::string text;
  const std::size_t count = std::min(items.size(), kMaxListed);
  for (std::size_t i = 0; i < count; ++i) text += (i == 0 ? "" : separator) + items[i];
  if (count < items.size()) {
    text += separator + "and " + std::to_string(items.size() - count) + " more";
  }
  return text;
}

/// A plain name: whatever it is, joined to the folder it cannot lead out of it.
bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." &&
         name.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
}

WeightMap read_index(const std::string& path) {
  const nlohmann::json index = parse_json(open_file(path));
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (map == index.end() || !map->is_object()) {
    throw_corrupt(path, "no object \"weight_map\" from tensor name to file name");
  }
  WeightMap weight_map;
  for (const auto& [name, file] : map->items()) {
    if (!file.is_string() || !is_plain_file_name(file.get<std::string>())) {
      throw_corrupt(path, "weight_map: " + printable(name) + " lies in " + printable_json(file) +
                              ", expected the name of a file in the same folder");
    }
    weight_map.emplace(name, file.get<std::string>());
  }
  return weight_map;
}

std::set<std::string> shard_names(const std::string& index_path, const std::string& folder,
                                  const WeightMap& weight_map) {
  std::set<std::string> shards;
  for (const auto& [name, shard] : weight_map) shards.insert(shard);
  std::vector<std::string> absent;
  for (const std::string& shard : shards) {
    if (!file_exists(join_path(folder, shard))) absent.push_back(printable(shard));
  }
  if (!absent.empty()) {
    throw Error(ErrorKind::not_found, index_path + ": " + std::to_string(absent.size()) + " of " +
                                          std::to_string(shards.size()) +
                                          " weight files are missing: " + listed(absent, ", ") +
                                          "; download the model again");
  }
  return shards;
}

/// Index and shard must agree about every tensor of the shard.
void check_shard(const std::string& index_path, const WeightMap& weight_map,
                 const std::string& shard, const SafetensorsFile& file) {
  for (const std::string& name : file.names()) {
    const auto found = weight_map.find(name);
    if (found == weight_map.end() || found->second != shard) {
      throw_corrupt(index_path,
                    "tensor " + printable(name) + " lies in " + printable(shard) +
                        ", but the index " +
                        (found == weight_map.end() ? "does not list it"
                                                   : "says " + printable(found->second)) +
                        "; index and weight files are of different models, download them again");
    }
  }
}

bool is_usable(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
}

/// A 1x1 convolution [N, K, 1, 1] is the linear layer [N, K].
bool is_same_layer(const Shape& stored, const Shape& expected) {
  return stored == expected ||
         (expected.size() == 2 && stored == Shape{expected[0], expected[1], 1, 1});
}

}  // namespace

WeightFiles::WeightFiles(const std::string& folder, const std::string& stem) : folder_(folder) {
  const std::string single = join_path(folder, stem + ".safetensors");
  const std::string index = single + ".index.json";
  if (file_exists(single)) {
    files_.push_back(SafetensorsFile::open(single));
    for (const std::string& name : files_[0].names()) file_of_.emplace(name, 0);
    return;
  }
  if (!file_exists(index)) {
    throw Error(ErrorKind::not_found, folder + ": no weights, expected " + stem +
                                          ".safetensors or " + stem +
                                          ".safetensors.index.json; download the model again");
  }
  const WeightMap weight_map = read_index(index);
  for (const std::string& shard : shard_names(index, folder, weight_map)) {
    files_.push_back(SafetensorsFile::open(join_path(folder, shard)));
    check_shard(index, weight_map, shard, files_.back());
    for (const std::string& name : files_.back().names()) {
      file_of_.emplace(name, files_.size() - 1);
    }
  }
  for (const auto& [name, shard] : weight_map) {
    if (!contains(name)) {
      throw_corrupt(index, "tensor " + printable(name) + " is not in " + printable(shard) +
                               ", where the index says it is; download both again");
    }
  }
}

bool WeightFiles::contains(std::string_view name) const { return file_of_.contains(name); }

Weight WeightFiles::get(const std::string& name, const Shape& expected_shape) {
  Weight absent{name, DType::f32, expected_shape, nullptr, nullptr};
  const auto found = file_of_.find(name);
  if (found == file_of_.end()) {
    problems_.push_back(name + ": missing, expected shape " + to_string(expected_shape));
    return absent;
  }
  used_.insert(name);
  const SafetensorsFile& file = files_[found->second];
  const Weight& stored = file.stored(name);
  if (!is_same_layer(stored.shape, expected_shape)) {
    problems_.push_back(name + ": shape " + to_string(stored.shape) + ", expected " +
                        to_string(expected_shape));
    return absent;
  }
  if (stored.format == WeightFormat::plain && !is_usable(stored.dtype)) {
    problems_.push_back(name + ": type " + std::string(dtype_name(stored.dtype)) +
                        ", expected F32, F16 or BF16");
    return absent;
  }
  Weight weight = file.weight(name);
  weight.shape = expected_shape;
  return weight;
}

void WeightFiles::require_complete() const {
  if (problems_.empty()) return;
  throw_corrupt(folder_, std::to_string(problems_.size()) +
                             " weights do not fit the configuration beside them:\n  " +
                             listed(problems_, "\n  "));
}

std::vector<std::string> WeightFiles::unused() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : file_of_) {
    if (!used_.contains(name)) names.push_back(name);
  }
  return names;
}

void WeightFiles::release_pages(PageCache cache) const {
  for (const SafetensorsFile& file : files_)
    ernie_image::release_pages({file.file(), file.file().bytes}, cache);
}

void WeightFiles::release_pages(const Weight& weight) const {
  const auto found = file_of_.find(weight.name);
  if (found == file_of_.end()) return;
  const SafetensorsFile& file = files_[found->second];
  const Weight& stored = file.stored(weight.name);
  ernie_image::release_pages({file.file(), {stored.data, stored.size_bytes()}}, PageCache::keep);
}

std::vector<FilePart> WeightFiles::parts(std::string_view prefix) const {
  std::map<const std::byte*, FilePart> by_address;
  for (auto entry = file_of_.lower_bound(prefix);
       entry != file_of_.end() && entry->first.starts_with(prefix); ++entry) {
    const SafetensorsFile& file = files_[entry->second];
    const Weight& weight = file.stored(entry->first);
    if (file.file().owner == nullptr || weight.size_bytes() == 0) continue;
    by_address.emplace(weight.data, FilePart{file.file(), {weight.data, weight.size_bytes()}});
  }
  std::vector<FilePart> joined;
  for (const auto& [address, part] : by_address) {
    std::span<const std::byte>* last = joined.empty() ? nullptr : &joined.back().bytes;
    if (last != nullptr && last->data() + last->size() == address) {
      *last = {last->data(), last->size() + part.bytes.size()};
    } else {
      joined.push_back(part);
    }
  }
  return joined;
}

std::vector<Weight> WeightFiles::all() const {
  std::vector<Weight> weights;
  for (const auto& [name, file] : file_of_) weights.push_back(files_[file].stored(name));
  return weights;
}

}  // namespace ernie_image
