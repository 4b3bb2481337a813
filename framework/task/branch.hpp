// SPDX-License-Identifier: Apache-2.0
#pragma once

/// fork, branch: how one task waits for several things at once. Every combinator is made of these two.
///
/// The rule they enforce: whoever waits goes on, or is destroyed, only after every branch has ended. A branch is a
/// chain inside the awaiter, so it lives in the caller's frame and costs no allocation; the caller's leaf is the fork.
///
///     caller ---co_await---> fork (leaf, number of branches that run)
///                             |- branch: chain, result      started from the run queue
///                             |- branch: chain, result
///                             `- all have ended -> the caller goes on
///
/// Combinators differ in `branch_ended`: what one end means for the others.
///
/// A branch is anything that can be awaited: a task, a function that returns one (referred to if it has a name, else
/// kept until that task has ended), or an awaitable such as `sleep_for(…)`, which is awaited where it stands: the
/// combinator is then awaited in the same expression.
///
/// Affinity:   the caller's shard and scheduling group.
/// Ownership:  the awaiter owns its branches; each branch owns its frames and its result.
/// Invariants: (1) a fork is woken once, when no branch runs; (2) an exception of a branch is rethrown to the caller or
///             logged and counted, never lost.
/// Limits:     the frame pool's.

#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/task/task.hpp>

#include <coroutine>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

namespace skerry {

/// What a branch gives that returns nothing, where a value has to stand for it.
struct unit {
  friend bool operator==(unit, unit) = default;
};

namespace detail {

class branch_base;

inline void cancel_branch(chain& each) noexcept {
  if (each.state() != chain_state::done) each.cancel();
}
inline void abandon_branch(chain& each) noexcept { each.abandon(); }

/// Logs and counts what a branch of the running task threw when nobody waits for it any more.
[[gnu::cold]] void report_unseen(const std::exception_ptr& error) noexcept;

/// Waits for branches.
class fork : public leaf {
 public:
  bool await_ready() const noexcept { return false; }
  void let_go() noexcept override { for_each_branch(cancel_branch); }
  /// Every branch, also one that has ended or not begun. Rejected: an intrusive list, which costs every branch a tenth
  /// of its instructions for what is seldom asked.
  using visitor = void (*)(chain& each) noexcept;
  virtual void for_each_branch(visitor visit) noexcept = 0;

 protected:
  fork() noexcept : leaf(unasked()) {}
  ~fork() = default;

  /// `which` has ended: decides about the others, then gives what `one_less` gives: whom the last end wakes.
  virtual chain* branch_ended(branch_base& which, outcome how) noexcept = 0;
  chain* one_less() noexcept { return --running_ == 0 ? woken() : nullptr; }
  /// So many branches begin at once. One that begins while others run adds itself.
  void expect(std::size_t branches) noexcept { running_ = branches; }
  void one_more() noexcept { ++running_; }

 private:
  template <class T>
  friend class branch;
  std::size_t running_;
};

/// The part of a branch that does not depend on its type.
class branch_base : public chain {
 public:
  /// What it threw, once; null if it did not.
  virtual std::exception_ptr take_error() noexcept = 0;

 protected:
  explicit branch_base(chain& parent = waiting_task()) noexcept : chain(parent.name(), parent) {}
  branch_base(const char* name, chain& parent) noexcept : chain(name, parent) {}

 private:
  static chain& waiting_task() noexcept {
    SKERRY_ASSERT(this_shard().current != nullptr, "only a task can wait for branches");
    return *this_shard().current;
  }
};

template <class T>
class branch : public branch_base {
 public:
  template <class... Chain>
  explicit branch(task<T>&& body, Chain&&... name_parent) noexcept : branch_base(std::forward<Chain>(name_parent)...) {
    hold(std::move(body).release(result_));
  }
  ~branch() { settle(); }

  /// The fork expects it.
  void begin(fork& owner) noexcept {
    owner_ = &owner;
    start_held();
  }
  const result_slot<T>& result() const noexcept { return result_; }
  T take() { return result_.take(); }
  std::exception_ptr take_error() noexcept final { return result_.take_error(); }

 protected:
  chain* ended() noexcept override { return owner_->branch_ended(*this, result_.how()); }

 private:
  template <class Branch>
  friend union settled;

  void settle() noexcept {
    if (state() != chain_state::done || result_.how() == outcome::error) [[unlikely]]
      give_up();
  }
  /// Has not begun, or has thrown. Out of line: with it inside, no destructor of a branch is inlined (8 % of when_all).
  [[gnu::cold, gnu::noinline]] void give_up() noexcept {
    if (state() == chain_state::unstarted) return resume_point().destroy();
    SKERRY_ASSERT(state() == chain_state::done, "a combinator goes away when its branches have ended");
    if (std::exception_ptr unseen = result_.error(); unseen != nullptr) report_unseen(unseen);
  }

