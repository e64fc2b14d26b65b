// The safetensors format: 8-byte little-endian header length N, N bytes of JSON, then the data.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "core/weight.h"
#include "io/file_view.h"

namespace ernie_image {

/// One mapped file whose header has been checked completely: every later access is within bounds.
class SafetensorsFile {
 public:
  /// Throws Error(corrupt_file) saying what is wrong: too short, a git-lfs pointer, header not JSON
  /// or over 100 MB, unknown dtype, offsets that overlap, leave holes or contradict dtype x shape,
  /// file cut short (with both sizes), or what packed_tensors.h refuses. Reads the header only: no
  /// page of the data is touched.
  static SafetensorsFile open(const std::string& path);

  const std::string& path() const { return file_.path; }
  const FileView& file() const { return file_; }
  /// The raw JSON of the header (what a content hash is made from).
  std::string_view header() const { return header_; }
  std::vector<std::string> names() const;
  bool contains(std::string_view name) const;
  /// Points into the mapped file; where the file did not align the tensor to its element size (the
  /// format does not ask for that), into a copy. Throws Error(not_found).
  Weight weight(const std::string& name) const;
  /// As it lies in the file, never copied: for listing, since `data` may not be aligned.
  const Weight& stored(const std::string& name) const;
  /// The same as a tensor copied to host memory; of a packed weight its bytes, as U8.
  Tensor tensor(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  FileView file_;
  std::string_view header_;
  std::map<std::string, Weight, std::less<>> weights_;
  std::map<std::string, std::string> metadata_;
};

/// Writes host tensors, largest element type first so that all are aligned; the file appears whole
/// or not at all. Throws Error(invalid_argument) for a name that occurs twice, is not UTF-8 or is
/// "__metadata__", Error(io).
void write_safetensors(const std::string& path,
                       const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace ernie_image
