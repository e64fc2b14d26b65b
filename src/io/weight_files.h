// The weights of one component folder: one safetensors file, or shards named by an index.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/weight.h"
#include "io/safetensors.h"

namespace ernie_image {

class WeightFiles : public WeightSource {
 public:
  /// Opens `<folder>/<stem>.safetensors`, or the shards of
  /// `<folder>/<stem>.safetensors.index.json`. The index is hostile input: shard names may not
  /// leave the folder, and it must agree with the shards about every tensor. Throws Error(not_found
  /// | corrupt_file).
  WeightFiles(const std::string& folder, const std::string& stem);

  bool contains(std::string_view name) const override;
  Weight get(const std::string& name, const Shape& expected_shape) override;
  void require_complete() const override;
  std::vector<std::string> unused() const override;
  void release_pages() const override { release_pages(PageCache::keep); }
  void release_pages(const Weight& weight) const override;
  void release_pages(PageCache cache) const;

  /// Every tensor, sorted by name; for listing (see SafetensorsFile::stored).
  std::vector<Weight> all() const;
  /// Where the tensors lie whose names begin with `prefix`; neighbours in a file joined. Nothing of
  /// files that are not mapped (the embedded model).
  std::vector<FilePart> parts(std::string_view prefix) const;
  const std::vector<SafetensorsFile>& files() const { return files_; }

 private:
  std::string folder_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, std::size_t, std::less<>> file_of_;  // tensor name -> index into files_
  std::set<std::string, std::less<>> used_;
  std::vector<std::string> problems_;
};

}  // namespace ernie_image
