#include "jobs/job_files.h"

#include "jobs/image_folder.h"
#include "jobs/job_json.h"

namespace ernie_image {
namespace {

std::string name_of_image(const std::string& id, std::size_t index, const JobImage& image) {
  return ImageFolder::image_name(id, static_cast<int>(index), extension_of(image.content_type));
}

}  // namespace

std::vector<JobFile> files_of(const std::string& id, const JobResult& result) {
  std::vector<JobFile> files;
  for (std::size_t i = 0; i < result.images.size(); ++i) {
    const FinishedImage& finished = result.images[i];
    files.push_back({name_of_image(id, i, finished.image), finished.bytes});
  }
  if (!result.trace.empty()) files.push_back({ImageFolder::trace_name(id), result.trace});
  return files;
}

std::array<std::string, 2> input_names_of(const std::string& id) {
  return {ImageFolder::input_name(id, "image"), ImageFolder::input_name(id, "mask")};
}

std::vector<JobFile> files_of(const std::string& id, const JobInputs& inputs) {
  const auto [image, mask] = input_names_of(id);
  std::vector<JobFile> files;
  if (!inputs.image.empty()) files.push_back({image, inputs.image});
  if (!inputs.mask.empty()) files.push_back({mask, inputs.mask});
  return files;
}

std::vector<std::string> file_names_of(const std::string& id, const std::vector<JobImage>& images) {
  const auto [image, mask] = input_names_of(id);
  std::vector<std::string> names = {ImageFolder::trace_name(id), image, mask};
  for (std::size_t i = 0; i < images.size(); ++i) {
    names.push_back(name_of_image(id, i, images[i]));
  }
  return names;
}

std::optional<std::string> image_file_of(const Job& job, int index) {
  if (index < 0 || index >= std::ssize(job.images)) return std::nullopt;
  const auto place = static_cast<std::size_t>(index);
  if (job.images[place].is_removed) return std::nullopt;
  return name_of_image(job.id, place, job.images[place]);
}

}  // namespace ernie_image
