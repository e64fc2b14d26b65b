#include "common/http_post.h"

#include <curl/curl.h>

#include <cstdlib>

#include "ernie_image/pipeline.h"

namespace ernie_image {
namespace {

constexpr long kConnectTimeoutSeconds = 10;
constexpr std::size_t kMaxResponseBytes = std::size_t{8} << 20;

using Handle = std::unique_ptr<CURL, decltype(&curl_easy_cleanup)>;
using HeaderList = std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)>;

Handle make_handle() {
  static const CURLcode initialised = curl_global_init(CURL_GLOBAL_DEFAULT);
  Handle handle(initialised == CURLE_OK ? curl_easy_init() : nullptr, curl_easy_cleanup);
  if (handle == nullptr) throw Error(ErrorKind::unsupported, "libcurl cannot be initialised");
  return handle;
}

HeaderList make_headers(const std::vector<std::string>& lines) {
  HeaderList list(nullptr, curl_slist_free_all);
  for (const std::string& line : lines) {
    curl_slist* longer = curl_slist_append(list.get(), line.c_str());
    if (longer == nullptr) throw std::bad_alloc();
    static_cast<void>(list.release());
    list.reset(longer);
  }
  return list;
}

/// libcurl's write callback; a result other than the size breaks the exchange off.
std::size_t append_to_body(const char* data, std::size_t, std::size_t size, void* target) {
  auto& body = *static_cast<std::string*>(target);
  if (size > kMaxResponseBytes - body.size()) return 0;
  body.append(data, size);
  return size;
}

int stop_if_cancelled(void* token, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  return token != nullptr && static_cast<const CancelToken*>(token)->requested() ? 1 : 0;
}

void set_options(CURL* handle, const HttpRequest& request, const HeaderList& headers,
                 std::string& body, char* reason) {
  curl_easy_setopt(handle, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(handle, CURLOPT_USERAGENT, (std::string("ernie-image/") + version()).c_str());
  curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE,
                   static_cast<curl_off_t>(request.body.size()));
  curl_easy_setopt(handle, CURLOPT_POSTFIELDS, request.body.data());
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT, kConnectTimeoutSeconds);
  curl_easy_setopt(handle, CURLOPT_TIMEOUT, static_cast<long>(request.timeout_seconds));
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_ACCEPT_ENCODING, "");  // whatever it can decode
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, append_to_body);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &body);
  curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, stop_if_cancelled);
  curl_easy_setopt(handle, CURLOPT_XFERINFODATA, request.cancel.get());
  curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, reason);
}

/// A proxy that is used for this machine's own servers too surprises people.
std::string proxy_hint() {
  for (const char* name : {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"}) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0')
      return std::string(" The proxy of the environment variable ") + name +
             " is used, unless no_proxy names the server";
  }
  return "";
}

[[noreturn]] void fail(const HttpRequest& request, CURLcode code, const std::string& reason) {
  if (code == CURLE_ABORTED_BY_CALLBACK) request.cancel->throw_if_requested();
  std::string problem = reason.empty() ? curl_easy_strerror(code) : reason;
  if (code == CURLE_COULDNT_CONNECT) problem += "; is the server running?" + proxy_hint();
  if (code == CURLE_OPERATION_TIMEDOUT) {
    problem = "no whole answer within " + std::to_string(request.timeout_seconds) +
              " seconds (connecting: " + std::to_string(kConnectTimeoutSeconds) + "): " + problem;
  }
  if (code == CURLE_WRITE_ERROR) {
    problem = "the answer is larger than " + std::to_string(kMaxResponseBytes >> 20) + " MiB";
  }
  throw Error(ErrorKind::io, request.shown_url + ": " + problem);
}

}  // namespace

HttpResponse http_post(const HttpRequest& request) {
  const Handle handle = make_handle();
  const HeaderList headers = make_headers(request.headers);
  HttpResponse response;
  char reason[CURL_ERROR_SIZE] = "";
  set_options(handle.get(), request, headers, response.body, reason);
  const CURLcode code = curl_easy_perform(handle.get());
  if (code != CURLE_OK) fail(request, code, reason);
  curl_easy_getinfo(handle.get(), CURLINFO_RESPONSE_CODE, &response.status);
  return response;
}

}  // namespace ernie_image
