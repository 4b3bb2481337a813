// SPDX-License-Identifier: Apache-2.0
#pragma once

/// spawn: starts a task that runs beside the caller, in the shard's root scope.
///
///     join_handle<int> h = spawn(count_words(file), "count words");
///     // something else
///     int n = co_await h;          // or h.abort(), or drop h and let it run
///
/// The handle does not own the task: dropping it leaves the task to the root scope, which ends it with the shard at the
/// latest. An exception that nobody awaits is logged with the task's name and counted, never lost.
///
///     spawned node:  chain | joiner | result or exception
///     freed when the task has ended and the handle is gone
///
/// Affinity:     the shard that spawned; handles do not cross.
/// Ownership:    the node lives in the frame pool, owned by task and handle together.
/// Errors:       `co_await handle` rethrows; joining a task that was cancelled by someone else throws
///               std::system_error(operation_canceled).
/// Cancellation: abort() asks the task to end; a cancelled joiner stops waiting and leaves the task alone.
/// Limits:       the frame pool's.

#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/task/scope.hpp>
#include <skerry/framework/task/task.hpp>

#include <memory>
#include <optional>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

namespace skerry {

template <class T = void>
class join_handle;

namespace detail {

class join_leaf;

/// The part of a spawned task that does not depend on its type.
class spawned_base : public chain, public pooled {
 public:
  bool has_ended() const noexcept { return state() == chain_state::done; }
  void set_joiner(join_leaf* joiner) noexcept {
    SKERRY_ASSERT(joiner == nullptr || joiner_ == nullptr, "a join_handle is awaited by one task at a time");
    joiner_ = joiner;
  }
  /// The handle is gone.
  void drop() noexcept {
    handle_held_ = false;
    if (has_ended()) dispose();
  }
  void mark_joined() noexcept { joined_ = true; }
  /// Throws operation_canceled if the task was cancelled, and so has no result.
  void require_result() {
    joined_ = true;
    if (was_cancelled()) throw_cancelled();
  }
  bool joined() const noexcept { return joined_; }

 protected:
  spawned_base(scope& home, const char* name, scheduling_group group) noexcept
      : chain(name, group, nullptr), home_(home) {}
  virtual ~spawned_base() = default;
  virtual std::exception_ptr error() const noexcept = 0;
  void ended() noexcept override;

 private:
  void dispose() noexcept {
    if (!joined_) [[unlikely]]
      report_unseen();
    delete this;
  }
  void report_unseen() const noexcept;

  // The small ones fill the chain's padding.
  bool handle_held_ = true;
  bool joined_ = false;
  scope& home_;
  join_leaf* joiner_ = nullptr;
};

/// Waits for a spawned task; the part of `co_await join_handle` that does not depend on the type.
class join_leaf : public leaf {
 public:
  explicit join_leaf(spawned_base* node) noexcept : node_(node) {}
  ~join_leaf() = default;
  bool await_ready() const noexcept { return node_->has_ended(); }
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    node_->set_joiner(this);
    suspend(resume_point);
  }
  void let_go() noexcept final {
    node_->set_joiner(nullptr);
    wake();
  }
  const char* describe() const noexcept final { return "join"; }
  void task_ended() noexcept { wake(); }

 protected:
  spawned_base* node_;
};

template <class T>
class spawned : public spawned_base {
 public:
  spawned(scope& home, const char* name, scheduling_group group) noexcept : spawned_base(home, name, group) {}

  void begin(task<T>&& body) noexcept { start(std::move(body).release(result_)); }
  T take_result() {
    if (!result_.has_value()) [[unlikely]]
      require_result();
    mark_joined();
    return result_.take();
  }

 protected:
  std::exception_ptr error() const noexcept final { return result_.error(); }

