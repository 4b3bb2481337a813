// SPDX-License-Identifier: Apache-2.0
// The limit of a TCP echo server: one thread, one ring, no layers. Multishot accept and receive into a provided-buffer
// ring, send straight from the received buffer, the buffer back to the ring when its send completes, one kernel entry
// per batch. Nothing shorter exists on this kernel interface: a message costs one completion in, one submission and one
// completion out, no copy and no system call of its own. What remains (above 90 % of the time) is the kernel's TCP,
// which every server pays. It is correct where a shortcut would be faster only by losing something: short sends, a
// buffer ring that runs empty, resets, half-closed peers and a full descriptor table are handled; one slow reader may
// hold all buffers, which a real server must prevent.
//
// Tried, server CPU per message at 64 connections of 64 B, ratio to this program (medians of 14 to 30 short alternating
// rounds on a 2-core virtual machine, which resolves about 3 %):
//   sends with MSG_DONTWAIT and no completion on success   0.98 to 1.02   (and three ways to forget a wake-up)
//   direct descriptors (no fget per operation)             1.00
//   256 buffers of 256 or 512 B instead of 1024 of 2 KiB   0.97 to 1.00
//   without COOP_TASKRUN and TASKRUN_FLAG                  0.97 to 1.02   (DEFER_TASKRUN implies what they bring here)
//   spinning on submit_and_get_events instead of waiting   1.09 to 1.13
// So it has the flags that a server needs for other reasons, and the simplest form of each operation.
//
//     build/release/perf/echo_uring PORT      prints "ready" when it listens on 127.0.0.1:PORT
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include <arpa/inet.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

namespace {

constexpr unsigned buffer_count = 1024;  // a power of two; the buffer ring's size
constexpr unsigned buffer_size = 2048;
constexpr std::uint16_t no_buffer = 0xffff;

enum class kind : std::uint64_t { accept, receive, send };

struct connection {
  std::uint16_t head = no_buffer, tail = no_buffer;  // received buffers in order; the head is the one being sent
  bool open = false, receiving = false, sending = false, touched = false;
};

struct received {
  std::uint32_t offset = 0, size = 0;
  std::uint16_t next = no_buffer;
};

struct server {
  io_uring ring{};
  io_uring_buf_ring* buffers = nullptr;
  char* memory = nullptr;
  int listener = -1;
  bool accepting = false;
  unsigned free_buffers = buffer_count;
  std::vector<connection> connections;         // by fd
  std::vector<received> slices{buffer_count};  // by buffer id
  std::vector<int> touched, starved;           // fds
};

void die(const char* what, int error) {
  std::fprintf(stderr, "echo_uring: %s: %s\n", what, std::strerror(error));
  std::exit(1);
}

io_uring_sqe* next_sqe(server& s) {
  io_uring_sqe* sqe = io_uring_get_sqe(&s.ring);
  while (sqe == nullptr) {  // more than a queue of sends in one batch
    io_uring_submit(&s.ring);
    sqe = io_uring_get_sqe(&s.ring);
  }
  return sqe;
}

void tag(io_uring_sqe* sqe, kind what, int fd) {
  io_uring_sqe_set_data64(sqe, static_cast<std::uint64_t>(fd) << 2 | static_cast<std::uint64_t>(what));
}

void start_accept(server& s) {
  io_uring_sqe* sqe = next_sqe(s);
  io_uring_prep_multishot_accept(sqe, s.listener, nullptr, nullptr, 0);
  tag(sqe, kind::accept, s.listener);
  s.accepting = true;
}

void start_receive(server& s, int fd) {
  io_uring_sqe* sqe = next_sqe(s);
  io_uring_prep_recv_multishot(sqe, fd, nullptr, 0, 0);
  sqe->flags |= IOSQE_BUFFER_SELECT;
  sqe->buf_group = 0;
  tag(sqe, kind::receive, fd);
  s.connections[static_cast<unsigned>(fd)].receiving = true;
}

// One send in flight per connection, so that what it sends keeps its order.
void start_send(server& s, int fd) {
  connection& c = s.connections[static_cast<unsigned>(fd)];
  const received& part = s.slices[c.head];
  io_uring_sqe* sqe = next_sqe(s);
  io_uring_prep_send(sqe, fd, s.memory + c.head * buffer_size + part.offset, part.size, MSG_NOSIGNAL | MSG_WAITALL);
  tag(sqe, kind::send, fd);
  c.sending = true;
}

void touch(server& s, int fd) {
  connection& c = s.connections[static_cast<unsigned>(fd)];
  if (!c.touched) s.touched.push_back(fd);
  c.touched = true;
}

void recycle_head(server& s, connection& c) {
  const unsigned id = c.head;
  c.head = s.slices[id].next;
  io_uring_buf_ring_add(s.buffers, s.memory + id * buffer_size, buffer_size, static_cast<unsigned short>(id),
                        buffer_count - 1, 0);
  io_uring_buf_ring_advance(s.buffers, 1);
  ++s.free_buffers;
}

void on_accept(server& s, int result, bool more) {
  if (!more) s.accepting = false;  // re-armed at the next close if descriptors ran out, at once otherwise
  if (result < 0) {
    if (result == -ECONNABORTED || result == -EINTR) start_accept(s);
    return;
  }
  const auto slot = static_cast<unsigned>(result);
  if (slot >= s.connections.size()) s.connections.resize(slot + 64);
  s.connections[slot] = {.open = true};
  start_receive(s, result);
  if (!s.accepting) start_accept(s);
}

void on_receive(server& s, int fd, const io_uring_cqe& cqe) {
  connection& c = s.connections[static_cast<unsigned>(fd)];
  if (cqe.res > 0) {
    const auto id = static_cast<std::uint16_t>(cqe.flags >> IORING_CQE_BUFFER_SHIFT);
    s.slices[id] = {.offset = 0, .size = static_cast<std::uint32_t>(cqe.res), .next = no_buffer};
    (c.head == no_buffer ? c.head : s.slices[c.tail].next) = id;
    c.tail = id;
    --s.free_buffers;
  }
  if (cqe.flags & IORING_CQE_F_MORE) return touch(s, fd);
  c.receiving = false;
  if (cqe.res == -ENOBUFS) return s.starved.push_back(fd);
  if (cqe.res > 0) {
    start_receive(s, fd);
  } else {
    c.open = false;  // end of stream or an error: what was received is still sent
  }
  touch(s, fd);
}

void on_send(server& s, int fd, int result) {
  connection& c = s.connections[static_cast<unsigned>(fd)];
  received& part = s.slices[c.head];
  c.sending = false;
  touch(s, fd);
  if (result == -EAGAIN || result == -EINTR) result = 0;
  if (result < 0) {  // the peer is gone: drop what is left; the receive ends by itself
    while (c.head != no_buffer) recycle_head(s, c);
    shutdown(fd, SHUT_RDWR);
    return;
  }
  part.offset += static_cast<unsigned>(result);
  part.size -= static_cast<unsigned>(result);
  if (part.size == 0) return recycle_head(s, c);
  start_send(s, fd);
}

void on_completion(server& s, const io_uring_cqe& cqe) {
  const int fd = static_cast<int>(cqe.user_data >> 2);
  switch (static_cast<kind>(cqe.user_data & 3)) {
    case kind::accept: return on_accept(s, cqe.res, cqe.flags & IORING_CQE_F_MORE);
    case kind::receive: return on_receive(s, fd, cqe);
    case kind::send: return on_send(s, fd, cqe.res);
  }
}

// What the batch's completions left to do for one connection: send the next buffer, or close.
void settle(server& s, int fd) {
  connection& c = s.connections[static_cast<unsigned>(fd)];
  c.touched = false;
  if (c.head != no_buffer && !c.sending) return start_send(s, fd);
  if (c.open || c.receiving || c.sending || c.head != no_buffer) return;
  close(fd);
  if (!s.accepting) start_accept(s);
}

void handle_batch(server& s) {
  do {
    unsigned head = 0, seen = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&s.ring, head, cqe) {
      on_completion(s, *cqe);
      ++seen;
    }
    io_uring_cq_advance(&s.ring, seen);
  } while (io_uring_cq_has_overflow(&s.ring) && io_uring_get_events(&s.ring) >= 0);
  for (int fd : s.touched) settle(s, fd);
  s.touched.clear();
  if (s.free_buffers == 0) return;
  for (int fd : s.starved) start_receive(s, fd);
  s.starved.clear();
}