  result_slot<T> result_;
  fork* owner_;
};

/// A branch that goes without the destructors of its chain, which would write pointers to virtual functions that nobody
/// reads any more, two stores each.
template <class Branch>
union settled {
 public:
  template <class Source>
    requires std::is_constructible_v<Branch, Source>
  explicit settled(Source&& source) : it(std::forward<Source>(source)) {}
  ~settled() {
    it.settle();
    std::destroy_at(&it.result_);
  }
  Branch it;
};

/// A fork with one branch, which ends when that has ended.
template <class T>
class lone_fork : public fork {
 public:
  explicit lone_fork(task<T>&& body) noexcept : branch_(std::move(body)) {}
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    suspend(resume_point);
    expect(1);
    branch_.begin(*this);
  }
  T await_resume() { return branch_.take(); }
  /// Nobody will take a result: what the branch was woken for, but has not taken yet, it gives back.
  void let_go() noexcept override { branch_.abandon(); }

 protected:
  ~lone_fork() = default;
  void for_each_branch(fork::visitor visit) noexcept override { visit(branch_); }
  chain* branch_ended(branch_base&, outcome) noexcept override { return one_less(); }

  branch<T> branch_;
};

/// Branches that stand or fall together: the first failure ends the others and is rethrown when all have ended. What
/// fails after it is logged and counted.
class joint_fork : public fork {
 protected:
  ~joint_fork() {
    if (failure_ != nullptr) [[unlikely]]
      report_unseen(failure_);
  }
  chain* branch_ended(branch_base& which, outcome how) noexcept override {
    if (how == outcome::error) [[unlikely]]
      fail(which.take_error());
    return one_less();
  }
  void rethrow_failure() {
    if (failure_ != nullptr) [[unlikely]]
      std::rethrow_exception(std::exchange(failure_, nullptr));
  }

 private:
  [[gnu::cold]] void fail(std::exception_ptr error) noexcept;
  std::exception_ptr failure_;
};

template <class T>
concept awaiter = requires(T& a) { a.await_resume(); };
template <class T>
concept awaitable = requires(T&& operation) { std::forward<T>(operation).operator co_await(); } || awaiter<T>;

template <class T>
decltype(auto) awaiter_of(T&& operation) {
  if constexpr (requires { std::forward<T>(operation).operator co_await(); }) {
    return std::forward<T>(operation).operator co_await();
  } else {
    return static_cast<T&&>(operation);
  }
}
template <class T>
using awaited_t = decltype(awaiter_of(std::declval<T>()).await_resume());

/// A function without arguments that returns a task.
template <class Fn>
concept task_function = any_task<std::invoke_result_t<std::remove_cvref_t<Fn>&>>;

#define SKERRY_DESTROYED_TWICE "g++ 12 destroys a temporary lambda in its operand twice, and this one holds something"
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ <= 12
template <class Fn>
inline constexpr bool safe_in_co_await =
    std::is_lvalue_reference_v<Fn> || std::is_trivially_destructible_v<std::remove_cvref_t<Fn>>;
#else
template <class Fn>
inline constexpr bool safe_in_co_await = true;
#endif

template <class T>
task<T> as_task(task<T>&& body) noexcept {
  return std::move(body);
}
template <awaitable T>
  requires(!any_task<T>)
task<awaited_t<T>> as_task(T&& operation) {
  if constexpr (awaiter<T>) {
    co_return co_await operation;  // as an rvalue g++ 12 would move it, and a leaf does not move
  } else {
    co_return co_await std::forward<T>(operation);
  }
}
/// `Fn` is an lvalue reference or an owned value, which then lives as long as the task it makes.
template <class Fn>
std::invoke_result_t<Fn&> run_function(Fn fn) {
  co_return co_await fn();
}
template <task_function Fn>
std::invoke_result_t<std::remove_cvref_t<Fn>&> as_task(Fn&& fn) {
  static_assert(safe_in_co_await<Fn>, "name this function before the co_await: " SKERRY_DESTROYED_TWICE);
  return run_function<Fn>(std::forward<Fn>(fn));
}

template <class T>
concept branchable = awaitable<T> || task_function<T>;
template <class T>
using branch_result_t = typename task_value<decltype(as_task(std::declval<T>()))>::type;

/// What stands for a branch's result in a tuple or vector.
template <class T>
using stored_result_t = std::conditional_t<
    std::is_void_v<T>, unit,
    std::conditional_t<std::is_reference_v<T>, std::reference_wrapper<std::remove_reference_t<T>>, T>>;

}  // namespace detail

}  // namespace skerry
