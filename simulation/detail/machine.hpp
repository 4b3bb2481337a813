// SPDX-License-Identifier: Apache-2.0
#pragma once

/// machine: one simulated host: a shipped `skerry::host` whose shards run on fibers; its clock, address, descriptors.
///
///     off --start()--> running --main and root scopes end, or stop()--> off
///                          '----crash()---> nothing of it reaches the world any more; its frames are destroyed ---^
///
/// A crash first takes the machine out of the world: its backends are dead (every submission fails at once), its
/// sockets are gone, and system calls fail. Then the host runs to its end with nobody listening, in a time of its own,
/// so that RAII unwinds every frame. No destructor's work reaches the world.
///
/// A process that ends at once (end_process(), by a signal) takes the same way, but its kernel goes on: it closes the
/// descriptors, so peers hear of it, and the disk keeps what was written, synced or not.
///
/// Affinity:   the simulator's thread. start, stop and crash may be called from any shard's turn; they happen after it.
/// Ownership:  owns the host, its fibers and its descriptors.
/// Invariants: a machine that is off has no host, no runners and no descriptors; one that is dying opens none.
/// Limits:     `system_options::descriptors_max` descriptors.

#include <skerry/framework/task/task.hpp>
#include <skerry/shards/app_options.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/simulation/detail/addresses.hpp>
#include <skerry/simulation/detail/world.hpp>

#include <array>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace skerry::sim::detail {
class disk;
class standard_stream;
}  // namespace skerry::sim::detail

namespace skerry::sim {

class machine final : public clock_source {
 public:
  enum class state : std::uint8_t { off, running, dying };
  static constexpr int first_descriptor = 1 << 24;  ///< no kernel gives such numbers: RLIMIT_NOFILE is below

  machine(detail::world& in, std::string name, unsigned number);
  ~machine();

  const std::string& name() const noexcept { return name_; }
  std::uint32_t ip() const noexcept { return ip_; }  ///< in the host's byte order
  detail::ip_number ip6() const noexcept { return {0x2001'0db8ull << 32, ip_ & 0xffffff}; }
  bool has(const detail::ip_number& ip) const noexcept { return ip == detail::ip_number::v4(ip_) || ip == ip6(); }
  std::string ip_text() const;
  std::string ip6_text() const;
  detail::world& in() const noexcept { return world_; }
  /// What its program is to others: no process of a kernel has such a number.
  pid_t process() const noexcept { return static_cast<pid_t>(1 << 30 | (ip_ & 0xffffff)); }
  /// Likewise its threads, of which the first has the number of the process.
  pid_t thread(shard_id id) const noexcept { return process() | static_cast<pid_t>(id << 16); }
  static constexpr unsigned user = 1000;  ///< and group
  state now() const noexcept { return state_; }
  app_options& settings() noexcept { return options_; }

  /// Asserts that it is off.
  void start(std::function<task<>()> main, bool auto_shutdown);
  void stop();
  void crash();
  /// Somebody sends a signal; how long it takes is drawn.
  void signal(int number);
  /// From its signals: the process ends at once, after this turn.
  void end_process(int status, int signal);
  /// SIGTERM has come.
  void request_stop() noexcept { instance_->request_stop(); }
  /// Of its last life; none while it runs and after a crash.
  std::optional<int> exit_status() const noexcept { return exit_status_; }
  void stall(shard_id shard, std::chrono::nanoseconds how_long);
  void shift_wall(std::chrono::nanoseconds by) noexcept { wall_shift_ += by; }
  /// Called once it is off.
  void when_off(std::move_only_function<void()> what);

  std::chrono::nanoseconds monotonic() noexcept override;
  std::chrono::nanoseconds wall() noexcept override;

  // Descriptors. Errors are negative, as the kernel's.
  int open(std::shared_ptr<detail::node> what);
  std::shared_ptr<detail::node> find(int fd) const noexcept;
  int duplicate(int fd);
  int close(int fd) noexcept;
  /// One less stands for it, and it is closed with the last.
  void let_go(detail::node& what) noexcept;
  std::size_t open_descriptors() const noexcept { return open_; }
  /// RLIMIT_NOFILE, counted from the first one.
  std::size_t descriptor_limit() const noexcept { return descriptor_limit_; }
  void limit_descriptors(std::size_t most) noexcept { descriptor_limit_ = most; }

  /// Of 0, 1 and 2, as long as the machine lives: a restart continues them.
  detail::standard_stream& standard(int fd) noexcept { return *standard_[static_cast<std::size_t>(fd)]; }
  std::size_t descriptors_under_way = 0;  ///< in messages

  /// A call that blocks: the running shard stands still until `done`, and others go on. False: the machine dies.
  bool block_until(const std::function<bool()>& done) const;

  detail::disk& storage() noexcept { return *disk_; }
  detail::process_signals& signals() noexcept { return signals_; }
  /// While another machine has its turn.
  detail::process_memory& memory() noexcept { return memory_; }

  std::uint16_t next_ephemeral_port() noexcept;
  /// Counts starts: what was meant for an earlier life does not reach a later one.
  unsigned lives() const noexcept { return lives_; }
  detail::simulated_backend* kernel(shard_id shard) const noexcept {
    return shard < kernels_.size() ? kernels_[shard] : nullptr;
  }

  /// From a runner: its shard's whole life.
  void run_shard(shard_id id);
  void runner_ended();
  /// Leaves what cannot be unwound where it is: a violation ended the simulation.
  void abandon() noexcept;
  template <class Fn>
  void each_runner(Fn fn) {
    for (const auto& each : runners_) fn(*each);
  }
  bool deadline_passed = false;  ///< of the drain: the process would have ended with status 2

 private:
  void start_now(std::function<task<>()> main, bool auto_shutdown);
  void off_now();
  void never_begin(std::optional<int> status);
  void leave_the_world(bool power_fails);
  void run_to_its_end();

  detail::world& world_;
  std::string name_;
  std::uint32_t ip_;
  app_options options_;
  state state_ = state::off;
  std::function<task<>()> main_;
  bool auto_shutdown_ = false;
  std::unique_ptr<host> instance_;
  std::vector<detail::simulated_backend*> kernels_;
  std::vector<std::unique_ptr<detail::shard_runner>> runners_;
  unsigned running_ = 0;
  unsigned lives_ = 0;
  std::optional<int> exit_status_;
  detail::process_signals signals_{*this};
  detail::process_memory memory_;
  std::vector<std::move_only_function<void()>> waiting_for_end_;
  std::shared_ptr<detail::disk> disk_;
  std::array<std::shared_ptr<detail::standard_stream>, 3> standard_;
  std::vector<std::shared_ptr<detail::node>> descriptors_;
  std::size_t open_ = 0;
  std::size_t descriptor_limit_;
  std::uint16_t last_port_ = 32767;
  std::chrono::nanoseconds wall_shift_{0};
  std::chrono::nanoseconds ahead_{0};  // of the world, while dying
};

}  // namespace skerry::sim
