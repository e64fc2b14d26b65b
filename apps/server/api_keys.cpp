#include "server/api_keys.h"

#include <algorithm>
#include <charconv>

#include <fcntl.h>
#include <sys/stat.h>

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "core/ascii.h"
#include "ernie_image/error.h"
#include "io/file_view.h"
#include "server/base64.h"

namespace ernie_image {
namespace {

constexpr std::size_t kMinKeyChars = 16;
constexpr std::size_t kMaxKeyChars = 256;
constexpr std::size_t kMaxNameChars = 64;
constexpr double kMaxQuota = 1e9;

KeyDigest digest_of(std::string_view text) {
  KeyDigest digest;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return digest;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= kMaxNameChars &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
         });
}

bool is_key(std::string_view text) {
  return text.size() >= kMinKeyChars && text.size() <= kMaxKeyChars &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

/// One line of the file; its errors are completed with file and number by the caller.
ApiKey parse_line(std::string_view line) {
  const auto fail = [](const char* problem) -> ApiKey {
    throw Error(ErrorKind::invalid_argument, problem);
  };
  const std::vector<std::string_view> parts = split(line, ':');
  if (parts.size() < 2 || parts.size() > 4) {
    return fail("expected name:key[:requests_per_minute[:megapixels_per_hour]]");
  }
  if (!is_name(parts[0])) return fail("a name has 1 to 64 letters, digits, -, _ or .");
  if (!is_key(parts[1])) return fail("a key has 16 to 256 printable characters and no colon");
  ApiKey key = {std::string(parts[0]), digest_of(parts[1])};
  double* const quotas[] = {&key.requests_per_minute, &key.megapixels_per_hour};
  for (std::size_t i = 2; i < parts.size(); ++i) {
    if (parts[i].empty()) continue;
    double& quota = *quotas[i - 2];
    const auto [end, error] =
        std::from_chars(parts[i].data(), parts[i].data() + parts[i].size(), quota);
    const bool is_whole = error == std::errc() && end == parts[i].data() + parts[i].size();
    if (!is_whole || !(quota >= 0 && quota <= kMaxQuota)) return fail("a quota is not a number");
    if (quota == 0) return fail("a quota of 0 would allow nothing; leave it out for no limit");
  }
  return key;
}

void require_private(const FileView& file) {
  struct stat status = {};
  if (file.descriptor < 0 || ::fstat(file.descriptor, &status) != 0) return;
  if ((status.st_mode & (S_IROTH | S_IWOTH)) == 0) return;
  throw Error(ErrorKind::invalid_argument, file.path +
                                               ": everybody on this machine can read or write this "
                                               "file of API keys; chmod 600 it");
}

/// What was presented as a key; empty if nothing was.
std::string presented_key(std::string_view authorization) {
  const std::size_t space = authorization.find(' ');
  if (space == std::string_view::npos) return {};
  const std::string scheme = lower_case(authorization.substr(0, space));
  const std::string_view value = stripped(authorization.substr(space + 1));
  if (scheme == "bearer") return std::string(value);
  if (scheme != "basic") return {};
  const std::optional<std::string> decoded = base64_decoded(value);
  const std::size_t colon = decoded ? decoded->find(':') : std::string::npos;
  return colon == std::string::npos ? std::string() : decoded->substr(colon + 1);
}

}  // namespace

ApiKeys ApiKeys::parse(const std::string& path, std::string_view text) {
  ApiKeys keys;
  int number = 0;
  for (const std::string_view raw : split(text, '\n')) {
    ++number;
    const std::string_view line = stripped(raw);
    if (line.empty() || line.front() == '#') continue;
    const auto fail = [&](const std::string& problem) {
      throw Error(ErrorKind::invalid_argument,
                  path + ": line " + std::to_string(number) + ": " + problem);
    };
    try {
      keys.keys_.push_back(parse_line(line));
    } catch (const Error& error) {
      fail(error.what());
    }
    const ApiKey& added = keys.keys_.back();
    for (std::size_t i = 0; i + 1 < keys.keys_.size(); ++i) {
      if (keys.keys_[i].name == added.name) fail("the name " + added.name + " is there twice");
      if (keys.keys_[i].digest == added.digest) fail("the key is there twice");
    }
  }
  if (keys.keys_.empty()) throw Error(ErrorKind::invalid_argument, path + ": holds no key");
  return keys;
}

ApiKeys ApiKeys::read(const std::string& path) {
  const FileView file = open_file(path);
  require_private(file);
  return parse(path, file.text());
}

const ApiKey* ApiKeys::find(std::string_view authorization) const {
  const KeyDigest digest = digest_of(presented_key(authorization));
  const ApiKey* found = nullptr;
  for (const ApiKey& key : keys_) {
    if (CRYPTO_memcmp(key.digest.data(), digest.data(), digest.size()) == 0) found = &key;
  }
  return found;
}

std::string ApiKeys::shared_secret() const {
  std::vector<KeyDigest> digests;
  for (const ApiKey& key : keys_) digests.push_back(key.digest);
  std::sort(digests.begin(), digests.end());
  std::string all = "ernie-image links";
  for (const KeyDigest& digest : digests) all.append(digest.begin(), digest.end());
  const KeyDigest secret = digest_of(all);
  return {secret.begin(), secret.end()};
}

}  // namespace ernie_image
