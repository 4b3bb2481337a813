// SPDX-License-Identifier: Apache-2.0
#pragma once

/// world: everything that is simulated in one process: time, machines, the network between them, and whose turn it is.
///
///     step():   one of the shards that can run runs on to its next point of preemption, or one event that is due
///               happens; if there is neither, time jumps to the next event or deadline
///
/// All choices come from the seed: one stream of numbers for turns, one for the network, one for what goes wrong, so
/// that leaving out a fault disturbs nothing else more than it must. Nothing depends on an address or on real time.
///
/// Points of preemption are where the reactor asks its pollers (before it polls, flushes, wakes, looks once more and
/// waits) and where it enters the kernel. The runner of a shard is the first poller of its reactor, so the shipped loop
/// runs as it is, on a fiber, and any two of its phases may have another shard's between them.
///
/// Affinity:   one world at a time, in one thread.
/// Ownership:  owns the machines, the network and what is still to happen; runners belong to their machines.
/// Invariants: (1) time never goes back; (2) a runner is among those that can run exactly when its place is not 0.
/// Limits:     `options::steps_max` steps and `options::time_max` of virtual time; past them, a violation.

#include <skerry/framework/clock.hpp>
#include <skerry/framework/random.hpp>
#include <skerry/framework/reactor/poller.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/framework/this_shard.hpp>
#include <skerry/simulation/detail/fiber.hpp>
#include <skerry/simulation/detail/process_memory.hpp>
#include <skerry/simulation/detail/signals.hpp>
#include <skerry/simulation/detail/simulated_backend.hpp>
#include <skerry/simulation/options.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace skerry::observe {
class trace_buffer;
}

namespace skerry::sim {
class machine;
}

namespace skerry::sim::detail {

using std::chrono::nanoseconds;

struct ip_number;
class network;
class world;

/// The test itself; what it made an invariant of goes with its frame, so checks end in the same turn.
task<> checked_to_its_end(std::function<task<>()> fn);

/// One shard of one machine: its fiber, and whether it can run.
class shard_runner final : public poller {
 public:
  enum class state : std::uint8_t { ready, waiting, stalled, ended };

  shard_runner(machine& of, shard_id id, unsigned number);

  // The points of preemption.
  void poll() noexcept override {
    preempt();
    hold_back_a_mailbox();
  }
  void flush() noexcept override { preempt(); }
  void wake_targets() noexcept override {
    preempt();
    shuffle_tasks();
  }
  clock::time_point deadline() noexcept override;
  bool has_work() noexcept override;

  /// Runs on to the next point.
  void run();
  /// From its backend: sleeps until it is woken, something has come, or `deadline`.
  void sleep(clock::time_point deadline) noexcept;
  /// Something has come for it.
  void wake() noexcept;
  void preempt() noexcept;
  /// Others go on; when it has its turn again, it first does what signals have come for it.
  void lose_turn() noexcept;
  void lose_turn_until(nanoseconds when) noexcept {
    stalled_until_ = std::max(stalled_until_, when);
    lose_turn();
  }
  /// What has become ready goes in an order that is drawn: first in, first out is not what a program may rely on.
  void shuffle_tasks() noexcept;
  /// Of schedule::adversarial: hides, at times, from the loop that one other shard has rung.
  void hold_back_a_mailbox() noexcept;
  void stall_until(nanoseconds when) noexcept { stalled_until_ = when; }

  machine& of;
  const shard_id id;
  const unsigned number;  ///< among all of the world
  state now = state::ready;
  std::size_t place = 0;       ///< in the world's list of those that can run
  nanoseconds deadline_at{0};  ///< while it waits
  bool woken = false;
  thread_signals signals;
  std::unique_ptr<fiber> own;
  observe::trace_buffer* trace = nullptr;

 private:
  friend class world;
  shard_core* core_ = nullptr;
  nanoseconds stalled_until_{0};
  std::uint64_t held_back_ = 0;  // the doorbell's bit
  bool rang_ = false;            // it would be set
  nanoseconds held_back_until_{0};
};

/// Walks through all ways in which turns can be taken, one per simulation: the choices of the last one, and how many
/// there were at each. Without a preemption left, a shard keeps its turn until it waits or sleeps.
struct turn_explorer {
  std::vector<std::uint16_t> path, widths;
  std::size_t depth = 0;
  unsigned preemptions_max = 0;
  unsigned preemptions = 0;
  unsigned on = 0;  ///< scopes that want it

  std::size_t choose(std::size_t width) noexcept;
  /// To the next one; false if there is none.
  bool advance() noexcept;
};

class world {
 public:
  explicit world(const options& given);
  ~world();
  world(const world&) = delete;
  world& operator=(const world&) = delete;

