// One request for pictures on its way through the queue: what was asked, how far it is, what came
// out.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/picture_input.h"
#include "core/enum_names.h"
#include "ernie_image/request.h"

namespace ernie_image {

enum class JobKind { image, enhance };
enum class JobState { queued, running, completed, failed, cancelled };
enum class JobPriority { low, normal, high };

constexpr std::array<std::string_view, 2> names_of(JobKind) { return {"image", "enhance"}; }
constexpr std::array<std::string_view, 5> names_of(JobState) {
  return {"queued", "running", "completed", "failed", "cancelled"};
}
constexpr std::array<std::string_view, 3> names_of(JobPriority) {
  return {"low", "normal", "high"};
}

/// Completed, failed or cancelled: nothing about the job changes any more, but that pictures of it
/// may be removed.
constexpr bool is_final(JobState state) {
  return state != JobState::queued && state != JobState::running;
}

/// What was asked, with every default filled in and every seed drawn, so that a job that is run
/// again (its worker died) makes the same pictures: a request of one prompt, with a seed for each
/// image.
struct JobRequest : Request {
  JobKind kind = JobKind::image;
  std::string model;                 ///< as the workers announce it
  bool enhance = false;              ///< let the prompt enhancer rewrite the prompt first
  std::string image_format = "png";  ///< "png", "jpeg" or "webp"
  int image_quality = 100;           ///< 0..100, of jpeg and webp
  int previews = 0;                  ///< how many unfinished pictures are wanted; 0: none
  bool has_given_seeds = false;      ///< by whoever asked, not drawn
  bool chrome_trace = false;         ///< record one of the run
  JobPriority priority = JobPriority::normal;
  // Of `picture` no pixels are here: they are files of the job (JobInputs).
  PictureUse picture_use;
  // Of `adapters` the paths are names in the folder of whichever worker runs the job.

  /// An empty `negative` is none.
  void set_prompts(std::string prompt, std::string negative);
  /// One picture from each.
  void set_seeds(std::vector<std::uint64_t> each);
};

struct JobProgress {
  std::string stage;  ///< "waiting", "enhancer", "text_encoder", "transformer", "vae_decoder"
  int step = 0;       ///< finished steps of the stage
  int steps = 0;
  double fraction = 0;                      ///< of the whole job, 0..1
  std::optional<double> seconds_left = {};  ///< once it can be told
  int preview_index = -1;                   ///< number of the newest preview; -1: none yet
  int image = -1;  ///< the first of the job's pictures that are under way; -1: none yet
  int images = 0;  ///< how many are, which make their steps together
};

/// A finished picture; its bytes are had by JobQueue::image.
struct JobImage {
  std::uint64_t seed = 0;
  int width_px = 0;
  int height_px = 0;
  std::string content_type;  ///< "image/png"...
  std::uint64_t size_bytes = 0;
  bool is_removed = false;  ///< its bytes are gone; the others keep their numbers
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
