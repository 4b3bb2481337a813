// SPDX-License-Identifier: Apache-2.0
#pragma once

/// command_line: the same options, names and errors for every program, and the program's own beside them.
///
///     std::string greeting = "hello";
///     command_line line("greeter", "Greets whoever connects.", "1.0", 7000);
///     line.add_option("greeting", greeting, "what to say");
///     command_line::outcome parsed = line.parse(argc, argv);
///     if (auto* stop = std::get_if<exit_request>(&parsed)) leave(stop->status, stop->text);
///     app_options options = std::get<app_options>(parsed);
///
/// One option, four places; the first that has it wins, and within one place the last mention:
///
/// | place              | as                                                                |
/// | ------------------ | ----------------------------------------------------------------- |
/// | command line       | `--idle-spin-us 20` or `--idle-spin-us=20`                        |
/// | environment        | `SKERRY_IDLE_SPIN_US=20`; an empty variable counts as absent      |
/// | configuration file | a line `idle-spin-us = 20` in the file that `--config` names      |
/// | the program        | what it put into app_options before, or the default               |
///
/// In the file, values may be quoted, `#` starts a comment, a flag may stand alone; there are no sections. Environment
/// variables that name no option are other programs' and left alone; an unknown name elsewhere is an error.
///
/// Affinity:  the thread that starts the process; reads the environment.
/// Ownership: an own option's variable belongs to the program and outlives `parse`.
/// Errors:    as an exit_request of at most three lines: the option as it was written, why not, what would do.
///            After one, own options may hold part of what was asked.
/// Limits:    a configuration file of up to 1 MiB.
/// Units:     sizes: k, m, g, t are powers of 1000 and kb, mb, gb, tb (also kib ...) powers of 1024, as in a Redis
///            configuration. Durations: ns, us, ms, s, m, h, and a bare 0.

#include <skerry/framework/startup_error.hpp>
#include <skerry/shards/app_options.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace skerry {

namespace detail {

/// A named value that people type, bound to a variable. What `show` gives, `read_into` takes, so a value is valid
/// exactly if it can be read as it is shown.
struct option {
  std::string name;        ///< without dashes
  std::string value_name;  ///< for --help; empty for a flag
  std::string help;
  std::function<void(std::string_view)> read_into;  ///< throws startup_error that says what would do
  std::function<std::string()> show;
  std::string mentioned{}, as_written{};  ///< the strongest mention; places are read from the strongest to the weakest

  /// Keeps the text unless there is one; `before` it stands where it was written: "--port ".
  void mention(std::string_view text, const std::string& before);
  /// Sets the variable if it was mentioned. An error begins with how the user wrote it.
  void read_mentioned() const;
};

/// What every program has, one row each.
std::vector<option> standard_options(app_options& options);

}  // namespace detail

/// The program is not to run: print the text (status 0: to standard output, else to standard error) and return.
struct exit_request {
  int status = 0;
  std::string text;
};

class command_line {
 public:
  using outcome = std::variant<app_options, exit_request>;

  /// With a default port the program has --port and --bind.
  command_line(std::string program, std::string description, std::string version,
               std::optional<std::uint16_t> default_port = std::nullopt);
  command_line(const command_line&) = delete;
  command_line& operator=(const command_line&) = delete;

  /// An own option, with a name such as "max-memory" that is not taken. The variable's value is its default.
  void add_option(std::string_view name, std::string& value, std::string_view help);
  void add_option(std::string_view name, std::uint64_t& value, std::string_view help, std::uint64_t lowest = 0,
                  std::uint64_t highest = std::numeric_limits<std::uint64_t>::max());
  void add_option(std::string_view name, byte_size& value, std::string_view help, byte_size lowest = {0},
                  byte_size highest = {1ull << 50});
  void add_option(std::string_view name, std::chrono::nanoseconds& value, std::string_view help,
                  std::chrono::nanoseconds lowest = {},
                  std::chrono::nanoseconds highest = std::chrono::hours(24 * 365));
  /// A flag: `--name` sets it, `--name=off` clears it.
  void add_option(std::string_view name, bool& value, std::string_view help);

  /// The options to run with, starting from those given; or how to exit. Called once.
  [[nodiscard]] outcome parse(int argc, const char* const* argv, app_options defaults = app_options());

 private:
  void add(detail::option option);
  detail::option* find(std::string_view name);
  std::optional<std::string> read_arguments(int argc, const char* const* argv);
  void read_environment();
  void read_config(const std::string& path);
  startup_error unknown(const std::string& as_written) const;

  const std::string program_, description_, version_;
  app_options options_;              // what the standard options set
  std::string config_;               // and --config
  std::vector<detail::option> all_;  // the standard ones, then the program's own
  bool parsed_ = false;
  bool features_ = false;  // are to be told, once it is known what the options ask for
};

}  // namespace skerry
