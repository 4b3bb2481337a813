// SPDX-License-Identifier: Apache-2.0
// An HTTP server on Boost.Beast over Asio's coroutines: `GET /` is `Hello, World!`, anything else is not found. One
// parser, one buffer and one answer per request, as Beast's own documentation does it; the body is not copied.
//
//     build/release/perf/peer_asio_http PORT
#include <cstddef>
#include <string_view>
#include <utility>

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/span_body.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/system/system_error.hpp>
#include <peers/asio_types.hpp>
#include <peers/port.hpp>

namespace {

using namespace peers;
namespace http = boost::beast::http;
using request = http::request<http::empty_body>;
using response = http::response<http::span_body<const char>>;

response answer(const request& to) {
  constexpr std::string_view hello = "Hello, World!", nothing = "not found";
  const bool known = to.method() == http::verb::get && to.target() == "/";
  const std::string_view body = known ? hello : nothing;
  response is(known ? http::status::ok : http::status::not_found, to.version());
  is.set(http::field::content_type, "text/plain");
  is.keep_alive(to.keep_alive());
  is.body() = {body.data(), body.size()};
  is.prepare_payload();
  return is;
}

awaitable<> serve(stream peer) {
  boost::beast::flat_buffer bytes;
  try {
    for (;;) {
      request asked;
      co_await http::async_read(peer, bytes, asked, use_awaitable);
      response is = answer(asked);
      co_await http::async_write(peer, is, use_awaitable);
      if (!is.keep_alive()) break;
    }
  } catch (const boost::system::system_error&) {  // the peer has closed, is gone, or sent no HTTP
  }
}

awaitable<> accept(acceptor& from) {
  for (;;) {
    stream peer = co_await from.async_accept(use_awaitable);
    peer.set_option(asio::ip::tcp::no_delay(true));
    asio::co_spawn(peer.get_executor(), serve(std::move(peer)), asio::detached);
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
