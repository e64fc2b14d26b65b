#include "jobs/job.h"

namespace ernie_image {

const char* name_of(JobState state) {
  switch (state) {
    case JobState::queued:
      return "queued";
    case JobState::running:
      return "running";
    case JobState::completed:
      return "completed";
    case JobState::failed:
      return "failed";
    case JobState::cancelled:
      return "cancelled";
  }
  return "unknown";
}

bool is_final(JobState state) { return state != JobState::queued && state != JobState::running; }

}  // namespace ernie_image
