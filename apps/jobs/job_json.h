// Jobs as text: what databases keep and what travels between processes. Whoever wrote it is not
// trusted.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "jobs/job_queue.h"

namespace ernie_image {

/// Throws Error(`kind`), its message after `where`, unless every field is within its range and each
/// choice is known. Whether a model can serve it is the worker's business.
void check_job_request(const JobRequest& request, ErrorKind kind = ErrorKind::invalid_argument,
                       const std::string& where = "");

std::string request_text(const JobRequest& request);
/// The parse functions throw Error(corrupt_file) that begins with `where`.
JobRequest parse_request(std::string_view text, const std::string& where);

std::string progress_text(const JobProgress& progress);
JobProgress parse_progress(std::string_view text, const std::string& where);

/// What a completed job says of its result; the pictures' bytes are kept apart.
struct JobOutcome {
  std::string enhanced_prompt;
  int prompt_tokens = 0;
  std::vector<JobImage> images;
};

JobOutcome outcome_of(const JobResult& result);
std::string outcome_text(const JobOutcome& outcome);
JobOutcome parse_outcome(std::string_view text, const std::string& where);

std::string worker_text(const WorkerInfo& worker);
WorkerInfo parse_worker(std::string_view text, const std::string& where);
/// Throws Error(invalid_argument) for a worker that others could not read about.
void check_worker(const WorkerInfo& worker);
/// The same for one of its names, which came from `where`: 1 to 1024 bytes, no control characters.
void check_worker_name(const std::string& name, const std::string& where);

/// The message with the folders of its absolute paths left out: clients are told the file's name.
std::string without_folders(const std::string& message);

/// Jobs with equal keys can be run as one batch.
std::string batch_key(const JobRequest& request);

/// "png" of "image/png"; empty for what is not one of the three.
std::string extension_of(const std::string& content_type);

}  // namespace ernie_image
