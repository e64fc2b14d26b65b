#include "commands/config_file.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <memory>

#include <CLI/CLI.hpp>

#define TOML_ENABLE_FORMATTERS 0
#include <toml++/toml.h>

#include "commands/flag_table.h"
#include "common/suggestion.h"
#include "ernie_image/error.h"
#include "io/json.h"

namespace ernie_image {
namespace {

constexpr std::streamsize kMaxConfigBytes = 1 << 20;

using Path = std::vector<std::string>;

/// "--memory-limit" of "memory_limit"
std::string flag_of_key(std::string_view key) {
  std::string flag = "--" + std::string(key);
  std::replace(flag.begin(), flag.end(), '_', '-');
  return flag;
}

std::string text_of(const toml::node& value) {
  char text[32];
  if (const auto* whole = value.as_integer()) return std::to_string(whole->get());
  if (const auto* number = value.as_floating_point())
    return {text, std::to_chars(text, text + sizeof(text), number->get()).ptr};
  return value.as_string()->get();
}

bool is_scalar(const toml::node& value) {
  return value.is_integer() || value.is_floating_point() || value.is_string();
}

class ConfigReader : public CLI::Config {
 public:
  explicit ConfigReader(CLI::App& program) : program_(program) {}

  std::string to_config(const CLI::App*, bool, bool, std::string) const override { return ""; }

  /// Sets the options itself, so that an error can say where it is; nothing is left to CLI11.
  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override {
    const toml::table all = read(input);
    check(all, {});
    CLI::App* command = &program_;
    std::vector<const toml::table*> tables = {&all};
    while (!command->get_subcommands().empty()) {
      command = command->get_subcommands().front();
      const toml::table* inner =
          tables.back() == nullptr ? nullptr : (*tables.back())[command->get_name()].as_table();
      tables.push_back(inner);
    }
    for (auto table = tables.rbegin(); table != tables.rend(); ++table) {
      if (*table != nullptr) set_all(*command, **table);
    }
    return {};
  }

 private:
  std::string file() const { return program_.get_config_ptr()->as<std::string>(); }

  [[noreturn]] void fail(const toml::source_region& where, const std::string& problem) const {
    throw Error(ErrorKind::invalid_argument,
                file() + ", line " + std::to_string(where.begin.line) + ": " + problem);
  }

  toml::table read(std::istream& input) const {
    std::string text(static_cast<std::size_t>(kMaxConfigBytes) + 1, '\0');
    input.read(text.data(), kMaxConfigBytes + 1);
    if (input.gcount() > kMaxConfigBytes)
      throw Error(ErrorKind::invalid_argument, file() + ": more than 1 MiB, expected some flags");
    text.resize(static_cast<std::size_t>(input.gcount()));
    try {
      return toml::parse(text);
    } catch (const toml::parse_error& error) {
      fail(error.source(), "no TOML: " + std::string(error.description()));
    }
  }

  /// Every key is a flag of the command of that table or of one below it.
  void check(const toml::table& table, const Path& path) const {
    std::vector<std::string> flags, commands;
    for (const CommandEntry& entry : flag_table(program_)) {
      if (entry.path.size() < path.size() ||
          !std::equal(path.begin(), path.end(), entry.path.begin()))
        continue;
      const std::vector<std::string> own = entry.long_flags();
      flags.insert(flags.end(), own.begin(), own.end());
      if (entry.path.size() == path.size() + 1) commands.push_back(entry.path.back());
    }
    for (const auto& [key, value] : table) {
      const std::string name(key.str());
      if (const toml::table* inner = value.as_table()) {
        if (std::ranges::find(commands, name) == commands.end())
          fail(key.source(), unknown("a command", name, nearest(name, commands)));
        Path own = path;
        own.push_back(name);
        check(*inner, own);
      } else if (std::ranges::find(flags, flag_of_key(name)) == flags.end()) {
        std::string near = nearest(flag_of_key(name), flags);
        if (!near.empty()) near = near.substr(2);
        fail(key.source(), unknown("a flag", name, near));
      }
    }
  }

  static std::string unknown(const char* what, const std::string& name, const std::string& near) {
    return printable(name) + " is not the name of " + what +
           (near.empty() ? "" : "; did you mean " + near + "?");
  }

  void set_all(CLI::App& command, const toml::table& table) const {
    for (const auto& [key, value] : table) {
      if (value.is_table()) continue;
      const std::string flag = flag_of_key(key.str());
      if (CLI::Option* option = command.get_option_no_throw(flag))
        set(command, *option, flag, value);
    }
  }

  /// Unless the command line or a table nearer to the command has said something about it.
  void set(CLI::App& command, CLI::Option& option, const std::string& flag,
           const toml::node& value) const {
    const auto is_given = [](const CLI::Option* other) { return other->count() > 0; };
    if (is_given(&option) || std::ranges::any_of(option.get_excludes(), is_given)) return;
    if (option.get_expected_max() == 0) return set_switch(command, option, flag, value);
    std::vector<std::string> texts;
    const bool is_list = value.is_array() && option.get_expected_max() > 1;
    if (is_list) {
      for (const toml::node& element : *value.as_array()) {
        if (is_scalar(element)) texts.push_back(text_of(element));
      }
    } else if (is_scalar(value)) {
      texts.push_back(text_of(value));
    }
    if (texts.empty() || (is_list && texts.size() != value.as_array()->size()))
      fail(value.source(), flag + " takes a text or a number, in quotes or not");
    apply(option, texts, flag, value);
  }

  /// false is --no-FLAG where there is such a flag, and else what is so anyway.
  void set_switch(CLI::App& command, CLI::Option& option, const std::string& flag,
                  const toml::node& value) const {
    if (!value.is_boolean()) fail(value.source(), flag + " is a switch: true or false");
    if (value.as_boolean()->get())
      return apply(option, {option.get_flag_value(flag.substr(2), "true")}, flag, value);
    CLI::Option* opposite = command.get_option_no_throw("--no-" + flag.substr(2));
    if (opposite != nullptr && opposite->count() == 0)
      apply(*opposite, {opposite->get_flag_value(opposite->get_lnames().front(), "true")}, flag,
            value);
  }

  void apply(CLI::Option& option, const std::vector<std::string>& texts, const std::string& flag,
             const toml::node& value) const {
    try {
      option.add_result(texts);
      option.run_callback();
    } catch (const Error& error) {
      fail(value.source(), error.what());
    } catch (const CLI::Error& error) {
      fail(value.source(), flag + ": " + error.what());
    }
  }

  CLI::App& program_;
};

/// Of the user; "" if the environment does not say where that is.
std::string config_path() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  const std::string xdg = variable("XDG_CONFIG_HOME"), home = variable("HOME");
  if (!xdg.empty()) return xdg + "/ernie-image/config.toml";
  return home.empty() ? "" : home + "/.config/ernie-image/config.toml";
}

}  // namespace

void add_config_flag(CLI::App& program) {
  program.config_formatter(std::make_shared<ConfigReader>(program));
  program
      .set_config("--config", "",
                  "file of flags that are always given, in place of "
                  "$XDG_CONFIG_HOME/ernie-image/config.toml; an empty name: none")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)
      ->type_name("FILE.toml");
}

std::vector<std::string> config_arguments() {
  const std::string path = config_path();
  std::error_code ignored;
  if (path.empty() || !std::filesystem::is_regular_file(path, ignored)) return {};
  return {"--config", path};
}

}  // namespace ernie_image
