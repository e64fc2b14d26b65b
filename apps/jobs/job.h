// One request for pictures on its way through the queue: what was asked, how far it is, what came
// out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ernie_image {

enum class JobKind { image, enhance };
enum class JobState { queued, running, completed, failed, cancelled };
enum class JobPriority { low, normal, high };

/// "queued", "running"...
const char* name_of(JobState state);

/// Completed, failed or cancelled: nothing about the job changes any more.
bool is_final(JobState state);

/// What was asked, with every default filled in and every seed drawn, so that a job that is run
/// again (its worker died) makes the same pictures.
/// One of the adapters that the workers have under that name.
struct JobLora {
  std::string name;
  double strength = 1;
};

struct JobRequest {
  JobKind kind = JobKind::image;
  std::string model;  ///< as the workers announce it
  std::string prompt;
  std::string negative_prompt;
  int width_px = 0;
  int height_px = 0;
  int num_inference_steps = 0;
  double guidance_scale = 1;
  std::vector<std::uint64_t> seeds;  ///< one an image, each image's own generator
  bool enhance = false;              ///< let the prompt enhancer rewrite the prompt first
  std::string image_format = "png";  ///< "png", "jpeg" or "webp"
  int image_quality = 100;           ///< 0..100, of jpeg and webp
  int previews = 0;                  ///< how many unfinished pictures are wanted; 0: none
  bool trace = false;                ///< record a Chrome trace of the run
  JobPriority priority = JobPriority::normal;
  std::vector<JobLora> loras;  ///< change the model for this job
};

struct JobProgress {
  std::string stage;  ///< "waiting", "enhancer", "text_encoder", "transformer", "vae_decoder"
  int step = 0;       ///< finished steps of the stage
  int steps = 0;
  double fraction = 0;                 ///< of the whole job, 0..1
  std::optional<double> seconds_left;  ///< once it can be told
  int preview_index = -1;              ///< number of the newest preview; -1: none yet
};

/// A finished picture; its bytes are had by JobQueue::image.
struct JobImage {
  std::uint64_t seed = 0;
  int width_px = 0;
  int height_px = 0;
  std::string content_type;  ///< "image/png"...
  std::uint64_t size_bytes = 0;
};

struct JobFailure {
  std::string kind;     ///< name of the ErrorKind, or "worker_lost"
  std::string message;  ///< for people
};

struct Job {
  std::string id;     ///< 128 random bits in lower-case hex: cannot be guessed
  std::string owner;  ///< name of the API key, empty without keys
  JobRequest request;
  JobState state = JobState::queued;
  /// Grows with every change that `JobQueue::wait` would report.
  std::int64_t version = 0;
  std::int64_t created_ms = 0;  ///< since 1970
  std::int64_t started_ms = 0;  ///< 0: not yet
  std::int64_t finished_ms = 0;
  int attempts = 0;                   ///< how often a worker has begun it
  std::optional<int> queue_position;  ///< while queued; 0 is next
  JobProgress progress;
  std::string enhanced_prompt;  ///< empty until, and unless, the enhancer has written it
  int prompt_tokens = 0;
  std::vector<JobImage> images;  ///< once completed
  std::optional<JobFailure> failure;
  bool cancel_requested = false;
};

}  // namespace ernie_image
