// One request with all that its handler may want to know about it.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <string>

#include <httplib.h>

#include "server/connection.h"
#include "server/memory_budget.h"
#include "server/request_head.h"

namespace ernie_image {

struct ApiKey;
struct Route;

struct Exchange {
  Connection& connection;
  RequestHead head;
  std::string id;  ///< X-Request-Id: the client's if it is harmless, else drawn
  std::chrono::steady_clock::time_point start;
  const httplib::Request* request = nullptr;  ///< path, query and body; set once routed
  const Route* route = nullptr;               ///< null: refused before one was found
  std::map<std::string, std::string> path_parameters = {};
  const ApiKey* key = nullptr;                       ///< who asks; null where nobody needs a key
  std::shared_ptr<MemoryBudget::Share> memory = {};  ///< set once admitted

  /// Name of the key, under which jobs are kept; empty without keys.
  std::string owner() const;
};

/// The body is not needed any more.
void drop_body(Exchange& exchange);
/// Nor anything made of it: what it took of the server's memory is given back.
void forget_body(Exchange& exchange);

/// The client's own id if it is short and of harmless characters, else a new one.
std::string request_id(const RequestHead& head);

}  // namespace ernie_image
