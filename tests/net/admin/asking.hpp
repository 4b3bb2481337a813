// SPDX-License-Identifier: Apache-2.0
#pragma once

/// asking: what tests of the admin endpoint ask it with.

#include <skerry/framework/task/task.hpp>
#include <skerry/net/address.hpp>
#include <skerry/net/socket.hpp>

#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <support/raw_peer.hpp>

namespace skerry::admin_tests {

using net::address;
using test_support::loopback;
using test_support::raw_peer;

inline address free_place() {
  const net::unique_fd probe = net::make_stream_socket(AF_INET);
  const address any = loopback();
  EXPECT_EQ(::bind(probe.get(), any.data(), any.size()), 0);
  return net::local_address(probe.get());
}

inline task<std::string> get(const address& at, std::string path, std::string_view method = "GET") {
  raw_peer peer(at);
  co_await peer.send(std::string(method) + " " + path + " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  co_return co_await peer.receive_all();
}

}  // namespace skerry::admin_tests
