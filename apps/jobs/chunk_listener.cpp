#include "jobs/chunk_listener.h"

#include <algorithm>
#include <string>
#include <utility>

#include "core/enum_names.h"
#include "io/image_file.h"

namespace ernie_image {
namespace {

constexpr int kPreviewQuality = 80;  // of its JPEG

std::string encode_preview(const Image& image) {
  const std::vector<std::uint8_t> bytes =
      encode_image(image, {ImageFormat::jpeg, kPreviewQuality}, {});
  return {bytes.begin(), bytes.end()};
}

/// How many of `wanted` previews there are after `step` of `steps`: they are spread evenly.
int previews_due(int wanted, int step, int steps) {
  return static_cast<int>(std::int64_t{step} * std::min(wanted, steps) / steps);
}

}  // namespace

void ChunkListener::operator()(const Progress& progress) {
  estimate_.update(progress);
  JobProgress told;
  told.stage = name_of(progress.stage);
  told.step = progress.step;
  told.steps = progress.steps;
  estimate_.fill(told);
  const JobWork* last = nullptr;
  for (std::size_t i = 0; i < chunk_.size(); ++i) {
    if (chunk_[i].work != last) tell(*chunk_[i].work, static_cast<int>(i), progress, told);
    last = chunk_[i].work;
  }
}

/// `index` is the job's first picture in the chunk, which stands for all of them.
void ChunkListener::tell(JobWork& work, int index, const Progress& progress, JobProgress told) {
  if (work.job.request.chrome_trace)
    work.trace.add(told.stage + " " + std::to_string(progress.step));
  JobReporter::MakePreview preview;
  const int wanted = work.job.request.previews;
  // Latents are those of the first of several runs: nothing of the others is shown.
  const bool is_due = progress.stage == Stage::transformer && !trace_.latents().empty() &&
                      previews_due(wanted, progress.step, progress.steps) >
                          previews_due(wanted, progress.step - 1, progress.steps);
  if (is_due) {
    ++work.previews;
    preview = [model = &preview_, trace = trace_, index] {
      const Tensor& latents = trace.latents();
      return encode_preview(model->draw(trace.denoised(index), static_cast<int>(latents.dim(2)),
                                        static_cast<int>(latents.dim(3))));
    };
  }
  told.preview_index = work.previews - 1;
  const auto is_of_work = [&](const JobImageWork& each) { return each.work == &work; };
  told.image = static_cast<int>(chunk_[static_cast<std::size_t>(index)].index);
  told.images = static_cast<int>(std::ranges::count_if(chunk_, is_of_work));
  reporter_.update(work.job.id, told, std::move(preview));
}

}  // namespace ernie_image
