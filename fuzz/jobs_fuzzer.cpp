// What databases and Redis say of jobs and workers. The first byte says which; what is accepted
// says the same once it was written and read again.
#include <cstdlib>
#include <string>

#include "ernie_image/error.h"
#include "jobs/job_json.h"
#include "jobs/redis_job.h"
#include "jobs/short_json.h"

namespace {

using namespace ernie_image;

void require_equal(const std::string& a, const std::string& b) {
  if (a != b) std::abort();
}

/// Names and values of a hash, between zero bytes.
RedisReply hash_of(const std::string& text) {
  RedisReply hash;
  hash.type = RedisReply::Type::list;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find('\0', at), text.size());
    hash.list.emplace_back();
    hash.list.back().type = RedisReply::Type::text;
    hash.list.back().text = text.substr(at, end - at);
    at = end + 1;
  }
  return hash;
}

void read(char kind, const std::string& text) {
  switch (kind) {
    case 'r': {
      const std::string written = request_text(parse_request(text, "fuzz"));
      require_equal(request_text(parse_request(written, "fuzz")), written);
      require_equal(restored_json(shortened_json(written)), written);
      break;
    }
    case 'p':
      parse_progress(progress_text(parse_progress(text, "fuzz")), "fuzz");
      break;
    case 'o': {
      const std::string written = outcome_text(parse_outcome(text, "fuzz"));
      require_equal(outcome_text(parse_outcome(written, "fuzz")), written);
      break;
    }
    case 'w': {
      const WorkerInfo worker = parse_worker(text, "fuzz");
      check_worker(worker);
      const std::string written = worker_text(worker);
      require_equal(worker_text(parse_worker(written, "fuzz")), written);
      break;
    }
    case 's':
      restored_json(text);
      break;
    case 'h': {
      const RedisReply hash = hash_of(text);
      if (is_set_aside(hash)) owner_set_aside(hash);
      job_of("0123456789abcdef0123456789abcdef", hash);
      break;
    }
    default:
      break;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  try {
    read(static_cast<char>(data[0]),
         std::string(reinterpret_cast<const char*>(data) + 1, size - 1));
  } catch (const Error&) {
  }
  return 0;
}
