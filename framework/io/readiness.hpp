// SPDX-License-Identifier: Apache-2.0
#pragma once

/// readable, writable: wait for a descriptor of somebody else's, for libraries that do their own reads and writes.
///
///     co_await readable(fd);                              // once
///     readiness_events events(fd, POLLIN);                // each time it arises, until dropped
///     for (short what = POLLIN; what & POLLIN; what = co_await events.next()) look_at(fd);
///
/// Affinity:     home shard; resumes there.
/// Errors:       std::system_error, e.g. EBADF.
/// Cancellation: the poll is cancelled in the kernel; the descriptor must stay open until the awaiting task has gone on
///               or ended. `readiness_events` may be dropped at any time: its operation lives on in the frame pool
///               until the kernel has let go.
/// Limits:       events that nobody has fetched are merged into one set.

#include <skerry/framework/backend/operation.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/task/frame_pool.hpp>

#include <coroutine>
#include <cstdint>
#include <utility>

#include <poll.h>

namespace skerry {

namespace detail {

/// A request with one completion, awaited by one task. Derived classes fill the submission in await_suspend.
class single_operation : public operation, public leaf {
 public:
  bool await_ready() const noexcept { return false; }
  void complete(std::int32_t result, std::uint32_t) noexcept final {
    result_ = result;
    wake();
  }
  void let_go() noexcept final;

 protected:
  ~single_operation() = default;
  /// The submission to fill; from here on the task waits.
  submission& begin(std::coroutine_handle<> resume_point) noexcept;
  std::int32_t result_ = 0;
};

/// The events that are ready; throws std::system_error for -errno.
std::uint32_t events_or_error(std::int32_t result);

class poll_once final : public single_operation {
 public:
  poll_once(int fd, std::uint32_t events) noexcept : fd_(fd), events_(events) {}
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    prepare::poll(begin(resume_point), fd_, events_);
  }
  std::uint32_t await_resume() const { return events_or_error(result_); }
  const char* describe() const noexcept override { return (events_ & POLLOUT) != 0 ? "writable" : "readable"; }

 private:
  int fd_;
  std::uint32_t events_;
};

/// The multishot poll behind readiness_events and the leaf of its one waiter; frees itself after its last completion.
class poll_many final : public operation, public leaf, public pooled {
 public:
  poll_many(int fd, std::uint32_t events) noexcept : fd_(fd), events_(events) { arm(); }
  void abandon() noexcept;

  bool seen() const noexcept { return result_ != 0; }
  void wait(std::coroutine_handle<> resume_point) noexcept {
    SKERRY_ASSERT(!std::exchange(waited_for_, true), "one task at a time waits for the events of a descriptor");
    suspend(resume_point);
    if (!in_flight()) arm();
  }
  std::uint32_t take() { return events_or_error(std::exchange(result_, 0)); }
  void let_go() noexcept override {
    waited_for_ = false;
    wake();
  }
  const char* describe() const noexcept override { return "readiness"; }
  void complete(std::int32_t result, std::uint32_t flags) noexcept override;

 private:
  void arm() noexcept;

  int fd_;
  std::uint32_t events_;
  std::int32_t result_ = 0;  // events that nobody has fetched, or -errno
  bool waited_for_ = false;
  bool abandoned_ = false;
};

}  // namespace detail

/// Waits until `fd` is readable (or has failed or hung up); gives the events.
inline detail::poll_once readable(int fd) noexcept { return {fd, POLLIN}; }
/// The same for writable.
inline detail::poll_once writable(int fd) noexcept { return {fd, POLLOUT}; }

/// Each time one of `events` arises on `fd`, in one multishot request.
class readiness_events {
 public:
  readiness_events(int fd, std::uint32_t events) : poll_(new detail::poll_many(fd, events)) {}
  ~readiness_events() { poll_->abandon(); }
  readiness_events(const readiness_events&) = delete;
  readiness_events& operator=(const readiness_events&) = delete;

  /// The events since the last call; suspends while there are none. One task at a time.
  auto next() noexcept {
    struct [[nodiscard("co_await it")]] awaiter {
      detail::poll_many& poll;
      bool await_ready() const noexcept { return poll.seen(); }
      void await_suspend(std::coroutine_handle<> resume_point) const noexcept { poll.wait(resume_point); }
      std::uint32_t await_resume() const { return poll.take(); }
    };
    return awaiter{*poll_};
  }

 private:
  detail::poll_many* poll_;
};

}  // namespace skerry
