// SPDX-License-Identifier: Apache-2.0
#pragma once

/// embedded_app: shards inside a program that has a main loop of its own (a GUI, a game, an Asio server).
///
///     alien::embedded_app shards{app_options()}; // looks at the machine
///     shards.start(load_configuration);          // returns when every shard runs
///     std::future<int> n = alien::submit_to(shards.door(), 1, [](int m) { return m + 1; }, 41);
///     shards.stop();                             // what is in flight finishes, as at SIGTERM
///     shards.start();                            // again, as often as wanted
///
///     stopped --start()--> running --stop(), or main throws--> stopped
///
/// The program's own threads stay as they are: shards have threads of their own, which are pinned as the options say
/// and take no signals. What is the process's is left alone: command line, signals, standard descriptors. A program
/// whose shards write to pipes ignores SIGPIPE, as `app` does.
///
/// Affinity:  made, started, stopped and destroyed on one thread, which runs no shard; door() as well, its copies on
///            any. Make it before other threads call getenv: to look at the machine, hwloc's environment is changed and
///            put back (topology.hpp).
/// Errors:    startup_error from the constructor and start(); what main throws ends the shards, and stop() rethrows it.
/// Limits:    a stop that takes longer than `drain_timeout` ends the process with status 2, as in any app.

#include <skerry/framework/task/task.hpp>
#include <skerry/shards/app_options.hpp>
#include <skerry/shards/placement.hpp>
#include <skerry/toolkit/alien/alien.hpp>

#include <exception>
#include <functional>
#include <future>
#include <mutex>
#include <thread>

namespace skerry {

class host;

namespace alien {

class embedded_app {
 public:
  explicit embedded_app(const app_options& options);
  /// Stops; an error of main's is lost here.
  ~embedded_app();
  embedded_app(const embedded_app&) = delete;
  embedded_app& operator=(const embedded_app&) = delete;

  /// Starts the shards. `main` runs on shard 0 and may end long before them.
  void start(std::function<task<>()> main = {});
  void stop();
  bool started() const noexcept { return thread_.joinable(); }

  /// The way in, from start to stop; afterwards calls through it are refused.
  const entry& door() const noexcept { return door_; }
  const placement& where() const noexcept { return where_; }

 private:
  void run(const std::function<task<>()>& main, std::promise<entry>& opened) noexcept;

  const app_options options_;
  const placement where_;
  entry door_;
  std::thread thread_;        // shard 0's; joinable between start and stop
  std::exception_ptr error_;  // of the thread, until it is joined
  std::mutex mutex_;
  host* running_ = nullptr;  // under the mutex: who stops it must find it alive
};

}  // namespace alien

}  // namespace skerry
