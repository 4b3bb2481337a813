// SPDX-License-Identifier: Apache-2.0
#pragma once

/// datagram_socket: a UDP socket, as a handle.
///
///     net::datagram_socket s(*net::address::parse("127.0.0.1:7777"));
///     while (std::optional<net::datagram> got = co_await s.receive()) co_await s.send(got->from(), got->bytes());
///
/// One multishot receive fills buffers of the shard's ring, and a datagram is a view of one: no byte is copied. What
/// many tasks send, or one by send_batch, goes in one kernel entry. Whoever takes what try_receive() has, too, answers
/// a batch with a batch.
///
///     in   kernel's queue -> `unread_max` unread here -> receive()    `pause_at` unread: the kernel keeps the rest,
///                                                                     and drops what it cannot keep
///     out  send() -> `sends_max` in flight -> kernel                  more wait in turn
///
/// GSO and GRO: send_segments gives the kernel up to 64 KiB that it cuts into datagrams at the last moment; a socket
/// with `coalesced` takes what the kernel put together, 64 KiB at a time, and hands out the datagrams that it was. Such
/// a socket, and one with a `bytes_max` beyond `lent_bytes_max`, receives into blocks of its own, one at a time.
///
/// Affinity:     the shard that made it.
/// Lifetime:     a datagram may outlive its socket; it holds a receive buffer, of which a shard has at most 2048. Bytes
///               given to send must live until it returns. Dropping the handle drops what is unread; the descriptor is
///               closed after the last operation.
/// Errors:       std::system_error. What the network reports of an earlier datagram (ECONNREFUSED: nobody has that
///               port) comes to connected sockets only, and is told once, by the receive or send that is next; in the
///               latter case that datagram was not sent. Lost datagrams are no error; truncated ones say so.
/// Cancellation: receive lets go at once, and what has come is there for the next. A send ends when the kernel has
///               answered, and may have been done.
/// Limits:       `unread_max` unread, or `blocks_unread_max` blocks; beyond it they are dropped and counted, most of
///               them by the kernel. One task receives at a time, any number sends. A receiver that waits through a
///               drain gets an end, unless the socket goes on in it.
/// Source:       udp(7), ip(7) of the Linux manual.

#include <skerry/framework/backend/operation.hpp>
#include <skerry/framework/detail/intrusive_list.hpp>
#include <skerry/framework/io/buffer_pool.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/net/acceptor.hpp>
#include <skerry/net/address.hpp>
#include <skerry/net/admin/admin.hpp>
#include <skerry/net/socket_options.hpp>
#include <skerry/shards/submit_to.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include <sys/socket.h>
#include <sys/uio.h>

namespace skerry::net {

namespace detail {
class datagram_state;
struct datagram_block;
}  // namespace detail

/// Has a constructor, so that it is no aggregate (g++ 12 destroys those twice in co_await).
struct datagram_options {
  datagram_options() noexcept {}
  /// Others may have the same port (SO_REUSEPORT); the kernel spreads senders over them.
  bool shared_port = false;
  /// Takes what the kernel put together (GRO).
  bool coalesced = false;
  /// Longer ones are truncated. 0: lent_bytes_max, or with `coalesced` none.
  std::size_t bytes_max = 0;
  /// Whether a drain ends what comes in, and waits for the socket's end. Not said: it ends a socket that is not
  /// connected, and whoever asks others goes on.
  std::optional<in_drain> drain;
};

/// A datagram that was received. Moves only; the shard's.
class datagram {
 public:
  datagram(datagram&& other) noexcept
      : lent_(std::move(other.lent_)),
        block_(std::exchange(other.block_, nullptr)),
        name_(other.name_),
        bytes_(std::exchange(other.bytes_, {})),
        full_size_(other.full_size_),
        name_bytes_(other.name_bytes_) {}
  datagram& operator=(datagram&& other) noexcept {
    std::swap(lent_, other.lent_);
    std::swap(block_, other.block_);
    std::swap(name_, other.name_);
    std::swap(bytes_, other.bytes_);
    std::swap(full_size_, other.full_size_);
    std::swap(name_bytes_, other.name_bytes_);
    return *this;
  }
  ~datagram();

