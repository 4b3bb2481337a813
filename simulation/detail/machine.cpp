// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/trace.hpp>
#include <skerry/shards/placement.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/simulation/detail/disk.hpp>
#include <skerry/simulation/detail/machine.hpp>
#include <skerry/simulation/detail/pipes.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include <fmt/core.h>

namespace skerry::sim {

using detail::shard_runner;
using detail::simulated_backend;
using std::chrono::nanoseconds;

machine::machine(detail::world& in, std::string name, unsigned number)
    : world_(in),
      name_(std::move(name)),
      ip_(10u << 24 | (number + 1)),
      disk_(std::make_shared<detail::disk>(*this)),
      descriptor_limit_(in.given().system.descriptors_max) {
  options_.shards = 1;
  options_.log_level = "off";
  options_.admin = "off";
  options_.overprovision = true;
  options_.thread_names = false;
  options_.ring_entries = 256;
  options_.bind = ip_text();
  for (auto& each : standard_) each = std::make_shared<detail::standard_stream>(*this);
}

machine::~machine() {
  state_ = state::dying;  // after a violation there may be descriptors
  for (const auto& each : descriptors_) {
    if (each != nullptr) let_go(*each);
  }
}

std::string machine::ip_text() const {
  return fmt::format("{}.{}.{}.{}", ip_ >> 24, ip_ >> 16 & 255, ip_ >> 8 & 255, ip_ & 255);
}

std::string machine::ip6_text() const { return fmt::format("2001:db8::{:x}", ip6().low); }

void machine::start(std::function<task<>()> main, bool auto_shutdown) {
  SKERRY_ASSERT(state_ == state::off, "a host that runs is not started");
  state_ = state::running;
  exit_status_.reset();
  world_.after(nanoseconds(0), [this, body = std::move(main), auto_shutdown]() mutable {
    if (state_ == state::running && instance_ == nullptr) start_now(std::move(body), auto_shutdown);
  });
}

void machine::start_now(std::function<task<>()> main, bool auto_shutdown) {
  main_ = std::move(main);
  auto_shutdown_ = auto_shutdown;
  signals_.begin();
  world_.enter(nullptr);
  memory_ = world_.outside();
  const auto count = *options_.shards;
  placement where;
  where.shards.resize(count);
  where.count_reason = "simulated";
  app_options given = options_;
  given.seed = world_.given().seed * 0x9e3779b97f4a7c15 + ip_ + std::uint64_t{++lives_} * 0x632be59bd9b4e019;
  given.port.reset();  // it would ask the real machine for descriptors
  std::vector<std::unique_ptr<backend>> kernels;
  kernels_.clear();
  for (shard_id id = 0; id < count; ++id) {
    auto made = std::make_unique<simulated_backend>(*this, id, given.ring_entries);
    made->zero_copy_from = given.send_zc_bytes;
    kernels_.push_back(made.get());
    kernels.push_back(std::move(made));
  }
  instance_ = std::make_unique<host>(given, std::move(where), *this, std::move(kernels));
  instance_->options_.port = options_.port;
  if (given.log_level != "off") instance_->log().line_queued();  // its thread is the world's, not a shard's turn's
  running_ = count;
  for (shard_id id = 0; id < count; ++id) {
    runners_.push_back(std::make_unique<shard_runner>(*this, id, world_.next_runner_number()));
    kernels_[id]->runs_on(*runners_.back());
    instance_->shards_[id]->loop().add(*runners_.back());
    world_.can_run(*runners_.back());
  }
  world_.note("start", ip_, count);
}

void machine::run_shard(shard_id id) {
  if (id != 0) return instance_->run_thread(id);
  instance_->start(0);
  instance_->run_first(main_, auto_shutdown_);
}

void machine::runner_ended() {
  if (--running_ != 0 || state_ == state::dying) return;
  world_.after(nanoseconds(0), [this] { off_now(); });
}

void machine::off_now() {
  for (const auto& each : runners_) {
    if (each->trace != nullptr) world_.fold(each->trace->hash());
  }
  const std::exception_ptr error = instance_->main_error_;
  const bool died = state_ == state::dying;
  if (!died && open_ != 0) {
    world_.violate(fmt::format("host {} has ended and left {} descriptor{} open", name_, open_, open_ == 1 ? "" : "s"));
  }
  if (!died) exit_status_ = error != nullptr ? 1 : 0;
  world_.enter(this);
  instance_.reset();
  runners_.clear();
  kernels_.clear();
  main_ = nullptr;
  for (auto& each : descriptors_) {
    if (each != nullptr) let_go(*each);
  }
  descriptors_.clear();
  open_ = 0;
  state_ = state::off;
  ahead_ = nanoseconds(0);
  world_.note("off", ip_, died);
  if (error != nullptr && !died) {
    try {
      std::rethrow_exception(error);
    } catch (const std::exception& thrown) {
      world_.violate(fmt::format("host {}: main ended with an exception: {}", name_, thrown.what()));
    } catch (...) {
      world_.violate(fmt::format("host {}: main ended with an exception that is no std::exception", name_));
    }
  }
  for (auto& each : std::exchange(waiting_for_end_, {})) each();
}

void machine::stop() {
  world_.after(nanoseconds(0), [this] {
    if (state_ != state::running) return;
    signals_.stop_requested();
    instance_ == nullptr ? never_begin(0) : instance_->request_stop();
  });
}

void machine::crash() {
  world_.after(nanoseconds(0), [this] {
    if (state_ != state::running) return;
    world_.note("crash", ip_);
    if (instance_ == nullptr) return never_begin({});
    leave_the_world(true);
    run_to_its_end();
  });
}

void machine::signal(int number) {
  SKERRY_ASSERT(number >= 1 && number <= detail::process_signals::last, "there is no such signal");
  if (state_ != state::running) return;
  const unsigned life = lives_ + (instance_ == nullptr);
  world_.after(world_.between(nanoseconds(0), std::chrono::microseconds(50)), [this, number, life] {
    if (state_ != state::running || lives_ + (instance_ == nullptr) != life) return;
    if (number == SIGKILL) return end_process(128 + number, number);
    if (instance_ != nullptr) return signals_.arrive(number);
    if (detail::process_signals::ends_what_has_not_begun(number)) never_begin(128 + number);
  });
}

void machine::end_process(int status, int signal) {
  world_.after(nanoseconds(0), [this, status, signal, life = lives_] {
    if (state_ != state::running || lives_ != life) return;
    world_.note("ended by signal", ip_, static_cast<std::uint64_t>(status));
    if (instance_ == nullptr) return never_begin(status);
    if (world_.machines().front().get() == this) {  // or a test would end here, and pass
      return world_.violate(fmt::format("host {}: the process ended with status {} by signal {} ({})", name_, status,
                                        signal, ::strsignal(signal)));
    }
    leave_the_world(false);
    exit_status_ = status;
    run_to_its_end();
  });
}

/// First of all: nothing that follows is seen by anybody.
void machine::leave_the_world(bool power_fails) {
  if (power_fails) {
    state_ = state::dying;
    disk_->power_off();
  } else {  // its kernel ends what is in flight and closes what is open
    disk_->process_ended();
    for (simulated_backend* each : kernels_) each->die();
  }
  for (auto& each : std::exchange(descriptors_, {})) {
    if (each != nullptr) let_go(*each);
  }
  open_ = 0;
  state_ = state::dying;
  if (!power_fails) return;
  for (simulated_backend* each : kernels_) each->die();
}

/// It was about to start.
void machine::never_begin(std::optional<int> status) {
  state_ = state::off;
  exit_status_ = status;
  for (auto& each : std::exchange(waiting_for_end_, {})) each();
}

/// With a time of its own, which jumps whenever nobody can run.
void machine::run_to_its_end() {
  for (const auto& each : runners_) {
    world_.cannot_run(*each);
    each->wake();  // a wake-up may be under way in the world, and would not arrive any more
  }
  instance_->request_stop();
  constexpr std::uint64_t turns_max = 5'000'000;
  for (std::uint64_t turns = 0; running_ != 0; ++turns) {
    bool ran = false;
    for (const auto& each : runners_) {
      if (each->now == shard_runner::state::ended) continue;
      if (each->now == shard_runner::state::waiting && !each->woken && each->deadline_at > monotonic()) continue;
      each->run();
      ran = true;
    }
    if (!ran) {
      nanoseconds next = nanoseconds::max();
      for (const auto& each : runners_) {
        if (each->now != shard_runner::state::ended) next = std::min(next, each->deadline_at);
      }
      if (next == nanoseconds::max() || turns > turns_max) {
        return world_.violate(
            fmt::format("host {} crashed, and its frames cannot be destroyed: they wait for ever", name_));
      }
      ahead_ += std::max(next - monotonic(), nanoseconds(0));
    }
    if (turns > turns_max) {
      return world_.violate(fmt::format("host {} crashed, and its tasks go on and on", name_));
    }
  }
  off_now();
}

void machine::stall(shard_id shard, nanoseconds how_long) {
  SKERRY_ASSERT(shard < *options_.shards, "there is no such shard");
  if (shard < runners_.size()) runners_[shard]->stall_until(world_.now() + how_long);
}

void machine::when_off(std::move_only_function<void()> what) {
  if (state_ == state::off) return world_.after(nanoseconds(0), std::move(what));
  waiting_for_end_.push_back(std::move(what));
}

nanoseconds machine::monotonic() noexcept { return world_.read_clock() + ahead_; }

nanoseconds machine::wall() noexcept {
  constexpr std::chrono::seconds start(1'790'000'000);  // in September 2026
  return start + world_.read_clock() + ahead_ + wall_shift_;
}

int machine::open(std::shared_ptr<detail::node> what) {
  if (state_ == state::dying) return -ENETDOWN;
  auto free = std::ranges::find(descriptors_, nullptr);
  if (static_cast<std::size_t>(free - descriptors_.begin()) >= descriptor_limit_) return -EMFILE;
  if (free == descriptors_.end()) free = descriptors_.insert(free, nullptr);
  ++what->descriptors;
  ++open_;
  *free = std::move(what);
  return first_descriptor + static_cast<int>(free - descriptors_.begin());
}

std::shared_ptr<detail::node> machine::find(int fd) const noexcept {
  const auto place = static_cast<std::size_t>(fd - first_descriptor);
  return fd >= first_descriptor && place < descriptors_.size() ? descriptors_[place] : nullptr;
}

int machine::duplicate(int fd) {
  std::shared_ptr<detail::node> what = find(fd);
  return what == nullptr ? -EBADF : open(std::move(what));
}

int machine::close(int fd) noexcept {
  if (state_ == state::dying) return 0;
  std::shared_ptr<detail::node> what = find(fd);
  if (what == nullptr) return -EBADF;
  descriptors_[static_cast<std::size_t>(fd - first_descriptor)] = nullptr;
  --open_;
  let_go(*what);
  return 0;
}

void machine::let_go(detail::node& what) noexcept {
  if (--what.descriptors != 0) return;
  state_ == state::dying ? what.vanished() : what.closed();
}

bool machine::block_until(const std::function<bool()>& done) const {
  while (state_ == state::running) {
    if (done()) return true;
    world_.running_shard()->lose_turn();
  }
  return false;
}

std::uint16_t machine::next_ephemeral_port() noexcept {
  last_port_ = last_port_ >= 60999 ? std::uint16_t{32768} : static_cast<std::uint16_t>(last_port_ + 1);
  return last_port_;
}

void machine::abandon() noexcept {
  for (const auto& each : runners_) {
    if (!each->own->ended()) each->own->abandon();
  }
  // Never destroyed, and reachable: frames on stacks that nobody unwinds refer to them.
  static auto& left = *new std::vector<std::unique_ptr<host>>;
  static auto& left_runners = *new std::vector<std::unique_ptr<shard_runner>>;
  if (instance_ != nullptr) left.push_back(std::move(instance_));
  for (auto& each : runners_) left_runners.push_back(std::move(each));
  runners_.clear();
}

}  // namespace skerry::sim