 private:
  result_slot<T> result_;
};

/// Keeps the callable alive exactly as long as the coroutine it made, whose frame may refer to its captures.
template <class T, class Fn>
class spawned_call final : public spawned<T> {
 public:
  spawned_call(Fn&& fn, scope& home, const char* name, scheduling_group group)
      : spawned<T>(home, name, group), fn_(std::move(fn)) {}
  auto call() { return (*fn_)(); }

 private:
  void ended() noexcept override {
    fn_.reset();
    spawned<T>::ended();
  }

  std::optional<Fn> fn_;
};

template <class T>
join_handle<T> spawn_in(scope& home, task<T>&& body, const char* name, scheduling_group group);

}  // namespace detail

/// Where a spawned task's result is fetched. Movable; dropping it does not end the task.
template <class T>
class join_handle {
 public:
  join_handle() noexcept = default;
  join_handle(join_handle&& other) noexcept : node_(std::exchange(other.node_, nullptr)) {}
  join_handle& operator=(join_handle&& other) noexcept {
    if (this != &other) {
      if (node_ != nullptr) node_->drop();
      node_ = std::exchange(other.node_, nullptr);
    }
    return *this;
  }
  ~join_handle() {
    if (node_ != nullptr) node_->drop();
  }

  /// Waits until the task has ended and gives its result, once. Resumes on this shard.
  auto operator co_await() const noexcept {
    class awaiter : public detail::join_leaf {
     public:
      using join_leaf::join_leaf;
      T await_resume() { return static_cast<detail::spawned<T>*>(node_)->take_result(); }
    };
    SKERRY_ASSERT(node_ != nullptr, "an empty join_handle cannot be awaited");
    SKERRY_ASSERT(!node_->joined(), "a result is fetched once");
    return awaiter(node_);
  }

  /// Whether the task has ended, in whatever way.
  bool is_finished() const noexcept { return node_ == nullptr || node_->has_ended(); }
  /// Asks the task to end; returns at once.
  void abort() noexcept {
    if (node_ != nullptr) node_->cancel();
  }
  /// Whether this handle has a task.
  explicit operator bool() const noexcept { return node_ != nullptr; }

 private:
  template <class U>
  friend join_handle<U> detail::spawn_in(scope& home, task<U>&& body, const char* name, scheduling_group group);
  template <class Fn>
    requires detail::any_task<std::invoke_result_t<Fn&>>
  friend auto spawn(Fn fn, const char* name, scheduling_group group);
  explicit join_handle(detail::spawned<T>* node) noexcept : node_(node) {}

  detail::spawned<T>* node_ = nullptr;
};

namespace detail {
template <class T>
join_handle<T> spawn_in(scope& home, task<T>&& body, const char* name, scheduling_group group) {
  auto* node = new spawned<T>(home, name, group);
  home.add(*node);
  node->begin(std::move(body));
  if (home.closing()) node->cancel();
  return join_handle<T>(node);
}
}  // namespace detail

/// Starts `body` in this shard's root scope; it first runs from the run queue. `name` must live for ever (a literal).
/// Throws std::bad_alloc when the frame pool is at its limit; asserts when the shard is ending.
/// While the shard is ending, a new task is cancelled before it runs.
template <class T>
join_handle<T> spawn(task<T>&& body, const char* name = "task", scheduling_group group = current_scheduling_group()) {
  return detail::spawn_in(*this_shard().root, std::move(body), name, group);
}

/// Calls `fn()` and starts the task it returns; keeps `fn` and its captures until that task has ended.
template <class Fn>
  requires detail::any_task<std::invoke_result_t<Fn&>>
auto spawn(Fn fn, const char* name = "task", scheduling_group group = current_scheduling_group()) {
  using T = typename detail::task_value<std::invoke_result_t<Fn&>>::type;
  scope& root = *this_shard().root;
  auto node = std::make_unique<detail::spawned_call<T, Fn>>(std::move(fn), root, name, group);
  task<T> body = node->call();
  root.add(*node);
  node->begin(std::move(body));
  if (root.closing()) node->cancel();
  return join_handle<T>(node.release());
}

}  // namespace skerry
