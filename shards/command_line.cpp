// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/shards/command_line.hpp>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <ranges>
#include <sstream>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

namespace skerry {

using detail::printable;

struct command_line::mention {
  std::string text, as_written;
};
struct command_line::mentions : std::map<std::string, mention> {};

command_line::command_line(std::string program, std::string description, std::string version,
                           std::optional<std::uint16_t> default_port)
    : program_(std::move(program)), description_(std::move(description)), version_(std::move(version)) {
  options_.port = default_port;
  all_ = detail::standard_options(options_);
  if (!default_port) std::erase_if(all_, [](const auto& each) { return each.name == "port" || each.name == "bind"; });
  add_option("config", config_, "read options from this file, one name = value per line");
  all_.back().value_name = "FILE";
  standard_ = all_.size();
}

void command_line::add(detail::option option) {
  SKERRY_ASSERT(option.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == option.name.npos,
                "an option's name is lower case words joined by dashes");
  SKERRY_ASSERT(!has(option.name), "two options cannot share a name");
  SKERRY_ASSERT(option.name != "help" && option.name != "version", "this name has a fixed meaning");
  all_.push_back(std::move(option));
}

bool command_line::has(std::string_view name) const {
  return std::ranges::find(all_, name, &detail::option::name) != all_.end();
}

command_line::outcome command_line::parse(int argc, const char* const* argv, app_options defaults) {
  SKERRY_ASSERT(!parsed_, "a command line is parsed once");
  SKERRY_ASSERT(argc >= 1, "the first argument is the program");
  parsed_ = true;
  if (!defaults.port) defaults.port = options_.port;
  options_ = std::move(defaults);
  try {
    validate(options_);
    mentions given;
    if (auto text = read_arguments(argc, argv, given)) return exit_request{0, std::move(*text)};
    read_environment(given);
    if (auto config = given.find("config"); config != given.end()) read_config(config->second.text, given);
    for (const detail::option& each : all_) {
      if (auto found = given.find(each.name); found != given.end()) {
        each.read(found->second.text, found->second.as_written);
      }
    }
    return options_;
  } catch (const startup_error& why) {
    std::string text = fmt::format("{}: {}\n", program_, why.what());
    // The pointer to --help is worth a line only while there is room for it.
    if (std::ranges::count(text, '\n') < 3) text += fmt::format("  {} --help explains all options\n", program_);
    SKERRY_ASSERT(std::ranges::count(text, '\n') <= 3, "a start-up error has at most three lines");
    return exit_request{1, std::move(text)};
  }
}

/// Lets CLI11 split the arguments. Returns the text to print if that is all there is to do.
std::optional<std::string> command_line::read_arguments(int argc, const char* const* argv, mentions& given) const {
  CLI::App app(description_, program_);
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.allow_extras();  // refused below, in our own words
  app.set_help_flag("-h,--help", "print this");
  app.set_version_flag("--version", program_ + ' ' + version_, "print the version");
  app.footer(
      "Each option can also come from the environment (--idle-spin-us as SKERRY_IDLE_SPIN_US) or the file.\n"
      "The command line beats the environment, the environment beats the file.");
  for (const detail::option& each : all_) {
    if (&each == all_.data() + standard_) app.option_defaults()->group("Options of " + program_);
    bool flag = each.value_name.empty();
    CLI::Option* option = flag ? app.add_flag("--" + each.name) : app.add_option("--" + each.name);
    option->description(each.help);
    if (!flag) option->type_name(each.value_name)->default_str(each.value.show().value_or(""));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return app.help();
  } catch (const CLI::CallForVersion& version) {
    return std::string(version.what()) + '\n';
  } catch (const CLI::ArgumentMismatch& error) {
    std::string_view text = error.what();
    throw startup_error(fmt::format("{} needs a value", printable(text.substr(0, text.find(':')))));
  } catch (const CLI::ParseError& error) {
    throw startup_error(printable(error.what()));
  }
  for (const CLI::Option* option : app.get_options([](const CLI::Option* each) { return each->count() > 0; })) {
    const std::string& value = option->results().back();
    // In `--shards --port 1` the parser takes `--port` for the number of shards.
    if (value.starts_with("--") && has(value.substr(2, value.find('=') - 2))) {
      throw startup_error(fmt::format("{} needs a value before {}", option->get_name(), printable(value)));
    }
    given[option->get_single_name()] = {value, fmt::format("{} {}", option->get_name(), printable(value))};
  }
  for (const std::string& extra : app.remaining()) {
    auto name = extra.find_first_not_of('-');
    if (name == 0 || name == extra.npos) {
      throw startup_error(fmt::format("\"{}\" is no option; options start with --", printable(extra)));
    }
    throw unknown(std::string_view(extra).substr(name, extra.find('=') - name), printable(extra));
  }
  return std::nullopt;
}

void command_line::read_environment(mentions& given) const {
  for (const detail::option& each : all_) {
    std::string name = "SKERRY_";
    for (char c : each.name) name += c == '-' ? '_' : static_cast<char>(std::toupper(c));
    const char* value = std::getenv(name.c_str());
    if (value != nullptr && *value != '\0') given.try_emplace(each.name, value, name + '=' + printable(value));
  }
}

void command_line::read_config(const std::string& path, mentions& given) const {
  constexpr std::streamsize size_max = 1 << 20;
  std::ifstream file(path, std::ios::binary);
  std::string text(static_cast<std::size_t>(size_max) + 1, '\0');
  // A directory opens and fails at the first read.
  if (!file.read(text.data(), size_max + 1) && !file.eof()) {
    throw startup_error(fmt::format("cannot read the configuration file {}; use --config FILE", printable(path)));
  }
  if (file.gcount() > size_max) throw startup_error(fmt::format("{} is larger than 1 MiB", printable(path)));
  text.resize(static_cast<std::size_t>(file.gcount()));

  // The reader would split values at commas, which `cpuset = 0-3,8` must survive; no line contains a line feed.
  CLI::ConfigBase reader;
  reader.arrayDelimiter('\n');
  std::istringstream lines(text);
  std::vector<CLI::ConfigItem> items = reader.from_config(lines);
  for (const CLI::ConfigItem& item : items | std::views::reverse) {  // the last mention wins
    if (!item.parents.empty()) {
      throw startup_error(
          fmt::format("{}: sections such as [{}] have no meaning here; write each option as name = value",
                      printable(path), printable(item.parents.front())));
    }
    if (!has(item.name) || item.name == "config") {
      throw unknown(item.name, printable(item.name) + " in " + printable(path));
    }
    std::string value = item.inputs.empty() ? "" : item.inputs.back();  // `name = []` has none
    given.try_emplace(item.name, value, fmt::format("{}: {} = {}", printable(path), item.name, printable(value)));
  }
}

/// Names the options there are, and the one that has nearly the same letters.
startup_error command_line::unknown(std::string_view name, std::string_view as_written) const {
  auto sorted = [](std::string_view word) {
    std::string letters(word.substr(0, 64));
    std::ranges::sort(letters);
    return letters;
  };
  std::string names, nearest;
  std::size_t best = 3;  // further away than this is another word
  for (const detail::option& each : all_) {
    names += each.name + ' ';
    std::string odd;
    std::ranges::set_symmetric_difference(sorted(name), sorted(each.name), std::back_inserter(odd));
    if (odd.size() >= best) continue;
    best = odd.size();
    nearest = fmt::format("; did you mean {}?", each.name);
  }
  return startup_error(fmt::format("unknown option {}{}\n  valid: {}help version", as_written, nearest, names));
}

void command_line::add_option(const std::string& name, std::string& value, const std::string& help) {
  add({name, "TEXT", help, detail::value_of(value, "", [](auto text) { return std::optional(std::string(text)); })});
}

void command_line::add_option(const std::string& name, std::uint64_t& value, const std::string& help,
                              std::uint64_t lowest, std::uint64_t highest) {
  add({name, "N", help, detail::between(value, lowest, highest, "a number", detail::parse_unsigned)});
}

void command_line::add_option(const std::string& name, byte_size& value, const std::string& help, byte_size lowest,
                              byte_size highest) {
  add({name, "BYTES", help, detail::between(value, lowest, highest, "a size such as 64mb,", detail::parse_bytes)});
}

void command_line::add_option(const std::string& name, std::chrono::nanoseconds& value, const std::string& help,
                              std::chrono::nanoseconds lowest, std::chrono::nanoseconds highest) {
  add({name, "TIME", help,
       detail::between(value, lowest, highest, "a duration such as 500ms,", detail::parse_duration)});
}

void command_line::add_option(const std::string& name, bool& value, const std::string& help) {
  add({name, "", help, detail::value_of(value, "must be on or off", detail::parse_switch)});
}

}  // namespace skerry
