// Which files belong to a job.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "jobs/job_queue.h"

namespace ernie_image {

struct JobFile {
  std::string name;  ///< see ImageFolder
  std::string_view bytes;
};

/// Views into `result`. Throws Error(invalid_argument) for what is not the id of a job.
std::vector<JobFile> files_of(const std::string& id, const JobResult& result);

/// Names of the files of a job with these pictures, which may have a trace too, and may have begun
/// with others.
std::vector<std::string> file_names_of(const std::string& id, const std::vector<JobImage>& images);

/// Of what it begins with; those that are empty are left out.
std::vector<JobFile> files_of(const std::string& id, const JobInputs& inputs);
/// {picture, mask}
std::array<std::string, 2> input_names_of(const std::string& id);

/// Nothing if the job has no such picture.
std::optional<std::string> image_file_of(const Job& job, int index);

}  // namespace ernie_image
