// The folder that `ernie-image quantize` writes to: what may be there already.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "io/file_descriptor.h"
#include "io/model_manifest.h"

namespace ernie_image {

/// Holds the folder for this process until it goes.
class OutputLock {
 public:
  explicit OutputLock(FileDescriptor folder) : folder_(std::move(folder)) {}

 private:
  FileDescriptor folder_;
};

/// Throws Error(invalid_argument) if one lies within the other, links resolved.
void require_apart(const std::string& source, const std::string& output);

/// Makes the folder if there is none; the one that it lies in has to be there. Throws
/// Error(not_found | io), also if another process is writing there.
OutputLock open_output(const std::string& output);

/// The files of an interrupted run of `job`. With `force`, the files of any earlier run are removed
/// instead. Throws Error(invalid_argument) for a folder that is finished, was begun as something
/// else, or holds anything that no such run has written.
std::map<std::string, FileDigest> files_to_keep(const std::string& output, const ModelManifest& job,
                                                bool force);

/// Throws Error(io) if so many bytes are not free where `output` is, or is going to be. A file
/// system that does not say has room.
void require_space_for(std::uint64_t bytes, const std::string& output);

/// The folder of `name` ("vae/config.json") below `output`. Throws Error(io) where a link stands in
/// its place, which could lead anywhere.
void make_folder_of(const std::string& output, const std::string& name);

}  // namespace ernie_image
