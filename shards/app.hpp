// SPDX-License-Identifier: Apache-2.0
#pragma once

/// app: a program on all cores: command line, shards, signals, graceful stop, exit status.
///
///     int main(int argc, char** argv) {
///       return skerry::app("greeter", "says hello on every shard").run(argc, argv, []() -> skerry::task<> {
///         co_await greet_everybody();
///       });
///     }
///
/// `main` runs on shard 0. The program ends when it and all root scopes have ended; with auto_shutdown(false) it ends
/// at `app::shutdown()` or a signal.
///
///     exit status
///     0          everything ended, or a stop was asked for and drained
///     1          wrong options, the machine refused something, or main threw
///     2          the drain deadline passed; the tasks that were left are in the log
///     128 + n    a second signal n
///
/// Affinity: built and run on the process's main thread, which keeps the program's name, once; shutdown() on any shard.

#include <skerry/framework/task/task.hpp>
#include <skerry/shards/app_options.hpp>
#include <skerry/shards/command_line.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>

namespace skerry {

class app {
 public:
  /// With a default port the program has --port and --bind.
  explicit app(std::string program, std::string description = "", std::string version = "0.1.0",
               std::optional<std::uint16_t> default_port = std::nullopt)
      : program_(program), line_(std::move(program), std::move(description), std::move(version), default_port) {}

  /// What the command line may override.
  app_options& defaults() noexcept { return defaults_; }
  /// For options of the program's own.
  command_line& options() noexcept { return line_; }
  /// False: the end of main is not the end of the program.
  app& auto_shutdown(bool yes) noexcept {
    auto_shutdown_ = yes;
    return *this;
  }

  /// Parses, runs, and returns what `main` should return.
  int run(int argc, const char* const* argv, const std::function<task<>()>& main);

  /// Begins the graceful stop of this shard's app.
  static void shutdown() noexcept;
  /// The options in force.
  static const app_options& running_options() noexcept;

 private:
  std::string program_;
  app_options defaults_;
  command_line line_;
  bool auto_shutdown_ = true;
};

}  // namespace skerry
