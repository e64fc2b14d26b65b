#include "server/exchange.h"

#include <algorithm>
#include <cctype>

#include "server/api_keys.h"
#include "server/random_hex.h"

namespace ernie_image {
namespace {

constexpr std::size_t kMaxIdChars = 64;

bool is_harmless(const std::string& id) {
  return !id.empty() && id.size() <= kMaxIdChars &&
         std::all_of(id.begin(), id.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
         });
}

}  // namespace

std::string Exchange::owner() const { return key == nullptr ? std::string() : key->name; }

std::string request_id(const RequestHead& head) {
  const std::string given = head.header("x-request-id");
  return is_harmless(given) ? given : random_hex(8);
}

void drop_body(Exchange& exchange) {
  std::string().swap(
      const_cast<std::string&>(exchange.request->body));  // of which nobody else knows
}

void forget_body(Exchange& exchange) {
  drop_body(exchange);
  exchange.memory->set(0);
}

}  // namespace ernie_image
