// SPDX-License-Identifier: Apache-2.0
#pragma once

/// scope: a set of tasks that end together.
///
/// The rule it enforces: no task outlives its scope. Each shard has a root scope, which holds every spawned task and
/// ends with the shard; groups have their own.
///
///     open --cancel()--> closing (all tasks were asked to end; who adds one cancels it) --last task ends--> ended
///
/// Affinity:   home shard.
/// Ownership:  the tasks own themselves; a scope links them.
/// Invariants: (1) a scope is destroyed empty; (2) `cancel()` allocates nothing and destroys nothing itself.
/// Limits:     none of its own.

#include <skerry/framework/detail/intrusive_list.hpp>
#include <skerry/framework/task/chain.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace skerry {

class scope {
 public:
  scope() = default;
  scope(const scope&) = delete;
  scope& operator=(const scope&) = delete;

  /// True while the scope is ending: whoever made the task then cancels it before it runs. After the end nothing may
  /// come (asserted).
  bool add(detail::chain& task) noexcept {
    const bool ending = closing_;
    SKERRY_ASSERT(!ending || !empty(), "nothing starts in a scope that has ended");
    tasks_.push_back(task);
    ++added_total_;
    return ending;
  }
  void remove(detail::chain& task) noexcept {
    if (take_out(task)) [[unlikely]]
      tell_waiter();
  }
  /// Half of `remove`: true when the other half is due.
  bool take_out(detail::chain& task) noexcept {
    task.unlink();
    ++removed_total_;
    return waiter_ != nullptr && empty();
  }
  void tell_waiter() noexcept { std::exchange(waiter_, nullptr)->wake(); }
  /// Asks every task to end, and refuses new ones. Idempotent.
  void cancel() noexcept {
    // Cancelling queues tasks but ends none, so the list stays as it is while we walk it.
    if (!std::exchange(closing_, true)) for_each([](detail::chain& task) { task.cancel(); });
  }

  bool closing() const noexcept { return closing_; }
  bool empty() const noexcept { return tasks_.empty(); }
  std::size_t size() const noexcept { return added_total_ - removed_total_; }
  std::uint64_t added_total() const noexcept { return added_total_; }

  /// `co_await until_empty()`: one task outside the scope waits until no task is in it.
  class empty_awaiter final : public detail::leaf {
   public:
    explicit empty_awaiter(scope& waited_for) noexcept : scope_(waited_for) {}
    bool await_ready() const noexcept { return scope_.empty(); }
    void await_suspend(std::coroutine_handle<> resume_point) noexcept {
      SKERRY_ASSERT(scope_.waiter_ == nullptr, "one task waits for the end of a scope");
      scope_.waiter_ = this;
      suspend(resume_point);
    }
    void await_resume() const noexcept {}
    void let_go() noexcept override {
      scope_.waiter_ = nullptr;
      wake();
    }
    const char* describe() const noexcept override { return "end of a scope"; }

   private:
    friend class scope;
    scope& scope_;
  };
  empty_awaiter until_empty() noexcept { return empty_awaiter(*this); }

  template <class Visit>
  void for_each(Visit&& visit) const {
    tasks_.for_each(visit);
  }

 private:
  detail::intrusive_list<detail::chain, detail::scope_tag> tasks_;
  std::uint64_t added_total_ = 0;
  std::uint64_t removed_total_ = 0;
  empty_awaiter* waiter_ = nullptr;
  bool closing_ = false;
};

}  // namespace skerry
