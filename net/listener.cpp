// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/listener.hpp>
#include <skerry/net/socket.hpp>
#include <skerry/timers/sleep.hpp>

#include <chrono>

namespace skerry::net {

listener::listener(const address& at, in_drain how)
    : acceptor_(new acceptor(
          this_endpoints(),
          at.is_unix() ? listen_on_path(at, backlog) : listening_socket(make_listening_socket(at, backlog)), how)) {}

listener::listener(unique_fd listening, in_drain how) : acceptor_(nullptr) {
  require_listening(listening.get());
  set_non_blocking(listening.get());
  set_no_delay(listening.get());  // accepted sockets inherit it
  acceptor_ = new acceptor(this_endpoints(), listening_socket(std::move(listening)), how);
}

namespace detail {

task<> until_port_is_free(address at) {
  // A process that was killed keeps its port until the kernel has taken its rings apart: 20 ms, 500 on a busy machine.
  for (int tries = 0; port_in_use(at) && tries < 100; ++tries) co_await sleep_for(std::chrono::milliseconds(10));
  require_free_port(at);
}

}  // namespace detail

}  // namespace skerry::net
