// SPDX-License-Identifier: Apache-2.0
#pragma once

/// raw_peer: the other end of a stream as a plain socket in the test's own thread, so that the test decides what its
/// kernel buffers hold and when it reads, writes, half-closes or resets.

#include <skerry/framework/io/readiness.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/net/socket.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/timers/sleep.hpp>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/sockios.h>
#include <support/run_shards.hpp>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace skerry::test_support {

inline net::address loopback(std::uint16_t port = 0, const char* ip = "127.0.0.1") {
  return *net::address::parse(ip, port);
}

inline int queued_bytes(int fd, unsigned long request) {
  int bytes = 0;
  EXPECT_EQ(::ioctl(fd, request, &bytes), 0);
  return bytes;
}

class raw_peer {
 public:
  /// Connects; the kernel completes that without the accepting side. Buffer sizes of 0 leave the kernel's own.
  explicit raw_peer(const net::address& to, int receive_buffer = 0, int send_buffer = 0)
      : fd_(::socket(to.family(), SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    if (receive_buffer != 0) ::setsockopt(fd(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    if (send_buffer != 0) ::setsockopt(fd(), SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof send_buffer);
    net::set_no_delay(fd());
    if (::connect(fd(), to.data(), to.size()) != 0) throw std::system_error(errno, std::generic_category(), "connect");
    ::fcntl(fd(), F_SETFL, O_NONBLOCK);
  }

  int fd() const noexcept { return fd_.get(); }

  /// The next bytes; empty at the end. Throws std::system_error after a reset.
  task<std::string> receive(std::size_t most = 65536) {
    std::string bytes(most, '\0');
    while (true) {
      ssize_t got = ::recv(fd(), bytes.data(), most, 0);
      if (got >= 0) {
        bytes.resize(static_cast<std::size_t>(got));
        co_return bytes;
      }
      if (errno != EAGAIN) throw std::system_error(errno, std::generic_category(), "recv");
      co_await readable(fd());
    }
  }
  /// Everything until the end.
  task<std::string> receive_all(std::size_t at_a_time = 65536) {
    std::string all;
    while (true) {
      std::string more = co_await receive(at_a_time);
      if (more.empty()) co_return all;
      all += more;
    }
  }
  task<std::string> receive_exactly(std::size_t size) {
    std::string all;
    while (all.size() < size) {
      std::string more = co_await receive(size - all.size());
      if (more.empty()) break;
      all += more;
    }
    co_return all;
  }
  /// What the kernel takes now.
  std::size_t try_send(std::string_view bytes) {
    ssize_t sent = ::send(fd(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) throw std::system_error(errno, std::generic_category(), "send");
    return sent < 0 ? 0 : static_cast<std::size_t>(sent);
  }
  task<> send(std::string_view bytes) {
    while (true) {
      bytes.remove_prefix(try_send(bytes));
      if (bytes.empty()) co_return;
      co_await writable(fd());
    }
  }
  void shut_down_output() { ::shutdown(fd(), SHUT_WR); }
  void close() { net::unique_fd closed(std::move(fd_)); }
  /// Closes with a reset.
  void reset() {
    linger now{1, 0};
    ::setsockopt(fd(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }

 private:
  net::unique_fd fd_;
};

/// What its kernel has for it, when the other side has ended; outside tasks.
inline std::string what_came(const raw_peer& peer) {
  std::string all(std::size_t{1} << 20, '\0');
  std::size_t size = 0;
  ssize_t got = 0;
  while ((got = ::recv(peer.fd(), all.data() + size, all.size() - size, MSG_DONTWAIT)) > 0) {
    size += static_cast<std::size_t>(got);
  }
  EXPECT_EQ(got, 0) << errno;
  all.resize(size);
  return all;
}

struct connected {
  connected(net::stream stream, raw_peer peer) : ours(std::move(stream)), theirs(std::move(peer)) {}
  net::stream ours;
  raw_peer theirs;
};

/// A stream of this shard and its peer.
inline task<connected> connect_pair(int peer_receive_buffer = 0, int peer_send_buffer = 0) {
  net::listener listening(loopback());
  raw_peer peer(listening.where(), peer_receive_buffer, peer_send_buffer);
  std::optional<net::stream> ours = co_await listening.accept();
  co_return connected(std::move(*ours), std::move(peer));
}

inline std::ptrdiff_t open_descriptors() {
  const std::ptrdiff_t simulated = simulation != nullptr ? simulation->descriptors() : -1;
  if (simulated >= 0) return simulated;
  return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
}

/// Runs `body` on a shard of its own. The end of the shard asserts that every buffer, block, frame and endpoint is
/// back; here the descriptors are counted.
inline void run_and_count(const std::function<task<>()>& body) {
  const std::ptrdiff_t before = open_descriptors();
  run_alone(body, backends_for_test(1));
  EXPECT_EQ(open_descriptors(), before);
}

/// Bytes whose place in the whole can be told.
inline std::string numbered_bytes(std::size_t size) {
  std::string bytes(size, '\0');
  std::uint32_t state = 1;
  for (char& byte : bytes) {
    state = state * 1664525 + 1013904223;
    byte = static_cast<char>(state >> 24);
  }
  return bytes;
}

inline std::string_view text_of(const buffer& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Until completions that were due have come in: a sleep that is over passes through the whole loop. A simulated
/// network takes some time of its own.
inline auto turn() {
  return sleep_until(clock::now() + (simulated() ? std::chrono::milliseconds(1) : -std::chrono::hours(1)));
}

/// All that arrives until the end.
inline task<std::string> read_all(net::stream& from) {
  std::string all;
  while (true) {
    buffer bytes = co_await from.read();
    if (bytes.empty()) co_return all;
    all += text_of(bytes);
  }
}

}  // namespace skerry::test_support
