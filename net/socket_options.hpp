// SPDX-License-Identifier: Apache-2.0
#pragma once

/// socket_options: what a socket can be told, each as a type with its unit.
///
///     s.set(net::keep_alive(std::chrono::seconds(30)));
///     s.set(net::user_timeout{std::chrono::seconds(20)});
///
///     keep_alive        ask a silent peer whether it is still there; ETIMEDOUT for the reader when it is not
///     no_keep_alive     do not (the default)
///     user_timeout      give it up when the peer acknowledges nothing for so long; ETIMEDOUT for both sides
///     send_delay        wait for more when a segment is small (Nagle). Streams are made without
///     send_buffer       what the kernel holds beside the stream's marks; it takes twice as much for its own use, and
///     receive_buffer    either ends its own choice of a size
///
/// A connection in which nobody has anything to say looks like one whose peer lost power. An idle timeout ends both;
/// keep_alive only the latter.
///
/// Affinity: the stream's shard.
/// Errors:   std::system_error naming the option, for a value outside the limits and for a socket that has no such
///           thing (those of TCP on a Unix socket).
/// Units:    bytes; whole seconds for keep_alive, milliseconds for user_timeout, the kernel's own.
/// Limits:   keep_alive 1 s to 32767 s, 1 to 127 probes; buffers up to net.core.wmem_max and rmem_max, silently.

#include <chrono>
#include <concepts>
#include <cstddef>

namespace skerry::net {

/// After `idle` without a byte, a probe every `interval`; the connection breaks after `probes` without an answer.
struct keep_alive {
  explicit keep_alive(std::chrono::seconds idle_for, std::chrono::seconds every = std::chrono::seconds(10),
                      int unanswered = 5) noexcept
      : idle(idle_for), interval(every), probes(unanswered) {}
  std::chrono::seconds idle;
  std::chrono::seconds interval;
  int probes;
  void apply(int fd) const;
};
struct no_keep_alive {
  void apply(int fd) const;
};
struct user_timeout {
  std::chrono::milliseconds time;
  void apply(int fd) const;
};
struct send_delay {
  bool on;
  void apply(int fd) const;
};
struct send_buffer {
  std::size_t bytes;
  void apply(int fd) const;
};
struct receive_buffer {
  std::size_t bytes;
  void apply(int fd) const;
};

template <class O>
concept socket_option = requires(const O& option, int fd) {
  { option.apply(fd) } -> std::same_as<void>;
};

}  // namespace skerry::net