  std::span<const std::byte> bytes() const noexcept { return bytes_; }
  std::string_view text() const noexcept { return {reinterpret_cast<const char*>(bytes_.data()), bytes_.size()}; }
  /// Who sent it.
  address from() const noexcept;
  /// Whether its end is missing.
  bool truncated() const noexcept { return full_size_ != bytes_.size(); }
  /// How long it was.
  std::size_t full_size() const noexcept { return full_size_; }

 private:
  friend class detail::datagram_state;
  datagram() noexcept = default;

  buffer lent_;
  detail::datagram_block* block_ = nullptr;  // instead of the buffer
  const std::byte* name_ = nullptr;          // in either
  std::span<const std::byte> bytes_;
  std::uint32_t full_size_ = 0;
  std::uint32_t name_bytes_ = 0;
};

/// A datagram to be sent.
struct outgoing {
  address to;  ///< default: the peer of a connected socket
  std::span<const std::byte> bytes;
  std::uint16_t segment_bytes = 0;  ///< not 0: the kernel cuts them into as many datagrams (GSO)
};

struct datagram_stats {
  std::uint64_t received = 0;
  std::uint64_t truncated = 0;          ///< of these
  std::uint64_t sent = 0;               ///< calls of the kernel, so a run of segments is one
  std::uint64_t dropped = 0;            ///< beyond unread_max
  std::uint64_t dropped_by_kernel = 0;  ///< beyond its own queue (receive_buffer)
};

class send_awaiter;

namespace detail {
/// What the submission of a run of segments points to.
struct segments_message {
  iovec piece;
  msghdr message;
  alignas(cmsghdr) std::byte control[CMSG_SPACE(sizeof(std::uint16_t))];
};

/// One call of the kernel.
struct sending final : operation {
  void submit(const outgoing& what) noexcept;
  void complete(std::int32_t result, std::uint32_t flags) noexcept override;

  send_awaiter* owner = nullptr;
  const outgoing* datagram = nullptr;
  segments_message* segments = nullptr;  // where it may have to send such
};
}  // namespace detail

/// Waits until all of its datagrams are with the kernel.
class [[nodiscard("co_await it")]] send_awaiter final : public skerry::detail::leaf,
                                                        public skerry::detail::list_hook<send_awaiter> {
 public:
  send_awaiter(detail::datagram_state& state, outgoing one) noexcept;
  send_awaiter(detail::datagram_state& state, std::span<const outgoing> all);
  ~send_awaiter();
  bool await_ready() noexcept;
  void await_suspend(std::coroutine_handle<> resume_point) noexcept;
  void await_resume();
  void let_go() noexcept override;
  const char* describe() const noexcept override { return "send datagram"; }

 private:
  friend class detail::datagram_state;
  friend struct detail::sending;
  // Of pooled frames (frame_pool), one for each of the two arrays.
  static constexpr std::size_t batch_max = 64, segment_batch_max = 32;
  static_assert(batch_max * sizeof(detail::sending) <= frame_pool::pooled_bytes_max);
  static_assert(segment_batch_max * sizeof(detail::segments_message) <= frame_pool::pooled_bytes_max);

  std::span<detail::sending> slots() noexcept {
    return more_.empty() ? std::span<detail::sending>(&one_sending_, 1) : more_;
  }

  detail::datagram_state& state_;
  outgoing one_;
  std::span<const outgoing> all_;
  detail::sending one_sending_;
  detail::segments_message one_message_;
  std::span<detail::sending> more_;               // of a batch, in the frame pool, as is what comes next
  std::span<detail::segments_message> messages_;  // of a batch with segments
  std::size_t begun_ = 0;
  std::size_t in_flight_ = 0;
  std::size_t refused_ = 0;
  const outgoing* first_refused_ = nullptr;
  int error_ = 0;
  bool cancelled_ = false;
  bool earlier_ = false;  // the error is that of an earlier datagram
};

class [[nodiscard("co_await it")]] receive_awaiter final : public skerry::detail::leaf {
 public:
  explicit receive_awaiter(detail::datagram_state& state) noexcept : state_(state) {}
  bool await_ready() const noexcept;
  void await_suspend(std::coroutine_handle<> resume_point) noexcept;
  std::optional<datagram> await_resume();
  void let_go() noexcept override;
  const char* describe() const noexcept override { return "receive datagram"; }

