// SPDX-License-Identifier: Apache-2.0
#pragma once

/// message_ends: what tests of message sockets pass through them, and how they receive it.

#include <skerry/framework/task/task.hpp>
#include <skerry/net/message_socket.hpp>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <optional>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <support/run_shards.hpp>
#include <unistd.h>

namespace skerry::test_support {

using net::message_kind;
using net::message_socket;

inline constexpr message_kind kinds[] = {message_kind::packets, message_kind::bytes};

struct pipe_ends {
  pipe_ends() {
    int both[2] = {-1, -1};
    EXPECT_EQ(::pipe2(both, O_CLOEXEC), 0);
    out = both[0];
    in = both[1];
  }
  ~pipe_ends() {
    ::close(out);
    ::close(in);
  }
  int out, in;
};

inline void put(int fd, const char* text) {
  EXPECT_EQ(::write(fd, text, std::strlen(text)), ssize_t(std::strlen(text)));
}
inline std::string got_from(int fd) {
  char bytes[100];
  const ssize_t count = ::read(fd, bytes, sizeof bytes);
  return {bytes, static_cast<std::size_t>(std::max<ssize_t>(count, 0))};
}

template <class Awaitable>
task<int> error_of(Awaitable&& what) {  // awaited in the same expression
  try {
    (void)co_await what;
  } catch (const std::system_error& error) {
    co_return error.code().value();
  }
  co_return 0;
}

/// What is missing of a message of `size` bytes, which a simulated kernel may take and give in parts.
inline task<> complete(message_socket& from, std::optional<net::message>& got, std::size_t size) {
  while (simulated() && from.kind() == message_kind::bytes && got && got->bytes.size() < size) {
    std::optional<net::message> more = co_await from.receive();
    if (!more) co_return;
    got->bytes += more->bytes;
    got->full_size += more->full_size;
    std::ranges::move(more->descriptors, std::back_inserter(got->descriptors));
  }
}

}  // namespace skerry::test_support
