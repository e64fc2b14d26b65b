#include <algorithm>
#include <cstdint>

#include "io/file_view.h"
#include "io/gguf.h"
#include "io/model_folder.h"
#include "io/sha256.h"
#include "io/tensor_file.h"
#include "io/weight_files.h"

namespace ernie_image {
namespace {

/// Name and content, each preceded by its length: no two lists of files look alike.
void update_file(Sha256& hash, std::string_view name, std::string_view content) {
  hash.update(std::to_string(name.size()) + ":" + std::to_string(content.size()) + ":");
  hash.update(name);
  hash.update(content);
}

/// The first page of every tensor: a model trained further has other values in nearly all of them.
void update_samples(Sha256& hash, const TensorFile& file) {
  constexpr std::size_t kSampleBytes = 4096;
  for (const std::string& name : file.names()) {
    const Weight& weight = file.stored(name);
    hash.update({reinterpret_cast<const char*>(weight.data),
                 std::min<std::size_t>(weight.size_bytes(), kSampleBytes)});
  }
}

enum class Values { ignored, sampled };

void update_weights(Sha256& hash, const std::string& name, const std::string& path, Values values) {
  const auto weights = TensorFile::open(path);
  // The header says where the data ends, so it stands for the file's size too.
  update_file(hash, name, weights->header());
  if (values == Values::sampled) update_samples(hash, *weights);
}

/// Not read, where a folder holds both a single file and an index: see WeightFiles.
bool is_ignored(const std::string& directory, const std::string& part, const std::string& file) {
  const bool of_diffusers = part == "transformer" || part == "vae";
  const std::string single =
      std::string(of_diffusers ? kDiffusersStem : kTransformersStem) + ".safetensors";
  const bool has_both = file_exists(join_path(directory, single)) &&
                        file_exists(join_path(directory, single + ".index.json"));
  return has_both && (file == single) == of_diffusers;
}

void hash_component(Sha256& hash, const ModelFolder& folder, const std::string& part,
                    Values values) {
  const std::string directory = folder.component(part);
  for (const std::string& file : list_files(directory)) {
    const std::string name = part + "/" + file;
    if (file.ends_with(".json") || file.ends_with(".jinja")) {
      update_file(hash, name, open_file(join_path(directory, file)).text());
    } else if (!folder.is_file(part) && !is_ignored(directory, part, file) &&
               (file.ends_with(".safetensors") || file.ends_with(".gguf"))) {
      update_weights(hash, name, join_path(directory, file), values);
    }
  }
  if (!folder.is_file(part)) return;
  for (const std::string& file : gguf_parts(folder.weights(part)))
    update_weights(hash, part + " of a file", file, values);
}

}  // namespace

std::string content_hash(const ModelFolder& folder) {
  Sha256 hash;
  update_file(hash, kModelIndex, open_file(folder.component(kModelIndex)).text());
  for (const char* part : {"scheduler", "text_encoder", "tokenizer", "transformer", "vae"}) {
    hash_component(hash, folder, part, Values::ignored);
  }
  return hash.hex();
}

std::string sampled_hash(const ModelFolder& folder) {
  Sha256 hash;
  update_file(hash, kModelIndex, open_file(folder.component(kModelIndex)).text());
  for (const char* part :
       {"pe", "pe_tokenizer", "scheduler", "text_encoder", "tokenizer", "transformer", "vae"}) {
    hash_component(hash, folder, part, Values::sampled);
  }
  return hash.hex();
}

std::string enhancer_hash(const ModelFolder& folder) {
  Sha256 hash;
  for (const char* part : {"pe", "pe_tokenizer"}) {
    hash_component(hash, folder, part, Values::sampled);
  }
  return hash.hex();
}

}  // namespace ernie_image
