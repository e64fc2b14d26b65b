#include "jobs/job_runner.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <new>
#include <set>
#include <span>
#include <thread>

#include "common/enhancer.h"
#include "common/flags.h"
#include "common/image_record.h"
#include "common/lora.h"
#include "core/log.h"
#include "io/picture_reader.h"
#include "jobs/chunk_listener.h"
#include "jobs/job_json.h"
#include "request/request.h"

namespace ernie_image {
namespace {

ImageFormat format_of(const JobRequest& request) {
  return image_format_of("picture." + request.image_format);
}

constexpr std::chrono::minutes kStorePatience{10};
constexpr std::chrono::milliseconds kStorePause{500};

}  // namespace

/// However a run ends, nobody keeps its claims alive any longer.
class JobRunner::ReportsEnd {
 public:
  ReportsEnd(JobReporter& reporter, const std::deque<JobWork>& works)
      : reporter_(reporter), works_(works) {}
  ~ReportsEnd() {
    for (const JobWork& work : works_) reporter_.end(work.job.id);
  }
  ReportsEnd(const ReportsEnd&) = delete;
  ReportsEnd& operator=(const ReportsEnd&) = delete;

 private:
  JobReporter& reporter_;
  const std::deque<JobWork>& works_;
};

JobRunner::JobRunner(Pipeline& pipeline, JobQueue& queue, JobReporter& reporter,
                     const RunnerOptions& options, std::string worker)
    : pipeline_(pipeline),
      queue_(queue),
      reporter_(reporter),
      options_(options),
      worker_(std::move(worker)),
      preview_(pipeline.info().latent_channels, pipeline.info().size_multiple_px) {
  learn_from_random_latents(preview_, pipeline_);
}

void JobRunner::give_back() {
  const std::lock_guard lock(mutex_);
  giving_back_ = true;
  if (token_ != nullptr) token_->request();
}

void JobRunner::run(const std::vector<Job>& jobs) {
  const auto token = std::make_shared<CancelToken>();
  {
    const std::lock_guard lock(mutex_);
    token_ = token;
    if (giving_back_) token->request();
  }
  std::deque<JobWork> works(jobs.begin(), jobs.end());  // whose addresses stay
  for (const JobWork& work : works) reporter_.begin(work.job.id, token);
  const ReportsEnd reports_end(reporter_, works);
  for (JobWork& work : works) guarded({&work}, [&] { enhance(work); });

  const JobRequest& first = jobs.front().request;
  const int limit = batch_limit(options_).images(first.width_px, first.height_px);
  int images = 0;
  for (const JobWork& work : works)
    images += work.is_done ? 0 : int(std::ssize(work.job.request.seeds));
  TimeEstimate estimate(rates_, images, std::min(limit, images), first.num_inference_steps,
                        double(first.width_px) * first.height_px);
  int done = 0;
  for (JobChunk chunk; next_chunk(works, limit, chunk); done += int(std::ssize(chunk))) {
    estimate.begin_chunk(done, static_cast<int>(chunk.size()));
    run_chunk_guarded(chunk, estimate);
  }
  rates_ = estimate.rates();
  reporter_.set_pace(rates_.step_seconds_per_pixel, first.width_px * first.height_px);
}

void JobRunner::enhance(JobWork& work) {
  const JobRequest& request = work.job.request;
  const bool is_wanted = request.enhance && !is_blank(prompt_of(request));
  if (request.kind != JobKind::enhance && !is_wanted) return;
  EnhanceFlags flags = options_.enhance;
  if (request.kind == JobKind::enhance && !request.seeds.empty()) {
    flags.options.seed = request.seeds.front();
  }
  const Enhancer enhancer(pipeline_, options_.load, flags, token_);
  JobProgress progress;
  progress.stage = "enhancer";
  const auto on_text = [&](const std::string&) {
    ++progress.step;
    reporter_.update(work.job.id, progress);
  };
  reporter_.update(work.job.id, progress);
  const Enhancement written =
      enhancer.enhance(prompt_of(request), request.width_px, request.height_px, on_text);
  work.prompt = work.result.enhanced_prompt = written.enhanced.text;
  work.result.prompt_tokens = written.enhanced.prompt_tokens;
  work.trace.add("enhancer");
  if (request.kind == JobKind::enhance) complete(work);
}

/// The next pictures in the order of the jobs; false if there are none.
bool JobRunner::next_chunk(std::deque<JobWork>& works, int limit, JobChunk& chunk) {
  chunk.clear();
  for (JobWork& work : works) {
    if (!work.is_done && reporter_.is_stopped(work.job.id)) {
      reporter_.end(work.job.id);
      work.is_done = true;
    }
    while (!work.is_done && work.begun < work.job.request.seeds.size() &&
           std::ssize(chunk) < limit) {
      chunk.push_back({&work, work.begun++});
    }
  }
  return !chunk.empty();
}

/// A batch that cannot be run is tried picture by picture, so that a job does not fail for another.
void JobRunner::run_chunk_guarded(const JobChunk& chunk, TimeEstimate& estimate) {
  const bool is_shared = chunk.front().work != chunk.back().work;
  if (is_shared) {
    try {
      return run_chunk(chunk, estimate);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::cancelled) {
        std::set<JobWork*> works;
        for (const JobImageWork& picture : chunk) works.insert(picture.work);
        return guarded({works.begin(), works.end()},
                       [] { throw Error(ErrorKind::cancelled, "cancelled"); });
      }
    } catch (const std::exception&) {
      // Out of memory, say: one at a time takes less.
    }
    for (const JobImageWork& picture : chunk) {
      if (picture.work->is_done) continue;
      guarded({picture.work}, [&] { run_chunk({picture}, estimate); });
    }
    return;
  }
  guarded({chunk.front().work}, [&] { run_chunk(chunk, estimate); });
}

