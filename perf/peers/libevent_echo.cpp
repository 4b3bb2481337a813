// SPDX-License-Identifier: Apache-2.0
// An echo server on libevent: one base without locks, one persistent read event per connection and one receive buffer
// for all. What was received is sent at once; what the socket does not take waits in an evbuffer, and until it has left
// nothing more is read. (bufferevents are shorter to write, but arm and disarm a write event for each message.)
//
//     build/release/perf/peer_libevent_echo PORT
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <peers/port.hpp>
#include <sys/socket.h>
#include <unistd.h>

namespace {

struct connection {
  int fd;
  event* readable;
  event* writable;
  evbuffer* unsent;
};

char bytes[65536];

bool would_block() { return errno == EAGAIN || errno == EINTR; }

void end(connection* c) {
  event_free(c->readable);
  event_free(c->writable);
  evbuffer_free(c->unsent);
  close(c->fd);
  delete c;
}

void receive(int fd, short, void* argument) {
  auto* const c = static_cast<connection*>(argument);
  const ssize_t size = recv(fd, bytes, sizeof bytes, 0);
  if (size < 0 && would_block()) return;
  if (size <= 0) return end(c);
  const ssize_t taken = send(fd, bytes, static_cast<std::size_t>(size), MSG_NOSIGNAL);
  if (taken == size) return;
  if (taken < 0 && !would_block()) return end(c);
  const ssize_t skip = taken > 0 ? taken : 0;
  evbuffer_add(c->unsent, bytes + skip, static_cast<std::size_t>(size - skip));
  event_del(c->readable);
  event_add(c->writable, nullptr);
}

void send_unsent(int fd, short, void* argument) {
  auto* const c = static_cast<connection*>(argument);
  if (evbuffer_write(c->unsent, fd) < 0 && !would_block()) return end(c);
  if (evbuffer_get_length(c->unsent) > 0) return;
  event_del(c->writable);
  event_add(c->readable, nullptr);
}

void accepted(evconnlistener* listener, int fd, sockaddr*, int, void*) {
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  event_base* const base = evconnlistener_get_base(listener);
  auto* const c = new connection{.fd = fd, .readable = nullptr, .writable = nullptr, .unsent = evbuffer_new()};
  c->readable = event_new(base, fd, EV_READ | EV_PERSIST, receive, c);
  c->writable = event_new(base, fd, EV_WRITE | EV_PERSIST, send_unsent, c);
  event_add(c->readable, nullptr);
}

}  // namespace

int main(int argc, char** argv) {
  event_config* const wanted = event_config_new();
  event_config_set_flag(wanted, EVENT_BASE_FLAG_NOLOCK);
  event_base* const base = event_base_new_with_config(wanted);
  event_config_free(wanted);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(peers::port_argument(argc, argv));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  evconnlistener* const listener =
      evconnlistener_new_bind(base, accepted, nullptr, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, 4096,
                              reinterpret_cast<sockaddr*>(&address), sizeof address);
  if (listener == nullptr) {
    std::perror("peer_libevent_echo: listen");
    return 1;
  }
  peers::say_listening();
  event_base_dispatch(base);
}
