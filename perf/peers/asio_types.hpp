// SPDX-License-Identifier: Apache-2.0
#pragma once
// Boost.Asio as fast as its interface allows in one thread: sockets, timers and coroutines are bound to io_context's
// own executor instead of the type-erased any_io_executor, and the context is told that no other thread will come near
// it, so that it takes no locks.
#include <chrono>
#include <cstdint>
#include <utility>  // Asio 1.74 needs it and does not say so

#include <boost/asio/awaitable.hpp>
#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/basic_stream_socket.hpp>
#include <boost/asio/basic_waitable_timer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/use_awaitable.hpp>

namespace peers {

namespace asio = boost::asio;
using executor = asio::io_context::executor_type;
using acceptor = asio::basic_socket_acceptor<asio::ip::tcp, executor>;
using stream = asio::basic_stream_socket<asio::ip::tcp, executor>;
using timer =
    asio::basic_waitable_timer<std::chrono::steady_clock, asio::wait_traits<std::chrono::steady_clock>, executor>;
template <class T = void>
using awaitable = asio::awaitable<T, executor>;
inline constexpr asio::use_awaitable_t<executor> use_awaitable;

inline acceptor listen_on(asio::io_context& context, std::uint16_t port) {
  acceptor on(context, {asio::ip::address_v4::loopback(), port});
  on.listen(4096);
  return on;
}

}  // namespace peers
