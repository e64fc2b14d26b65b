// The weights of one component: a folder with one file, or with shards named by an index, or a
// single file, in any of the formats and namings of docs/formats.md.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "core/weight.h"
#include "io/quantized_tensors.h"
#include "io/tensor_file.h"
#include "io/tensor_names.h"

namespace ernie_image {

/// What the libraries call the weights that they write.
inline constexpr std::string_view kDiffusersStem = "diffusion_pytorch_model";
inline constexpr std::string_view kTransformersStem = "model";

/// By which of them a component is written.
constexpr std::string_view weights_stem(Component component) {
  return is_language_model(component) ? kTransformersStem : kDiffusersStem;
}

class WeightFiles : public WeightSource {
 public:
  /// `path` is a folder: opens `<path>/<stem>.safetensors`, or the shards of
  /// `<path>/<stem>.safetensors.index.json`. Of both the index comes first for the stem of
  /// diffusers, "diffusion_pytorch_model", and the single file for that of transformers, "model",
  /// as it does there. Where neither is there, those of a variant
  /// ("<stem>.fp16.safetensors"), or a GGUF or safetensors file that is alone. An index is hostile
  /// input: shard names may not leave the folder, and it must agree with the shards about every
  /// tensor. Or a file: safetensors or GGUF (one part of a split file stands for all).
  ///
  /// Weights have the names of a diffusers folder. Those of quantised weights that other programs
  /// wrote are encoded (core/weight.h), and expand to `expanded` where a device asks for that.
  /// `wanted` chooses among the components of a file that holds several. Throws Error(not_found |
  /// corrupt_file | unsupported), also for a file that holds `wanted` not at all.
  explicit WeightFiles(const std::string& path, const std::string& stem = "",
                       std::optional<Component> wanted = std::nullopt, DType expanded = DType::f32);

  bool contains(std::string_view name) const override;
  Weight get(const std::string& name, const Shape& expected_shape) override;
  void require_complete() const override;
  std::vector<std::string> unused() const override;
  void release_pages() const override { release_pages(PageCache::keep); }
  void release_pages(const Weight& weight) const override;
  void release_pages(PageCache cache) const;

  /// Every weight, sorted by name; for listing (see TensorFile::stored).
  std::vector<Weight> all() const;
  /// The same in the shapes in which a model has asked for them (`get`); as stored what nobody
  /// asked for. For writing them again.
  std::vector<Weight> all_as_asked() const;
  /// Null if there is none of that name.
  const Weight* find(std::string_view name) const;
  /// Where the tensors lie whose names begin with `prefix`; neighbours in a file joined. Nothing of
  /// files that are not mapped (the embedded model).
  std::vector<FilePart> parts(std::string_view prefix) const;
  const std::vector<std::shared_ptr<const TensorFile>>& files() const { return files_; }
  const std::string& path() const { return path_; }
  /// Names of weight files in the folder that were not opened.
  std::vector<std::string> ignored_files() const;
  /// What the names were recognised as, if they were.
  const std::optional<NamedComponent>& component() const { return component_; }

 private:
  void open_folder(const std::string& stem);
  void open_index(const std::string& index);
  void open_file_and_parts();
  FileTensors stored_tensors() const;
  void assemble(std::optional<Component> wanted, DType expanded);
  void rename(FileTensors recognized, const NamedComponent& found);
  void undo_head_order(FileTensor& tensor) const;

  std::string path_;
  bool is_folder_ = false;
  std::vector<std::shared_ptr<const TensorFile>> files_;
  std::optional<NamedComponent> component_;
  FileTensors weights_;
  std::vector<std::string> unknown_;  // of the component's files, but no weight of it
  std::map<std::string, Shape, std::less<>> asked_;  // for these shapes
  std::vector<std::string> problems_;
};

}  // namespace ernie_image
