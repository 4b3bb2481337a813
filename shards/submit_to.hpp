// SPDX-License-Identifier: Apache-2.0
#pragma once

/// submit_to: runs a function on another shard and waits for its result.
///
///     std::size_t n = co_await submit_to(owner, [](std::string key) { return local_store().erase(key); }, key);
///
/// The function returns T or task<T>. A plain function runs inside the target's poll phase: it must be short and cannot
/// wait. A task runs as a task of the target's root scope, its first step before other tasks.
///
///     caller's frame on A                           B
///     [message | arguments | result] --pointer-->   fn(arguments), result written in place,
///     co_await goes on              <--pointer--    the task's frame destroyed, then replied
///
/// Nothing is allocated for the message on either side. Rejected: a closure on the heap per call (two allocations,
/// freed on the other core) and captures (nothing in C++23 can look into them).
///
/// Affinity:     any task; runs on `target`; resumes on the caller's shard. To the caller's own shard: no queue.
/// Lifetime:     arguments live in the caller's frame until the reply, so the function may take them by reference.
/// Errors:       what the function throws is rethrown on the caller's shard; a target that is stopping gives
///               std::system_error(operation_canceled).
/// Cancellation: crosses: the target's task is cancelled, and the caller's frame lives until the target has answered.
/// Limits:       messages in flight are bounded by the frames that wait; a queue's capacity bounds only a batch.

#include <skerry/framework/task/scope.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/shards/mailbox.hpp>
#include <skerry/shards/transferable.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <new>
#include <tuple>
#include <type_traits>
#include <utility>

namespace skerry {

namespace detail {

/// Where handlers of messages run: the root scope, or the scope of the shard's own control tasks.
enum class handler_scope : bool { root, control };
scope& scope_for_handlers(handler_scope which) noexcept;

/// Refuses a handler because the target is stopping.
std::exception_ptr target_stopping() noexcept;

template <class Returned>
struct call_value {
  using type = Returned;
};
template <any_task Returned>
struct call_value<Returned> : task_value<Returned> {};
/// What a caller of `Fn(Args...)` gets: T for a function that returns T or task<T>.
template <class Fn, class... Args>
using call_value_t = typename call_value<std::invoke_result_t<Fn&, Args...>>::type;

/// A message that calls `fn(arguments...)` on the target, with rvalues, and keeps what that yields for the caller. The
/// waiter has `one_home()`, for when it is back.
template <class Waiter, class Fn, class... Args>
class call final : public message {
 public:
  using returned = std::invoke_result_t<Fn&, Args...>;
  using value = call_value_t<Fn, Args...>;
  static constexpr bool is_task = any_task<returned>;

  template <class... Given>
  call(shard_id target, Waiter& waiter, handler_scope which, Fn fn, Given&&... given)
      : message(target),
        which_{which},
        fn_(std::move(fn)),
        arguments_(std::forward<Given>(given)...),
        waiter_(waiter) {}

  void run_here() noexcept override {
    if constexpr (is_task) {
      begin();
    } else {
      try {
        if constexpr (std::is_void_v<value>) {
          apply();
          result_.set_value();
        } else {
          result_.set_value(apply());
        }
      } catch (...) {
        result_.set_error(std::current_exception());
      }
      this_mailboxes().reply(*this);
    }
  }
  void cancel_here() noexcept override {
    if constexpr (is_task) runner_.cancel();
  }
  void come_home() noexcept override {
    if constexpr (is_task) {
      if (runner_.origin() != nullptr) [[unlikely]]
        return come_home_with_origin();
    }
    waiter_.one_home();
  }
  /// To be sent. What is known of where it comes from goes along.
  message& with_origin() noexcept {
    if constexpr (is_task) {
      if (current_shard->calls != nullptr) [[unlikely]]
        runner_.find_origin(target());
    }
    return *this;
  }
  value take() { return result_.take(); }
  /// Instead of the destructor, which would store the pointers to the virtual functions again.
  void end() noexcept {
    if constexpr (is_task) return std::destroy_at(this);
    SKERRY_ASSERT(home(), "a message lives until it has come home");
    std::destroy_at(&result_), std::destroy_at(&arguments_), std::destroy_at(&fn_);
  }

 private:
  /// The task on the target: lives in the message, so nothing is allocated but its frames.
  class runner final : public chain {
   public:
    explicit runner(call& owner) noexcept : chain("submit_to", nullptr), owner_(owner) {}
    call_origin* origin() const noexcept override { return static_cast<call_origin*>(owner()); }
    chain* ended() noexcept override {
      if (was_cancelled()) owner_.result_.set_error(target_stopping());
      scope_for_handlers(owner_.which_).remove(*this);
      this_mailboxes().reply(owner_);
      return nullptr;
    }

