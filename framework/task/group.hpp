// SPDX-License-Identifier: Apache-2.0
#pragma once

/// with_group: a number of tasks, known only while they run, that end together.
///
///     co_await with_group([](group& g) -> task<> {
///       for (int n = 0; n < 10; ++n) g.spawn(greet_everybody(), "greet");
///       co_await sleep_for(std::chrono::seconds(1));
///     });                                      // goes on when the body and all children have ended
///
/// The rule it enforces: no child outlives with_group, however it ends. There is no group without a body, because a
/// group's end waits, and nothing whose teardown waits can be a local.
///
///     body returns             the children run to their end
///     body or a child throws   everything else is cancelled, then the first exception is rethrown
///     the caller is cancelled  all are asked to end and acknowledge; the children are destroyed, then the body
///
/// A child may refer to what the callable holds and to what lives outside of it; to locals of the body as long as the
/// body waits for it: `co_await g.until_empty()`.
///
/// Affinity:     the caller's shard.
/// Ownership:    a callable without a name lives in the caller's frame, children in the frame pool until they end.
/// Errors:       the first exception by time, of body or child; later ones are logged and counted.
/// Limits:       the frame pool's; `spawn` throws std::bad_alloc there.

#include <skerry/framework/task/branch.hpp>
#include <skerry/framework/task/scope.hpp>

#include <coroutine>
#include <type_traits>
#include <utility>

namespace skerry {

class group : protected detail::joint_fork {
 public:
  /// Starts a child from the run queue; one that comes while the group is ending is dropped. `name` lives for ever.
  template <class T>
  void spawn(task<T>&& child, const char* name = "child", scheduling_group charged_to = current_scheduling_group());
  /// The same for a function that returns a task, and is kept with its captures until that has ended.
  template <detail::task_function Fn>
  void spawn(Fn&& fn, const char* name = "child", scheduling_group charged_to = current_scheduling_group()) {
    spawn(detail::run_function<std::remove_cvref_t<Fn>>(std::forward<Fn>(fn)), name, charged_to);
  }

  /// `co_await g.until_empty()`: waits until every child has ended. One task at a time, usually the body.
  scope::empty_awaiter until_empty() noexcept { return children_.until_empty(); }

 protected:
  void let_go() noexcept override {
    children_.cancel();
    fork::let_go();
  }
  detail::chain* branch_ended(detail::branch_base& which, detail::outcome how) noexcept override {
    if (children_.empty()) destroy_body();
    return joint_fork::branch_ended(which, how);
  }
  /// Destroys a body that was kept for the children.
  virtual void destroy_body() noexcept = 0;

  scope children_;
  detail::chain* caller_ = nullptr;  // once it waits

 private:
  template <class T>
  class child;
};

namespace detail {

/// The body's chain: its frames are destroyed after the children's.
template <class T>
class group_body final : public branch<T> {
 public:
  group_body(task<T>&& body, const scope& children) noexcept : branch<T>(std::move(body)), children_(children) {
    this->mark(chain::asked_mark);
  }
  void destroy_if_kept() noexcept {
    if (std::exchange(kept_, false)) this->destroy_now();
  }

 private:
  bool may_be_destroyed() noexcept override { return !(kept_ = !children_.empty()); }

  const scope& children_;
  bool kept_ = false;
};

template <class T, class Body>
class [[nodiscard("co_await it")]] group_awaiter final : public group {
 public:
  explicit group_awaiter(Body&& body)
      : callable_(std::forward<Body>(body)), body_(callable_(static_cast<group&>(*this)), children_) {}
  using fork::await_ready;
  void for_each_branch(visitor visit) noexcept override {
    visit(body_);
    children_.for_each(visit);
  }
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    suspend(resume_point);
    caller_ = waiting();
    expect(1);
    body_.begin(*this);
  }
  T await_resume() {
    rethrow_failure();
    return body_.take();
  }
  const char* describe() const noexcept override { return "with_group"; }

 private:
  void destroy_body() noexcept override { body_.destroy_if_kept(); }

  Body callable_;  // a reference if it has a name
  group_body<T> body_;
};

}  // namespace detail

/// Runs `body(g)`, a task that may spawn children into the group `g`, and waits for all. Gives what the body returns.
template <class Body>
  requires detail::any_task<std::invoke_result_t<std::remove_cvref_t<Body>&, group&>>
auto with_group(Body&& body) {
  static_assert(detail::safe_in_co_await<Body>, "name this function before the co_await: " SKERRY_DESTROYED_TWICE);
  using result = std::invoke_result_t<std::remove_cvref_t<Body>&, group&>;
  return detail::group_awaiter<typename detail::task_value<result>::type, Body>(std::forward<Body>(body));
}

template <class T>
class group::child final : public detail::branch<T>, public detail::pooled {
 public:
  child(group& home, task<T>&& body, const char* name, scheduling_group charged_to) noexcept
      : detail::branch<T>(std::move(body), name, *home.caller_), home_(home) {
    this->charge_to(charged_to);
  }

 private:
  detail::chain* ended() noexcept override {
    home_.children_.remove(*this);
    detail::chain* woken = home_.branch_ended(*this, this->result().how());
    delete this;
    return woken;
  }

  group& home_;
};

template <class T>
void group::spawn(task<T>&& body, const char* name, scheduling_group charged_to) {
  SKERRY_ASSERT(caller_ != nullptr, "children come from a group's body, once it runs, or from each other");
  if (children_.closing()) return;
  auto* node = new child<T>(*this, std::move(body), name, charged_to);
  children_.add(*node);
  one_more();
  node->begin(*this);
}

}  // namespace skerry
