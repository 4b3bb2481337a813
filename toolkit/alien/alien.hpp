// SPDX-License-Identifier: Apache-2.0
#pragma once

/// alien: how threads that are no shards (of the program around an app, of a library) call shards.
///
///     alien::entry door = co_await alien::open();         // on a shard; copies may go to any thread
///     std::future<int> n = alien::submit_to(door, 1, [](int m) { return m + 1; }, 41);     // on such a thread
///     if (!alien::post(door, 0, [](std::string text) { note(text); }, key)) give_up();
///
/// The rules of shards' submit_to hold: fn returns T or task<T>, has no captures, and takes its arguments by value;
/// arguments and result are transferable. A plain function runs in the shard's poll phase, a task in its root scope.
///
///     submit_to    a std::future; get() blocks the thread that asks
///     call         tells a receiver instead, which wakes another event loop (see the Asio example)
///     post         one way: nobody waits; what fn throws is logged and counted on the shard
///
/// There is no process-wide shard 0 to send to: several hosts may live in one process, and the entry says which is
/// meant. A foreign thread has no frame that waits, so its messages come from the heap, or where it sends many, from
/// chunks that come back to it (message_memory.hpp).
///
/// Affinity:     open() a task of any shard; these functions any thread, also one of a shard. An entry is one thread's
///               at a time: each has a copy, which it keeps, since it holds the memory of the thread's messages.
/// Lifetime:     an entry may outlive the host. A receiver is called exactly once, on the shard, or by the caller when
///               the shard takes nothing.
/// Errors:       through the future or receiver: what fn throws; std::system_error(operation_canceled) when the shard
///               is stopping or has ended, resource_unavailable_try_again at the bound. post() says false for both.
/// Cancellation: a future cannot be cancelled. What a stopping shard cancels says operation_canceled.
/// Limits:       `waiting_max` messages that a shard has not looked at, from all threads together. An entry that has
///               sent many keeps up to 256 KiB for those to come.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/task/scope.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/shards/transferable.hpp>
#include <skerry/toolkit/alien/inbox.hpp>
#include <skerry/toolkit/alien/message_memory.hpp>

#include <cstdint>
#include <exception>
#include <future>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace skerry::alien {

/// Messages to one shard that it has not looked at.
inline constexpr std::uint64_t waiting_max = 32'768;

/// The way into a host's shards. A default one leads nowhere. Each thread has a copy of its own.
class entry {
 public:
  using crosses_shards = entry;

  entry() noexcept = default;
  shard_id shard_count() const noexcept { return doors_ == nullptr ? 0 : static_cast<shard_id>(doors_->size()); }
  explicit operator bool() const noexcept { return doors_ != nullptr; }

  // For the functions below.
  using doors = std::vector<std::shared_ptr<skerry::detail::inbox_stack>>;
  explicit entry(std::shared_ptr<const doors> all) noexcept : doors_(std::move(all)) {}
  skerry::detail::inbox_stack& door(shard_id shard) const noexcept {
    SKERRY_ASSERT(doors_ != nullptr, "an entry comes from alien::open()");
    SKERRY_ASSERT(shard < doors_->size(), "there is no such shard; shard numbers run from 0 to shard_count() - 1");
    return *(*doors_)[shard];
  }
  detail::message_memory& memory() noexcept { return memory_; }

 private:
  std::shared_ptr<const doors> doors_;
  detail::message_memory memory_;  // of the thread whose copy this is
};

/// The entry to all shards of this host.
task<entry> open();

namespace detail {

namespace shards = skerry::detail;

std::exception_ptr why_not(shards::delivery refused) noexcept;
void report_unseen(const std::exception_ptr& error) noexcept;

struct give_back {
  template <class Message>
  void operator()(Message* done) const noexcept {
    message_chunk* from = done->chunk();
    if (from == nullptr) {
      delete done;
    } else {
      std::destroy_at(done);
      from->release();
    }
  }
};

/// A call on its way, and on the shard; gives itself back when the receiver knows.
template <class Receiver, class Fn, class... Args>
class foreign_call final : public shards::foreign_item {
 public:
  using returned = std::invoke_result_t<Fn&, Args...>;
  using value = shards::call_value_t<Fn, Args...>;
  static constexpr bool is_task = shards::any_task<returned>;

  template <class... Given>
  foreign_call(message_chunk* chunk, Receiver receiver, Fn fn, Given&&... given)
      : chunk_(chunk), receiver_(std::move(receiver)), fn_(std::move(fn)), arguments_(std::forward<Given>(given)...) {}

  void arrived() noexcept override {
    if constexpr (shards::any_task<returned>) {
      runner_.emplace(*this);
      runner_->begin();
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
      tell();
    }
  }
  message_chunk* chunk() const noexcept { return chunk_; }
  void refused() noexcept override {
    result_.set_error(why_not(shards::delivery::closed));
    tell();
  }
  void refused_at_once(shards::delivery why) noexcept {
    result_.set_error(why_not(why));
    tell();
  }