    scheduling_group charged_to() const noexcept { return charged_to_; }
    using chain::never_starts;

   private:
    const scheduling_group charged_to_ = current_scheduling_group();  // fills the chain's padding
    call& owner_;
  };
  template <class>  // two of one type would have an address each
  struct nothing {
    explicit nothing(const auto&) noexcept {}
  };

  void begin() noexcept {
    scope& home = scope_for_handlers(which_);
    try {
      if (home.closing()) std::rethrow_exception(target_stopping());
      returned body = apply();
      home.add(runner_);
      runner_.start_express(std::move(body).release(result_), runner_.charged_to());
    } catch (...) {
      runner_.never_starts();
      result_.set_error(std::current_exception());
      this_mailboxes().reply(*this);
    }
  }
  [[gnu::cold, gnu::noinline]] void come_home_with_origin() noexcept {
    current_shard->calls->call_ended(*runner_.origin());
    waiter_.one_home();
  }
  returned apply() { return std::apply(fn_, std::move(arguments_)); }

  [[no_unique_address]] std::conditional_t<is_task, handler_scope, nothing<handler_scope>> which_;
  [[no_unique_address]] Fn fn_;
  std::tuple<Args...> arguments_;
  Waiter& waiter_;
  result_slot<value> result_;
  [[no_unique_address]] std::conditional_t<is_task, runner, nothing<runner>> runner_{*this};
};

/// The call starts on a cache line of its own, so that what the target writes takes no line away from the caller's
/// frame; frames are aligned to 16 bytes, so the place is found at run time.
template <class Fn, class... Args>
class [[nodiscard("co_await it: nothing is sent before")]] submit_awaiter final {
 public:
  template <class... Given>
  submit_awaiter(shard_id target, handler_scope which, Fn fn, Given&&... given) {
    ::new (at_.place()) call_type(target, at_, which, std::move(fn), std::forward<Given>(given)...);
  }
  ~submit_awaiter() { at_.sent().end(); }

  bool await_ready() const noexcept { return false; }
  bool await_suspend(std::coroutine_handle<> resume_point) noexcept { return at_.send(resume_point); }
  auto await_resume() { return at_.sent().take(); }

 private:
  class waiter;
  using call_type = call<waiter, Fn, Args...>;

  /// Apart, so that it goes without a destructor.
  class waiter final : public leaf {
   public:
    /// One to this shard may be home before anybody waits.
    void one_home() noexcept {
      if (waiting() != nullptr) wake();
    }
    bool send(std::coroutine_handle<> resume_point) noexcept {
      this_mailboxes().send(sent().with_origin());
      if (sent().home()) return false;
      suspend(resume_point);
      return true;
    }
    void let_go() noexcept override { this_mailboxes().cancel(sent()); }
    const char* describe() const noexcept override { return "submit_to"; }

    void* place() noexcept { return room_ + -reinterpret_cast<std::uintptr_t>(&room_) % line_bytes; }
    call_type& sent() noexcept { return *std::launder(static_cast<call_type*>(place())); }

   private:
    static constexpr std::size_t line_bytes = 64;
    static_assert(alignof(call_type) <= line_bytes);
    alignas(16) std::byte room_[sizeof(call_type) + line_bytes - 16];  // a frame has that alignment
  };

  waiter at_;
};

/// A function with captures, on its author's word.
template <class Fn>
struct unchecked_fn {
  Fn fn;
  template <class... Args>
  decltype(auto) operator()(Args&&... args) {
    return fn(std::forward<Args>(args)...);
  }
};
template <class Fn>
struct crosses<unchecked_fn<Fn>> : std::true_type {};

template <class Fn, class... Args>
consteval void require_call_crosses() {
  if constexpr (!crosses<Fn>::value) require_no_captures<Fn>();
  (require_crossing<Args>(), ...);
  require_crossing<call_value_t<Fn, Args...>>();
}

}  // namespace detail

/// Lets `fn` cross with its captures, whose objects two threads then share; `scripts/check` lists every use.
template <class Fn>
detail::unchecked_fn<Fn> unchecked(Fn fn) {
  return {std::move(fn)};
}

/// Runs `fn(args...)` on `target`. `fn` has no captures; arguments and result must be transferable.
template <class Fn, class... Args>
auto submit_to(shard_id target, Fn fn, Args&&... args) {
  detail::require_call_crosses<Fn, std::decay_t<Args>...>();
  return detail::submit_awaiter<Fn, std::decay_t<Args>...>(target, detail::handler_scope::root, std::move(fn),
                                                           std::forward<Args>(args)...);
}

}  // namespace skerry
