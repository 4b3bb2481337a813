// SPDX-License-Identifier: Apache-2.0
// An echo server on libuv: one loop, one receive buffer for all connections. What was read is written at once by
// uv_try_write, which needs no request and no copy; what the socket does not take is copied and queued, and until it
// has left nothing more is read.
//
//     build/release/perf/peer_libuv_echo PORT
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include <peers/port.hpp>
#include <uv.h>

namespace {

struct connection {
  uv_tcp_t tcp{};
  uv_write_t request{};
  std::vector<char> unsent{};
};

char bytes[65536];

void die(const char* what, int error) {
  std::fprintf(stderr, "peer_libuv_echo: %s: %s\n", what, uv_strerror(error));
  std::exit(1);
}

connection* of(uv_handle_t* handle) { return static_cast<connection*>(handle->data); }

void end(connection* c) {
  uv_close(reinterpret_cast<uv_handle_t*>(&c->tcp), [](uv_handle_t* handle) { delete of(handle); });
}

void offer_buffer(uv_handle_t*, std::size_t, uv_buf_t* out) { *out = uv_buf_init(bytes, sizeof bytes); }

void received(uv_stream_t* stream, ssize_t size, const uv_buf_t*);

void sent(uv_write_t* request, int error) {
  connection* const c = of(reinterpret_cast<uv_handle_t*>(request->handle));
  if (error == UV_ECANCELED) return;  // it is closing already
  if (error < 0) return end(c);
  uv_read_start(request->handle, offer_buffer, received);
}

void received(uv_stream_t* stream, ssize_t size, const uv_buf_t*) {
  connection* const c = of(reinterpret_cast<uv_handle_t*>(stream));
  if (size < 0) return end(c);
  uv_buf_t rest = uv_buf_init(bytes, static_cast<unsigned>(size));
  const int taken = uv_try_write(stream, &rest, 1);
  if (taken == size) return;
  if (taken < 0 && taken != UV_EAGAIN) return end(c);
  uv_read_stop(stream);
  c->unsent.assign(bytes + (taken > 0 ? taken : 0), bytes + size);
  rest = uv_buf_init(c->unsent.data(), static_cast<unsigned>(c->unsent.size()));
  uv_write(&c->request, stream, &rest, 1, sent);
}

void accepted(uv_stream_t* listener, int error) {
  if (error < 0) return;
  auto* const c = new connection;
  uv_tcp_init(listener->loop, &c->tcp);
  c->tcp.data = c;
  auto* const stream = reinterpret_cast<uv_stream_t*>(&c->tcp);
  if (uv_accept(listener, stream) < 0) return end(c);
  uv_tcp_nodelay(&c->tcp, 1);
  uv_read_start(stream, offer_buffer, received);
}

}  // namespace

int main(int argc, char** argv) {
  uv_loop_t* const loop = uv_default_loop();
  uv_tcp_t listener;
  uv_tcp_init(loop, &listener);
  sockaddr_in address{};
  uv_ip4_addr("127.0.0.1", peers::port_argument(argc, argv), &address);
  if (int error = uv_tcp_bind(&listener, reinterpret_cast<const sockaddr*>(&address), 0); error < 0) die("bind", error);
  if (int error = uv_listen(reinterpret_cast<uv_stream_t*>(&listener), 4096, accepted); error < 0) die("listen", error);
  peers::say_listening();
  uv_run(loop, UV_RUN_DEFAULT);
}