  /// The one that runs; null outside of simulations.
  static world* running() noexcept { return running_; }
  /// Asserts that there is one.
  static world& current() noexcept;

  nanoseconds now() const noexcept { return now_; }
  std::uint64_t steps() const noexcept { return steps_; }
  /// Time goes on a little: whoever reads a clock has done something.
  nanoseconds read_clock() noexcept { return now_ += nanoseconds(25); }
  void skip(nanoseconds time) noexcept { now_ += time; }
  void at(nanoseconds when, std::move_only_function<void()> what);
  void after(nanoseconds delay, std::move_only_function<void()> what) { at(now_ + delay, std::move(what)); }

  /// Whether a fault happens now. `what` names it in the log; its number is for `options::only`.
  bool chance(double probability, std::string_view what = "fault") noexcept;
  nanoseconds between(nanoseconds least, nanoseconds most) noexcept;
  std::uint64_t draw(std::uint64_t below) noexcept { return faults_.uniform(below); }
  random_source& drawn_by_programs() noexcept { return programs_; }
  const options& given() const noexcept { return given_; }

  machine& add(std::unique_ptr<machine> made);
  machine* find(std::string_view name) noexcept;
  /// The machine that has this address, if any.
  machine* at_address(const ip_number& ip) noexcept;
  const std::vector<std::unique_ptr<machine>>& machines() const noexcept { return machines_; }
  shard_runner* running_shard() const noexcept { return running_shard_; }
  unsigned next_runner_number() noexcept { return runners_made_++; }

  void can_run(shard_runner& r) noexcept;
  void cannot_run(shard_runner& r) noexcept;
  /// From here on the process is this machine's; null: the simulation's own.
  void enter(machine* whose) noexcept;
  const process_memory& outside() const noexcept { return outside_; }
  void consider_deadline(nanoseconds when) noexcept { next_look_ = std::min(next_look_, when); }

  /// Adds to the hash of everything that happens, and to the log if there is one.
  void note(std::string_view what, std::uint64_t a, std::uint64_t b = 0) noexcept;
  void fold(std::uint64_t value) noexcept;
  /// Ends the simulation; the first one counts.
  void violate(std::string what);
  bool violated() const noexcept { return !violation_.empty(); }
  void always(std::string name, std::function<bool()> invariant);
  void end_checks() noexcept { invariants_.clear(); }

  network& net() noexcept { return *network_; }
  // Ways between machines.
  bool cut(const machine& from, const machine& to, bool v4) const noexcept;
  void cut_off(const machine& from, const machine& to, protocol what);
  void heal() { cuts_.clear(); }

  /// Runs until `first` has ended, then switches all others off.
  report run(machine& first);
  /// Has `by` choose whose turn it is, while it wants to; it outlives the run.
  void choose_turns_by(turn_explorer& by) noexcept { explorer_ = &by; }
  turn_explorer* explorer() const noexcept { return explorer_; }

 private:
  friend class shard_runner;
  struct event {
    nanoseconds when;
    std::uint64_t tie;  // drawn: events of one moment happen in any order
    std::uint64_t number;
    std::move_only_function<void()> what;
  };
  static bool later(const event& a, const event& b) noexcept;

  void step();
  std::size_t choose_turn(std::size_t choices) noexcept;
  void look_at_deadlines() noexcept;
  nanoseconds stall_end() noexcept;
  void stall_somebody() noexcept;
  void end_all();

  static inline constinit world* running_ = nullptr;

  options given_;
  random_source turns_, faults_, programs_;
  nanoseconds now_ = std::chrono::hours(1);
  nanoseconds next_look_ = nanoseconds::max();
  std::uint64_t steps_ = 0;
  std::uint64_t events_made_ = 0;
  std::uint64_t hash_ = 1;
  std::string violation_;
  std::vector<event> events_;
  std::vector<shard_runner*> ready_;
  std::unique_ptr<network> network_;
  std::vector<std::unique_ptr<machine>> machines_;
  process_memory outside_;
  machine* entered_ = nullptr;
  shard_runner* running_shard_ = nullptr;
  shard_runner* last_shard_ = nullptr;
  turn_explorer* explorer_ = nullptr;
  struct fault_kind {
    std::string name;
    random_source drawn;
  };
  std::vector<fault_kind> kinds_;
  std::uint64_t faults_drawn_ = 0;
  unsigned runners_made_ = 0;
  struct broken_way {
    const machine *from, *to;
    protocol what;
  };
  std::vector<broken_way> cuts_;
  struct invariant {
    std::string name;
    std::function<bool()> holds;
  };
  std::vector<invariant> invariants_;
  std::FILE* log_ = nullptr;
};

}  // namespace skerry::sim::detail
