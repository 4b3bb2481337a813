// SPDX-License-Identifier: Apache-2.0
#pragma once

/// scope: a set of tasks that end together.
///
/// The rule it enforces: no task outlives its scope. A scope is cancelled by its owner, asks every task in it to end, and
/// counts as ended when the last one has. Each shard has a root scope, which holds every spawned task and ends with the
/// shard; combinators and groups have their own.
///
///     open --cancel()--> closing (every task was asked to end; new ones go to the root) --last task ends--> ended
///
/// Affinity:   home shard.
/// Ownership:  the tasks own themselves; a scope links them.
/// Invariants: (1) a scope is destroyed empty; (2) `cancel()` allocates nothing and destroys nothing itself.
/// Limits:     none of its own.

#include <cstddef>

#include <skerry/framework/detail/intrusive_list.hpp>
#include <skerry/framework/task/chain.hpp>

namespace skerry {

class scope {
 public:
  scope() = default;
  scope(const scope&) = delete;
  scope& operator=(const scope&) = delete;

  /// Links a task in. Asserts that the scope is open.
  void add(detail::chain& task) noexcept {
    SKERRY_ASSERT(!closing_, "nothing starts in a scope that is ending; a shard that stops accepts no new tasks");
    tasks_.push_back(task);
    ++size_;
  }
  /// Takes a task out that has ended.
  void remove(detail::chain& task) noexcept {
    task.unlink();
    --size_;
  }
  /// Asks every task to end, and refuses new ones. Idempotent.
  void cancel() noexcept;

  bool closing() const noexcept { return closing_; }
  bool empty() const noexcept { return size_ == 0; }
  /// Tasks that have not ended.
  std::size_t size() const noexcept { return size_; }

  template <class Visit>
  void for_each(Visit&& visit) const {
    tasks_.for_each(visit);
  }

 private:
  detail::intrusive_list<detail::chain, detail::scope_tag> tasks_;
  std::size_t size_ = 0;
  bool closing_ = false;
};

}  // namespace skerry