void JobRunner::run_chunk(const JobChunk& chunk, TimeEstimate& estimate) {
  token_->throw_if_requested();
  ChunkListener listener(reporter_, preview_, chunk, estimate);
  Request request = chunk_request(chunk, listener.trace());
  request.on_progress = std::ref(listener);
  const Result result = pipeline_.generate(request);
  token_->throw_if_requested();
  for (std::size_t i = 0; i < chunk.size(); ++i) {
    JobWork& work = *chunk[i].work;
    work.result.prompt_tokens = result.prompt_tokens[i];
    work.result.images[chunk[i].index] =
        finished_image(chunk[i], result.images[i], result.adapters);
    if (work.job.request.chrome_trace) work.trace.add("encode");
  }
  for (const JobImageWork& picture : chunk) {
    JobWork& work = *picture.work;
    if (!work.is_done && work.has_all()) complete(work);
  }
  // The result is that of the last of several runs, or more than what the latents are of.
  const bool is_single_run = !wants_hires(request) && request.boxes.empty();
  if (is_single_run && !request.picture.area_padding_px)
    preview_.learn(image_latents(listener.trace().latents(), 0), result.images.front());
}

Request JobRunner::chunk_request(const JobChunk& chunk, LatentsTrace& trace) const {
  const JobRequest& first = chunk.front().work->job.request;
  Request request = first;
  request.num_images_per_prompt = 1;
  request.prompts.clear();
  request.negative_prompts.clear();
  request.seeds.clear();
  request.variation_seeds.clear();
  for (const JobImageWork& picture : chunk) {
    request.prompts.push_back(picture.work->prompt);
    request.negative_prompts.push_back(negative_prompt_of(picture.work->job.request));
    request.seeds.push_back(picture.seed());
    std::ranges::copy(picture.variation_seed(), std::back_inserter(request.variation_seeds));
  }
  request.adapters = found_adapters(first);                  // those of all jobs of the batch
  request.picture = given_picture(chunk.front().work->job);  // likewise
  request.cancel = token_;
  request.trace = &trace;
  return request;
}

PictureInput JobRunner::given_picture(const Job& job) const {
  PictureInput picture = job.request.picture;
  const PictureUse& use = job.request.picture_use;
  if (use.sha256.empty()) return picture;
  const JobInputs inputs = queue_.inputs(job.id);
  const auto bytes_of = [](const Bytes& bytes) { return std::as_bytes(std::span(bytes)); };
  if (inputs.image.empty() || (!use.mask_sha256.empty() && inputs.mask.empty()))
    throw Error(ErrorKind::not_found, "the picture that the job begins with is gone");
  picture.image = read_picture(bytes_of(inputs.image), "the job's picture");
  if (!use.mask_sha256.empty())
    picture.mask = read_mask(bytes_of(inputs.mask), "the job's mask").values;
  picture.area_padding_px = use.handling.area_padding_px;
  return picture;
}

std::vector<Adapter> JobRunner::found_adapters(const JobRequest& request) const {
  if (request.adapters.empty()) return {};
  if (options_.lora_directory.empty()) {
    throw Error(ErrorKind::not_found, "this worker has no LoRAs; start it with --lora-dir");
  }
  std::vector<Adapter> adapters = request.adapters;
  for (Adapter& adapter : adapters) adapter.path = find_lora(options_.lora_directory, adapter.path);
  return adapters;
}

