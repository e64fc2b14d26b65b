#include "server/job_follower.h"

namespace ernie_image {

JobNews JobFollower::next() {
  JobNews news;
  std::optional<Job> job = queue_.wait(id_, version_, kWaitSlice);
  if (!job) {
    news.is_over = true;
    return news;
  }
  if (job->version == version_) return news;
  version_ = job->version;
  news.is_over = is_final(job->state);
  if (job->progress.preview_index > preview_index_ && !news.is_over) {
    preview_index_ = job->progress.preview_index;
    news.preview = queue_.preview(id_);
  }
  news.job = std::move(job);
  return news;
}

StreamedJob::~StreamedJob() {
  if (is_over_ || service_.is_stopping()) return;
  try {
    service_.queue().cancel(id_);
  } catch (const std::exception&) {
    // The store is not there: the job stays as it is.
  }
}

JobNews StreamedJob::next() {
  JobNews news = follower_.next();
  is_over_ = news.is_over;
  return news;
}

}  // namespace ernie_image
