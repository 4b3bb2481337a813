// SPDX-License-Identifier: Apache-2.0
// What newer kernels offer beside the io_uring echo server of echo_uring.cpp, each switched on alone, so that one can
// see whether it is worth its code. Everything else is the same in all: multishot accept and receive, a ring of receive
// buffers, all that came in one batch sent by one send straight from these buffers, one kernel entry per batch.
//
//     plain         16 MiB as 2048 buffers of 8 KiB, which is what Skerry has; one completion per buffer
//     bundle        the same buffers, and one completion may fill several in a row (IORING_RECVSEND_BUNDLE, Linux 6.10)
//     incremental   the same memory as 256 buffers of 64 KiB, each filled piece by piece (IOU_PBUF_RING_INC, 6.12)
//     large         256 buffers of 64 KiB, each given back after one completion
//     single        one submission per receive, instead of one for all of a connection's
//     undeferred    completions run whenever the kernel gets to it (COOP_TASKRUN instead of DEFER_TASKRUN)
//     zero_copy     sends from the buffers' own pages (IORING_OP_SEND_ZC, 6.0), given back when the kernel says so
//     direct        connections are entries of a table of the ring, not descriptors
//     sqpoll        a thread of the kernel's submits (IORING_SETUP_SQPOLL); it rules DEFER_TASKRUN out
//     napi          waits look for packets in the driver for 50 us before they sleep (IORING_REGISTER_NAPI, 6.9)
//
// Server CPU per message as a ratio to `plain` in the same round (medians of 7 to 9 short rounds in drawn order on a
// busy 2-core virtual machine, Linux 6.18). `plain` beside itself comes to 0.93 to 1.03; half of most rows' rounds lie
// within 4 %:
//
//                     64 KiB x 64    16 KiB x 64    16 B x 200    16 B x 1000
//     bundle          0.84           0.96           1.01          1.03
//     incremental     0.81           0.95           0.96          1.00
//     large           0.82           0.81           0.96          0.99
//     single          2.19           1.92           1.06          1.13
//     undeferred      1.02           0.93           0.99          1.05
//     zero_copy       2.11                          1.19          loopback copies after all, and notifies as well
//     direct          1.01                          0.97
//     sqpoll          4.18                          4.52          the kernel's thread spins
//     napi            1.02                          0.98          nothing to poll: sockets of the loopback have no NAPI
//
//     build/release/perf/echo_uring_depth 7777 bundle & build/release/perf/echo_load 7777 --size 65536 --connections 16
//     kill -INT $!      the server prints the CPU time that it and the kernel's threads in its name used, in us
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include <arpa/inet.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <unistd.h>

