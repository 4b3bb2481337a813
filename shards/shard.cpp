// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/shards/submit_to.hpp>

#include <algorithm>
#include <utility>

namespace skerry {

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
  core_.resources->emplace<buffer_pool>(reactor_.kernel());
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
