#include "commands/batch_file.h"

#include <algorithm>
#include <set>

#include "common/exit_code.h"
#include "common/output_paths.h"
#include "common/parse_values.h"
#include "io/image_file.h"
#include "request/request.h"

namespace ernie_image {
namespace {

constexpr std::size_t kMaxPictures = 100000;

std::vector<std::string_view> known_keys() {
  std::vector<std::string_view> known = {"prompt", "negative_prompt", "seed", "output"};
  for (const RequestOption& option : request_options()) known.emplace_back(option.name());
  return known;
}

Request read_settings(const JsonReader& fields, const GenerateFlags& flags) {
  if (const auto unknown = fields.unknown_key(known_keys()))
    fields.fail(*unknown,
                "none but prompt, negative_prompt, seed, output and options of a request");
  Request request = flags.request;
  request.prompts = {fields.text("prompt")};
  if (fields.has("negative_prompt")) request.negative_prompts = {fields.text("negative_prompt")};
  if (fields.has("seed")) request.seeds = {fields.seed("seed")};
  read_options(fields, Naming::full, true, request);
  require_utf8(fields.where() + ": the prompt", request.prompts[0]);
  add_loras(flags.lora, request);
  check_request(request, ErrorKind::invalid_argument, fields.where() + ": ");
  return request;
}

/// Of the file and its lines: what a line does not name has a number and its prompt.
class Names {
 public:
  Names(const GenerateFlags& flags, std::size_t count)
      : is_folder_(flags.output.empty() || is_output_folder(flags.output)),
        folder_(is_folder_ ? output_folder(flags.output) : "") {
    if (is_folder_) return;
    image_format_of(flags.output);  // throws for an extension that cannot be written
    numbered_ = output_paths(flags.output, static_cast<int>(count));
  }

  std::string name(const std::string& wish, std::size_t index, const std::string& prompt) const {
    if (!wish.empty()) return wish.front() == '/' ? wish : folder_ + wish;
    if (!is_folder_) return numbered_[index];
    const std::string number = std::to_string(index + 1);
    return folder_ + std::string(4 - std::min<std::size_t>(number.size(), 4), '0') + number + "-" +
           name_of_prompt(prompt) + ".png";
  }

 private:
  bool is_folder_;
  std::string folder_;
  std::vector<std::string> numbered_;
};

std::vector<JsonReader> read_lines(std::string_view rest, const std::string& path,
                                   std::vector<std::size_t>& numbers) {
  std::vector<JsonReader> lines;
  for (std::size_t number = 1; !rest.empty(); ++number) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    const std::size_t first = line.find_first_not_of(" \t\r");
    if (first == std::string_view::npos || line[first] == '#') continue;
    lines.push_back(JsonReader::parse(line, batch_line(path, number)));
    numbers.push_back(number);
    if (lines.size() > kMaxPictures)
      usage_error("--batch: " + path + " has more than " + std::to_string(kMaxPictures) +
                  " pictures");
  }
  if (lines.empty())
    usage_error("--batch: " + path + " has no picture; write a JSON object a line");
  return lines;
}

}  // namespace

std::string batch_line(const std::string& path, std::size_t line) {
  return "--batch: " + path + ": line " + std::to_string(line);
}

std::vector<BatchPicture> parse_batch(std::string_view text, const GenerateFlags& flags) {
  std::vector<std::size_t> numbers;
  const std::vector<JsonReader> lines = read_lines(text, flags.batch, numbers);
  const Names names(flags, lines.size());
  std::set<std::string> seen;
  std::vector<BatchPicture> pictures;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    BatchPicture picture{numbers[i], read_settings(lines[i], flags), ""};
    picture.path = names.name(lines[i].text("output", ""), i, picture.request.prompts[0]);
    image_format_of(picture.path);
    if (!seen.insert(picture.path).second)
      usage_error(lines[i].where() + ": output: " + picture.path + " is written twice");
    pictures.push_back(std::move(picture));
  }
  return pictures;
}

}  // namespace ernie_image
