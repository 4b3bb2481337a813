// SPDX-License-Identifier: Apache-2.0
#pragma once

/// post_to: a message to another shard that nobody waits for, from an outbox with a bound.
///
///     co_await post_to(owner, [](std::string line) { note(line); }, key);    // goes on when it is on its way
///     if (!try_post_to(owner, [](std::string line) { note(line); }, key)) drop();
///
/// The message lives in the frame pool of the sender's shard, and its place in the outbox is free again when the
/// handler has ended. So a receiver that is slower than its senders slows them down.
///
///     post_to --outbox full--> suspended --a handler has ended--> on its way --> handled --> home, freed
///
/// Affinity:     any task; the function runs on `target`: a plain one in its poll phase, a task in its root scope. To
///               the own shard without a queue: a plain function has run when post_to goes on.
/// Order:        messages to one shard, of post_to and submit_to, reach it in the order in which they were sent; a
///               plain function runs there and then, the first step of a task follows that poll.
/// Errors:       what the function throws is logged and counted on the target (`unseen_errors`).
/// Cancellation: ends the wait for a place; a message on its way is not called back. A target that is stopping runs
///               plain functions and drops tasks, which counts as an error; the sender's shard does not end before they
///               are home.
/// Limits:       `posts_max` messages from one shard to another, waiting or being handled.
///
/// A task keeps its place until it has ended. So handlers that await post_to to each other's shards may wait for ever:
/// all places from A to B are taken by tasks on B that wait for a place to A, and all from B to A by tasks on A that
/// wait for one to B. A handler therefore posts with try_post_to, which never waits (full: drop the message, or keep it
/// for later), or is a plain function that spawns the task, whose place is free when the function has returned:
///
///     co_await post_to(owner, [](int hops) { spawn(pass_on(hops), "pass on"); }, 3);
///
/// The tasks are then no longer counted by `posts_max`: bound them (a semaphore, service_group).

#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/task/frame_pool.hpp>
#include <skerry/framework/task/scope.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/toolkit/sync/mutex.hpp>

#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace skerry {

/// Messages from one shard to another.
inline constexpr std::uint64_t posts_max = 1024;

namespace detail {

/// The places of this shard's posts. Kept by a resource and by the posts, of which some may come home after it has
/// gone.
class post_places {
 public:
  post_places();
  static const std::shared_ptr<post_places>& here();
  semaphore& to(shard_id target) noexcept {
    SKERRY_ASSERT(target < places_.size(), "there is no such shard; shard numbers run from 0 to shard_count() - 1");
    return *places_[target];
  }

 private:
  std::vector<std::unique_ptr<semaphore>> places_;  // by target
};

void report_unseen_post(const std::exception_ptr& error) noexcept;

/// The message; frees itself at home.
template <class Fn, class... Args>
class posted final : public message, public pooled {
 public:
  using returned = std::invoke_result_t<Fn&, Args...>;
  using value = call_value_t<Fn, Args...>;

  template <class... Given>
  posted(shard_id target, std::shared_ptr<post_places> places, units place, Fn fn, Given&&... given)
      : message(target),
        places_(std::move(places)),
        place_(std::move(place)),
        fn_(std::move(fn)),
        arguments_(std::forward<Given>(given)...) {}

  void run_here() noexcept override {
    if constexpr (any_task<returned>) {
      runner_.begin();
    } else {
      try {
        static_cast<void>(apply());
      } catch (...) {
        report_unseen_post(std::current_exception());
      }
      this_mailboxes().reply(*this);
    }
  }
  void cancel_here() noexcept override {}
  void come_home() noexcept override { delete this; }

 private:
  class runner final : public chain {
   public:
    explicit runner(posted& owner) noexcept : chain("post_to", nullptr), owner_(owner) {}
    void begin() noexcept {
      scope& home = *this_shard().root;
      try {
        if (home.closing()) std::rethrow_exception(target_stopping());
        returned body = owner_.apply();
        home.add(*this);
        start_express(std::move(body).release(result_), charged_to_);
      } catch (...) {
        report_unseen_post(std::current_exception());
        this_mailboxes().reply(owner_);
      }
    }
    chain* ended() noexcept override {
      if (std::exception_ptr error = was_cancelled() ? target_stopping() : result_.take_error()) {
        report_unseen_post(error);
      }
      this_shard().root->remove(*this);
      this_mailboxes().reply(owner_);
      return nullptr;
    }

   private:
    const scheduling_group charged_to_ = current_scheduling_group();  // fills the chain's padding
    posted& owner_;
    result_slot<value> result_;
  };
  struct no_runner {
    explicit no_runner(posted&) noexcept {}
  };

  returned apply() { return std::apply(fn_, std::move(arguments_)); }

  std::shared_ptr<post_places> places_;
  units place_;
  [[no_unique_address]] Fn fn_;
  std::tuple<Args...> arguments_;
  [[no_unique_address]] std::conditional_t<any_task<returned>, runner, no_runner> runner_{*this};
};

template <class Fn, class... Args>
task<> wait_and_post(shard_id target, Fn fn, Args... args) {
  std::shared_ptr<post_places> places = post_places::here();
  units place = co_await places->to(target).acquire();
  this_mailboxes().send(
      *new posted<Fn, Args...>(target, std::move(places), std::move(place), std::move(fn), std::move(args)...));
}

}  // namespace detail

/// Sends `fn(args...)` to `target`, when there is a place for it.
template <class Fn, class... Args>
task<> post_to(shard_id target, Fn fn, Args&&... args) {
  detail::require_call_crosses<Fn, std::decay_t<Args>...>();
  return detail::wait_and_post<Fn, std::decay_t<Args>...>(target, std::move(fn), std::forward<Args>(args)...);
}

/// Never waits. False: the outbox is full, or others wait for it; nothing was sent, and the arguments are as they were.
template <class Fn, class... Args>
[[nodiscard("false: it will not run")]] bool try_post_to(shard_id target, Fn fn, Args&&... args) {
  detail::require_call_crosses<Fn, std::decay_t<Args>...>();
  const std::shared_ptr<detail::post_places>& places = detail::post_places::here();
  std::optional<units> place = places->to(target).try_acquire();
  if (!place) return false;
  detail::this_mailboxes().send(*new detail::posted<Fn, std::decay_t<Args>...>(
      target, places, std::move(*place), std::move(fn), std::forward<Args>(args)...));
  return true;
}

}  // namespace skerry
