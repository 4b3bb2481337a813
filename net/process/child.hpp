// SPDX-License-Identifier: Apache-2.0
#pragma once

/// child: a program that this one has started, as a handle.
///
///     net::child_options options;
///     options.input = options.output = net::redirect::pipe();
///     net::child sort = net::start_child("sort", {"-n"}, options);
///     co_await sort.streams().write("10\n9\n");
///     sort.streams().shutdown_output();
///     buffer least = co_await sort.streams().read();
///     net::child_end end = co_await sort.wait();                  // end.text(): "exit status 0"
///
/// The rule it enforces: no child outlives its handle unseen, and none stays behind as a zombie. Whoever drops the
/// handle, also by being cancelled, asks the child to end:
///
///     running --it ends--> reaped, wait() tells how
///        '--handle dropped--> SIGTERM --it ends--------------------------> reaped
///                               '--`grace` has passed--> SIGKILL --it ends--^
///
/// Its end is seen through a pidfd, polled by the ring, and only this child is waited for: no handler of SIGCHLD is
/// needed, and children that others have started are theirs. The pidfd also names who is signalled; a number could be
/// somebody else's by then.
///
/// What a child is born with: the three standard descriptors, and nothing else that we have open; no signal blocked,
/// SIGPIPE not ignored, what we handle back at its default; all CPUs of this process rather than the one that its shard
/// is pinned to. Starting is posix_spawn, which shares our memory until the program is loaded instead of copying page
/// tables. The shard waits for that: 0.1 ms on a 2-core virtual machine, and as much where the process has 2 GB; more
/// where the program comes from a slow disk. Rejected: a thread for it, which would cost as much again and change
/// nothing for who starts a program now and then.
///
/// Affinity:     the shard that started it.
/// Errors:       std::system_error that names the program, what stands in the way and what helps.
/// Cancellation: wait lets go at once; the child runs on until the handle goes.
/// Limits:       a descriptor, and one per pipe; processes and length of arguments as the kernel has it. The stop of a
///               shard waits for children that were told to end, `grace` long. Grandchildren are not known, except with
///               `own_group`. A process that is killed by SIGKILL leaves its children running. Where the process's
///               memory comes from one NUMA node by preference, the child's does, too.
/// Source:       posix_spawn(3), pidfd_open(2), waitid(2) of the Linux manual.

#include <skerry/framework/task/chain.hpp>
#include <skerry/net/process/pipe.hpp>

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <sys/types.h>

namespace skerry::net {

namespace detail {
class child_state;
}  // namespace detail

/// What one of a child's standard descriptors is.
class redirect {
 public:
  /// The same as ours.
  static redirect inherit() noexcept { return redirect(kind::inherit); }
  /// /dev/null.
  static redirect null() noexcept { return redirect(kind::null); }
  /// A pipe whose other end is a side of child::streams() or of child::errors().
  static redirect pipe() noexcept { return redirect(kind::pipe); }
  /// A descriptor of ours, which stays open until start_child has returned.
  static redirect to(int fd) noexcept { return redirect(kind::descriptor, fd); }
  /// For `error`: wherever `output` goes.
  static redirect as_output() noexcept { return redirect(kind::as_output); }

 private:
  friend class detail::child_state;
  enum class kind : std::uint8_t { inherit, null, pipe, descriptor, as_output };
  explicit redirect(kind which, int fd = -1) noexcept : kind_(which), fd_(fd) {}

  kind kind_;
  int fd_;
};

/// Has a constructor, so that it is no aggregate (g++ 12 destroys those twice in co_await).
struct child_options {
  child_options() noexcept {}
  redirect input = redirect::null();
  redirect output = redirect::inherit();
  redirect error = redirect::inherit();
  /// Each "NAME=value". Not said: ours.
  std::optional<std::vector<std::string>> environment;
  /// Where it runs, and from where a program with a slash but not at its front is looked for. Empty: where we run.
  std::string directory;
  /// Between SIGTERM and SIGKILL for a child whose handle is dropped; zero: SIGKILL at once. A drain_timeout below it
  /// ends this process first.
  std::chrono::nanoseconds grace = std::chrono::seconds(5);
  /// In a process group of its own, which is signalled as a whole; of one whose handle is dropped, SIGKILL goes to
  /// those that its end leaves behind. A terminal's Ctrl-C does not reach it then, nor may it read from the terminal.
  bool own_group = false;
};

/// How a child ended.
struct child_end {
  using crosses_shards = child_end;
  int status = 0;  ///< what it returned, if no signal ended it
  int signal = 0;  ///< that ended it; 0: none did

  bool succeeded() const noexcept { return status == 0 && signal == 0; }
  /// "exit status 1", "signal 9 (Killed)".
  std::string text() const;
};

class [[nodiscard("co_await it")]] child_awaiter final : public skerry::detail::leaf {
 public:
  explicit child_awaiter(detail::child_state& of) noexcept;
  ~child_awaiter();
  bool await_ready() const noexcept;
  void await_suspend(std::coroutine_handle<> resume_point) noexcept;
  child_end await_resume();
  void let_go() noexcept override;
  const char* describe() const noexcept override { return "child"; }

 private:
  friend class detail::child_state;
  detail::child_state& of_;
};

class child {
 public:
  child(child&& other) noexcept
      : state_(std::exchange(other.state_, nullptr)),
        streams_(std::move(other.streams_)),
        errors_(std::move(other.errors_)) {}
  child& operator=(child&& other) noexcept;
  ~child();

  /// Waits for its end, which is told as often as it is asked for; one task at a time waits. ECHILD if another part of
  /// this process has waited for it.
  child_awaiter wait() noexcept { return child_awaiter(state()); }
  /// Sends a signal to it, or to its group if it has one of its own; false if it has ended.
  bool signal(int number);
  /// Reads its standard output and writes its standard input, so far as they are pipes.
  pipe_stream& streams() noexcept { return streams_; }
  /// Reads its standard error if that is a pipe.
  pipe_stream& errors() noexcept { return errors_; }
  /// Somebody else's may have the same once it has ended.
  pid_t pid() const noexcept;

 private:
  friend child start_child(std::string program, std::vector<std::string> arguments, const child_options& options);
  child(detail::child_state* made, pipe_stream streams, pipe_stream errors) noexcept
      : state_(made), streams_(std::move(streams)), errors_(std::move(errors)) {}
  detail::child_state& state() const noexcept {
    SKERRY_ASSERT(state_ != nullptr, "a child that was moved from is not used");
    return *state_;
  }

  detail::child_state* state_;
  pipe_stream streams_;
  pipe_stream errors_;
};

/// Starts `program`, looked for in our PATH if it has no slash, with its name and `arguments`.
child start_child(std::string program, std::vector<std::string> arguments = {},
                  const child_options& options = child_options());

}  // namespace skerry::net
