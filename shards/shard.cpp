// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/shards/submit_to.hpp>

#include <algorithm>
#include <chrono>
#include <string_view>

namespace skerry {

namespace {

using in = const shard_stats&;

/// A name that ends in _total is a counter's, and the name says the unit.
struct row {
  std::string_view name;  ///< after skerry_, with which all begin
  const char* help;
  std::uint64_t (*read)(in);
};

std::uint64_t number(std::uint64_t n) { return n; }
std::uint64_t number(std::chrono::nanoseconds time) { return static_cast<std::uint64_t>(time.count()); }

std::uint64_t sum(in s, auto pair_stats::* part) {
  std::uint64_t total = 0;
  for (const pair_stats& from : s.received_from) total += number(from.*part);
  return total;
}

/// Everything of shard_stats; pairs of shards are summed up here and told apart there.
constexpr row rows[] = {
    {"reactor_turns_total", "Turns of the loop; each polls once.", [](in s) { return s.loop.turns; }},
    {"reactor_sleeps_total", "Times the shard slept.", [](in s) { return s.loop.sleeps; }},
    {"reactor_idle_seconds_total", "Time asleep.", [](in s) { return number(s.loop.idle); }},
    {"reactor_wakes_sent_total", "Sleeping shards that this one woke.", [](in s) { return s.kernel.wakes_sent; }},
    {"reactor_wakes_received_total", "Sleeps that another shard ended.", [](in s) { return s.loop.wakes_received; }},
    {"kernel_entries_total", "System calls of the loop.", [](in s) { return s.kernel.kernel_entries; }},
    {"kernel_submissions_total", "Operations handed to the kernel.", [](in s) { return s.kernel.submissions; }},
    {"kernel_completions_total", "Completions of operations.", [](in s) { return s.kernel.completions; }},
    {"kernel_submission_ring_full_total", "Times a full ring was submitted early.", [](in s) { return s.kernel.full; }},
    {"kernel_completion_ring_overflows_total", "Times it had overflowed.", [](in s) { return s.kernel.overflows; }},
    {"tasks", "Tasks in the root scope.", [](in s) { return s.tasks; }},
    {"tasks_started_total", "Tasks that were started.", [](in s) { return s.tasks_started; }},
    {"tasks_run_total", "Steps of tasks, from one wait to the next.", [](in s) { return s.loop.tasks_run; }},
    {"tasks_unseen_errors_total", "Exceptions that nobody awaited.", [](in s) { return s.loop.unseen_errors; }},
    {"timers", "Armed timers.", [](in s) { return s.timers; }},
    {"timers_expired_total", "Timers that expired.", [](in s) { return s.timers_expired; }},
    {"frames", "Frames in use.", [](in s) { return s.frames_in_use; }},
    {"frame_pool_bytes", "Memory of the frame pool.", [](in s) { return s.frame_bytes_reserved; }},
    {"buffers", "Receive buffers made so far.", [](in s) { return number(s.buffers.buffers); }},
    {"buffers_taken", "Receive buffers that readers hold.", [](in s) { return number(s.buffers.taken); }},
    {"buffers_exhausted_total", "Times a receiver had to wait for a buffer.", [](in s) { return s.buffers.exhausted; }},
    {"messages_outstanding", "Own messages that are not home yet.", [](in s) { return s.messages_outstanding; }},
    {"messages_sent_total", "Messages to other shards.", [](in s) { return s.messages_sent; }},
    {"messages_received_total", "Messages that others sent here.", [](in s) { return sum(s, &pair_stats::requests); }},
    {"message_batches_total", "Times an inbox was found filled.", [](in s) { return sum(s, &pair_stats::batches); }},
    {"message_wait_seconds_total", "Time of messages in queues.", [](in s) { return sum(s, &pair_stats::queue_wait); }},
    {"log_lines_dropped_total", "Log lines that found the queue full.", [](in s) { return s.log_lines_dropped; }},
};

}  // namespace

shard::shard(host& owner, shard_id id, shard_id count, backend& kernel, clock_source& time, std::uint64_t seed,
             const reactor_options& options)
    : host_(owner),
      core_{.time = &time,
            .random = &random_,
            .metrics = &metrics_,
            .timers = &timers_,
            .assembled = this,
            .host = &owner,
            .id = id,
            .count = count},
      random_(seed, id),
      reactor_(core_, kernel, options),
      timers_(core_.now) {}

void shard::start(log_channel& log) {
  SKERRY_ASSERT(detail::current_shard == nullptr, "a thread runs one shard");
  // What may throw comes first: until it is this shard, the thread is free.
  reactor_.kernel().start();
  core_.resources->emplace<buffer_pool>(reactor_.kernel(), &core_);
  publish();
  detail::current_shard = &core_;
  core_.log = &log;
  drain_progress_.emplace("drain");
  reactor_.add(*boxes_);
  reactor_.add(*this);
  reactor_.add(timers_);
}

void shard::run() noexcept {
  for (;;) {
    bool more = reactor_.run_once();
    if (exiting_ && boxes_->flushed() && control_.empty()) return;
    if (!more) reactor_.idle();
  }
}

void shard::stop() noexcept {
  SKERRY_ASSERT(core_.root->empty(), "a shard ends after its last task");
  reactor_.kernel().stop();
  published_.clear();
  resources().clear();
  core_.log = nullptr;
  detail::current_shard = nullptr;
}

void shard::poll() noexcept {
  if (core_.id == 0 && (reactor_.rung() & doorbell::outside) != 0) host_.noticed_outside();
}

void shard::begin_drain() noexcept {
  if (std::exchange(draining_, true)) return;
  for (drainable* d : drainables_) d->begin_drain();
}

task<> shard::until_drained(bool (drainable::*is_so)() const noexcept) {
  while (!std::ranges::all_of(drainables_, is_so)) {
    drain_progress_->reset();
    co_await drain_progress_->wait();
  }
}

task<> shard::stop_services() {
  while (!services_.empty()) {
    try {
      co_await services_.back()->stop();
    } catch (const std::exception& failed) {
      log::error("stopping a service: {}", failed.what());
    }
    services_.pop_back();
  }
}

shard_stats shard::stats() const {
  shard_stats s;
  s.id = core_.id;
  s.loop = reactor_.stats();
  s.kernel = reactor_.kernel().stats();
  s.tasks = core_.root->size();
  s.tasks_started = core_.ready->tasks_started_total();
  s.timers = timers_.size();
  s.timers_expired = timers_.expired_total();
  s.frames_in_use = reactor_.frames().in_use();
  s.frame_bytes_reserved = reactor_.frames().bytes_reserved();
  if (auto* buffers = core_.resources->find<buffer_pool>()) s.buffers = buffers->stats();
  s.messages_outstanding = boxes_->outstanding();
  s.messages_sent = boxes_->sent_total();
  for (shard_id from = 0; from < core_.count; ++from) s.received_from.push_back(boxes_->received_from(from));
  if (core_.log != nullptr) s.log_lines_dropped = core_.log->dropped();
  return s;
}

void shard::publish() {
  for (const row& r : rows) {
    observe::metric_info info{.name = std::string("skerry_").append(r.name), .help = r.help};
    if (r.name.ends_with("_bytes")) info.unit = observe::unit::bytes;
    if (r.name.ends_with("_seconds_total")) info.unit = observe::unit::nanoseconds;
    auto read = [this, &r] { return r.read(stats()); };
    published_.push_back(r.name.ends_with("_total") ? metrics_.add_counter(read, std::move(info))
                                                    : metrics_.add_gauge(read, std::move(info)));
  }
  observe::metric_info chosen{.name = "skerry_backend_info", .help = "Always 1; the label names the I/O backend."};
  chosen.labels = {{"backend", reactor_.kernel().capabilities().name}};
  published_.push_back(metrics_.add_gauge([] { return 1; }, std::move(chosen)));
}

observe::trace_buffer& shard::start_trace(std::size_t events) {
  trace_ = std::make_unique<observe::trace_buffer>(events);
  core_.ready->interrupt();  // what runs in a traced turn is another loop
  return *(core_.trace = trace_.get());
}

shard& this_assembled_shard() noexcept {
  SKERRY_ASSERT(this_shard().assembled != nullptr, "this needs a shard of an app or of block_on");
  return *this_shard().assembled;
}

namespace detail {

scope& scope_for_handlers(handler_scope which) noexcept {
  return which == handler_scope::root ? *this_shard().root : this_assembled_shard().control();
}

std::exception_ptr target_stopping() noexcept {
  return std::make_exception_ptr(
      std::system_error(std::make_error_code(std::errc::operation_canceled), "the called shard is stopping"));
}

}  // namespace detail

}  // namespace skerry