namespace {

// Known to kernels newer than the headers of Debian 12.
constexpr unsigned recv_bundle = 1u << 4, buffer_goes_on = 1u << 4, ring_incremental = 2, register_napi = 27;

constexpr std::size_t memory_bytes = 16u << 20;
constexpr unsigned line = 64;  // buffers lie a line apart from multiples of their size: else all begin in one cache set
constexpr unsigned pieces_max = 64;
constexpr unsigned none = ~0u;

enum class kind : std::uint64_t { accept, receive, send };

struct piece {
  iovec bytes{};
  unsigned buffer = 0, next = none;
};

struct connection {
  unsigned head = none, tail = none, in_flight = 0;  // received pieces in order; the first ones are being sent
  bool open = false, receiving = false, sending = false, touched = false;
  std::int32_t sent = 0;
  msghdr message{};
  std::vector<iovec> iovecs{};
};

struct buffer {
  unsigned references = 0, filled = 0, position = 0;
  bool kernel_done = false;
};

struct server {
  std::string_view what;
  io_uring ring{};
  io_uring_buf_ring* lent = nullptr;
  char* memory = nullptr;
  unsigned buffer_bytes = 8192, buffer_count = 2048, provided = 0;
  std::uint64_t free_buffers = 0;
  int listener = -1;
  bool accepting = false;
  std::vector<buffer> buffers{};
  std::vector<unsigned> order{};  // by position in the ring: which buffer
  std::vector<connection> connections{};
  std::vector<piece> pieces{};
  std::vector<unsigned> free_pieces{};
  std::vector<int> touched{}, starved{};
  bool is(std::string_view variant) const { return what == variant; }
  connection& of(int fd) { return connections[static_cast<unsigned>(fd)]; }
};

volatile std::sig_atomic_t over = 0;

void die(const char* what, int error) {
  std::fprintf(stderr, "echo_uring_depth: %s: %s\n", what, std::strerror(error));
  std::exit(1);
}

io_uring_sqe* next_sqe(server& s, kind what, int fd) {
  io_uring_sqe* sqe = nullptr;
  while ((sqe = io_uring_get_sqe(&s.ring)) == nullptr) io_uring_submit(&s.ring);
  std::memset(sqe, 0, sizeof *sqe);
  sqe->user_data = static_cast<std::uint64_t>(fd) << 2 | static_cast<std::uint64_t>(what);
  return sqe;
}

/// As io_uring_prep_* of liburing, which would clear user_data.
void fill(server& s, io_uring_sqe* sqe, io_uring_op opcode, int fd, const void* address, std::size_t length) {
  sqe->opcode = static_cast<std::uint8_t>(opcode);
  sqe->fd = fd;
  sqe->addr = reinterpret_cast<std::uint64_t>(address);
  sqe->len = static_cast<std::uint32_t>(length);
  if (s.is("direct") && opcode != IORING_OP_ACCEPT) sqe->flags |= IOSQE_FIXED_FILE;
}

void start_accept(server& s) {
  io_uring_sqe* sqe = next_sqe(s, kind::accept, s.listener);
  fill(s, sqe, IORING_OP_ACCEPT, s.listener, nullptr, 0);
  sqe->ioprio = IORING_ACCEPT_MULTISHOT;
  if (s.is("direct")) sqe->file_index = IORING_FILE_INDEX_ALLOC;
  s.accepting = true;
}

void start_receive(server& s, int fd) {
  io_uring_sqe* sqe = next_sqe(s, kind::receive, fd);
  fill(s, sqe, IORING_OP_RECV, fd, nullptr, 0);
  sqe->ioprio =
      static_cast<std::uint16_t>((s.is("single") ? 0 : IORING_RECV_MULTISHOT) | (s.is("bundle") ? recv_bundle : 0));
  sqe->flags |= IOSQE_BUFFER_SELECT;
  s.of(fd).receiving = true;
}

// One send in flight per connection, so that what it sends keeps its order; all that is there goes with it.
void start_send(server& s, int fd) {
  connection& c = s.of(fd);
  c.iovecs.clear();
  for (unsigned at = c.head; at != none && c.iovecs.size() < pieces_max; at = s.pieces[at].next)
    c.iovecs.push_back(s.pieces[at].bytes);
  c.in_flight = static_cast<unsigned>(c.iovecs.size());
  c.sent = 0;
  c.sending = true;
  const bool zero_copy = s.is("zero_copy");
  io_uring_sqe* sqe = next_sqe(s, kind::send, fd);
  if (c.in_flight == 1) {
    fill(s, sqe, zero_copy ? IORING_OP_SEND_ZC : IORING_OP_SEND, fd, c.iovecs[0].iov_base, c.iovecs[0].iov_len);
  } else {
    c.message = {};
    c.message.msg_iov = c.iovecs.data();
    c.message.msg_iovlen = c.in_flight;
    fill(s, sqe, zero_copy ? IORING_OP_SENDMSG_ZC : IORING_OP_SENDMSG, fd, &c.message, 1);
  }
  sqe->msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
}

void touch(server& s, int fd) {
  connection& c = s.of(fd);
  if (!c.touched) s.touched.push_back(fd);
  c.touched = true;
}

char* address_of(server& s, unsigned id) { return s.memory + std::size_t{id} * (s.buffer_bytes + line); }

void provide(server& s, unsigned id) {
  s.buffers[id] = {.position = s.provided};
  s.order[s.provided & (s.buffer_count - 1)] = id;
  io_uring_buf_ring_add(s.lent, address_of(s, id), s.buffer_bytes, static_cast<unsigned short>(id),
                        static_cast<int>(s.buffer_count - 1), 0);
  io_uring_buf_ring_advance(s.lent, 1);
  ++s.provided;
  ++s.free_buffers;
}

void let_go(server& s, unsigned id) {
  if (--s.buffers[id].references == 0 && s.buffers[id].kernel_done) provide(s, id);
}

void drop_head(server& s, connection& c) {
  const unsigned at = c.head;
  c.head = s.pieces[at].next;
  let_go(s, s.pieces[at].buffer);
  s.free_pieces.push_back(at);
}

void keep(server& s, connection& c, unsigned id, unsigned bytes) {
  unsigned at = static_cast<unsigned>(s.pieces.size());
  if (s.free_pieces.empty()) {
    s.pieces.emplace_back();
  } else {
    at = s.free_pieces.back();
    s.free_pieces.pop_back();
  }
  s.pieces[at] = {.bytes = {address_of(s, id) + s.buffers[id].filled, bytes}, .buffer = id, .next = none};
  ++s.buffers[id].references;
  (c.head == none ? c.head : s.pieces[c.tail].next) = at;
  c.tail = at;
}

/// The buffers that one completion filled: those behind the first one in the ring.
void keep_all(server& s, connection& c, const io_uring_cqe& cqe) {
  const unsigned first = cqe.flags >> IORING_CQE_BUFFER_SHIFT;
  auto left = static_cast<unsigned>(cqe.res);
  if (s.is("incremental")) {
    keep(s, c, first, left);
    s.buffers[first].filled += left;
    s.buffers[first].kernel_done = (cqe.flags & buffer_goes_on) == 0;
    if (s.buffers[first].kernel_done) --s.free_buffers;
    return;
  }
  for (unsigned position = s.buffers[first].position; left != 0; ++position) {
    const unsigned id = s.order[position & (s.buffer_count - 1)];
    const unsigned here = std::min(left, s.buffer_bytes);
    keep(s, c, id, here);
    s.buffers[id].kernel_done = true;
    --s.free_buffers;
    left -= here;
  }
}

void on_accept(server& s, int result, bool more) {
  if (!more) s.accepting = false;
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
  connection& c = s.of(fd);
  if (cqe.res > 0) keep_all(s, c, cqe);
  if (cqe.flags & IORING_CQE_F_MORE) return touch(s, fd);
  c.receiving = false;
  if (cqe.res == -ENOBUFS) return s.starved.push_back(fd);
  if (cqe.res > 0) {
    start_receive(s, fd);
  } else {
    c.open = false;
  }
  touch(s, fd);
}

void on_send(server& s, int fd, const io_uring_cqe& cqe) {
  connection& c = s.of(fd);
  if ((cqe.flags & IORING_CQE_F_NOTIF) == 0) c.sent = cqe.res;
  if (cqe.flags & IORING_CQE_F_MORE) return;  // the kernel still reads from the buffers
  c.sending = false;
  touch(s, fd);
  if (c.sent < 0 && c.sent != -EAGAIN && c.sent != -EINTR) {
    while (c.head != none) drop_head(s, c);
    if (!s.is("direct")) shutdown(fd, SHUT_RDWR);
    return;
  }
  for (auto left = static_cast<std::size_t>(std::max(c.sent, 0)); left != 0;) {
    iovec& bytes = s.pieces[c.head].bytes;
    const std::size_t part = std::min(left, bytes.iov_len);
    left -= part;
    bytes.iov_base = static_cast<char*>(bytes.iov_base) + part;
    bytes.iov_len -= part;
    if (bytes.iov_len == 0) drop_head(s, c);
  }
}

// What the batch's completions left to do for one connection: send what is there, or close.
void settle(server& s, int fd) {
  connection& c = s.of(fd);
  c.touched = false;
  if (c.sending) return;
  if (c.head != none) return start_send(s, fd);
  if (c.open || c.receiving) return;
  if (s.is("direct")) {
    const int empty = -1;
    io_uring_register_files_update(&s.ring, static_cast<unsigned>(fd), &empty, 1);
  } else {
    close(fd);
  }
  if (!s.accepting) start_accept(s);
}

void handle_batch(server& s) {
  do {
    unsigned head = 0, seen = 0;
    io_uring_cqe* cqe = nullptr;
    io_uring_for_each_cqe(&s.ring, head, cqe) {
      const int fd = static_cast<int>(cqe->user_data >> 2);
      switch (static_cast<kind>(cqe->user_data & 3)) {
        case kind::accept: on_accept(s, cqe->res, cqe->flags & IORING_CQE_F_MORE); break;
        case kind::receive: on_receive(s, fd, *cqe); break;
        case kind::send: on_send(s, fd, *cqe); break;
      }
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
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE;
  if (s.is("sqpoll")) {
    params.flags |= IORING_SETUP_SQPOLL;
  } else {
    params.flags |= IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    if (!s.is("undeferred")) params.flags |= IORING_SETUP_DEFER_TASKRUN;
  }
  params.sq_thread_idle = 50;  // ms
  params.cq_entries = 8192;
  if (int error = io_uring_queue_init_params(512, &s.ring, &params); error < 0) die("io_uring_setup", -error);
  if (int done = io_uring_register_ring_fd(&s.ring); done < 0) die("register_ring_fd", -done);
  if (s.is("direct")) {
    if (int error = io_uring_register_files_sparse(&s.ring, 16384); error < 0) die("register_files_sparse", -error);
  }
  if (s.is("napi")) {
    struct {
      std::uint32_t busy_poll_us = 50;
      std::uint8_t prefer = 1, rest[11]{};
    } napi;
    if (io_uring_register(static_cast<unsigned>(s.ring.ring_fd), register_napi, &napi, 1) < 0) die("napi", errno);
  }
  if (s.is("incremental") || s.is("large")) s.buffer_bytes = 65536;
  s.buffer_count = static_cast<unsigned>(memory_bytes / s.buffer_bytes);
  s.buffers.resize(s.buffer_count);
  s.order.resize(s.buffer_count);
  s.lent = static_cast<io_uring_buf_ring*>(std::aligned_alloc(4096, s.buffer_count * sizeof(io_uring_buf)));
  s.memory = static_cast<char*>(std::aligned_alloc(4096, std::size_t{s.buffer_count} * (s.buffer_bytes + line)));
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<std::uintptr_t>(s.lent);
  registration.ring_entries = s.buffer_count;
  if (s.is("incremental")) registration.pad = ring_incremental;  // the newer headers' field `flags`
  if (int error = io_uring_register_buf_ring(&s.ring, &registration, 0); error < 0) die("register_buf_ring", -error);
  io_uring_buf_ring_init(s.lent);
  for (unsigned id = 0; id < s.buffer_count; ++id) provide(s, id);
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
  const int port = argc == 3 ? std::atoi(argv[1]) : 0;
  server s;
  if (argc == 3) s.what = argv[2];
  constexpr std::string_view known[] = {"plain",      "bundle",    "incremental", "large",  "single",
                                        "undeferred", "zero_copy", "direct",      "sqpoll", "napi"};
  if (port <= 0 || port > 65535 || std::ranges::find(known, s.what) == std::end(known)) {
    std::fprintf(stderr, "usage: echo_uring_depth PORT");
    for (std::string_view each : known) std::fprintf(stderr, " %s", each.data());
    std::fprintf(stderr, "\n");
    return 1;
  }
  struct sigaction end{};
  end.sa_handler = [](int) { over = 1; };
  sigaction(SIGINT, &end, nullptr);
  sigaction(SIGTERM, &end, nullptr);
  set_up_ring(s);
  listen_on(s, static_cast<std::uint16_t>(port));
  start_accept(s);
  io_uring_submit(&s.ring);
  std::puts("ready");
  std::fflush(stdout);
  while (!over) {
    const int done = io_uring_submit_and_wait(&s.ring, 1);
    if (done < 0 && done != -EINTR && done != -EAGAIN && done != -EBUSY) die("submit_and_wait", -done);
    handle_batch(s);
  }
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto us = [](const timeval& t) { return t.tv_sec * 1'000'000 + t.tv_usec; };
  std::printf("%ld\n", us(used.ru_utime) + us(used.ru_stime));
}
