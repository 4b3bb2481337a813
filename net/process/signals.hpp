// SPDX-License-Identifier: Apache-2.0
#pragma once

/// signals: what somebody tells this process by kill(2), as a stream on shard 0.
///
///     net::signal_stream wishes = net::signals({SIGHUP, SIGUSR1});
///     while (true) {
///       const int number = co_await wishes.next();
///       if (number == SIGHUP) co_await load_configuration();
///     }
///
/// The way of a signal:
///
///     any thread: handler --bit, eventfd--> shard 0: every stream that asked for it --next()--> task
///
/// A handler, not signalfd. The kernel gives a signal that is meant for the process to any thread that does not block
/// it, so a signalfd hears of it only if all threads block it, also those of libraries and of the host, which run
/// before a task can ask for anything; and what is blocked stays blocked in children, through exec, where a handler
/// becomes the default again. The handler sets a bit and writes to an eventfd, which is all that it may do.
///
/// As with signals in general, one that comes again before it was fetched is one. Several of different numbers come in
/// the order of their numbers.
///
/// Once asked for, a signal is caught until the host ends, also while no stream asks for it (it is lost then): a SIGHUP
/// during the drain, when the loop above is gone, would else end the process in the middle of it. At the end of the
/// host what was before is put back.
///
/// Affinity:     shard 0, asserted.
/// Errors:       std::system_error(EINVAL) for what is not to be had: SIGTERM and SIGINT, which stop the app
///               (net/process/shutdown.hpp); SIGALRM, by which a stop that takes too long is ended; SIGPIPE, which is
///               an error of the write; SIGKILL and SIGSTOP, which nobody can catch; and those of faults. EBUSY where
///               another host of this process listens.
/// Cancellation: next lets go at once; what has come is there for the next.
/// Limits:       one host of a process at a time: handlers are the process's (each host of a simulation is one). One
///               task at a time waits for a stream. A stream that outlives its tasks, in a resource say, keeps the stop
///               of its shard waiting.

#include <skerry/framework/task/chain.hpp>

#include <coroutine>
#include <csignal>
#include <initializer_list>
#include <utility>

namespace skerry::net {

namespace detail {
class signal_queue;
}  // namespace detail

class [[nodiscard("co_await it")]] signal_awaiter final : public skerry::detail::leaf {
 public:
  explicit signal_awaiter(detail::signal_queue& from) noexcept : from_(from) {}
  bool await_ready() const noexcept;
  void await_suspend(std::coroutine_handle<> resume_point) noexcept;
  int await_resume() noexcept;
  void let_go() noexcept override;
  const char* describe() const noexcept override { return "signal"; }

 private:
  friend class detail::signal_queue;
  detail::signal_queue& from_;
};

class signal_stream {
 public:
  signal_stream(signal_stream&& other) noexcept : queue_(std::exchange(other.queue_, nullptr)) {}
  signal_stream& operator=(signal_stream&& other) noexcept;
  ~signal_stream();

  /// The number of the next one.
  signal_awaiter next() noexcept;

 private:
  friend signal_stream signals(std::initializer_list<int> numbers);
  explicit signal_stream(detail::signal_queue* made) noexcept : queue_(made) {}

  detail::signal_queue* queue_;
};

/// Those that come from now on. Several streams may ask for the same one; each gets it.
signal_stream signals(std::initializer_list<int> numbers);

}  // namespace skerry::net
