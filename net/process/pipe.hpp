// SPDX-License-Identifier: Apache-2.0
#pragma once

/// pipe_stream: pipes, named pipes, terminals and standard input and output as a byte_stream (framework/io), as a
/// handle. It has two sides, each a descriptor of its own, and one of them may be missing.
///
///     auto [out, in] = net::make_pipe();
///     net::pipe_stream reader(std::move(out)), writer(net::unique_fd(), std::move(in));
///
///     net::pipe_stream standard = net::standard_streams();      // reads standard input, writes standard output
///     net::buffered_reader lines(standard);
///     while (auto line = co_await lines.read_line(4096)) co_await standard.write(std::string(*line) + '\n');
///
/// The two sides:
///
///     in    idle --read()--> asked --bytes--> kept --taken--> idle    asks only while somebody waits, so that it takes
///                              '--cancelled--> idle                   no more of a shared input than was asked for
///     out   write() -> pending_ -> sending_ -> kernel    one write in flight; what is written meanwhile goes next
///
/// What is ours alone is set to O_NONBLOCK, and then io_uring itself waits until there is something. The open file
/// behind standard input and output is also that of the shell and of whoever runs beside us, and so would the flag be:
/// they would find EAGAIN where they expect to wait. It stays as it is, and each read or write comes behind a poll, of
/// PIPE_BUF bytes at most when it writes, which is what a pipe takes without waiting once it says it takes any. Without
/// the poll, kernels before 6.4 let a worker thread wait in each read of a blocking pipe. Rejected: opening
/// /proc/self/fd/0 anew, for flags of our own. It is refused for sockets and after a change of user, and in a file it
/// would write at the start instead of behind what others wrote.
///
/// Affinity:     the shard that made it.
/// Lifetime:     a buffer that was read may outlive the stream; bytes given to write must live until it returns.
///               Dropping the handle drops what is unread and sends what was written, `send_rest_max` long at most;
///               then the rest is dropped and counted. Each side is closed after its last operation.
/// Errors:       std::system_error. EPIPE from write: the reader has gone. No signal comes, as the first stream that
///               can write lets the process ignore SIGPIPE, unless there is a handler. EBADF from write: there is no
///               such side; to read, that is the end. One task at a time reads and one writes.
/// Cancellation: read and write let go at once; what has come stays for the next read, what was taken is still sent.
/// Limits:       one buffer of 8 KiB unread; `high_water` bytes pending and as many on their way.

#include <skerry/framework/io/byte_stream.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/net/socket.hpp>

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

namespace skerry::net {

namespace detail {
class pipe_input;
class pipe_output;
}  // namespace detail

class [[nodiscard("co_await it")]] pipe_read_awaiter final : public skerry::detail::leaf {
 public:
  /// Null: there is no such side.
  explicit pipe_read_awaiter(detail::pipe_input* from) noexcept;
  ~pipe_read_awaiter();
  bool await_ready() const noexcept;
  void await_suspend(std::coroutine_handle<> resume_point) noexcept;
  buffer await_resume();
  void let_go() noexcept override;
  const char* describe() const noexcept override { return "read pipe"; }

 private:
  friend class detail::pipe_input;
  detail::pipe_input* from_;
};

class pipe_stream {
 public:
  static constexpr std::size_t high_water = 64 * 1024;
  static constexpr std::chrono::seconds send_rest_max{5};

  /// Reads `in` and writes `out`, which nobody else uses; either may be empty.
  explicit pipe_stream(unique_fd in, unique_fd out = unique_fd());
  /// Reads `in` and writes `out`, either -1 for none, which others use as well: by descriptors of its own, for which it
  /// changes nothing. Throws std::system_error.
  static pipe_stream shared(int in, int out);
  pipe_stream(pipe_stream&& other) noexcept
      : in_(std::exchange(other.in_, nullptr)), out_(std::exchange(other.out_, nullptr)) {}
  pipe_stream& operator=(pipe_stream&& other) noexcept {
    pipe_stream taken(std::move(other));
    std::swap(in_, taken.in_);
    std::swap(out_, taken.out_);
    return *this;
  }
  ~pipe_stream();

  /// The next bytes, as they came; empty at the end.
  pipe_read_awaiter read() noexcept { return pipe_read_awaiter(in_); }
  /// Takes all of `bytes`; suspends while more than the high-water mark is unsent.
  task<> write(std::span<const std::byte> bytes);
  task<> write(std::string_view text) { return write(std::as_bytes(std::span(text))); }
  task<> write(const buffer& bytes) { return write(std::span(bytes.data(), bytes.size())); }
  /// Takes what fits now and tells how much; never suspends. Throws when it is broken.
  std::size_t try_write(std::span<const std::byte> bytes);
  /// Waits until the kernel has everything that was written. Throws when it broke before.
  task<> flush();
  /// Closes the side that writes, behind what was written. The reader sees the end when nobody else holds it.
  void shutdown_output() noexcept;

 private:
  pipe_stream(detail::pipe_input* in, detail::pipe_output* out) noexcept : in_(in), out_(out) {}
  detail::pipe_output& output() const;

  detail::pipe_input* in_ = nullptr;
  detail::pipe_output* out_ = nullptr;
};

static_assert(byte_stream<pipe_stream>);

/// Both ends of a pipe, closed on exec: what comes out of `out` is what went into `in`. Throws std::system_error.
struct pipe_ends {
  unique_fd out;
  unique_fd in;
};
pipe_ends make_pipe();

/// Standard input and output of this process, whatever they are: pipes, files, terminals, sockets.
pipe_stream standard_streams();
/// Standard error, to write to. Lines of the log go there too, by a thread of their own.
pipe_stream standard_error();

}  // namespace skerry::net
