// SPDX-License-Identifier: Apache-2.0
#pragma once

/// spawn: starts a task that runs beside the caller, in the shard's root scope.
///
///     join_handle<int> h = spawn(count_words(file), "count words");
///     // something else
///     int n = co_await h;          // or h.abort(), or drop h and let it run
///
/// A dropped handle leaves the task to the root scope, which ends it with the shard at the latest.
///
/// Affinity:     the shard that spawned; handles do not cross.
/// Ownership:    the node (chain, joiner, result) lives in the frame pool until the task has ended and the handle is
///               gone.
/// Errors:       `co_await handle` rethrows, and throws std::system_error(operation_canceled) when someone else
///               cancelled the task. An exception that nobody awaits is logged with the task's name and counted.
/// Cancellation: abort() asks the task to end; a cancelled joiner stops waiting and leaves the task alone.
/// Limits:       the frame pool's.

#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/task/scope.hpp>
#include <skerry/framework/task/task.hpp>

#include <concepts>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace skerry {

template <class T = void>
class join_handle;

namespace detail {

/// The part of a spawned task that does not depend on its type.
class spawned_base : public chain, public pooled {
 public:
  bool has_ended() const noexcept {
    return home_.check("a join_handle stays on its shard"), state() == chain_state::done;
  }
  void set_joiner(chain* joiner) noexcept {
    SKERRY_ASSERT(joiner == nullptr || joiner_ == nullptr, "a join_handle is awaited by one task at a time");
    joiner_ = joiner;
  }
  /// The handle is gone.
  void drop() noexcept {
    if (has_ended()) return dispose();
    unmark(held_mark);
  }
  bool joined() const noexcept { return is_marked(joined_mark); }
  /// Who waits for its end.
  chain* joined_by() const noexcept final { return has_ended() ? nullptr : joiner_; }

 protected:
  static constexpr std::uint8_t held_mark = first_free_mark, joined_mark = 2 * held_mark;

  spawned_base(scope& home, const char* name) noexcept : chain(name, &home, held_mark) { charge_as_current(); }
  spawned_base(scope& home, const char* name, scheduling_group group) noexcept : chain(name, &home, held_mark) {
    charge_to(group);
  }
  ~spawned_base() = default;
  virtual std::exception_ptr error() const noexcept = 0;
  chain* ended() noexcept override;
  void dispose() noexcept {
    if (!joined()) [[unlikely]]
      report_unseen();
    destroy();
  }
  virtual void destroy() noexcept = 0;
  void report_unseen() const noexcept;
  chain* ended_alone(bool last_of_scope) noexcept;
  scope& home() const noexcept { return *static_cast<scope*>(owner()); }

  chain* joiner_ = nullptr;
  [[no_unique_address]] home_mark home_;
};

/// Waits for a spawned task; the part of `co_await join_handle` that does not depend on the type.
class join_leaf : public leaf {
 public:
  explicit join_leaf(spawned_base* node) noexcept : leaf(unasked()), node_(node) {}
  bool await_ready() const noexcept {
    if (!node_->has_ended()) return false;
    SKERRY_ASSERT(!node_->joined(), "a result is fetched once");
    return true;
  }
  void await_suspend(std::coroutine_handle<> resume_point) {
    if (current_shard->calls != nullptr) [[unlikely]]
      current_shard->calls->before_join(*node_);
    node_->set_joiner(current_shard->current);
    suspend(resume_point);
  }
  void let_go() noexcept final {
    node_->set_joiner(nullptr);
    wake();
  }
  const char* describe() const noexcept final { return "join"; }

 protected:
  spawned_base* node_;
};

template <class T>
class spawned : public spawned_base {
 public:
  template <class... Group>
  spawned(scope& home, const char* name, Group... group) noexcept : spawned_base(home, name, group...) {}

  join_handle<T> begin(task<T>&& body) noexcept {
    const bool too_late = home().add(*this);
    start(std::move(body).release(result_));
    if (too_late) [[unlikely]]
      cancel();
    return join_handle<T>(this);
  }
  T take_result() {
    mark(joined_mark);
    if (!result_.has_value() && was_cancelled()) [[unlikely]]
      throw_cancelled();
    return result_.take();
  }

