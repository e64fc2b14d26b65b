#include "io/weight_files.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "ernie_image/error.h"
#include "io/gguf.h"
#include "io/json.h"
#include "io/weight_decoders.h"

namespace ernie_image {
namespace {

constexpr std::size_t kMaxListed = 20;  // problems spelled out in one message
constexpr std::int64_t kFilledUp =
    32;  // rows and columns are multiples of at most this in some formats

using WeightMap = std::map<std::string, std::string>;  // tensor name -> shard's file name

[[noreturn]] void throw_bad_weights(const std::string& where, const std::string& problem) {
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
    throw_bad_weights(path, "no object \"weight_map\" from tensor name to file name");
  }
  WeightMap weight_map;
  for (const auto& [name, file] : map->items()) {
    if (!file.is_string() || !is_plain_file_name(file.get<std::string>())) {
      throw_bad_weights(path, "weight_map: " + printable(name) + " lies in " +
                                  printable_json(file) +
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
                 const std::string& shard, const TensorFile& file) {
  for (const std::string& name : file.names()) {
    const auto found = weight_map.find(name);
    if (found == weight_map.end() || found->second != shard) {
      throw_bad_weights(
          index_path, "tensor " + printable(name) + " lies in " + printable(shard) +
                          ", but the index " +
                          (found == weight_map.end() ? "does not list it"
                                                     : "says " + printable(found->second)) +
                          "; index and weight files are of different models, download them again");
    }
  }
}

bool is_usable(const Weight& weight) {
  if (weight.format == WeightFormat::encoded) return weight.decoder->is_readable();
  return weight.format != WeightFormat::plain || is_weight_number(weight.dtype);
}

std::string type_of(const Weight& weight) {
  return std::string(weight.format == WeightFormat::encoded ? weight.decoder->name()
                                                            : dtype_name(weight.dtype));
}

/// A 1x1 convolution [N, K, 1, 1] is the linear layer [N, K].
Shape as_expected(const Shape& stored, const Shape& expected) {
  const bool taps = stored.size() == 4 && stored[2] == 1 && stored[3] == 1;
  return expected.size() == 2 && taps ? Shape{stored[0], stored[1]} : stored;
}

/// Whether the weight may be used in the shape that is expected: it has that shape, or is encoded
/// in groups without a shape of its own, or with rows and columns filled up to whole blocks.
bool fits(const Weight& stored, const Shape& expected) {
  const Shape mine = as_expected(stored.shape, expected);
  if (mine == expected) return true;
  if (stored.format != WeightFormat::encoded) return false;
  if (mine.size() == 1 || expected.size() == 4) return num_elements(mine) == num_elements(expected);
  return mine.size() == 2 && expected.size() == 2 && mine[0] >= expected[0] &&
         mine[1] >= expected[1] && mine[0] - expected[0] < kFilledUp &&
         mine[1] - expected[1] < kFilledUp;
}

/// Such a weight in that shape.
Weight shaped(Weight weight, const Shape& expected) {
  const Shape mine = as_expected(weight.shape, expected);
  if (mine.size() == 2 && expected.size() == 2 && mine[1] != expected[1])
    weight.decoder = make_cropped_decoder(weight.decoder, expected[1], mine[1]);
  weight.shape = expected;
  return weight;
}

/// Where a tensor of a file lies; nothing for files that are not mapped.
std::vector<FilePart> pieces_of(const TensorFile& file, const Weight& weight) {
  if (file.file().owner == nullptr || weight.size_bytes() == 0) return {};
  return {{file.file(), {weight.data, weight.size_bytes()}}};
}

/// The format does not ask files to align tensors: where one does not, a copy.
Weight aligned(Weight weight) {
  const auto address = reinterpret_cast<std::uintptr_t>(weight.data);
  if (weight.format != WeightFormat::plain || address % size_of(weight.dtype) == 0) return weight;
  const auto copy = std::make_shared<Tensor>(Tensor::host(weight.dtype, weight.shape));
  std::memcpy(copy->bytes(), weight.data, weight.size_bytes());
  weight.data = copy->bytes();
  weight.owner = copy;
  return weight;
}

[[noreturn]] void throw_wrong_file(const std::string& path, Component wanted,
                                   const std::vector<NamedComponent>& found,
                                   const std::vector<std::string>& names) {
  std::string holds;
  for (const NamedComponent& other : found)
    holds += (holds.empty() ? "" : ", ") + std::string(component_name(other.component));
  const std::string foreign = foreign_model(names);
  if (holds.empty() && !foreign.empty()) holds = foreign;
  if (holds.empty()) {
    holds = names.empty()
                ? "no tensors at all"
                : std::to_string(names.size()) + " tensors such as " + printable(names[0]);
  }
  throw Error(ErrorKind::corrupt_file, path + ": holds " + holds + ", expected the " +
                                           std::string(component_name(wanted)) + " of ERNIE-Image");
}

bool is_weight_file(const std::string& name) {
  return name.ends_with(".safetensors") || name.ends_with(".gguf");
}

}  // namespace

WeightFiles::WeightFiles(const std::string& path, const std::string& stem,
                         std::optional<Component> wanted, DType expanded)
    : path_(path), is_folder_(!file_exists(path)) {
  if (is_folder_) {
    open_folder(stem);
  } else {
    open_file_and_parts();
  }
  assemble(wanted, expanded);
}

void WeightFiles::open_folder(const std::string& stem) {
  const std::string single = join_path(path_, stem + ".safetensors");
  const std::string index = single + ".index.json";
  // As diffusers (transformer, VAE) and transformers (text encoder, enhancer) choose.
  const bool index_first = stem == kDiffusersStem;
  if (file_exists(index) && (index_first || !file_exists(single))) return open_index(index);
  if (file_exists(single)) {
    files_.push_back(TensorFile::open(single));
    return;
  }
  std::vector<std::string> singles, indices;
  for (const std::string& name : list_files(path_)) {
    if (name.starts_with(stem + ".safetensors.index.") && name.ends_with(".json"))
      indices.push_back(name);
    if (is_weight_file(name) && gguf_parts(name).front() == name) singles.push_back(name);
  }
  if (indices.size() == 1) return open_index(join_path(path_, indices[0]));
  if (indices.empty() && singles.size() == 1) {
    const std::string folder = std::exchange(path_, join_path(path_, singles[0]));
    open_file_and_parts();
    path_ = folder;
    return;
  }
  std::string found;
  for (const std::string& name : indices.empty() ? singles : indices)
    found += (found.empty() ? "; found " : ", ") + printable(name);
  throw Error(ErrorKind::not_found,
              path_ + ": no weights, expected " + stem + ".safetensors or " + stem +
                  ".safetensors.index.json" + found +
                  (found.empty() ? "; download the model again" : "; name the one to use"));
}

void WeightFiles::open_index(const std::string& index) {
  const WeightMap weight_map = read_index(index);
  std::set<std::string> names;
  for (const std::string& shard : shard_names(index, path_, weight_map)) {
    files_.push_back(TensorFile::open(join_path(path_, shard)));
    check_shard(index, weight_map, shard, *files_.back());
    for (const std::string& name : files_.back()->names()) names.insert(name);
  }
  for (const auto& [name, shard] : weight_map) {
    if (!names.contains(name)) {
      throw_bad_weights(index, "tensor " + printable(name) + " is not in " + printable(shard) +
                                   ", where the index says it is; download both again");
    }
  }
}

void WeightFiles::open_file_and_parts() {
  const std::vector<std::string> parts = gguf_parts(path_);
  std::vector<std::string> absent;
  for (const std::string& part : parts) {
    if (!file_exists(part)) absent.push_back(part);
  }
  if (!absent.empty()) {
    throw Error(ErrorKind::not_found, path_ + ": " + std::to_string(absent.size()) + " of " +
                                          std::to_string(parts.size()) + " parts are missing: " +
                                          listed(absent, ", ") + "; download them too");
  }
  for (const std::string& part : parts) files_.push_back(TensorFile::open(part));
}

std::vector<std::string> WeightFiles::ignored_files() const {
  std::vector<std::string> ignored;
  if (!is_folder_) return ignored;
  for (const std::string& name : list_files(path_)) {
    const auto is_open = [&](const auto& file) { return file->path() == join_path(path_, name); };
    if (is_weight_file(name) && std::ranges::none_of(files_, is_open)) ignored.push_back(name);
  }
  return ignored;
}

FileTensors WeightFiles::stored_tensors() const {
  FileTensors tensors;
  for (const auto& file : files_) {
    for (const std::string& name : file->names()) {
      const Weight& weight = file->stored(name);
      if (!tensors.emplace(name, FileTensor{weight, pieces_of(*file, weight)}).second)
        throw_bad_weights(path_, "tensor " + printable(name) + " lies in two files");
    }
  }
  return tensors;
}

void WeightFiles::assemble(std::optional<Component> wanted, DType expanded) {
  const FileTensors stored = stored_tensors();
  std::map<std::string, std::string> metadata;
  for (const auto& file : files_) metadata.insert(file->metadata().begin(), file->metadata().end());
  const std::string config_path = join_path(path_, "config.json");
  const bool has_config = is_folder_ && file_exists(config_path);
  RecognizedTensors recognized = recognize_quantized(
      path_, stored, metadata, has_config ? std::string(open_file(config_path).text()) : "");
  for (auto& [name, tensor] : recognized.weights) {
    if (tensor.weight.format == WeightFormat::encoded) tensor.weight.dtype = expanded;
  }

  std::vector<std::string> names;
  for (const auto& [name, tensor] : recognized.weights) names.push_back(name);
  std::vector<NamedComponent> found = find_components(names);
  if (wanted) {
    const bool is_language = is_language_model(*wanted);
    // Either language model serves as the other: they have the same names.
    const auto serves = [&](const NamedComponent& other) {
      return other.component == *wanted ||
             (is_language && found.size() == 1 && other.component != Component::transformer &&
              other.component != Component::vae);
    };
    const auto chosen = std::ranges::find_if(found, serves);
    if (chosen != found.end()) {
      component_ = *chosen;
      component_->component = *wanted;
    } else if (!is_folder_ || !found.empty() || !foreign_model(names).empty()) {
      throw_wrong_file(path_, *wanted, found, names);
    }
  } else if (found.size() == 1) {
    component_ = found[0];
  }
  if (component_) {
    rename(std::move(recognized.weights), *component_);
  } else {
    weights_ = std::move(recognized.weights);
  }
}

/// A folder's names stay as they are where the models know them.
void WeightFiles::rename(FileTensors recognized, const NamedComponent& found) {
  const bool known =
      found.dialect == Dialect::diffusers &&
      (found.prefix.empty() ? found.component != Component::pe
                            : found.component == Component::text_encoder &&
                                  (found.prefix == "language_model.model." ||
                                   found.prefix == "language_model." || found.prefix == "model."));
  const bool enhancer = found.component == Component::pe && found.dialect == Dialect::diffusers &&
                        found.prefix == "model.";
  if (known || enhancer) {
    weights_ = std::move(recognized);
    return;
  }
  std::vector<std::string> names;
  for (const auto& [name, tensor] : recognized) names.push_back(name);
  const int levels = count_levels(found, names);
  for (auto& [name, tensor] : recognized) {
    const auto canonical = canonical_name(found, name, levels);
    if (!canonical) {
      if (name.starts_with(found.prefix) && found.prefix.size() > 0) unknown_.push_back(name);
      continue;
    }
    tensor.weight.name = *canonical;
    if (found.dialect == Dialect::llama_cpp) undo_head_order(tensor);
    if (!weights_.emplace(*canonical, std::move(tensor)).second)
      throw_bad_weights(path_, "two tensors are " + printable(*canonical));
  }
}

/// llama.cpp turns neighbouring numbers of a head, and has the rows of queries and keys in that
/// order.
void WeightFiles::undo_head_order(FileTensor& tensor) const {
  Weight& weight = tensor.weight;
  const bool turned =
      weight.name.ends_with(".q_proj.weight") || weight.name.ends_with(".k_proj.weight");
  if (!turned || weight.shape.size() != 2) return;
  std::optional<std::int64_t> head_dim;
  for (const auto& file : files_) {
    const auto* gguf = dynamic_cast<const GgufFile*>(file.get());
    if (gguf == nullptr || head_dim) continue;
    head_dim = gguf->integer_of_any(".attention.key_length");
    if (!head_dim) head_dim = gguf->integer_of_any(".rope.dimension_count");
    if (!head_dim) {
      const auto width = gguf->integer_of_any(".embedding_length");
      const auto heads = gguf->integer_of_any(".attention.head_count");
      if (width && heads && *heads > 0) head_dim = *width / *heads;
    }
  }
  if (!head_dim || *head_dim < 2 || *head_dim % 2 != 0 || weight.shape[0] % *head_dim != 0) {
    throw_bad_weights(path_,
                      printable(weight.name) + " " + to_string(weight.shape) +
                          ": the metadata does not say how long a head is (attention.key_length)" +
                          (head_dim ? ", but " + std::to_string(*head_dim) : ""));
  }
  const Decoder inner =
      weight.format == WeightFormat::encoded ? weight.decoder : make_plain_decoder(weight);
  weight.packed_bytes = weight.size_bytes();
  weight.format = WeightFormat::encoded;
  weight.decoder = make_head_order_decoder(inner, *head_dim, weight.shape[1]);
}

bool WeightFiles::contains(std::string_view name) const { return weights_.contains(name); }

const Weight* WeightFiles::find(std::string_view name) const {
  const auto found = weights_.find(name);
  return found == weights_.end() ? nullptr : &found->second.weight;
}

Weight WeightFiles::get(const std::string& name, const Shape& expected_shape) {
  Weight absent{name, DType::f32, expected_shape, nullptr, nullptr};
  const Weight* stored = find(name);
  if (stored == nullptr) {
    problems_.push_back(name + ": missing, expected shape " + to_string(expected_shape));
    return absent;
  }
  asked_.insert_or_assign(name, expected_shape);
  if (!fits(*stored, expected_shape)) {
    problems_.push_back(name + ": shape " + to_string(stored->shape) + ", expected " +
                        to_string(expected_shape));
    return absent;
  }
  if (!is_usable(*stored)) {
    problems_.push_back(name + ": type " + type_of(*stored) +
                        ", expected F32, F16 or BF16, or a format of docs/formats.md");
    return absent;
  }
  return shaped(aligned(*stored), expected_shape);
}

void WeightFiles::require_complete() const {
  if (problems_.empty()) return;
  throw_bad_weights(path_, std::to_string(problems_.size()) +
                               " weights do not fit the configuration beside them:\n  " +
                               listed(problems_, "\n  "));
}

std::vector<std::string> WeightFiles::unused() const {
  std::vector<std::string> names = unknown_;
  for (const auto& [name, tensor] : weights_) {
    if (!asked_.contains(name)) names.push_back(name);
  }
  return names;
}

void WeightFiles::release_pages(PageCache cache) const {
  for (const auto& file : files_)
    ernie_image::release_pages({file->file(), file->file().bytes}, cache);
}

void WeightFiles::release_pages(const Weight& weight) const {
  const auto found = weights_.find(weight.name);
  if (found == weights_.end()) return;
  for (const FilePart& piece : found->second.pieces)
    ernie_image::release_pages(piece, PageCache::keep);
}

std::vector<FilePart> WeightFiles::parts(std::string_view prefix) const {
  std::map<const std::byte*, FilePart> by_address;
  for (auto entry = weights_.lower_bound(prefix);
       entry != weights_.end() && entry->first.starts_with(prefix); ++entry) {
    for (const FilePart& piece : entry->second.pieces)
      by_address.emplace(piece.bytes.data(), piece);
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

std::vector<Weight> WeightFiles::all_as_asked() const {
  std::vector<Weight> weights;
  for (const auto& [name, tensor] : weights_) {
    const auto asked = asked_.find(name);
    const bool as_stored = asked == asked_.end() || !fits(tensor.weight, asked->second);
    weights.push_back(as_stored ? tensor.weight : shaped(tensor.weight, asked->second));
  }
  return weights;
}

std::vector<Weight> WeightFiles::all() const {
  std::vector<Weight> weights;
  weights.reserve(weights_.size());
  for (const auto& [name, tensor] : weights_) weights.push_back(tensor.weight);
  return weights;
}

}  // namespace ernie_image
