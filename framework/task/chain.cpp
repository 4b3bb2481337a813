// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/task/branch.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/task/spawn.hpp>

#include <system_error>

namespace skerry::detail {

chain* chain::destroy_and_end() noexcept {
  SKERRY_ASSERT(state_ == chain_state::destroying, "the run queue holds ready tasks");
  if (is_marked(asked_mark) && !may_be_destroyed()) return nullptr;
  mark(destroyed_mark);
  root_.destroy();
  state_ = chain_state::done;
  // Still current: whatever ends with the task (a log line about it) is charged to it.
  return ended();
}

void chain::cancel() noexcept {
  if (cancel_requested()) return;
  mark(cancel_mark);
  if (state_ == chain_state::suspended) {
    if (current_shard->current != this) begin_cancel();  // else at the end of the step that began the wait
  } else if (state_ == chain_state::unstarted) {
    state_ = chain_state::destroying;  // it is in the run queue
  }
}

void chain::abandon() noexcept {
  if (state_ != chain_state::queued) return cancel();
  mark(cancel_mark);
  state_ = chain_state::destroying;
}

void chain::begin_cancel() noexcept {
  // Queued, it suspended after the request and has been woken since: destroyed there instead of resumed.
  if (state_ != chain_state::suspended) return void(state_ = chain_state::destroying);
  state_ = chain_state::cancelling;
  leaf_->let_go();
}

void chain::find_origin(shard_id target) noexcept { above_ = current_shard->calls->call_begins(target); }

void throw_cancelled() {
  throw std::system_error(std::make_error_code(std::errc::operation_canceled), "the awaited task was cancelled");
}

chain* spawned_base::ended() noexcept {
  const bool last_of_scope = home().take_out(*this);
  if (last_of_scope || joiner_ == nullptr) return ended_alone(last_of_scope);
  return joiner_->woken();
}

/// Out of line, so that most ends save no registers.
[[gnu::noinline]] chain* spawned_base::ended_alone(bool last_of_scope) noexcept {
  if (last_of_scope) home().tell_waiter();
  if (joiner_ != nullptr) return joiner_->woken();
  if (!is_marked(held_mark)) dispose();
  return nullptr;
}

void spawned_base::report_unseen() const noexcept {
  if (std::exception_ptr unseen = error(); unseen != nullptr) current_shard->loop->report_unseen(name(), unseen);
}

void report_unseen(const std::exception_ptr& error) noexcept {
  const shard_core& shard = *current_shard;
  shard.loop->report_unseen(shard.current->name(), error);
}

void joint_fork::fail(std::exception_ptr error) noexcept {
  if (failure_ != nullptr) return report_unseen(error);
  failure_ = std::move(error);
  let_go();
}

}  // namespace skerry::detail