 protected:
  std::exception_ptr error() const noexcept final { return result_.error(); }
  /// Leaves out the chain's destructor, whose assertions the end of the task has passed already. Who derives from it
  /// and has a destructor says `delete this`.
  void destroy() noexcept override {
    std::destroy_at(&result_);
    pooled::operator delete(this, sizeof *this);
  }

 private:
  result_slot<T> result_;
};

/// Keeps the callable alive exactly as long as the coroutine it made, whose frame may refer to its captures.
template <class T, class Fn>
class spawned_call final : public spawned<T> {
 public:
  template <class... Group>
  spawned_call(Fn&& fn, scope& home, const char* name, Group... group)
      : spawned<T>(home, name, group...), fn_(std::move(fn)) {}
  auto call() { return (*fn_)(); }

 private:
  chain* ended() noexcept override {
    fn_.reset();
    return spawned<T>::ended();
  }
  void destroy() noexcept override { delete this; }

  std::optional<Fn> fn_;
};

}  // namespace detail

/// Where a spawned task's result is fetched. Movable; dropping it does not end the task.
template <class T>
class join_handle {
 public:
  join_handle() noexcept = default;
  join_handle(join_handle&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  join_handle& operator=(join_handle other) noexcept {
    std::swap(node_, other.node_);
    return *this;
  }
  ~join_handle() {
    if (node_ != nullptr) node_->drop();
  }

  /// Waits until the task has ended and gives its result, once.
  auto operator co_await() const noexcept {
    class awaiter : public detail::join_leaf {
     public:
      using join_leaf::join_leaf;
      T await_resume() { return static_cast<detail::spawned<T>*>(node_)->take_result(); }
    };
    SKERRY_ASSERT(node_ != nullptr, "an empty join_handle cannot be awaited");
    return awaiter(node_);
  }

  /// Whether the task has ended, in whatever way.
  bool is_finished() const noexcept { return node_ == nullptr || node_->has_ended(); }
  void abort() noexcept {
    if (!is_finished()) node_->cancel();
  }
  explicit operator bool() const noexcept { return node_ != nullptr; }

 private:
  friend detail::spawned<T>;
  explicit join_handle(detail::spawned<T>* node) noexcept : node_(node) {}

  detail::spawned<T>* node_ = nullptr;
};

namespace detail {
template <class T>
join_handle<T> spawn_in(scope& home, task<T>&& body, const char* name, scheduling_group group) {
  return (new spawned<T>(home, name, group))->begin(std::move(body));
}
}  // namespace detail

/// Starts `body` in this shard's root scope; it first runs from the run queue. `name` must live for ever (a literal). A
/// third argument, a scheduling_group, says where it is charged: by default where the running task is. Throws
/// std::bad_alloc when the frame pool is at its limit. While the shard ends, the task is cancelled before it runs;
/// after that, this asserts.
template <class T, std::same_as<scheduling_group>... Group>
[[gnu::always_inline]] inline join_handle<T> spawn(task<T>&& body, const char* name = "task", Group... group) {
  task<T> mine(std::move(body));  // at once: to look there again later is a load
  return (new detail::spawned<T>(*this_shard().root, name, group...))->begin(std::move(mine));
}

/// Calls `fn()` and starts the task it returns; keeps `fn` and its captures until that task has ended.
template <class Fn, std::same_as<scheduling_group>... Group>
  requires detail::any_task<std::invoke_result_t<Fn&>>
auto spawn(Fn fn, const char* name = "task", Group... group) {
  using T = typename detail::task_value<std::invoke_result_t<Fn&>>::type;
  auto node = std::make_unique<detail::spawned_call<T, Fn>>(std::move(fn), *this_shard().root, name, group...);
  task<T> body = node->call();
  return node.release()->begin(std::move(body));
}

}  // namespace skerry
