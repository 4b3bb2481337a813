// SPDX-License-Identifier: Apache-2.0
#pragma once

/// message_socket: a connected Unix socket that carries descriptors beside bytes, as a handle.
///
///     auto [ours, theirs] = net::message_socket::pair();
///     const int passed[] = {fd};
///     co_await ours.send("a file", passed);
///     std::optional<net::message> got = co_await theirs.receive();      // nothing: the peer has gone
///
/// A stream (net/stream.hpp) takes bytes whenever they come and would lose descriptors in doing so. Here the kernel is
/// asked only while somebody waits in receive(), and what it answers stays with the socket until it is taken:
///
///     idle --receive()--> asked --answer--> kept --taken--> idle
///                           |                 ^  \--handle dropped: descriptors closed
///                           `--cancelled: an answer that is under way
///
/// Whoever waits for others at an address is a message_listener (net/message_listener.hpp).
///
/// Two kinds: `packets` (SOCK_SEQPACKET, the usual) keeps messages apart; with `bytes` (SOCK_STREAM, which others may
/// speak) a receive gives what has come, but never bytes from beyond those that descriptors came with.
///
/// Affinity:     the shard that made it. To give one end to another shard, send that one of pair_of_descriptors and
///               adopt it there. A message may cross shards.
/// Ownership:    received descriptors are the message's, and close on exec. Those given to send stay the caller's.
/// Lifetime:     bytes and descriptors given to send must live until it returns. Dropping the handle drops what is
///               kept; the descriptor is closed after the last operation.
/// Errors:       std::system_error. EMSGSIZE or EMFILE from receive: not all descriptors of a message could be taken,
///               so it was dropped and those that came were closed; the next receive goes on behind it. EPIPE from
///               send: the peer has gone; no signal comes. Nobody can tell an empty message from the end, so none is
///               sent (EINVAL), and one that another program sends without descriptors reads as the end.
/// Cancellation: receive lets go at once; what comes nevertheless is there for the next. A send ends when the kernel
///               has answered, and may have been done. Of kind `bytes` it may have been done in part, after which all
///               that follow are refused (EPIPE), as the peer could not tell where they begin.
/// Limits:       `bytes_max` and `descriptors_max` of a message. A socket holds a block of memory from the time that
///               somebody waits for a message until it is taken. One task receives at a time, any number sends.
/// Source:       unix(7), cmsg(3) of the Linux manual.

#include <skerry/framework/detail/intrusive_list.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/net/acceptor.hpp>
#include <skerry/net/address.hpp>
#include <skerry/net/socket.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace skerry::net {

namespace detail {
class message_state;
}  // namespace detail

enum class message_kind : std::uint8_t {
  packets,  ///< SOCK_SEQPACKET
  bytes,    ///< SOCK_STREAM
};

/// Has a constructor, so that it is no aggregate (g++ 12 destroys those twice in co_await).
struct message_options {
  message_options() noexcept {}
  /// Of what is received; longer packets are truncated. At most message_socket::bytes_limit.
  std::size_t bytes_max = 4096;
  /// Of what is received, at most message_socket::descriptors_limit. A message with more is an error.
  std::size_t descriptors_max = 16;
  /// Whether a drain ends what comes in, and waits for the socket's end.
  in_drain drain = in_drain::goes_on;
};

/// What was received. Moves only.
struct message {
  using crosses_shards = message;
  message() noexcept {}

  std::string bytes;
  std::vector<unique_fd> descriptors;
  /// How long it was before it was cut to `bytes_max`.
  std::size_t full_size = 0;
  bool truncated() const noexcept { return full_size != bytes.size(); }
};

/// Waits until its message is with the kernel.
class [[nodiscard("co_await it")]] send_message_awaiter final : public skerry::detail::leaf,
                                                                public skerry::detail::list_hook<send_message_awaiter> {
 public:
  /// Throws std::system_error if no kernel would take it.
  send_message_awaiter(detail::message_state& state, std::span<const std::byte> bytes,
                       std::span<const int> descriptors);
  ~send_message_awaiter();
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> resume_point) noexcept;
  void await_resume() const;
  void let_go() noexcept override;
  const char* describe() const noexcept override { return "send message"; }

 private:
  friend class detail::message_state;
  detail::message_state& state_;
  std::span<const std::byte> bytes_;
  std::span<std::byte> control_;  // a block of the pool, with the descriptors; empty if there are none
  std::size_t control_bytes_ = 0;
  std::size_t sent_ = 0;
  int error_ = 0;
  bool cancelled_ = false;
};

class [[nodiscard("co_await it")]] receive_message_awaiter final : public skerry::detail::leaf {
 public:
  explicit receive_message_awaiter(detail::message_state& state) noexcept;
  ~receive_message_awaiter();
  bool await_ready() const noexcept;
  void await_suspend(std::coroutine_handle<> resume_point) noexcept;
  std::optional<message> await_resume();
  void let_go() noexcept override;
  const char* describe() const noexcept override { return "receive message"; }

 private:
  friend class detail::message_state;
  detail::message_state& state_;
};

class message_socket {
 public:
  static constexpr std::size_t descriptors_limit = 253;  // SCM_MAX_FD of the kernel
  static constexpr std::size_t bytes_limit = 248 * 1024;

  /// Two that are connected. Throws std::system_error.
  static std::pair<message_socket, message_socket> pair(message_kind kind = message_kind::packets,
                                                        message_options options = message_options());
  /// The same before anybody has adopted them: for other shards and for children.
  static std::pair<unique_fd, unique_fd> pair_of_descriptors(message_kind kind = message_kind::packets);
  /// To whoever listens at the Unix socket `to`.
  static task<message_socket> connect(address to, message_kind kind = message_kind::packets,
                                      message_options options = message_options());
  /// A connected Unix socket that somebody else has made; its kind is seen. Changes none of its flags. Throws
  /// std::system_error if it is none.
  static message_socket adopt(unique_fd fd, message_options options = message_options());

  message_socket(message_socket&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  message_socket& operator=(message_socket&& other) noexcept;
  ~message_socket();

  /// The next message; nothing at the end, for ever.
  receive_message_awaiter receive() noexcept { return receive_message_awaiter(state()); }

  /// At least one byte, and at most descriptors_limit descriptors. Messages of several tasks go in the order of calls.
  send_message_awaiter send(std::span<const std::byte> bytes, std::span<const int> descriptors = {}) {
    return {state(), bytes, descriptors};
  }
  send_message_awaiter send(std::string_view text, std::span<const int> descriptors = {}) {
    return send(std::as_bytes(std::span(text)), descriptors);
  }

  message_kind kind() const noexcept;
  int fd() const noexcept;

 private:
  explicit message_socket(detail::message_state* made) noexcept : state_(made) {}
  detail::message_state& state() const noexcept {
    SKERRY_ASSERT(state_ != nullptr, "a message socket that was moved from is not used");
    return *state_;
  }

  detail::message_state* state_;
};

}  // namespace skerry::net
