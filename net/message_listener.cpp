// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/message_listener.hpp>
#include <skerry/net/socket_file.hpp>

#include <cerrno>
#include <system_error>

#include <sys/socket.h>

namespace skerry::net {

namespace {

listening_socket listen_for_messages(const address& at, message_kind kind) {
  if (!at.is_unix()) {
    throw std::system_error(EAFNOSUPPORT, std::generic_category(),
                            "messages come by a Unix socket, not at " + at.text());
  }
  return listen_on_path(at, message_listener::backlog, kind == message_kind::packets ? SOCK_SEQPACKET : SOCK_STREAM);
}

}  // namespace

message_listener::message_listener(const address& at, message_kind kind, message_options options)
    : acceptor_(new acceptor(this_endpoints(), listen_for_messages(at, kind), options.drain)), options_(options) {}

message_listener::~message_listener() {
  if (acceptor_ != nullptr) acceptor_->release();
}

std::optional<message_socket> message_listener::accept_awaiter::await_resume() {
  const int fd = of_.acceptor_->take();
  if (fd < 0) return std::nullopt;
  return message_socket::adopt(unique_fd(fd), of_.options_);
}

}  // namespace skerry::net
