// Named tensors in one mapped file, whatever its format: safetensors or GGUF.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"
#include "core/weight.h"
#include "io/file_view.h"

namespace ernie_image {

/// A file whose header has been checked completely: every later access is within bounds.
class TensorFile {
 public:
  virtual ~TensorFile() = default;

  /// By what the file begins with. Throws Error(corrupt_file) for what is neither, saying what it
  /// is where that can be told (a pickle, which is never opened; a web page; a git-lfs pointer),
  /// and what the formats' own readers refuse.
  static std::shared_ptr<const TensorFile> open(const std::string& path);

  const std::string& path() const { return file_.path; }
  const FileView& file() const { return file_; }
  /// All that comes before the data (what a content hash is made from).
  std::string_view header() const { return header_; }
  std::vector<std::string> names() const;
  bool contains(std::string_view name) const;
  /// Points into the mapped file; where the file did not align the tensor to its element size (the
  /// format does not ask for that), into a copy. Throws Error(not_found).
  Weight weight(const std::string& name) const;
  /// As it lies in the file, never copied: for listing, since `data` may not be aligned.
  const Weight& stored(const std::string& name) const;
  /// The same as a tensor copied to host memory; of a weight that is not plain its bytes, as U8.
  Tensor tensor(const std::string& name) const;
  /// What the header notes as text.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 protected:
  FileView file_;
  std::string_view header_;
  std::map<std::string, Weight, std::less<>> weights_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace ernie_image
