// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/observe/trace.hpp>
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/task/yield.hpp>

#include <algorithm>
#include <cstdio>

namespace skerry {

namespace {
constexpr std::chrono::nanoseconds clock_interval = std::chrono::microseconds(10);
constexpr std::chrono::nanoseconds slice = std::chrono::microseconds(100);
constexpr unsigned steps_between_clock_max = 64;
constexpr unsigned preempt_calls_per_clock = 16;
constexpr unsigned spins_per_clock = 64;

int describe_context(char* out, int size) noexcept {
  const shard_core* shard = detail::current_shard;
  if (shard == nullptr) return 0;
  const auto length = static_cast<std::size_t>(size);
  if (shard->current == nullptr) return std::snprintf(out, length, ", shard %u", shard->id);
  return std::snprintf(out, length, ", shard %u, task \"%s\"", shard->id, shard->current->name());
}

/// Makes failed assertions and log lines name the running task.
bool describe_tasks_elsewhere() noexcept {
  detail::describe_assert_context = &describe_context;
  detail::current_task_name = []() noexcept -> std::string_view {
    return detail::current_shard->current != nullptr ? detail::current_shard->current->name() : "";
  };
  return true;
}
}  // namespace

reactor::reactor(shard_core& core, backend& kernel, const reactor_options& options)
    : core_(core), kernel_(kernel), options_(options) {
  SKERRY_ASSERT(core.time != nullptr, "a shard needs a clock");
  // A static's guard makes this safe where two threads make their first reactors.
  [[maybe_unused]] static const bool described = describe_tasks_elsewhere();
  core_.frames = &frames_;
  core_.ready = &ready_;
  core_.root = &root_;
  core_.loop = this;
  core_.resources = &resources_;
  started_ = core_.now = last_tick_ = clock::time_point{core.time->monotonic()};
}

void reactor::idle() noexcept {
  if (spin() || !options_.park) return;
  if (!announce_sleep() || look_again()) {
    bell_.woken();
    return;
  }
  wait();
}

bool reactor::run_once() noexcept {
  ++stats_.turns;
  run_ready();

  bits_taken_ = false;
  for (std::size_t i = 0; i < pollers_.size(); ++i) pollers_[i]->poll();
  rung();  // also when no poller asked
  held_back_ = false;
  for (std::size_t i = 0; i < pollers_.size(); ++i) pollers_[i]->flush();
  if (!held_back_) last_flush_ = core_.now;
  for (std::size_t i = 0; i < pollers_.size(); ++i) pollers_[i]->wake_targets();

  bool wait_will_submit = ready_.empty() && options_.park && options_.idle_spin.count() == 0;
  if (kernel_.wants_entry() || (kernel_.has_submissions() && !wait_will_submit) ||
      (kernel_.polled() && !ready_.empty())) {
    kernel_.submit_and_reap();
    read_clock();
  }
  return !ready_.empty();
}

void reactor::run_ready() noexcept {
  steps_this_phase_ = 0;
  phase_over_ = false;
  if (ready_.empty()) return;
  clock::time_point end = core_.now + options_.task_budget;
  do {
    core_.trace != nullptr ? run_slice<true>(ready_.next_turn()) : run_slice<false>(ready_.next_turn());
  } while (!ready_.empty() && !bell_.rung() && !phase_over_ && core_.now < end);
}

template <bool Traced>
void reactor::run_slice(run_queue::turn t) noexcept {
  shard_core& core = core_;
  slice_end_ = core.now + slice;
  unsigned left = steps_until_clock_;
  run_queue::hook* next = ready_.pop(t);
  while (next != nullptr) {
    auto& task = *static_cast<detail::chain*>(next);
    const std::uint64_t id = task.id();  // the step may be its last
    if constexpr (Traced) observe::trace(observe::trace_kind::task_begin, id);
    next = ready_.queue_or_next(task.step(core));
    if constexpr (Traced) observe::trace(observe::trace_kind::task_end, id);
    if (--left == 0) {
      steps_until_clock_ = 0;
      tick(t);
      left = steps_until_clock_;
      if (phase_over_ || core_.now >= slice_end_) break;
    }
    if (bell_.rung() || ready_.interrupted()) break;
    if (next == nullptr) next = ready_.pop(t);
  }
  steps_until_clock_ = left;
  if (next != nullptr) run_queue::push(*next);
  core_.current = nullptr;
  ready_.end_turn(t);
  // Several groups share the shard: what this one used must be known before the next one is chosen.
  if (ready_.contended(t)) tick(t);
}

void reactor::tick(run_queue::turn t) noexcept {
  clock::time_point before = last_tick_;
  unsigned steps = steps_between_clock_ - steps_until_clock_;
  read_clock();
  std::chrono::nanoseconds used = core_.now - before;
  ready_.charge(t, used);
  stats_.tasks_run += steps;
  steps_this_phase_ += steps;
  phase_over_ = (steps_this_phase_ >= completion_batch && (kernel_.wants_entry() || kernel_.polled())) ||
                (held_back_ && core_.now - last_flush_ >= flush_interval);
  // Steps that should fit into clock_interval, at most twice as many as last time.
  auto per_step = std::max<std::int64_t>(used.count() / std::max(steps, 1u), 1);
  auto fitting =
      static_cast<unsigned>(std::clamp<std::int64_t>(clock_interval.count() / per_step, 1, steps_between_clock_max));
  steps_between_clock_ = steps_until_clock_ = std::min(fitting, 2 * steps_between_clock_);
}

void reactor::read_clock() noexcept {
  last_tick_ = core_.now = std::max(core_.now, clock::time_point{core_.time->monotonic()});
}

/// Looks at the two words that others write until one says that there is work or a deadline has come (true), or
/// idle_spin is over. Nothing else happens: between a neighbour's ring and the look at its message is one cache miss.
bool reactor::spin() noexcept {
  if (options_.idle_spin.count() == 0 && options_.park) return false;
  auto next = clock::time_point::max();
  auto end = clock::time_point::max();
  do {
    for (unsigned i = 0; i < spins_per_clock; ++i) {
      if (bell_.rung() || kernel_.wants_entry()) return true;
    }
    if (kernel_.polled()) {
      const std::uint64_t before = kernel_.stats().completions;
      kernel_.submit_and_reap();
      if (kernel_.stats().completions != before) return true;
    }
    read_clock();  // also for a shard that never sleeps: its timers
    if (end == clock::time_point::max()) {
      next = next_deadline();
      end = core_.now + options_.idle_spin;
    }
  } while (core_.now < next && core_.now < end);
  return next <= core_.now;
}

bool reactor::look_again() noexcept { return !ready_.empty() || std::ranges::any_of(pollers_, &poller::has_work); }

clock::time_point reactor::next_deadline() noexcept {
  clock::time_point next = clock::time_point::max();
  for (poller* each : pollers_) next = std::min(next, each->deadline());
  return next;
}

void reactor::wait() noexcept {
  read_clock();
  clock::time_point before = core_.now;
  clock::time_point next = next_deadline();
  if (next <= before) {
    kernel_.submit_and_reap();
  } else {
    ++stats_.sleeps;
    kernel_.wait(next);
  }
  if (bell_.woken()) ++stats_.wakes_received;
  read_clock();
  stats_.idle += core_.now - before;
}

bool reactor::need_preempt() noexcept {
  if (bell_.rung() || kernel_.wants_entry()) return true;
  if (++preempt_calls_ % preempt_calls_per_clock != 0) return false;
  core_.now = std::max(core_.now, clock::time_point{core_.time->monotonic()});
  return core_.now >= slice_end_;
}

bool need_preempt() noexcept { return this_shard().loop->need_preempt(); }

reactor_stats reactor::stats() const noexcept {
  reactor_stats s = stats_;
  s.tasks_run += steps_between_clock_ - steps_until_clock_;
  s.uptime = core_.now - started_;
  return s;
}

void reactor::report_unseen(const char* task_name, const std::exception_ptr& error) noexcept {
  ++stats_.unseen_errors;
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& e) {
    log::error("task \"{}\" ended with an exception that nobody awaited: {}", task_name, e.what());
  } catch (...) {
    log::error("task \"{}\" ended with an exception that nobody awaited", task_name);
  }
}

}  // namespace skerry