 private:
  friend class detail::datagram_state;
  detail::datagram_state& state_;
};

class datagram_socket {
 public:
  static constexpr std::size_t unread_max = 256;
  static constexpr std::size_t pause_at = 192;
  static constexpr std::size_t sends_max = 64;
  /// What fits into a buffer of the shard's ring, behind what the kernel says of it.
  static constexpr std::size_t lent_bytes_max = buffer_pool::buffer_bytes - 16 - 28;
  /// Blocks of 64 KiB that may be unread at a time, where datagrams come in such.
  static constexpr std::size_t blocks_unread_max = 4;
  static constexpr std::size_t segments_max = 64;

  /// Has the port `at`; 0 takes any free one. Throws std::system_error.
  explicit datagram_socket(const address& at, datagram_options options = datagram_options());
  /// Speaks with `to` only; from `from` if that is given.
  static datagram_socket connected_to(const address& to, std::optional<address> from = std::nullopt,
                                      datagram_options options = datagram_options());
  datagram_socket(datagram_socket&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  datagram_socket& operator=(datagram_socket&& other) noexcept;
  ~datagram_socket();

  /// The next datagram; nothing when the app drains.
  receive_awaiter receive() noexcept { return receive_awaiter(state()); }
  /// What has come already. Throws what receive would.
  std::optional<datagram> try_receive();

  send_awaiter send(const address& to, std::span<const std::byte> bytes) noexcept {
    return send_awaiter(state(), outgoing{to, bytes});
  }
  send_awaiter send(const address& to, std::string_view text) noexcept {
    return send(to, std::as_bytes(std::span(text)));
  }
  /// To the peer of a connected socket.
  send_awaiter send(std::span<const std::byte> bytes) noexcept { return send(address(), bytes); }
  send_awaiter send(std::string_view text) noexcept { return send(std::as_bytes(std::span(text))); }
  /// Every one of them, up to `sends_max` of a socket in one kernel entry; all that they refer to must live until it
  /// returns. Throws, after the last, if the kernel refused one.
  send_awaiter send_batch(std::span<const outgoing> all) { return send_awaiter(state(), all); }
  /// `bytes` as datagrams of `segment_bytes`, the last one with what is left. Without GSO in the kernel or the device
  /// they are sent one by one.
  task<> send_segments(address to, std::span<const std::byte> bytes, std::uint16_t segment_bytes);

  /// Throws std::system_error if the kernel refuses.
  template <socket_option Option>
  void set(const Option& option) {
    option.apply(fd());
  }
  /// Where it receives, with the real port.
  address where() const;
  /// Whether the kernel puts datagrams together, as was asked for, and whether it cuts what send_segments gives.
  bool coalesces() const noexcept;
  bool cuts_segments() const noexcept;
  datagram_stats stats() const noexcept;
  int fd() const noexcept;

 private:
  explicit datagram_socket(detail::datagram_state* made) noexcept : state_(made) {}
  detail::datagram_state& state() const noexcept {
    SKERRY_ASSERT(state_ != nullptr, "a datagram socket that was moved from is not used");
    return *state_;
  }

  detail::datagram_state* state_;
};

namespace detail {
/// Throws startup_error when another process has the UDP port, which sharing it would hide.
void require_free_datagram_port(const address& at);
/// The same for a refusal of the socket itself.
datagram_socket bind_or_explain(const address& at);
void log_listening_for_datagrams(const address& at);
}  // namespace detail

/// Has the port `at` on every shard and runs `handler(datagram_socket)` there; the handler has no captures. The kernel
/// gives what comes from one address and port to one shard. Returns the address with its real port. Throws
/// startup_error when the address cannot be had. Opens the admin endpoint, as listen_on_all_shards.
template <class Handler>
task<address> bind_on_all_shards(address at, Handler) {
  skerry::detail::require_no_captures<Handler>();
  co_await admin::begin_listening();
  detail::require_free_datagram_port(at);
  auto open = [](address where) -> address {
    datagram_socket made = detail::bind_or_explain(where);
    address real = made.where();
    spawn(Handler{}(std::move(made)), "datagrams");
    return real;
  };
  for (shard_id s = 0; s < shard_count(); ++s) at = co_await submit_to(s, open, at);
  detail::log_listening_for_datagrams(at);
  co_await admin::end_listening();
  co_return at;
}

}  // namespace skerry::net
