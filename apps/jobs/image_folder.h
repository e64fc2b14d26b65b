// The directory that holds finished pictures: one file each, whole or not there.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace ernie_image {

/// Names are made of a job's id alone, and nothing that is no id becomes part of one.
class ImageFolder {
 public:
  /// Makes the directory if it is not there, and removes files that a killed process left
  /// half-written. Throws Error(io) unless files can be written there.
  explicit ImageFolder(std::string directory);

  /// `<id>_<index>.<extension>`, or `<id>_trace.json`. Throws Error(invalid_argument) for what is
  /// not the id of a job.
  static std::string image_name(const std::string& id, int index, const std::string& extension);
  static std::string trace_name(const std::string& id);
  /// `<id>_image.png`, `<id>_mask.png`: what the job begins with.
  static std::string input_name(const std::string& id, const std::string& what);

  /// Durable when this returns.
  void write(const std::string& name, std::string_view bytes) const;
  std::optional<std::string> read(const std::string& name) const;
  void remove(const std::string& name) const;
  /// What there is of a job of which nothing else is known.
  void remove_all_of(const std::string& id) const;

 private:
  std::string directory_;
};

}  // namespace ernie_image
