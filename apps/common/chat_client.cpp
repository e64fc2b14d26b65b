#include "common/chat_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <span>

#include <nlohmann/json.hpp>

#include "common/http_post.h"
#include "enhance/prompt_enhancer.h"
#include "io/json.h"
#include "tokenizer/utf8.h"

namespace ernie_image {
namespace {

using nlohmann::json;

[[noreturn]] void refuse_url(const std::string& problem) {
  throw Error(ErrorKind::invalid_argument,
              "--pe-url: " + problem + "; expected an address such as http://localhost:8000/v1");
}

class Url {
 public:
  explicit Url(const std::string& text) : url_(curl_url(), curl_url_cleanup) {
    const CURLUcode code = curl_url_set(url_.get(), CURLUPART_URL, text.c_str(), 0);
    if (code != CURLUE_OK) refuse_url(curl_url_strerror(code));
  }

  /// Empty if there is none.
  std::string part(CURLUPart which) const {
    char* text = nullptr;
    if (curl_url_get(url_.get(), which, &text, 0) != CURLUE_OK) return "";
    const std::unique_ptr<char, decltype(&curl_free)> owner(text, curl_free);
    return text;
  }

  void set(CURLUPart which, const char* text) {
    if (curl_url_set(url_.get(), which, text, 0) != CURLUE_OK) refuse_url("not a valid address");
  }

 private:
  std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> url_;
};

/// "v1", and "v3" of some providers
bool is_version(const std::string& segment) {
  return segment.size() > 1 && segment[0] == 'v' &&
         std::all_of(segment.begin() + 1, segment.end(),
                     [](unsigned char c) { return std::isdigit(c) != 0; });
}

std::string completions_path(std::string path) {
  constexpr const char* kCompletions = "/chat/completions";
  while (path.ends_with('/')) path.pop_back();
  if (path.ends_with(kCompletions)) return path;
  if (!is_version(path.substr(path.rfind('/') + 1))) path += "/v1";
  return path + kCompletions;
}

json request_body(const ChatEndpoint& endpoint, const std::string& system_text,
                  const std::string& user_text, const EnhanceOptions& options) {
  json body = {{"messages",
                {{{"role", "system"}, {"content", system_text}},
                 {{"role", "user"}, {"content", user_text}}}},
               {"temperature", options.temperature},
               {"top_p", options.top_p},
               {"max_tokens", options.max_tokens},
               {"seed", options.seed},
               {"stream", false}};
  if (!endpoint.model.empty()) body["model"] = endpoint.model;
  if (options.top_k > 0) body["top_k"] = options.top_k;  // OpenAI's own servers refuse it
  return body;
}

/// What a server says about an error, in the forms that are around.
std::string server_message(const std::string& body) {
  const json answer = json::parse(body, nullptr, false);
  if (!answer.is_object()) return printable(body);
  for (const char* key : {"error", "message", "detail"}) {
    const auto found = answer.find(key);
    if (found == answer.end()) continue;
    if (found->is_string()) return printable(found->get<std::string>());
    if (found->is_object() && found->contains("message")) {
      return printable_json(found->at("message"));
    }
    return printable_json(*found);
  }
  return printable(body);
}

/// Servers like to repeat the key that they refuse.
std::string without_key(std::string text, const std::string& key) {
  for (std::size_t at = 0; !key.empty() && (at = text.find(key, at)) != std::string::npos;) {
    text.replace(at, key.size(), "***");
    at += 3;
  }
  return text;
}

/// A model that thinks aloud says so between these: no part of what it was asked for. What begins
/// before the text may have lost its first mark to a template; what never ends is nothing but that.
std::string without_thinking(std::string text) {
  constexpr std::string_view kBegin = "<think>", kEnd = "</think>";
  for (;;) {
    const std::size_t begin = text.find(kBegin), end = text.find(kEnd);
    if (end == std::string::npos) return text.substr(0, begin);
    text.erase(begin < end ? begin : 0, end + kEnd.size() - (begin < end ? begin : 0));
  }
}

/// Reads the answer's JSON, with errors that say what is missing.
class Answer {
 public:
  Answer(const ChatEndpoint& endpoint, const std::string& body) : endpoint_(endpoint) {
    if (find_invalid_utf8(body)) fail("the answer is not UTF-8");
    try {
      answer_ = parse_json({endpoint.shown_url, std::as_bytes(std::span(body)), nullptr});
    } catch (const Error&) {
      fail("the answer is not JSON: " + without_key(printable(body), endpoint.api_key));
    }
  }

  EnhancedPrompt enhanced_prompt() const {
    EnhancedPrompt enhanced;
    const json& choice = first_choice();
    enhanced.text = strip(without_thinking(content_of(choice)));
    if (enhanced.text.empty() && has_reasoning(choice)) {
      fail(
          "the model wrote its reasoning and no text; raise --pe-max-tokens, or switch its "
          "thinking "
          "off");
    }
    enhanced.finished = choice.value("finish_reason", json()) != "length";
    const json usage = answer_.value("usage", json());
    if (usage.is_object() && usage.value("prompt_tokens", json()).is_number_integer()) {
      enhanced.prompt_tokens = usage["prompt_tokens"].get<int>();
    }
    return enhanced;
  }

