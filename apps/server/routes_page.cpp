// The web page: files built into the program, which nothing of a request can name but by their
// list.
#include "io/sha256.h"
#include "server/embedded_page.h"
#include "server/routes.h"

namespace ernie_image {
namespace {

constexpr std::string_view kFolder = "web/";
constexpr const char* kContentSecurityPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const char* content_type_of(std::string_view name) {
  if (name.ends_with(".html")) return "text/html; charset=utf-8";
  if (name.ends_with(".js")) return "text/javascript; charset=utf-8";
  if (name.ends_with(".css")) return "text/css; charset=utf-8";
  if (name.ends_with(".svg")) return "image/svg+xml";
  if (name.ends_with(".png")) return "image/png";
  if (name.ends_with(".webmanifest") || name.ends_with(".json")) return "application/json";
  return "application/octet-stream";
}

void send_file(const std::string& bytes, const char* type, const std::string& etag,
               const Exchange& exchange, httplib::Response& response) {
  response.set_header("ETag", etag);
  response.set_header("Cache-Control", "no-cache");  // asks each time, by the ETag
  response.set_header("Content-Security-Policy", kContentSecurityPolicy);
  response.set_header("Referrer-Policy", "no-referrer");
  if (exchange.head.header("if-none-match").find(etag) != std::string::npos) {
    response.status = 304;
    return;
  }
  response.status = 200;
  response.set_content(bytes, type);
}

}  // namespace

void add_page_routes(Router& router) {
  for (const EmbeddedFile& file : page_files()) {
    const std::string bytes(reinterpret_cast<const char*>(file.bytes.data()), file.bytes.size());
    const std::string_view name = file.name.substr(kFolder.size());
    const std::string etag = "\"" + sha256_hex(bytes).substr(0, 16) + "\"";
    const auto handler = [bytes, type = content_type_of(name), etag](Exchange& exchange,
                                                                     httplib::Response& response) {
      send_file(bytes, type, etag, exchange, response);
    };
    router.add({"GET", "/" + std::string(name), handler, Access::open});
    if (name == "index.html") router.add({"GET", "/", handler, Access::open});
  }
}

}  // namespace ernie_image
