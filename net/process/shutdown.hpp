// SPDX-License-Identifier: Apache-2.0
#pragma once

/// shutdown_signal: until this program is asked to stop, by SIGTERM, SIGINT or app::shutdown(); on any shard, any
/// number of tasks.
///
///     net::shutdown_hold stopping = co_await net::shutdown_signal();
///     co_await save_state();           // the drain waits while `stopping` is there, drain_timeout at most
///
/// A task that has something to do at the end would else be cancelled in the middle of it, as soon as the last
/// connection is gone. So it holds up the drain from the moment in which the drain begins, not only once it has run.
///
///     waiting --drain begins--> holding, woken --await_resume()--> shutdown_hold --dropped--> the drain goes on
///        '--cancelled--> gone      '--cancelled----------------------------------------------^
///
/// Affinity:     the shard where it is awaited; so is what it gives.
/// Cancellation: at once.
/// Limits:       a program whose main ends by itself is not asked: those who wait are cancelled with all others. Past
///               drain_timeout the process ends, held or not.

#include <skerry/framework/detail/intrusive_list.hpp>
#include <skerry/framework/task/chain.hpp>

#include <coroutine>
#include <utility>

namespace skerry::net {

namespace detail {
class shutdown_watch;
}  // namespace detail

/// While it is there, the drain waits. Moves only.
class [[nodiscard("the drain waits while it is kept")]] shutdown_hold {
 public:
  shutdown_hold(shutdown_hold&& other) noexcept : held_(std::exchange(other.held_, nullptr)) {}
  shutdown_hold& operator=(shutdown_hold&& other) noexcept {
    shutdown_hold taken(std::move(other));
    std::swap(held_, taken.held_);
    return *this;
  }
  ~shutdown_hold();

 private:
  friend class shutdown_awaiter;
  explicit shutdown_hold(detail::shutdown_watch* held) noexcept : held_(held) {}

  detail::shutdown_watch* held_;
};

class [[nodiscard("co_await it")]] shutdown_awaiter final : public skerry::detail::leaf,
                                                            public skerry::detail::list_hook<shutdown_awaiter> {
 public:
  explicit shutdown_awaiter(detail::shutdown_watch& watch) noexcept : watch_(watch) {}
  ~shutdown_awaiter();
  bool await_ready() noexcept;
  void await_suspend(std::coroutine_handle<> resume_point) noexcept;
  shutdown_hold await_resume() noexcept;
  void let_go() noexcept override;
  const char* describe() const noexcept override { return "shutdown"; }

 private:
  friend class detail::shutdown_watch;
  detail::shutdown_watch& watch_;
  bool holds_ = false;
};

shutdown_awaiter shutdown_signal();

}  // namespace skerry::net
