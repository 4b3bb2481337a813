// SPDX-License-Identifier: Apache-2.0
#pragma once

/// watch<T>: the latest value of something, for tasks that want to know when it changes and do not care what it was in
/// between: a configuration, a state.
///
///     watch<int> level(1);
///     watch<int>::receiver mine(level);
///     level.set(2);
///     level.close();
///     while (co_await mine.changed()) use(mine.get(), 0);        // runs once, with 2
///
/// Affinity:     the shard that made it.
/// Ownership:    the value belongs to the watch, which must outlive its receivers (asserted).
/// Invariants:   a change that was not seen makes the next `changed` ready.
/// Cancellation: at once; what a cancelled `changed` was woken for stays unseen.
/// Limits:       one value.

#include <skerry/framework/sync/wait_list.hpp>

#include <cstddef>
#include <cstdint>
#include <utility>

namespace skerry {

template <class T>
class watch {
 public:
  class changed_awaiter;

  class receiver {
   public:
    /// What the watch has now counts as seen.
    explicit receiver(watch& of) noexcept : of_(of), seen_(of.version_) { ++of.receivers_; }
    ~receiver() { --of_.receivers_; }
    receiver(const receiver&) = delete;
    receiver& operator=(const receiver&) = delete;

    /// Waits for a value that is not seen yet, and counts it as seen. False once the watch is closed and its last value
    /// seen.
    changed_awaiter changed() noexcept { return changed_awaiter(*this); }
    /// The `try_` form of `changed`.
    bool has_changed() const noexcept {
      of_.waiting_.check_home();
      return seen_ != of_.version_;
    }
    /// The latest value, valid until the next `set`. Counts as seen.
    const T& get() noexcept {
      seen_ = of_.version_;
      return of_.get();
    }

   private:
    friend class changed_awaiter;
    watch& of_;
    std::uint64_t seen_;
  };

  explicit watch(T value) : value_(std::move(value)) {}
  ~watch() { SKERRY_ASSERT(receivers_ == 0, "a watch must outlive its receivers"); }

  /// Asserts that it is not closed.
  void set(T value) {
    SKERRY_ASSERT(!closed_, "a watch that is closed changes no more");
    value_ = std::move(value);
    ++version_;
    waiting_.wake_all();
  }
  const T& get() const noexcept {
    waiting_.check_home();
    return value_;
  }
  /// The value changes no more. Idempotent.
  void close() noexcept {
    closed_ = true;
    waiting_.wake_all();
  }
  bool is_closed() const noexcept { return closed_; }
  std::size_t receivers() const noexcept { return receivers_; }

 private:
  T value_;
  detail::wait_list waiting_{"watch"};
  std::uint64_t version_ = 0;
  std::size_t receivers_ = 0;
  bool closed_ = false;
};

template <class T>
class [[nodiscard("co_await it")]] watch<T>::changed_awaiter final : public detail::waiter {
 public:
  explicit changed_awaiter(receiver& to) noexcept : waiter(to.of_.waiting_, 1), to_(to) {}
  bool await_ready() const noexcept { return to_.has_changed() || to_.of_.closed_; }
  bool await_resume() const noexcept {
    const bool news = std::exchange(to_.seen_, to_.of_.version_) != to_.of_.version_;
    return news || !to_.of_.closed_;
  }

 private:
  receiver& to_;
};

}  // namespace skerry
