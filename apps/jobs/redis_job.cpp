#include "jobs/redis_job.h"

#include <charconv>
#include <limits>
#include <map>
#include <string_view>

#include "jobs/job_json.h"
#include "jobs/short_json.h"

namespace ernie_image {
namespace {

class Hash {
 public:
  Hash(const std::string& id, const RedisReply& fields) : where_("Redis: job " + id) {
    for (std::size_t i = 0; i + 1 < fields.list.size(); i += 2) {
      values_[fields.list[i].text] = fields.list[i + 1].text;
    }
  }

  const std::string& where() const { return where_; }

  std::string_view text(std::string_view name) const {
    const auto found = values_.find(name);
    return found == values_.end() ? std::string_view() : found->second;
  }

  /// 0 for a field that is not there.
  std::int64_t integer(std::string_view name, std::int64_t min, std::int64_t max) const {
    const std::string_view digits = text(name);
    std::int64_t value = 0;
    if (digits.empty()) return value;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    const bool is_whole = parsed.ec == std::errc() && parsed.ptr == digits.data() + digits.size();
    if (!is_whole || value < min || value > max) {
      throw Error(ErrorKind::corrupt_file, where_ + ": " + std::string(name) + " is out of range");
    }
    return value;
  }

  JobState state() const {
    if (const auto state = from_name<JobState>(text("state"))) return *state;
    throw Error(ErrorKind::corrupt_file, where_ + ": an unknown state");
  }

 private:
  std::string where_;
  std::map<std::string, std::string, std::less<>> values_;
};

}  // namespace

bool is_set_aside(const RedisReply& fields) { return !Hash("", fields).text("set_aside").empty(); }

std::string owner_set_aside(const RedisReply& fields) {
  return std::string(Hash("", fields).text("owner"));
}

std::string outcome_of_fields(const RedisReply& fields) {
  return std::string(Hash("", fields).text("outcome"));
}

Job job_of(const std::string& id, const RedisReply& fields) {
  constexpr std::int64_t kAny = std::numeric_limits<std::int64_t>::max();
  constexpr int kCount = std::numeric_limits<int>::max();
  const Hash hash(id, fields);
  Job job;
  job.id = id;
  job.owner = hash.text("owner");
  job.request = parse_request(restored_json(hash.text("request")), hash.where());
  job.state = hash.state();
  job.version = hash.integer("version", 0, kAny);
  job.created_ms = hash.integer("created_ms", 0, kAny);
  job.started_ms = hash.integer("started_ms", 0, kAny);
  job.finished_ms = hash.integer("finished_ms", 0, kAny);
  job.attempts = static_cast<int>(hash.integer("attempts", 0, kCount));
  job.cancel_requested = hash.integer("cancel", 0, 1) == 1;
  if (job.state == JobState::queued) {
    job.progress.stage = "waiting";
    job.queue_position = static_cast<int>(hash.integer("position", -1, kCount));
  } else if (!hash.text("progress").empty()) {
    job.progress = parse_progress(hash.text("progress"), hash.where());
  }
  if (job.state == JobState::completed) {
    JobOutcome outcome = parse_outcome(restored_json(hash.text("outcome")), hash.where());
    job.enhanced_prompt = std::move(outcome.enhanced_prompt);
    job.prompt_tokens = outcome.prompt_tokens;
    job.images = std::move(outcome.images);
    job.progress.fraction = 1;
    job.progress.seconds_left = 0;
  }
  if (job.state == JobState::failed) {
    job.failure = JobFailure{std::string(hash.text("failure_kind")),
                             std::string(hash.text("failure_message"))};
  }
  return job;
}

}  // namespace ernie_image
