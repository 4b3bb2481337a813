// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/shards/command_line.hpp>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <string_view>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

namespace skerry {

namespace {

using detail::printable;

std::string environment_name(std::string_view option) {
  std::string name = "SKERRY_";
  for (char c : option) name += c == '-' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return name;
}

/// What the variable of an option holds; empty if there is none.
std::string from_environment(std::string_view option) {
  const char* value = std::getenv(environment_name(option).c_str());
  return value == nullptr ? "" : value;
}

/// How many letters only one of two words has, wherever they stand.
std::size_t difference(std::string a, std::string b) {
  std::string odd;
  std::ranges::sort(a);
  std::ranges::sort(b);
  std::ranges::set_symmetric_difference(a, b, std::back_inserter(odd));
  return odd.size();
}

}  // namespace

struct command_line::values : std::map<std::string, std::string> {};

command_line::command_line(std::string program, std::string description, std::string version,
                           std::optional<std::uint16_t> default_port)
    : program_(std::move(program)), description_(std::move(description)), version_(std::move(version)) {
  options_.port = default_port;
  for (detail::option& each : detail::standard_options(options_)) {
    bool listens = each.name == "port" || each.name == "bind";
    if (!listens || default_port) all_.push_back(std::move(each));
  }
  standard_ = all_.size();
}

void command_line::add(detail::option option) {
  SKERRY_ASSERT(option.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == option.name.npos,
                "an option's name is lower case words joined by dashes");
  SKERRY_ASSERT(!has(option.name), "two options cannot share a name");
  SKERRY_ASSERT(option.name != "help" && option.name != "version" && option.name != "config",
                "this name has a fixed meaning");
  all_.push_back(std::move(option));
}

bool command_line::has(std::string_view name) const {
  return std::ranges::any_of(all_, [&](const detail::option& each) { return each.name == name; });
}

command_line::outcome command_line::parse(int argc, const char* const* argv, app_options defaults) {
  SKERRY_ASSERT(!parsed_, "a command line is parsed once");
  SKERRY_ASSERT(argc >= 1, "the first argument is the program");
  parsed_ = true;
  if (!defaults.port) defaults.port = options_.port;
  options_ = std::move(defaults);
  try {
    validate(options_);
    values given;
    if (auto text = split(argc, argv, given)) return exit_request{0, std::move(*text)};
    read_all(given);
    return options_;
  } catch (const startup_error& why) {
    std::string text = fmt::format("{}: {}\n", program_, why.what());
    // The pointer to --help is worth a line only while there is room for it.
    if (std::ranges::count(text, '\n') < 3) text += fmt::format("  {} --help explains all options\n", program_);
    SKERRY_ASSERT(std::ranges::count(text, '\n') <= 3, "a start-up error has at most three lines");
    return exit_request{1, std::move(text)};
  }
}

/// Lets CLI11 split the arguments; values are read when it is known which place has them. Returns the text to print if
/// that is all there is to do.
std::optional<std::string> command_line::split(int argc, const char* const* argv, values& given) const {
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
  app.option_defaults()->group("Options");
  app.add_option("--config")->description("read options from this file, one name = value per line")->type_name("FILE");

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
    std::string_view value = given[option->get_single_name()] = option->results().back();
    // In `--shards --port 1` the parser takes `--port` for the number of shards.
    if (value.starts_with("--") && has(value.substr(2, value.find('=') - 2))) {
      throw startup_error(fmt::format("{} needs a value before {}", option->get_name(), printable(value)));
    }
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

command_line::values command_line::read_config(const std::string& path) const {
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
  values found;
  for (const CLI::ConfigItem& item : reader.from_config(lines)) {
    if (!item.parents.empty()) {
      throw startup_error(
          fmt::format("{}: sections such as [{}] have no meaning here; write each option as name = value",
                      printable(path), printable(item.parents.front())));
    }
    if (!has(item.name)) throw unknown(item.name, printable(item.name) + " in " + printable(path));
    found[item.name] = item.inputs.empty() ? "" : item.inputs.back();  // `name = []` has none
  }
  return found;
}

/// Reads each option from the first place that has it.
void command_line::read_all(const values& given) const {
  std::string path = given.contains("config") ? given.at("config") : "";
  if (path.empty()) path = from_environment("config");
  values file;
  if (!path.empty()) file = read_config(path);
  for (const detail::option& each : all_) {
    std::string variable = from_environment(each.name);
    if (auto here = given.find(each.name); here != given.end()) {
      // A bare flag is written without the value it stands for.
      bool bare = each.value_name.empty() && here->second == "true";
      each.read(here->second, "--" + each.name + (bare ? "" : ' ' + printable(here->second)));
    } else if (!variable.empty()) {
      each.read(variable, environment_name(each.name) + '=' + printable(variable));
    } else if (auto there = file.find(each.name); there != file.end()) {
      each.read(there->second, fmt::format("{}: {} = {}", printable(path), each.name, printable(there->second)));
    }
  }
}

startup_error command_line::unknown(std::string_view name, std::string_view as_written) const {
  std::string names;
  std::string nearest;
  std::size_t best = 3;  // further away than this is another word
  for (const detail::option& each : all_) {
    names += each.name + ' ';
    if (std::size_t d = difference(std::string(name.substr(0, 64)), each.name); d < best) {
      best = d;
      nearest = fmt::format("; did you mean {}?", each.name);
    }
  }
  return startup_error(fmt::format("unknown option {}{}\n  valid: {}config help version", as_written, nearest, names));
}

namespace {

std::string show_number(auto value) { return fmt::format("{}", value); }

/// A number of some kind inside its limits. Those that its type has anyway need no words.
template <class Number, class Parse, class Show>
detail::option_value limited(Number& variable, Number lowest, Number highest, std::string what, Parse parse, Show show,
                             Number natural_lowest = std::numeric_limits<Number>::lowest(),
                             Number natural_highest = std::numeric_limits<Number>::max()) {
  SKERRY_ASSERT(lowest <= highest, "the limits of an option leave a value");
  std::string valid = "must be " + what;
  if (lowest > natural_lowest) valid += ", at least " + show(lowest);
  if (highest < natural_highest) valid += ", at most " + show(highest);
  return detail::value_of(variable, std::move(valid), detail::within(lowest, highest, parse), show);
}

}  // namespace

void command_line::add_option(const std::string& name, std::string& value, const std::string& help,
                              std::vector<std::string> choices) {
  auto any = [](std::string_view text) { return std::optional(std::string(text)); };
  add({name, "TEXT", help,
       choices.empty() ? detail::value_of(value, "", any, std::identity())
                       : detail::one_of(value, std::move(choices))});
}

void command_line::add_option(const std::string& name, std::uint64_t& value, const std::string& help,
                              std::uint64_t lowest, std::uint64_t highest) {
  add({name, "N", help,
       limited(value, lowest, highest, "a number", detail::parse_unsigned, show_number<std::uint64_t>)});
}

void command_line::add_option(const std::string& name, double& value, const std::string& help, double lowest,
                              double highest) {
  add({name, "NUMBER", help, limited(value, lowest, highest, "a number", detail::parse_decimal, show_number<double>)});
}

void command_line::add_option(const std::string& name, byte_size& value, const std::string& help, byte_size lowest,
                              byte_size highest) {
  add({name, "BYTES", help,
       limited(value.bytes, lowest.bytes, highest.bytes, "a size such as 64mb", detail::parse_bytes,
               show_number<std::uint64_t>)});
}

void command_line::add_option(const std::string& name, std::chrono::nanoseconds& value, const std::string& help,
                              std::chrono::nanoseconds lowest, std::chrono::nanoseconds highest) {
  add({name, "TIME", help,
       limited(value, lowest, highest, "a duration such as 500ms", detail::parse_duration, detail::format_duration,
               std::chrono::nanoseconds::zero(), std::chrono::nanoseconds::max())});
}

void command_line::add_option(const std::string& name, bool& value, const std::string& help) {
  add({name, "", help, detail::on_or_off(value)});
}

}  // namespace skerry
