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
  return listen_on_path(at, listen_backlog, kind == message_kind::packets ? SOCK_SEQPACKET : SOCK_STREAM);
}

}  // namespace

message_listener::message_listener(const address& at, message_kind kind, message_options options)
    : acceptor_(new acceptor(this_endpoints(), listen_for_messages(at, kind), in_drain::finishes)), options_(options) {}

message_listener::message_listener(unique_fd listening, message_options options)
    : acceptor_(nullptr), options_(options) {
  require_listening(listening.get(), SOCK_SEQPACKET);
  set_non_blocking(listening.get());
  acceptor_ = new acceptor(this_endpoints(), listening_socket(std::move(listening)), in_drain::finishes);
}

message_listener::~message_listener() {
  if (acceptor_ != nullptr) acceptor_->release();
}

std::optional<message_socket> message_listener::accept_awaiter::await_resume() {
  unique_fd fd = connection_awaiter::await_resume();
  if (fd.get() < 0) return std::nullopt;
  return message_socket::adopt(std::move(fd), options_);
}

}  // namespace skerry::net
