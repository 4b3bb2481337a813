// SPDX-License-Identifier: Apache-2.0
/// Options as the kernel has them afterwards.

#include <skerry/net/listener.hpp>
#include <skerry/net/socket_options.hpp>

#include <cerrno>
#include <limits>
#include <string>
#include <system_error>

#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <support/raw_peer.hpp>

namespace skerry {
namespace {

using namespace test_support;
using namespace std::chrono_literals;

int value_of(const net::stream& s, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(s.fd(), level, name, &value, &size), 0);
  return value;
}

template <class Option>
std::pair<int, std::string> refusal(net::stream& s, const Option& option) {
  try {
    s.set(option);
  } catch (const std::system_error& error) {
    return {error.code().value(), error.what()};
  }
  return {0, ""};
}

TEST(socket_options, reach_the_kernel_in_its_units) {
  run_and_count([]() -> task<> {
    connected pair = co_await connect_pair();
    net::stream& s = pair.ours;
    EXPECT_EQ(value_of(s, SOL_SOCKET, SO_KEEPALIVE), 0);
    s.set(net::keep_alive(30s, 7s, 3));
    EXPECT_EQ(value_of(s, SOL_SOCKET, SO_KEEPALIVE), 1);
    EXPECT_EQ(value_of(s, IPPROTO_TCP, TCP_KEEPIDLE), 30);
    EXPECT_EQ(value_of(s, IPPROTO_TCP, TCP_KEEPINTVL), 7);
    EXPECT_EQ(value_of(s, IPPROTO_TCP, TCP_KEEPCNT), 3);
    s.set(net::no_keep_alive());
    EXPECT_EQ(value_of(s, SOL_SOCKET, SO_KEEPALIVE), 0);
    s.set(net::user_timeout{20s});
    EXPECT_EQ(value_of(s, IPPROTO_TCP, TCP_USER_TIMEOUT), 20'000);
    EXPECT_EQ(value_of(s, IPPROTO_TCP, TCP_NODELAY), 1) << "streams are made without a delay";
    s.set(net::send_delay{true});
    EXPECT_EQ(value_of(s, IPPROTO_TCP, TCP_NODELAY), 0);
    s.set(net::send_delay{false});
    EXPECT_EQ(value_of(s, IPPROTO_TCP, TCP_NODELAY), 1);
    s.set(net::send_buffer{50'000});
    EXPECT_EQ(value_of(s, SOL_SOCKET, SO_SNDBUF), 100'000);
    s.set(net::receive_buffer{40'000});
    EXPECT_EQ(value_of(s, SOL_SOCKET, SO_RCVBUF), 80'000);
  });
}

TEST(socket_options, outside_their_limits_are_refused_by_name) {
  run_and_count([]() -> task<> {
    connected pair = co_await connect_pair();
    const auto too_long = refusal(pair.ours, net::keep_alive(40'000s));
    EXPECT_EQ(too_long.first, EINVAL);
    EXPECT_EQ(too_long.second, "setsockopt TCP_KEEPIDLE to 40000: Invalid argument");
    EXPECT_EQ(value_of(pair.ours, SOL_SOCKET, SO_KEEPALIVE), 0);
    EXPECT_EQ(refusal(pair.ours, net::user_timeout{-1ms}).first, EINVAL);
    EXPECT_EQ(refusal(pair.ours, net::send_buffer{std::numeric_limits<std::size_t>::max()}).first, EINVAL);
  });
}

TEST(socket_options, of_tcp_are_refused_by_a_unix_socket) {
  run_and_count([]() -> task<> {
    net::listener listening(*net::address::unix_socket("@skerry options " + std::to_string(::getpid())));
    net::stream ours = co_await net::connect(listening.where());
    EXPECT_EQ(refusal(ours, net::user_timeout{1s}).first, EOPNOTSUPP);
    ours.set(net::send_buffer{50'000});
    EXPECT_EQ(value_of(ours, SOL_SOCKET, SO_SNDBUF), 100'000);
  });
}

}  // namespace
}  // namespace skerry
