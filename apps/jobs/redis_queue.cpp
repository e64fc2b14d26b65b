#include "jobs/redis_queue.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "core/log.h"
#include "io/sha256.h"
#include "jobs/job_files.h"
#include "jobs/job_id.h"
#include "jobs/job_json.h"
#include "jobs/redis_job.h"
#include "jobs/redis_scripts.h"
#include "jobs/short_json.h"

namespace ernie_image {
namespace {

namespace scripts = redis_scripts;
using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::milliseconds;

// How often a worker looks for jobs of others that have fallen silent.
constexpr Milliseconds kReclaimPeriod{1000};
constexpr Milliseconds kOrphanPeriod{10000};
// Of what the keys hold: programs that write another one do not see each other's jobs.
constexpr std::string_view kFormat = ":2";
constexpr std::size_t kMaxTold = 1000;  // warnings that are told once
constexpr std::string_view kPreviewKept_ms = "600000";
// Longer than a job waits: what it begins with is taken away when it ends.
constexpr std::chrono::seconds kInputsKept = std::chrono::hours(30 * 24);

std::string text_of(std::chrono::seconds duration) { return std::to_string(duration.count()); }

std::string text_of(double value) {
  return std::to_string(static_cast<std::int64_t>(std::clamp(value, 0.0, 1e15)));
}

/// Ids in a reply; what has not their form is left out.
std::vector<std::string> ids_of(const RedisReply& reply) {
  std::vector<std::string> ids;
  for (const RedisReply& item : reply.list) {
    if (is_job_id(item.text)) ids.push_back(item.text);
  }
  return ids;
}

double number_of(const std::string& text) {
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return std::isfinite(value) ? value : 0;
}

RedisAddress address_of(const QueueOptions& options) {
  RedisAddress address = parse_redis_url(options.url);
  if (address.password.empty()) address.password = options.password;
  return address;
}

/// Half a hash is enough. The length keeps an owner and a key that look alike together apart.
std::string hash_of_key(const std::string& owner, const std::string& idempotency_key) {
  if (idempotency_key.empty()) return {};
  return sha256_hex(std::to_string(owner.size()) + ":" + owner + idempotency_key).substr(0, 32);
}

[[noreturn]] void throw_full(const RedisReply& reply) {
  const double mean_ms = reply.list.size() > 1 ? number_of(reply.list[1].text) : 0;
  const double workers = reply.list.size() > 2 ? number_of(reply.list[2].text) : 0;
  const double seconds = std::clamp(std::ceil(mean_ms / 1000 / std::max(1.0, workers)), 1.0, 600.0);
  throw QueueFull("as many jobs are waiting as may",
                  std::chrono::seconds(static_cast<int>(seconds)));
}

}  // namespace

RedisQueue::RedisQueue(const QueueOptions& options)
    : options_(options),
      prefix_(options.key_prefix + std::string(kFormat)),
      client_(address_of(options), options.patience),
      job_news_(client_.address(), key("changed")),
      work_news_(client_.address(), key("work")) {
  if (!options.output_directory.empty()) folder_.emplace(options.output_directory);
  // Whoever may not do this may do nothing: said now rather than at the first job.
  run(scripts::kFind, "", {});
}

RedisQueue::~RedisQueue() = default;

RedisReply RedisQueue::run(std::string_view script, std::string_view subject,
                           const std::vector<std::string>& arguments) {
  std::string hash;
  {
    const std::lock_guard lock(hashes_mutex_);
    hash = hashes_[script];
  }
  const std::string text =
      hash.empty() ? std::string(scripts::kPrelude) + std::string(script) : std::string();
  if (hash.empty()) {
    hash = command({"SCRIPT", "LOAD", text}).text;
    const std::lock_guard lock(hashes_mutex_);
    hashes_[script] = hash;
  }
  std::vector<std::string_view> words = {"EVALSHA", hash, "0", prefix_, subject};
  words.insert(words.end(), arguments.begin(), arguments.end());
  try {
    return command(words);
  } catch (const RedisNoScript&) {
    // It was restarted, or is another one.
    const std::string again = std::string(scripts::kPrelude) + std::string(script);
    words[0] = "EVAL";
    words[1] = again;
    return command(words);
  }
}

// --- looking

std::optional<Job> RedisQueue::find(const std::string& id) {
  if (!is_job_id(id)) return std::nullopt;
  RedisReply fields = run(scripts::kFind, id, {});
  if (fields.list.empty()) return std::nullopt;
  if (std::optional<Job> job = read_job(id, fields)) return job;
  fields = run(scripts::kFind, id, {});
  throw DamagedJob(id, owner_set_aside(fields));
}

std::optional<Job> RedisQueue::find_by_key(const std::string& owner,
                                           const std::string& idempotency_key) {
  if (idempotency_key.empty()) return std::nullopt;
  const std::string id = run(scripts::kKnown, hash_of_key(owner, idempotency_key), {}).text;
  return find(id);
}

/// Nothing for one that cannot be read, which is moved aside then.
std::optional<Job> RedisQueue::read_job(const std::string& id, const RedisReply& fields) {
  if (is_set_aside(fields)) return std::nullopt;
  try {
    return job_of(id, fields);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::corrupt_file) throw;
    run(scripts::kSetAside, id, {text_of(options_.result_expiry)});
    log_message(LogLevel::error,
                std::string(error.what()) + "; moved aside to " + key("damaged:" + id));
    return std::nullopt;
  }
}

