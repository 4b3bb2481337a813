// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/shards/command_line.hpp>
#include <skerry/shards/configuration_error.hpp>
#include <skerry/shards/detail/option_text.hpp>
#include <skerry/shards/detail/standard_options.hpp>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>
#include <string_view>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

namespace skerry {

namespace {

/// An option as parse() sees it, standard or the program's own.
struct entry {
  std::string name;
  std::string value_name;  // empty: a flag
  std::string help;
  std::string shown_default;
  std::string group;
  std::function<std::string(app_options&, std::string_view)> read;  // returns what is wrong
  std::function<std::string(const app_options&)> problem;
  CLI::Option* given = nullptr;
};

std::string environment_name(std::string_view option) {
  std::string name = "SKERRY_";
  for (char c : option) name += c == '-' ? '_' : c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  return name;
}

bool is_option_name(std::string_view name) {
  auto allowed = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  return name.size() >= 2 && name.front() >= 'a' && name.front() <= 'z' &&
         std::all_of(name.begin(), name.end(), allowed);
}

/// How many single-letter edits lead from one to the other.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      std::size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

/// A value and how its place writes it, for messages.
struct setting {
  std::string text;
  std::string as_written;
};

/// Splits a configuration file into names and values. CLI11's reader would also split values at commas, which
/// `cpuset = 0-3,8` must survive; so arrays are switched off by a separator that no line contains.
class config_reader : public CLI::ConfigBase {
 public:
  config_reader() { arraySeparator = '\n'; }
};

std::map<std::string, setting> read_config(const std::string& path) {
  constexpr std::streamsize size_max = 1 << 20;
  std::ifstream file(path, std::ios::binary);
  std::string text(static_cast<std::size_t>(size_max) + 1, '\0');
  // A directory opens and fails at the first read.
  if (file) file.read(text.data(), size_max + 1);
  std::string shown = detail::printable(path);
  if (file.bad() || (!file.is_open())) {
    throw configuration_error(fmt::format("cannot read the configuration file {}; use --config FILE", shown));
  }
  if (file.gcount() > size_max) throw configuration_error(fmt::format("{} is larger than 1 MiB", shown));
  text.resize(static_cast<std::size_t>(file.gcount()));

  std::istringstream lines(text);
  std::map<std::string, setting> found;
  for (const CLI::ConfigItem& item : config_reader().from_config(lines)) {
    if (!item.parents.empty()) {
      throw configuration_error(
          fmt::format("{}: sections such as [{}] have no meaning here; write each option as name = value", shown,
                      detail::printable(item.parents.front())));
    }
    std::string value = item.inputs.empty() ? "" : item.inputs.back();  // `name = []` has none
    found[item.name] = {value,
                        fmt::format("{}: {} = {}", shown, detail::printable(item.name), detail::printable(value))};
  }
  return found;
}

}  // namespace

struct command_line::state {
  std::string program;
  std::optional<std::uint16_t> default_port;
  CLI::App app;
  std::vector<entry> entries;
  CLI::Option* config = nullptr;
  bool parsed = false;

  std::string own_group() const { return "Options of " + program; }
  const entry* find(std::string_view name) const {
    auto at = std::find_if(entries.begin(), entries.end(), [&](const entry& e) { return e.name == name; });
    return at == entries.end() ? nullptr : &*at;
  }

  void add(entry e);
  std::string unknown(std::string_view name, std::string_view as_written) const;
  void describe(const app_options& defaults);
  void apply(app_options& options);
  std::optional<std::string> run_parser(int argc, const char* const* argv);
  void refuse_swallowed_options() const;
  void refuse_extras() const;
  exit_request refuse(std::string_view why) const;
};

void command_line::state::add(entry e) {
  SKERRY_ASSERT(is_option_name(e.name), "an option's name is lower case words joined by dashes");
  SKERRY_ASSERT(find(e.name) == nullptr, "two options cannot share a name");
  SKERRY_ASSERT(e.name != "help" && e.name != "version" && e.name != "config", "this name has a fixed meaning");
  entries.push_back(std::move(e));
}

std::string command_line::state::unknown(std::string_view name, std::string_view as_written) const {
  std::string names;
  std::string nearest;
  std::size_t best = 3;  // further away than this is another word
  for (const entry& e : entries) {
    if (!names.empty()) names += ' ';
    names += e.name;
    if (std::size_t d = distance(name.substr(0, 64), e.name); d < best) {
      best = d;
      nearest = fmt::format("; did you mean {}?", e.name);
    }
  }
  return fmt::format("unknown option {}{}\n  valid: {} config help version", as_written, nearest, names);
}

/// Tells CLI11 about all options. It only splits; values are read when it is known which place has them.
void command_line::state::describe(const app_options& defaults) {
  for (entry& e : entries) {
    std::string name = "--" + e.name;
    e.given = e.value_name.empty() ? app.add_flag(name)
                                   : app.add_option(name, CLI::callback_t([](const auto&) { return true; }));
    e.given->description(e.help)->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)->group(e.group);
    if (!e.value_name.empty()) e.given->type_name(e.value_name);
    for (const detail::standard_option& option : detail::standard_options()) {
      if (e.name == option.name && !e.value_name.empty()) e.shown_default = option.show(defaults);
    }
    if (!e.shown_default.empty()) e.given->default_str(e.shown_default);
  }
  config = app.add_option("--config", CLI::callback_t([](const auto&) { return true; }),
                          "read options from this file, one name = value per line");
  config->multi_option_policy(CLI::MultiOptionPolicy::TakeLast)->type_name("FILE");
  app.footer(
      "Each option can also come from the environment (--idle-spin-us as SKERRY_IDLE_SPIN_US) or the file.\n"
      "The command line beats the environment, the environment beats the file.");
}

