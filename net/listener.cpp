// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/listener.hpp>
#include <skerry/net/socket.hpp>

namespace skerry::net {

listener::listener(const address& at, in_drain how)
    : acceptor_(new acceptor(
          this_endpoints(),
          at.is_unix() ? listen_on_path(at, backlog) : listening_socket(make_listening_socket(at, backlog)), how)) {}

listener::listener(unique_fd listening, in_drain how) : acceptor_(nullptr) {
  require_listening(listening.get());
  set_no_delay(listening.get());  // accepted sockets inherit it
  acceptor_ = new acceptor(this_endpoints(), listening_socket(std::move(listening)), how);
}

}  // namespace skerry::net
