// SPDX-License-Identifier: Apache-2.0
#pragma once

/// sim: the unchanged program on a machine that is made up: all its shards in one thread, time that jumps, a network
/// and a seed. One number replays everything.
///
///     skerry::sim::options o;
///     o.seed = 7;
///     o.shards = 4;
///     const auto ended = skerry::sim::run(o, []() -> skerry::task<> {
///       auto server = skerry::sim::host("server", 8);
///       server.start(serve_all);
///       skerry::sim::always("no key is on two shards", [] { return no_key_twice(); });
///       net::stream s = co_await net::connect(*net::address::parse(server.ip(), 6379));
///       server.crash();
///     });
///     if (!ended.ok()) std::puts(ended.violation.c_str());
///
/// What runs is the shipped code: the reactor's loop, mailboxes, timers, streams, on a backend that simulates the
/// kernel. A shard can be interrupted between any two phases of its loop, and whatever can happen next is drawn from
/// the seed: whose turn it is, which completion is first, how long a packet takes, what fails.
///
/// `fn` runs as the main of a host named "test". Others are made by `host`. When it has ended, all that still runs is
/// crashed, which destroys every frame, and the simulation is over.
///
/// Same seed and same program: same trace hash, in another process and with other addresses. For that a program must
/// take time, chance and threads from Skerry. Calls to the real ones in a shard's turn are reported as violations.
///
/// Affinity: `run` on a thread that runs no shard; everything else from within.
/// Errors:   what goes wrong inside is told in `report::violation`, not thrown.
/// Limits:   one simulation at a time per process; `options::steps_max`, `options::time_max`.

#include <skerry/framework/task/task.hpp>
#include <skerry/shards/app_options.hpp>
#include <skerry/simulation/options.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

namespace skerry::sim {

class machine;

[[nodiscard]] report run(const options& given, std::function<task<>()> fn);

/// A simulated host: a handle, copied at will; the host lives as long as the simulation.
class host_handle {
 public:
  explicit host_handle(machine& of) noexcept : of_(&of) {}

  const std::string& name() const noexcept;
  /// Its addresses.
  std::string ip() const;
  std::string ip6() const;
  /// What its program's command line would say. Before start().
  app_options& settings() noexcept;
  /// Runs `main` as an app does; it ends by itself only with `auto_shutdown`. Asserts that it does not run.
  host_handle& start(std::function<task<>()> main, bool auto_shutdown = false);
  /// SIGTERM: drains and ends. Said again, nothing more.
  void stop();
  /// As kill(2) from elsewhere, a little later: what its program asked for (net::signals), or what is usual. SIGTERM
  /// and SIGINT stop it as `app` does, and a second one ends it at once, as SIGKILL does, and those that nobody asked
  /// for: its kernel closes what is open, and its disk keeps what was written. Nothing where it does not run.
  void signal(int number);
  /// Power off: nothing it does from now on reaches the world. Its frames are destroyed.
  void crash();
  /// One core stands still.
  void stall(unsigned shard, std::chrono::nanoseconds how_long);
  /// The wall clock jumps.
  void shift_wall(std::chrono::nanoseconds by);
  /// What its program finds in standard input, before the end.
  host_handle& give_input(std::string text);
  /// What its program has written to standard output by `net::standard_streams`; likewise to standard error.
  const std::string& output() const noexcept;
  const std::string& error_output() const noexcept;
  bool runs() const noexcept;
  /// What its last life ended with: as `app`, or 128 + n where a signal ended it; none while it runs and after a crash.
  std::optional<int> exit_status() const noexcept;
  /// Waits until it does not.
  task<> ended();

  machine& impl() const noexcept { return *of_; }

 private:
  machine* of_;
};

/// The host of that name, made with `shards` shards the first time.
host_handle host(std::string_view name, unsigned shards = 1);

/// What one side sends does not reach the other: packets are sent again until it heals, or time out. `what`: those of
/// one protocol only, while the other's get through.
void partition(std::initializer_list<std::string_view> from, std::initializer_list<std::string_view> to,
               bool one_way = false, protocol what = protocol::any);
void heal();

/// Time jumps, as if the whole world had stood still for so long: what was due meanwhile happens now.
void skip(std::chrono::nanoseconds time) noexcept;

/// True with `probability`: for programs that provoke what is rare in themselves. False outside of simulations.
bool buggify(double probability) noexcept;
/// A number below `bound`, from the seed. For what the test draws, not the program.
std::uint64_t draw(std::uint64_t bound) noexcept;
/// Checked after every step until `fn` has ended.
void always(std::string name, std::function<bool()> invariant);
/// Ends the simulation with this violation.
void fail(std::string why);
/// Whether the caller runs in a simulation.
bool simulated() noexcept;
std::chrono::nanoseconds virtual_time() noexcept;
std::uint64_t step() noexcept;

}  // namespace skerry::sim
