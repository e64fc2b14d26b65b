#include "server/service.h"

#include <algorithm>
#include <charconv>
#include <exception>

#include "jobs/job_id.h"
#include "jobs/job_json.h"
#include "server/api_error.h"
#include "server/job_follower.h"

namespace ernie_image {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kWorkersAge{1};
constexpr std::size_t kMaxIdempotencyKey = 255;

ApiError unavailable(const std::string& message) {
  ApiError error(503, message, "", "unavailable");
  error.retry_after_seconds = 5;
  return error;
}

std::string idempotency_key(const RequestHead& head) {
  std::string key = head.header("idempotency-key");
  const bool is_printable =
      std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (key.size() > kMaxIdempotencyKey || !is_printable) {
    throw ApiError(400, "Idempotency-Key must be at most 255 printable ASCII characters",
                   "Idempotency-Key", "invalid_value");
  }
  return key;
}

/// Seeds that were drawn may differ, and nothing else.
bool asks_for_the_same(const JobRequest& a, JobRequest b) {
  const bool may_differ = !a.has_given_seeds && !b.has_given_seeds;
  if (may_differ && a.seeds.size() == b.seeds.size()) b.seeds = a.seeds;
  if (may_differ && a.variation_seeds.size() == b.variation_seeds.size())
    b.variation_seeds = a.variation_seeds;
  return request_text(a) == request_text(b);
}

void require_same(const Job& job, const JobRequest& request) {
  if (asks_for_the_same(job.request, request)) return;
  throw ApiError(409, "this Idempotency-Key came with another request before", "Idempotency-Key",
                 "idempotency_conflict");
}

}  // namespace

struct Service::Asking {
  bool is_over = false;
  bool is_answered = false;
};

std::vector<WorkerInfo> Service::workers() {
  std::unique_lock lock(workers_mutex_);
  if (!workers_.empty() && Clock::now() - workers_time_ <= kWorkersAge) return workers_;
  if (asking_ == nullptr) return ask_for_workers(lock);
  // A store that is away must keep all of them waiting at once, and not one after another.
  const std::shared_ptr<const Asking> asking = asking_;
  answered_.wait(lock, [&] { return asking->is_over; });
  if (!asking->is_answered) {
    throw Error(ErrorKind::device, "another request asked the store for workers in vain");
  }
  return workers_;
}

std::vector<WorkerInfo> Service::ask_for_workers(std::unique_lock<std::mutex>& lock) {
  const std::shared_ptr<Asking> asking = asking_ = std::make_shared<Asking>();
  lock.unlock();
  std::vector<WorkerInfo> found;
  std::exception_ptr failure;
  try {
    found = queue_.workers();
  } catch (...) {
    failure = std::current_exception();
  }
  lock.lock();
  asking_ = nullptr;
  asking->is_over = true;
  asking->is_answered = failure == nullptr;
  answered_.notify_all();
  if (failure) std::rethrow_exception(failure);
  workers_ = std::move(found);
  workers_time_ = Clock::now();
  return workers_;
}

Job Service::submit(const Exchange& exchange, JobRequest request) {
  if (is_draining_) throw unavailable("the server is about to stop and takes no new jobs");
  const std::string idempotency = idempotency_key(exchange.head);
  const double pixels = pixels_of(request);
  const PictureInput picture = taken_pixels(request);
  if (const auto known = queue_.find_by_key(exchange.owner(), idempotency)) {
    require_same(*known, request);
    return *known;
  }
  if (exchange.key != nullptr) quotas_.take(*exchange.key, pixels, Clock::now());
  const auto give_back = [&] {
    if (exchange.key != nullptr) quotas_.give_back(*exchange.key, pixels);
  };
  try {
    Job job = queue_.submit(request, exchange.owner(), idempotency, inputs_of(picture));
    // Another request with the key may have been faster.
    if (job.request.seeds != request.seeds) give_back();
    if (!idempotency.empty()) require_same(job, request);
    return job;
  } catch (const ApiError&) {
    throw;
  } catch (...) {
    give_back();
    throw;
  }
}

Job Service::own_job(const Exchange& exchange, const std::string& id) {
  try {
    std::optional<Job> job = is_job_id(id) ? queue_.find(id) : std::nullopt;
    if (job && job->owner == exchange.owner()) return *std::move(job);
  } catch (const DamagedJob& damaged) {
    if (damaged.owner() == exchange.owner()) throw;
  }
  throw not_found("job");
}

Job Service::wait_until_final(const Exchange& exchange, Job job) {
  while (!is_final(job.state)) {
    std::optional<Job> next = queue_.wait(job.id, job.version, kWaitSlice);
    if (!next) throw ApiError(409, "the job was deleted while it was waited for");
    job = *std::move(next);
    if (is_final(job.state)) break;
    if (exchange.connection.peer_is_gone()) {
      queue_.cancel(job.id);
      throw ApiError(499, "the client has gone");
    }
    if (is_stopping_) throw unavailable("the server stops; the job " + job.id + " goes on");
  }
  return job;
}

std::string Service::base_url(const Exchange& exchange) const {
  if (!options_.public_url.empty()) return options_.public_url;
  return "http://" + exchange.head.header("host");
}

JsonReader fields_of(const Exchange& exchange) {
  try {
    return JsonReader::parse(exchange.request->body, "the request's body");
  } catch (const Error& error) {
    throw ApiError(400, error.what());
  }
}

void take_memory_for_images(const Exchange& exchange, const Job& job) {
  // In base64, which is a third more: as JSON, as its text while that grows, and as the response.
  constexpr std::size_t kCopies = 5;
  std::size_t bytes = 0;
  for (const JobImage& image : job.images) bytes += image.size_bytes;
  exchange.memory->take_patiently(kCopies * bytes);
}

Bytes image_bytes(Service& service, const Job& job, int index) {
  std::optional<Bytes> bytes = service.queue().image(job.id, index);
  if (!bytes) throw ApiError(500, "the picture is gone", "", "server_error");
  return *std::move(bytes);
}

int image_index(const Job& job, const std::string& text) {
  std::size_t index = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, index);
  const bool is_number = error == std::errc() && rest == end;
  if (!is_number || index >= job.images.size() || job.images[index].is_removed)
    throw not_found("image");
  return static_cast<int>(index);
}

void send_image(Service& service, const Exchange& exchange, const std::string& id,
                const std::string& index_text, httplib::Response& response) {
  const std::optional<Job> job = is_job_id(id) ? service.queue().find(id) : std::nullopt;
  if (!job) throw not_found("image");
  const int index = image_index(*job, index_text);
  const JobImage& image = job->images[static_cast<std::size_t>(index)];
  exchange.memory->take_patiently(2 * image.size_bytes);
  std::optional<Bytes> bytes = service.queue().image(id, index);
  if (!bytes) throw not_found("image");
  response.status = 200;
  response.set_header("Cache-Control", "private, max-age=31536000, immutable");
  response.body = *std::move(bytes);
  response.set_header("Content-Type", image.content_type);
}

void send_json(httplib::Response& response, const nlohmann::json& body, int status) {
  response.status = status;
  response.body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  response.set_header("Content-Type", "application/json");
}

}  // namespace ernie_image