 private:
  /// The task on the shard.
  class runner final : public shards::chain {
   public:
    explicit runner(foreign_call& owner) noexcept : chain("alien call", nullptr), owner_(owner) {}
    void begin() noexcept {
      scope& home = *this_shard().root;
      if (home.closing()) return owner_.refused();
      try {
        returned body = owner_.apply();
        home.add(*this);
        return start_express(std::move(body).release(owner_.result_), scheduling_group::main);
      } catch (...) {
        owner_.result_.set_error(std::current_exception());
      }
      owner_.tell();
    }
    chain* ended() noexcept override {
      if (was_cancelled()) owner_.result_.set_error(why_not(shards::delivery::closed));
      this_shard().root->remove(*this);
      owner_.tell();
      return nullptr;
    }

   private:
    foreign_call& owner_;
  };
  struct no_runner {};

  returned apply() { return std::apply(fn_, std::move(arguments_)); }
  void tell() noexcept {
    const std::unique_ptr<foreign_call, give_back> mine(this);
    if (!result_.has_value()) return receiver_.set_error(result_.take_error());
    if constexpr (std::is_void_v<value>) {
      receiver_.set_value();
    } else {
      receiver_.set_value(result_.take());
    }
  }

  message_chunk* chunk_;  // null: it is from the heap
  [[no_unique_address]] Receiver receiver_;
  [[no_unique_address]] Fn fn_;
  std::tuple<Args...> arguments_;
  shards::result_slot<value> result_;
  [[no_unique_address]] std::conditional_t<shards::any_task<returned>, std::optional<runner>, no_runner> runner_{};
};

template <class Message, class... Given>
std::unique_ptr<Message, give_back> make_message(message_memory& memory, Given&&... given) {
  std::pair<void*, message_chunk*> room;
  if constexpr (!Message::is_task) room = memory.take(sizeof(Message), alignof(Message));
  if (room.second == nullptr) {
    return std::unique_ptr<Message, give_back>(new Message(nullptr, std::forward<Given>(given)...));
  }
  try {
    return std::unique_ptr<Message, give_back>(::new (room.first) Message(room.second, std::forward<Given>(given)...));
  } catch (...) {
    room.second->release();
    throw;
  }
}

template <class T>
struct promise_receiver {
  std::promise<T> promise;
  template <class... Value>
  void set_value(Value&&... value) noexcept {
    try {
      promise.set_value(std::forward<Value>(value)...);
    } catch (...) {
      promise.set_exception(std::current_exception());  // moving the value threw
    }
  }
  void set_error(std::exception_ptr error) noexcept { promise.set_exception(std::move(error)); }
};

/// Of a post: on the shard, an error is logged.
struct nobody {
  template <class... Value>
  void set_value(Value&&...) const noexcept {}
  void set_error(const std::exception_ptr& error) const noexcept { report_unseen(error); }
};

}  // namespace detail

/// Runs `fn(args...)` on `target` and tells `receiver`: `set_value(result)` (or `set_value()`) or
/// `set_error(std::exception_ptr)`, both noexcept, on the shard, where they must not block.
template <class Receiver, class Fn, class... Args>
void call(entry& into, shard_id target, Receiver receiver, Fn fn, Args&&... args) {
  skerry::detail::require_call_crosses<Fn, std::decay_t<Args>...>();
  using message = detail::foreign_call<Receiver, Fn, std::decay_t<Args>...>;
  into.door(target).prepare();
  auto sent =
      detail::make_message<message>(into.memory(), std::move(receiver), std::move(fn), std::forward<Args>(args)...);
  const auto outcome = into.door(target).deliver(*sent, waiting_max);
  message* theirs = sent.release();
  if (outcome != skerry::detail::delivery::taken) theirs->refused_at_once(outcome);
}

/// Runs `fn(args...)` on `target`; the future has its result.
template <class Fn, class... Args>
auto submit_to(entry& into, shard_id target, Fn fn, Args&&... args) {
  using value = skerry::detail::call_value_t<Fn, std::decay_t<Args>...>;
  detail::promise_receiver<value> receiver;
  std::future<value> result = receiver.promise.get_future();
  call(into, target, std::move(receiver), std::move(fn), std::forward<Args>(args)...);
  return result;
}

/// Sends `fn(args...)` to `target` and waits for nothing. False: the shard has ended, or is `waiting_max` behind.
template <class Fn, class... Args>
[[nodiscard("false: it will not run")]] bool post(entry& into, shard_id target, Fn fn, Args&&... args) {
  skerry::detail::require_call_crosses<Fn, std::decay_t<Args>...>();
  using message = detail::foreign_call<detail::nobody, Fn, std::decay_t<Args>...>;
  into.door(target).prepare();
  auto sent =
      detail::make_message<message>(into.memory(), detail::nobody(), std::move(fn), std::forward<Args>(args)...);
  if (into.door(target).deliver(*sent, waiting_max) != skerry::detail::delivery::taken) return false;
  static_cast<void>(sent.release());
  return true;
}

}  // namespace skerry::alien