std::vector<Job> RedisQueue::list(const JobFilter& filter) {
  constexpr int kRounds = 10;  // each moves damaged ones aside
  const std::string state = filter.state ? name_of(*filter.state) : "";
  const std::string limit = std::to_string(std::max(filter.limit, 0));
  if (!filter.before.empty() && !is_job_id(filter.before)) return {};
  std::vector<Job> jobs;
  for (int round = 0; round < kRounds; ++round) {
    const RedisReply found = run(scripts::kList, filter.owner ? "owned" : "all",
                                 {filter.owner.value_or(""), state, filter.before, limit,
                                  filter.oldest_first ? "oldest" : "newest"});
    jobs.clear();
    for (const RedisReply& fields : found.list) {
      if (fields.list.empty()) continue;
      if (auto job = read_job(fields.list.back().text, fields)) jobs.push_back(*std::move(job));
    }
    if (jobs.size() == found.list.size()) break;
  }
  return jobs;
}

std::optional<Job> RedisQueue::wait(const std::string& id, std::int64_t version,
                                    std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  RedisNews::Watch watch(job_news_, id);
  fail_orphans_if_due();
  while (true) {
    std::optional<Job> job = find(id);
    if (!job || job->version > version || is_final(job->state)) return job;
    if (!watch.wait_until(deadline)) return job;
  }
}

std::optional<Bytes> RedisQueue::image(const std::string& id, int index) {
  const std::optional<Job> job = find(id);
  const auto name = job ? image_file_of(*job, index) : std::nullopt;
  return name ? read_file(*name) : std::nullopt;
}

std::optional<Bytes> RedisQueue::trace(const std::string& id) {
  return is_job_id(id) ? read_file(ImageFolder::trace_name(id)) : std::nullopt;
}

std::optional<Bytes> RedisQueue::preview(const std::string& id) {
  if (!is_job_id(id)) return std::nullopt;
  RedisReply reply = command({"GET", key("preview:" + id)});
  if (reply.is_nothing()) return std::nullopt;
  return std::move(reply.text);
}

QueueCounts RedisQueue::counts() {
  const auto count = [&](const char* set) {
    return static_cast<int>(command({"ZCARD", key(set)}).integer);
  };
  return {count("waiting"), count("running")};
}

/// Whoever asks something, once in a while, whether there are workers or not.
void RedisQueue::fail_orphans_if_due() {
  if (options_.orphan_timeout.count() == 0) return;
  const auto now = Clock::now();
  {
    const std::lock_guard lock(reclaim_mutex_);
    if (now < next_orphans_) return;
    next_orphans_ = now + std::min<Milliseconds>(options_.orphan_timeout / 4, kOrphanPeriod);
  }
  remove_inputs_of(
      run(scripts::kFailOrphans, "",
          {std::to_string(options_.orphan_timeout.count()), text_of(options_.result_expiry)}));
}

std::vector<WorkerInfo> RedisQueue::workers() {
  fail_orphans_if_due();
  const auto silent_ms = std::chrono::milliseconds(kClaimExpiry).count();
  const RedisReply found = run(scripts::kWorkers, "", {std::to_string(silent_ms)});
  std::vector<WorkerInfo> workers;
  for (std::size_t i = 0; i + 2 < found.list.size(); i += 3) {
    auto worker = read_worker(found.list[i].text, found.list[i + 2].text);
    if (!worker) continue;
    worker->last_seen_ms = static_cast<std::int64_t>(number_of(found.list[i + 1].text));
    workers.push_back(*std::move(worker));
  }
  return workers;
}

/// One that nobody can read is told of once, and is no reason to do without the others.
std::optional<WorkerInfo> RedisQueue::read_worker(const std::string& name,
                                                  const std::string& text) {
  try {
    return parse_worker(text, "Redis: announcement " + key("worker:" + name));
  } catch (const Error& error) {
    const std::lock_guard lock(told_mutex_);
    if (told_.size() < kMaxTold && told_.insert(sha256_hex(text)).second) {
      log_message(LogLevel::warning, std::string(error.what()) + "; this worker is left out");
    }
    return std::nullopt;
  }
}

