#include "commands/queue_flags.h"

#include <cstdlib>
#include <fstream>

#include "common/exit_code.h"
#include "jobs/redis_connection.h"

namespace ernie_image {
namespace {

constexpr const char* kVariable = "ERNIE_IMAGE_QUEUE_PASSWORD";

}  // namespace

void add_queue_password_flag(CLI::App& app, std::string& file) {
  app.add_option("--queue-password-file", file,
                 "file whose first line is the password of --queue; the variable "
                 "ERNIE_IMAGE_QUEUE_PASSWORD does as well")
      ->type_name("FILE");
}

void complete_queue_options(QueueOptions& options, const std::string& file) {
  if (options.url.empty()) {
    if (!file.empty()) usage_error("--queue-password-file needs --queue");
    return;
  }
  const bool has_password = !parse_redis_url(options.url).password.empty();
  if (file.empty()) {
    const char* const value = std::getenv(kVariable);
    if (value != nullptr && !has_password) options.password = value;
    return;
  }
  if (has_password) usage_error("--queue has a password, and --queue-password-file names another");
  std::ifstream stream(file);
  if (!stream)
    throw Error(ErrorKind::not_found, file + ": the file with the password is not there");
  std::getline(stream, options.password);
  if (options.password.ends_with('\r')) options.password.pop_back();
  if (options.password.empty())
    usage_error(file + ": its first line is empty, expected a password");
}

}  // namespace ernie_image
