#include "commands/commands.h"

#include <optional>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "common/console.h"
#include "common/exit_code.h"
#include "common/text_input.h"
#include "io/file_view.h"
#include "io/model_folder.h"
#include "tokenizer/tokenizer.h"

namespace ernie_image {
namespace {

constexpr const char* kTokenizeExamples =
    "Examples:\n"
    "  ernie-image tokenize --text \"a red apple\" --json\n"
    "  ernie-image tokenize --tokenizer models/ERNIE-Image-Turbo/tokenizer/tokenizer.json "
    "--text-file prompt.txt";

struct TokenizeFlags {
  LoadOptions load;
  std::string tokenizer;
  std::optional<std::string> text;
  std::string text_file;
  bool json = false;
};

Tokenizer open_tokenizer(const TokenizeFlags& flags) {
  if (flags.tokenizer.empty()) {
    return Tokenizer::open(
        resolve_model(flags.load.model, flags.load.parts).component("tokenizer"));
  }
  return naming_flag("--tokenizer", [&] {
    return directory_exists(flags.tokenizer) ? Tokenizer::open(flags.tokenizer)
                                             : Tokenizer::open_file(flags.tokenizer);
  });
}

int run_tokenize(const TokenizeFlags& flags) {
  if (flags.text.has_value() == !flags.text_file.empty()) {
    throw Error(ErrorKind::invalid_argument,
                "tokenize needs either --text TEXT or --text-file FILE\n"
                "Example: ernie-image tokenize --text \"a red apple\"");
  }
  const std::string text = flags.text ? *flags.text : read_text("--text-file", flags.text_file);
  const std::vector<std::int32_t> ids = open_tokenizer(flags).encode(text);
  if (flags.json) {
    print(nlohmann::json({{"ids", ids}}).dump() + "\n");
    return kExitSuccess;
  }
  std::string line;
  for (const std::int32_t id : ids) line += (line.empty() ? "" : " ") + std::to_string(id);
  print(line + "\n");
  return kExitSuccess;
}

}  // namespace

Command add_tokenize_command(CLI::App& program) {
  CLI::App* app = program.add_subcommand("tokenize", "Print the token ids of a text");
  const auto flags = std::make_shared<TokenizeFlags>();
  add_model_flag(*app, flags->load);
  app->add_option("--tokenizer", flags->tokenizer, "a tokenizer.json, or the folder that holds it")
      ->type_name("FILE")
      ->excludes("--model");
  app->add_option("--text", flags->text, "the text")->type_name("TEXT");
  app->add_option("--text-file", flags->text_file,
                  "a file whose whole content is the text; - is standard input")
      ->type_name("FILE");
  app->add_flag("--json", flags->json, "print {\"ids\": [...]}");
  app->footer(kTokenizeExamples);
  return {app, [flags] { return run_tokenize(*flags); }};
}

}  // namespace ernie_image