/// Reads each option from the first place that has it.
void command_line::state::apply(app_options& options) {
  std::string config_path = config->count() > 0 ? config->results().back() : "";
  const char* config_variable = std::getenv("SKERRY_CONFIG");
  if (config_path.empty() && config_variable != nullptr) config_path = config_variable;
  std::map<std::string, setting> file;
  if (!config_path.empty()) file = read_config(config_path);
  for (const auto& [name, value] : file) {
    if (find(name) == nullptr) {
      throw configuration_error(unknown(name, detail::printable(name) + " in " + detail::printable(config_path)));
    }
  }
  for (const entry& e : entries) {
    setting from;
    std::string variable = environment_name(e.name);
    const char* in_environment = std::getenv(variable.c_str());
    if (e.given->count() > 0) {
      from.text = e.given->results().back();
      // A bare flag is written without the value it stands for.
      bool bare = e.value_name.empty() && from.text == "true";
      from.as_written = "--" + e.name + (bare ? "" : ' ' + detail::printable(from.text));
    } else if (in_environment != nullptr && *in_environment != '\0') {
      from = {in_environment, variable + '=' + detail::printable(in_environment)};
    } else if (auto at = file.find(e.name); at != file.end()) {
      from = at->second;
    } else {
      continue;
    }
    std::string why = e.read(options, from.text);
    if (why.empty() && e.problem) why = e.problem(options);
    if (!why.empty()) throw configuration_error(from.as_written + ": " + why);
  }
}

/// Lets CLI11 split the arguments. Returns the text to print if that is all there is to do.
std::optional<std::string> command_line::state::run_parser(int argc, const char* const* argv) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return app.help();
  } catch (const CLI::CallForVersion& version) {
    return std::string(version.what()) + '\n';
  } catch (const CLI::ArgumentMismatch& error) {
    std::string_view text = error.what();
    throw configuration_error(fmt::format("{} needs a value", detail::printable(text.substr(0, text.find(':')))));
  } catch (const CLI::ParseError& error) {
    throw configuration_error(detail::printable(error.what()));
  }
  refuse_swallowed_options();
  refuse_extras();
  return std::nullopt;
}

/// In `--shards --port 1` the parser takes `--port` for the number of shards.
void command_line::state::refuse_swallowed_options() const {
  for (const entry& e : entries) {
    if (e.given->count() == 0) continue;
    std::string_view value = e.given->results().back();
    if (!value.starts_with("--") || find(value.substr(2, value.find('=') - 2)) == nullptr) continue;
    throw configuration_error(fmt::format("--{} needs a value before {}", e.name, detail::printable(value)));
  }
}

void command_line::state::refuse_extras() const {
  auto extras = app.remaining();
  if (extras.empty()) return;
  std::string_view name = extras.front();
  std::string shown = detail::printable(name);
  if (!name.starts_with('-') || name == "--") {
    throw configuration_error(fmt::format("\"{}\" is no option; options start with --", shown));
  }
  name.remove_prefix(std::min(name.find_first_not_of('-'), name.size()));
  throw configuration_error(unknown(name.substr(0, name.find('=')), shown));
}

exit_request command_line::state::refuse(std::string_view why) const {
  std::string text = fmt::format("{}: {}\n", program, why);
  // The pointer to --help is worth a line only while there is room for it.
  if (std::count(text.begin(), text.end(), '\n') < 3) {
    text += fmt::format("  {} --help explains all options\n", program);
  }
  SKERRY_ASSERT(std::count(text.begin(), text.end(), '\n') <= 3, "a start-up error has at most three lines");
  return {1, std::move(text)};
}