// --- coming and going

Job RedisQueue::submit(const JobRequest& request, const std::string& owner,
                       const std::string& idempotency_key, const JobInputs& inputs) {
  check_job_request(request);
  const std::string new_id = new_job_id();
  write_inputs(new_id, inputs);
  const std::string key_hash = hash_of_key(owner, idempotency_key);
  const RedisReply reply =
      run(scripts::kSubmit, new_id,
          {owner, key_hash, shortened_json(request_text(request)), sha256_hex(request.model),
           std::to_string(static_cast<int>(request.priority)), batch_key(request),
           std::to_string(options_.max_queued),
           std::to_string(std::int64_t{request.width_px} * request.height_px),
           std::to_string(std::max<std::size_t>(1, request.seeds.size())),
           inputs.image.empty() ? "" : "1"});
  const std::string id = reply.list.empty() ? "" : reply.list.front().text;
  if (id != new_id && !inputs.image.empty()) remove_inputs(new_id);
  if (id == "full") throw_full(reply);
  const std::optional<Job> job = find(id);
  if (!job) throw Error(ErrorKind::device, "Redis has forgotten a job that it had just accepted");
  return *job;
}

bool RedisQueue::cancel(const std::string& id) {
  if (!is_job_id(id)) return false;
  const RedisReply reply = run(scripts::kCancel, id, {text_of(options_.result_expiry)});
  if (reply.list.size() > 1) remove_inputs(id);
  return !reply.list.empty();
}

bool RedisQueue::remove(const std::string& id) {
  if (!is_job_id(id)) return false;
  try {
    const std::optional<Job> job = find(id);
    if (!job || !is_final(job->state)) return false;
    remove_files(id, job->images);
  } catch (const DamagedJob&) {
    if (folder_) folder_->remove_all_of(id);
  }
  return run(scripts::kRemove, id, {}).integer == 1;
}

bool RedisQueue::remove_image(const std::string& id, int index) {
  constexpr int kRounds = 10;  // somebody else may remove another meanwhile
  for (int round = 0; round < kRounds; ++round) {
    std::optional<Job> job = find(id);
    const auto name = job ? image_file_of(*job, index) : std::nullopt;
    if (!name) return false;
    remove_file(*name);
    const std::string before = outcome_of_fields(run(scripts::kFind, id, {}));
    JobOutcome outcome = parse_outcome(restored_json(before), "Redis: job " + id);
    if (index >= std::ssize(outcome.images)) return false;  // removed altogether
    outcome.images[static_cast<std::size_t>(index)].is_removed = true;
    const std::string after = shortened_json(outcome_text(outcome));
    if (run(scripts::kReplaceOutcome, id, {before, after}).integer == 1) return true;
  }
  throw StoreUnavailable("the picture could not be removed: its job changes all the time");
}

// --- results

JobInputs RedisQueue::inputs(const std::string& id) {
  if (!is_job_id(id)) return {};
  const auto [image, mask] = input_names_of(id);
  return {read_file(image).value_or(""), read_file(mask).value_or("")};
}

void RedisQueue::remove_inputs(const std::string& id) {
  for (const std::string& name : input_names_of(id)) remove_file(name);
}

/// Before the job itself: one whose picture is missing could not be done.
void RedisQueue::write_inputs(const std::string& id, const JobInputs& inputs) {
  for (const JobFile& file : files_of(id, inputs)) write_file(file.name, file.bytes, kInputsKept);
}

void RedisQueue::write_file(const std::string& name, std::string_view bytes,
                            std::chrono::seconds kept) {
  if (folder_) return folder_->write(name, bytes);
  command({"SET", file_key(name), bytes, "EX", text_of(kept), "NX"});
}

std::optional<Bytes> RedisQueue::read_file(const std::string& name) {
  if (folder_) return folder_->read(name);
  RedisReply reply = command({"GET", file_key(name)});
  if (reply.is_nothing()) return std::nullopt;
  return std::move(reply.text);
}

void RedisQueue::remove_file(const std::string& name) {
  if (folder_) return folder_->remove(name);
  command({"DEL", file_key(name)});
}

void RedisQueue::remove_files(const std::string& id, const std::vector<JobImage>& images) {
  for (const std::string& name : file_names_of(id, images)) remove_file(name);
}

void RedisQueue::remove_inputs_of(const RedisReply& ids) {
  for (const std::string& id : ids_of(ids)) remove_inputs(id);
}