 private:
  const json& first_choice() const {
    if (!answer_.is_object()) fail("the answer is no JSON object");
    const auto choices = answer_.find("choices");
    const bool has_choice = choices != answer_.end() && choices->is_array() && !choices->empty() &&
                            choices->front().is_object();
    if (!has_choice && answer_.contains("error") && !answer_["error"].is_null()) {
      fail("the server refuses: " + without_key(server_message(answer_.dump()), endpoint_.api_key));
    }
    if (!has_choice) fail("the answer has no choices");
    return choices->front();
  }

  std::string content_of(const json& choice) const {
    const json message = choice.value("message", json());
    if (!message.is_object() || !message.contains("content")) fail("the answer has no message");
    const json& content = message["content"];
    if (content.is_null()) return "";
    if (content.is_array()) return joined_parts(content);
    if (!content.is_string()) fail("the message's content is no text");
    return content.get<std::string>();
  }

  /// [{"type": "text", "text": "..."}, ...]
  std::string joined_parts(const json& parts) const {
    std::string text;
    for (const json& part : parts) {
      if (part.is_string()) {
        text += part.get<std::string>();
      } else if (part.is_object() && part.value("text", json()).is_string()) {
        const json type = part.value("type", json("text"));
        if (type == "text" || type == "output_text") text += part["text"].get<std::string>();
      } else if (!part.is_object()) {
        fail("a part of the message's content is no text");
      }
    }
    return text;
  }

  /// In a member of its own, or in the text.
  bool has_reasoning(const json& choice) const {
    const json& message = choice["message"];
    for (const char* key : {"reasoning_content", "reasoning"}) {
      const json reasoning = message.value(key, json());
      if (reasoning.is_string() && !reasoning.get<std::string>().empty()) return true;
    }
    return content_of(choice).find("think>") != std::string::npos;
  }

  [[noreturn]] void fail(const std::string& problem) const {
    throw Error(ErrorKind::io, endpoint_.shown_url + ": " + problem);
  }

  const ChatEndpoint& endpoint_;
  json answer_;
};

}  // namespace

ChatEndpoint make_chat_endpoint(const std::string& text) {
  Url url(text);
  const std::string scheme = url.part(CURLUPART_SCHEME);
  if (scheme != "http" && scheme != "https") refuse_url("not an HTTP address");
  if (!url.part(CURLUPART_USER).empty() || !url.part(CURLUPART_PASSWORD).empty()) {
    refuse_url("an address must not hold a user or a password; ERNIE_IMAGE_PE_API_KEY holds a key");
  }
  url.set(CURLUPART_PATH, completions_path(url.part(CURLUPART_PATH)).c_str());
  url.set(CURLUPART_FRAGMENT, nullptr);
  ChatEndpoint endpoint;
  endpoint.url = url.part(CURLUPART_URL);
  url.set(CURLUPART_QUERY, nullptr);
  endpoint.shown_url = url.part(CURLUPART_URL);
  return endpoint;
}

std::string api_key_from_environment() {
  for (const char* name : {"ERNIE_IMAGE_PE_API_KEY", "OPENAI_API_KEY"}) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') continue;
    std::string key = value;
    if (std::ranges::all_of(key, [](char c) { return c > ' ' && c < '\x7f'; })) return key;
    throw Error(ErrorKind::invalid_argument,
                std::string(name) + " holds white space or other characters that no key has");
  }
  return "";
}

EnhancedPrompt complete_chat(const ChatEndpoint& endpoint, const std::string& system_text,
                             const std::string& user_text, const EnhanceOptions& options) {
  HttpRequest request;
  request.url = endpoint.url;
  request.shown_url = endpoint.shown_url;
  request.headers = {"Content-Type: application/json", "Expect:"};
  if (!endpoint.api_key.empty()) {
    request.headers.push_back("Authorization: Bearer " + endpoint.api_key);
  }
  request.body = request_body(endpoint, system_text, user_text, options).dump();
  request.timeout_seconds = endpoint.timeout_seconds;
  request.cancel = options.cancel;
  const HttpResponse response = http_post(request);
  if (response.status / 100 == 3) {
    throw Error(ErrorKind::io, endpoint.shown_url + ": the server redirects (HTTP status " +
                                   std::to_string(response.status) +
                                   "); pass the address that it redirects to");
  }
  if (response.status != 200) {
    throw Error(ErrorKind::io, endpoint.shown_url + ": HTTP status " +
                                   std::to_string(response.status) + ": " +
                                   without_key(server_message(response.body), endpoint.api_key));
  }
  return Answer(endpoint, response.body).enhanced_prompt();
}

}  // namespace ernie_image