command_line::command_line(std::string program, std::string description, std::string version,
                           std::optional<std::uint16_t> default_port)
    : state_(std::make_unique<state>()) {
  state_->app.description(std::move(description));
  state_->app.name(program);
  state_->app.set_help_flag("-h,--help", "print this");
  state_->app.allow_extras();  // refused below, in our own words
  state_->app.set_version_flag("--version", program + ' ' + version, "print the version");
  state_->program = std::move(program);
  state_->default_port = default_port;
  for (const detail::standard_option& option : detail::standard_options()) {
    if (option.listens && !default_port) continue;
    state_->add({option.name, option.value_name, option.help, {}, "Options", option.read, option.problem});
  }
}

command_line::~command_line() = default;

command_line::outcome command_line::parse(int argc, const char* const* argv, app_options defaults) {
  SKERRY_ASSERT(!state_->parsed, "a command line is parsed once");
  SKERRY_ASSERT(argc >= 1, "the first argument is the program");
  state_->parsed = true;
  if (!defaults.port) defaults.port = state_->default_port;
  try {
    validate(defaults);
  } catch (const configuration_error& error) {
    return state_->refuse(error.what());
  }
  state_->describe(defaults);

  try {
    if (auto text = state_->run_parser(argc, argv)) return exit_request{0, std::move(*text)};
    state_->apply(defaults);
    return defaults;
  } catch (const configuration_error& error) {
    return state_->refuse(error.what());
  }
}

void command_line::add_option(const std::string& name, std::string& value, const std::string& help,
                              std::vector<std::string> choices) {
  std::string names;
  for (const std::string& choice : choices) names += (names.empty() ? "" : ", ") + choice;
  auto read = [&value, choices = std::move(choices), names](app_options&, std::string_view text) -> std::string {
    if (!choices.empty() && std::find(choices.begin(), choices.end(), text) == choices.end()) {
      return "must be one of " + names;
    }
    value = std::string(text);
    return {};
  };
  state_->add({name, "TEXT", help, value, state_->own_group(), std::move(read), nullptr});
}

namespace {

/// The limits that a type has anyway; no message needs to name them.
template <typename Value>
struct natural_limits : std::numeric_limits<Value> {};
template <>
struct natural_limits<std::chrono::nanoseconds> {
  static constexpr auto lowest() { return std::chrono::nanoseconds{0}; }
  static constexpr auto max() { return std::chrono::nanoseconds::max(); }
};

/// What all bounded values share: read, compare, say what would do.
template <typename Value, typename Parse, typename Show>
auto bounded(Value& value, Value lowest, Value highest, std::string what, Parse parse, Show show) {
  SKERRY_ASSERT(lowest <= highest, "the limits of an option leave a value");
  std::string valid = "must be " + what;
  if (lowest > natural_limits<Value>::lowest()) valid += ", at least " + show(lowest);
  if (highest < natural_limits<Value>::max()) valid += ", at most " + show(highest);
  return [&value, lowest, highest, valid, parse](app_options&, std::string_view text) -> std::string {
    auto read = parse(text);
    if (!read || *read < lowest || *read > highest) return valid;
    value = *read;
    return {};
  };
}

std::string show_number(auto value) { return fmt::format("{}", value); }

}  // namespace

void command_line::add_option(const std::string& name, std::uint64_t& value, const std::string& help,
                              std::uint64_t lowest, std::uint64_t highest) {
  auto read = bounded(value, lowest, highest, "a number", detail::parse_unsigned, show_number<std::uint64_t>);
  state_->add({name, "N", help, show_number(value), state_->own_group(), std::move(read), nullptr});
}

void command_line::add_option(const std::string& name, double& value, const std::string& help, double lowest,
                              double highest) {
  auto read = bounded(value, lowest, highest, "a number", detail::parse_decimal, show_number<double>);
  state_->add({name, "NUMBER", help, show_number(value), state_->own_group(), std::move(read), nullptr});
}

void command_line::add_option(const std::string& name, byte_size& value, const std::string& help, byte_size lowest,
                              byte_size highest) {
  auto read = bounded(value.bytes, lowest.bytes, highest.bytes, "a size such as 64mb", detail::parse_bytes,
                      show_number<std::uint64_t>);
  state_->add({name, "BYTES", help, show_number(value.bytes), state_->own_group(), std::move(read), nullptr});
}

void command_line::add_option(const std::string& name, std::chrono::nanoseconds& value, const std::string& help,
                              std::chrono::nanoseconds lowest, std::chrono::nanoseconds highest) {
  auto read =
      bounded(value, lowest, highest, "a duration such as 500ms", detail::parse_duration, detail::format_duration);
  state_->add({name, "TIME", help, detail::format_duration(value), state_->own_group(), std::move(read), nullptr});
}

void command_line::add_option(const std::string& name, bool& value, const std::string& help) {
  auto read = [&value](app_options&, std::string_view text) -> std::string {
    auto on = detail::parse_switch(text);
    if (!on) return "must be on or off";
    value = *on;
    return {};
  };
  state_->add({name, "", help, {}, state_->own_group(), std::move(read), nullptr});
}

}  // namespace skerry