void set_up_ring(server& s) {
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN |
                 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE;
  params.cq_entries = 8192;
  if (int error = io_uring_queue_init_params(512, &s.ring, &params); error < 0) die("io_uring_setup", -error);
  if (int done = io_uring_register_ring_fd(&s.ring); done < 0) die("register_ring_fd", -done);

  const std::size_t ring_bytes = buffer_count * sizeof(io_uring_buf);
  s.buffers = static_cast<io_uring_buf_ring*>(std::aligned_alloc(4096, ring_bytes));
  s.memory = static_cast<char*>(std::aligned_alloc(4096, std::size_t{buffer_count} * buffer_size));
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<std::uintptr_t>(s.buffers);
  registration.ring_entries = buffer_count;
  if (int error = io_uring_register_buf_ring(&s.ring, &registration, 0); error < 0) die("register_buf_ring", -error);
  io_uring_buf_ring_init(s.buffers);
  for (unsigned id = 0; id < buffer_count; ++id)
    io_uring_buf_ring_add(s.buffers, s.memory + id * buffer_size, buffer_size, static_cast<unsigned short>(id),
                          buffer_count - 1, static_cast<int>(id));
  io_uring_buf_ring_advance(s.buffers, buffer_count);
}

void listen_on(server& s, std::uint16_t port) {
  s.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(s.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  setsockopt(s.listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);  // accepted sockets inherit it
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(s.listener, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) die("bind", errno);
  if (listen(s.listener, 4096) < 0) die("listen", errno);
}

}  // namespace

int main(int argc, char** argv) {
  const int port = argc == 2 ? std::atoi(argv[1]) : 0;
  if (port <= 0 || port > 65535) {
    std::fprintf(stderr, "usage: echo_uring PORT\n");
    return 1;
  }
  server s;
  set_up_ring(s);
  listen_on(s, static_cast<std::uint16_t>(port));
  start_accept(s);
  io_uring_submit(&s.ring);
  std::puts("ready");
  std::fflush(stdout);
  for (;;) {
    const int done = io_uring_submit_and_wait(&s.ring, 1);
    if (done < 0 && done != -EINTR && done != -EAGAIN && done != -EBUSY) die("submit_and_wait", -done);
    handle_batch(s);
  }
}
