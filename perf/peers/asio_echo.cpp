// SPDX-License-Identifier: Apache-2.0
// An echo server on Boost.Asio's coroutines: one per connection, one thread.
//
//     build/release/perf/peer_asio_echo PORT
#include <array>
#include <cstddef>
#include <utility>

#include <boost/asio/write.hpp>
#include <boost/system/system_error.hpp>
#include <peers/asio_types.hpp>
#include <peers/port.hpp>

namespace {

using namespace peers;

awaitable<> echo(stream peer) {
  std::array<char, 65536> bytes;
  try {
    for (;;) {
      const std::size_t size = co_await peer.async_read_some(asio::buffer(bytes), use_awaitable);
      co_await asio::async_write(peer, asio::buffer(bytes.data(), size), use_awaitable);
    }
  } catch (const boost::system::system_error&) {  // the peer has closed, or is gone
  }
}

awaitable<> accept(acceptor& from) {
  for (;;) {
    stream peer = co_await from.async_accept(use_awaitable);
    peer.set_option(asio::ip::tcp::no_delay(true));
    asio::co_spawn(peer.get_executor(), echo(std::move(peer)), asio::detached);
  }
}

}  // namespace

int main(int argc, char** argv) {
  asio::io_context context(BOOST_ASIO_CONCURRENCY_HINT_UNSAFE);
  acceptor on = listen_on(context, port_argument(argc, argv));
  asio::co_spawn(context, accept(on), asio::detached);
  say_listening();
  context.run();
}
