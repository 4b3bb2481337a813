// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/reactor/run_queue.hpp>
#include <skerry/framework/task/chain.hpp>

#include <cstdio>
#include <utility>

namespace skerry::detail {

void chain::start(std::coroutine_handle<> root) noexcept {
  SKERRY_ASSERT(state_ == chain_state::unstarted, "a task starts once");
  SKERRY_ASSERT(root_ == nullptr, "a task starts once");
  root_ = root;
  resume_point_ = root;
  run_queue& ready = *current_shard->ready;
  id_ = ready.next_task_id();
  if (express_) {
    ready.push_express(*this);
  } else {
    ready.push(*this);
  }
}

void chain::wake() noexcept {
  SKERRY_ASSERT(leaf_ != nullptr, "a task is woken once per wait");
  leaf_ = nullptr;
  if (state_ == chain_state::cancelling) {
    state_ = chain_state::destroying;
  } else {
    // Running: the wait ended before the step that began it.
    SKERRY_ASSERT(state_ == chain_state::suspended || state_ == chain_state::running, "only a waiting task is woken");
    state_ = chain_state::queued;
  }
  current_shard->ready->push(*this);
}

void chain::requeue(std::coroutine_handle<> resume_point) noexcept {
  SKERRY_ASSERT(state_ == chain_state::running, "only the running task can yield");
  state_ = chain_state::queued;
  resume_point_ = resume_point;
  current_shard->ready->push(*this);
}

void chain::step(shard_core& shard) noexcept {
  shard.current = this;
  if (state_ != chain_state::destroying) [[likely]] {
    SKERRY_ASSERT(state_ == chain_state::queued || state_ == chain_state::unstarted, "the run queue holds ready tasks");
    state_ = chain_state::running;
    for (std::coroutine_handle<> frame = resume_point_; frame != nullptr; frame = std::exchange(hand_over_, nullptr)) {
      frame.resume();
    }
    if (state_ != chain_state::done) {
      shard.current = nullptr;
      return after_step();
    }
  } else {
    was_cancelled_ = true;
    destroy_frames();
    state_ = chain_state::done;
  }
  // Still current: whatever ends with the task (its result, a log line about it) is charged to it.
  ended();
  shard.current = nullptr;
}

void chain::after_step() noexcept {
  if (state_ == chain_state::running) {
    SKERRY_ASSERT(leaf_ != nullptr,
                  "a task may await only what Skerry provides: its awaiter published nothing to wait for");
    state_ = chain_state::suspended;
    if (cancel_requested_) begin_cancel();
  } else if (cancel_requested_) {
    // It suspended after the request and is in the run queue already: destroyed there instead of resumed.
    state_ = chain_state::destroying;
  }
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

void chain::begin_cancel() noexcept {
  SKERRY_ASSERT(leaf_ != nullptr, "a suspended task waits for something");
  state_ = chain_state::cancelling;
  leaf_->let_go();
}

void chain::destroy_frames() noexcept {
  if (root_ != nullptr) std::exchange(root_, nullptr).destroy();
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

void describe_tasks_in_assertions() noexcept { describe_assert_context = &describe_context; }

}  // namespace skerry::detail
