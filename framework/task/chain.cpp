// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/task/chain.hpp>

#include <cstdio>
#include <system_error>

namespace skerry::detail {

void chain::destroy_and_end() noexcept {
  SKERRY_ASSERT(state_ == chain_state::destroying, "the run queue holds ready tasks");
  if (!may_be_destroyed()) return;
  was_cancelled_ = true;
  std::exchange(root_, nullptr).destroy();
  state_ = chain_state::done;
  // Still current: whatever ends with the task (a log line about it) is charged to it.
  ended();
}

void chain::cancel() noexcept {
  if (cancel_requested_) return;
  cancel_requested_ = true;
  switch (state_) {
    case chain_state::unstarted:
      if (root_ != nullptr) state_ = chain_state::destroying;  // it is in the run queue
      break;
    case chain_state::suspended: begin_cancel(); break;
    case chain_state::running:
    case chain_state::queued:
    case chain_state::cancelling:
    case chain_state::destroying:
    case chain_state::done: break;
  }
}

void chain::abandon() noexcept {
  if (state_ == chain_state::queued) {
    cancel_requested_ = true;
    state_ = chain_state::destroying;
  } else {
    cancel();
  }
}

void chain::destroy_now() noexcept {
  SKERRY_ASSERT(state_ == chain_state::destroying, "only what was to be destroyed can be destroyed later");
  current_shard->ready->push(*this);
}

void chain::begin_cancel() noexcept {
  SKERRY_ASSERT(leaf_ != nullptr, "a suspended task waits for something");
  state_ = chain_state::cancelling;
  leaf_->let_go();
}

void throw_cancelled() {
  throw std::system_error(std::make_error_code(std::errc::operation_canceled), "the awaited task was cancelled");
}

namespace {
int describe_context(char* out, int size) noexcept {
  const shard_core* shard = current_shard;
  if (shard == nullptr) return 0;
  if (shard->current == nullptr) return std::snprintf(out, static_cast<std::size_t>(size), ", shard %u", shard->id);
  return std::snprintf(out, static_cast<std::size_t>(size), ", shard %u, task \"%s\"", shard->id,
                       shard->current->name());
}
}  // namespace

void describe_tasks_elsewhere() noexcept {
  // The guard of a static makes this safe where two threads make their first reactors.
  [[maybe_unused]] static const bool done = [] {
    describe_assert_context = &describe_context;
    current_task_name = []() noexcept -> std::string_view {
      return current_shard->current != nullptr ? current_shard->current->name() : "";
    };
    return true;
  }();
}

}  // namespace skerry::detail
