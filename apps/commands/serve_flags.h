// Flags of `ernie-image serve`.
#pragma once

#include <string>

#include "common/enhance_flags.h"
#include "jobs/queue_options.h"
#include "server/http_server.h"
#include "server/service.h"

namespace ernie_image {

struct ServeFlags {
  LoadOptions load;
  EnhanceFlags enhance;
  QueueOptions queue;
  std::string queue_password_file;
  HttpLimits http;
  ServiceOptions service;
  std::string host = "127.0.0.1";
  int port = 7860;
  std::string api_key_file;
  bool insecure = false;  ///< other than loopback without keys
  std::string role = "all";
  std::string save_directory;  ///< of dated pictures; empty: none
  bool saves_nothing = false;
  bool saves_by_default = false;  ///< nobody has asked for the folder
  int drain_seconds = 30;
  int max_batch = 0;  ///< pictures in one run of the pipeline; 0: what is fast for their size
  std::string log_level = "info";
};

void add_serve_flags(CLI::App& app, ServeFlags& flags);

/// Whether only this machine can reach that address.
bool is_loopback(const std::string& host);

/// Throws Error(invalid_argument) for flags that contradict each other or would open the server to
/// everybody, and adds this machine's own names to the allowed hosts of a server at loopback.
void check_serve_flags(ServeFlags& flags);

}  // namespace ernie_image