RedisReply RedisQueue::finish(const std::string& id, const std::string& worker, JobState state,
                              const std::string& outcome, const JobFailure& failure) {
  RedisReply ended = run(scripts::kFinish, id,
                         {worker, name_of(state), outcome, failure.kind, failure.message,
                          text_of(options_.result_expiry), std::to_string(options_.max_finished)});
  if (ended.list.size() > 1 && ended.list[1].text == id) {
    remove_inputs(id);
    ended.list[1].text.clear();  // the others are removed altogether
  }
  remove_surplus(ended);
  return ended;
}

void RedisQueue::remove_surplus(const RedisReply& ended) {
  for (const std::string& id : ids_of(ended)) remove(id);
}

void RedisQueue::complete(const std::string& id, const std::string& /*worker*/,
                          const JobResult& result) {
  if (!is_job_id(id)) return;
  const JobOutcome outcome = outcome_of(result);
  try {
    for (const JobFile& file : files_of(id, result))
      write_file(file.name, file.bytes, options_.result_expiry);
  } catch (const StoreUnavailable&) {
    throw;  // it will be tried again
  } catch (const Error&) {
    remove_files(id, outcome.images);
    throw;
  }
  // Whoever is first may hand in: even the worker that was thought lost made the same pictures.
  const RedisReply ended =
      finish(id, "", JobState::completed, shortened_json(outcome_text(outcome)), {});
  const std::string state = ended.list.empty() ? "" : ended.list.front().text;
  if (state != name_of(JobState::completed)) remove_files(id, outcome.images);
}

// --- workers

void RedisQueue::announce(const WorkerInfo& worker) {
  run(scripts::kAnnounce, sha256_hex(worker.name),
      {worker_text(worker), text_of(kClaimExpiry), sha256_hex(worker.model),
       text_of(worker.pixels_per_second)});
}

std::vector<Job> RedisQueue::take(const WorkerInfo& worker, const BatchLimit& limit) {
  const RedisReply claimed =
      run(scripts::kClaim, sha256_hex(worker.model),
          {worker.name, std::to_string(limit.most), std::to_string(limit.pixels),
           std::to_string(limit.least_pixels), text_of(worker.pixels_per_second),
           text_of(options_.result_expiry), sha256_hex(worker.name)});
  std::vector<Job> jobs;
  for (const std::string& id : ids_of(claimed)) {
    try {
      if (auto job = find(id)) jobs.push_back(std::move(*job));
    } catch (const DamagedJob&) {
      // It has been told of, and is nobody's work.
    }
  }
  return jobs;
}

/// Takes back jobs of silent workers, once a period whoever asks. Returns when that is due next.
Clock::time_point RedisQueue::reclaim_if_due(const std::string& model_hash) {
  const auto period = std::min<Milliseconds>(options_.claim_expiry / 4, kReclaimPeriod);
  const auto now = Clock::now();
  {
    const std::lock_guard lock(reclaim_mutex_);
    Clock::time_point& next = next_reclaim_[model_hash];
    if (now < next) return next;
    next = now + period;
  }
  remove_inputs_of(run(scripts::kReclaim, model_hash,
                       {std::to_string(options_.claim_expiry.count()), std::to_string(kMaxAttempts),
                        text_of(options_.result_expiry)}));
  return now + period;
}

std::vector<Job> RedisQueue::claim(const WorkerInfo& worker, const BatchLimit& limit,
                                   std::chrono::milliseconds timeout) {
  const auto deadline = Clock::now() + timeout;
  const std::string model_hash = sha256_hex(worker.model);
  RedisNews::Watch watch(work_news_, model_hash);
  while (true) {
    const auto next_reclaim = reclaim_if_due(model_hash);
    fail_orphans_if_due();
    std::vector<Job> jobs = take(worker, limit);
    if (!jobs.empty()) return jobs;
    const bool has_news = watch.wait_until(std::min(deadline, next_reclaim));
    if (!has_news && Clock::now() >= deadline) return jobs;
  }
}

bool RedisQueue::report(const std::string& id, const std::string& worker,
                        const JobProgress& progress, const Bytes& preview) {
  if (!is_job_id(id)) return false;
  return run(scripts::kReport, id,
             {worker, progress_text(progress), preview, std::string(kPreviewKept_ms)})
             .integer == 1;
}

void RedisQueue::fail(const std::string& id, const std::string& worker, const JobFailure& failure) {
  if (is_job_id(id)) finish(id, worker, JobState::failed, "", failure);
}

void RedisQueue::release(const std::string& id, const std::string& worker) {
  if (is_job_id(id))
    remove_inputs_of(run(scripts::kRelease, id, {worker, text_of(options_.result_expiry)}));
}

}  // namespace ernie_image