/// The file with its record, which is that of a run of this picture alone: it is the same picture,
/// and a batch holds prompts that are none of this job's.
FinishedImage JobRunner::finished_image(const JobImageWork& picture, const Image& image,
                                        const std::vector<AdapterUse>& adapters) const {
  const JobRequest& asked = picture.work->job.request;
  Request request = asked;
  request.num_images_per_prompt = 1;
  request.prompts = {picture.work->prompt};
  request.seeds = {picture.seed()};
  request.variation_seeds = picture.variation_seed();
  ImageRecord record = make_image_record(pipeline_.info(), options_.load, request);
  record.adapters = adapters;
  record.picture = asked.picture_use;
  if (request.prompts != asked.prompts) record.original_prompts = asked.prompts;
  const std::vector<std::uint8_t> bytes =
      encode_image(image, {format_of(asked), asked.image_quality}, image_metadata(record));

  FinishedImage finished;
  finished.image = {picture.seed(), image.width_px, image.height_px, "image/" + asked.image_format,
                    bytes.size()};
  finished.bytes.assign(bytes.begin(), bytes.end());
  return finished;
}

void JobRunner::complete(JobWork& work) {
  if (work.job.request.chrome_trace) work.result.trace = work.trace.json();
  try {
    store(work);
  } catch (const StoreUnavailable&) {
    throw;
  } catch (const StoreRefused&) {
    throw;
  } catch (const std::bad_alloc&) {
    return fail(work, name_of(ErrorKind::out_of_memory), "out of memory");
  } catch (const std::exception& error) {
    // It would be the same with the next worker: the job fails, once.
    return fail(work, name_of(ErrorKind::io),
                std::string("the result cannot be stored: ") + error.what());
  }
  work.is_done = true;
  reporter_.end(work.job.id);
}

/// The claim is kept alive meanwhile: nobody else shall do again what only has to be handed in.
void JobRunner::store(JobWork& work) {
  std::vector<std::string> saved;
  if (options_.pictures != nullptr) saved = options_.pictures->save(work.job.request, work.result);
  try {
    persistently([&] { queue_.complete(work.job.id, worker_, work.result); });
  } catch (...) {
    for (const std::string& path : saved) {
      std::error_code error;
      std::filesystem::remove(path, error);  // whoever does it again saves it again
    }
    throw;
  }
}

/// Tries again as long as the store is away, but not for ever, nor when this worker is to end.
void JobRunner::persistently(const std::function<void()>& action) {
  const auto deadline = std::chrono::steady_clock::now() + kStorePatience;
  bool is_told = false;
  while (true) {
    try {
      return action();
    } catch (const StoreUnavailable& error) {
      {
        const std::lock_guard lock(mutex_);
        if (giving_back_) throw;
      }
      if (std::chrono::steady_clock::now() > deadline) throw;
      if (!is_told) {
        log_message(LogLevel::warning,
                    std::string("a result waits for its store: ") + error.what());
      }
      is_told = true;
    }
    std::this_thread::sleep_for(kStorePause);
  }
}

void JobRunner::fail(JobWork& work, const std::string& kind, const std::string& message) {
  const bool is_stopped = reporter_.is_stopped(work.job.id);
  work.is_done = true;
  bool is_given_back = false;
  {
    const std::lock_guard lock(mutex_);
    is_given_back = giving_back_ && kind == name_of(ErrorKind::cancelled);
  }
  if (!is_stopped) {  // else the queue knows
    const bool is_asked_for = kind == name_of(ErrorKind::cancelled) ||
                              kind == name_of(ErrorKind::invalid_argument) ||
                              kind == name_of(ErrorKind::unsupported);
    if (!is_asked_for) {
      log_message(LogLevel::error, "job " + work.job.id + " failed (" + kind + "): " + message);
    }
    persistently([&] {
      if (is_given_back) {
        queue_.release(work.job.id, worker_);
      } else {
        queue_.fail(work.job.id, worker_, {kind, without_folders(message)});
      }
    });
  }
  reporter_.end(work.job.id);
}

/// Whatever goes wrong with the work ends these jobs, and nothing else.
void JobRunner::guarded(const std::vector<JobWork*>& works, const std::function<void()>& action) {
  const auto fail_all = [&](const std::string& kind, const std::string& message) {
    for (JobWork* work : works) {
      if (!work->is_done) fail(*work, kind, message);
    }
  };
  try {
    action();
  } catch (const StoreUnavailable&) {
    throw;
  } catch (const StoreRefused&) {
    throw;
  } catch (const Error& error) {
    fail_all(name_of(error.kind()), error.what());
  } catch (const std::bad_alloc&) {
    fail_all(name_of(ErrorKind::out_of_memory), "out of memory");
  } catch (const std::exception& error) {
    fail_all(name_of(ErrorKind::device), error.what());
  }
}

}  // namespace ernie_image
