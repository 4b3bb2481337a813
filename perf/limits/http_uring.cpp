// SPDX-License-Identifier: Apache-2.0
// The limit of a plaintext HTTP server: one thread, one ring, no layers, and no HTTP. Every "\r\n\r\n" that arrives
// ends a request and is answered with the same 200; nothing else of a request is looked at. Multishot accept and
// receive into a provided-buffer ring, one send for all answers that a connection is owed, one kernel entry per batch,
// as in echo_uring.cpp, which says what was tried and why nothing shorter exists on this kernel interface. Shorter than
// an echo in one thing: a buffer goes back as soon as its ends are counted, because what is sent lies in static memory.
//
// It keeps what HTTP asks of an answer: the date is right (to the second, unless a client takes longer than that to
// read what it asked for), pipelined requests get one answer each and in order, and a request may come in any pieces. A
// request with a body would get too many answers or too few; the loads send none.
//
//     build/release/perf/http_uring [PORT]      prints "ready" when it listens on 127.0.0.1:PORT (8080)
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include <arpa/inet.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <unistd.h>

namespace {

constexpr unsigned buffer_count = 1024;  // a power of two; the buffer ring's size
constexpr unsigned buffer_size = 2048;
constexpr unsigned answers_per_send_max = 64;

enum class kind : std::uint64_t { accept, receive, send };

struct connection {
  std::uint64_t owed = 0;          // answers
  std::uint32_t unsent = 0;        // bytes of the send in flight
  std::uint32_t sending_at = 0;    // offset of that send
  unsigned char ending = 0;        // bytes of "\r\n\r\n" that came last
  unsigned char from_answers = 0;  // which block it sends from
  bool open = false, receiving = false, sending = false, touched = false;
};

// Many copies of the answer, so that one send pays many. There are two blocks: a send may still read the one with the
// last second's date.
struct answer_block {
  std::string text;
  unsigned in_flight = 0;
};

struct server {
  io_uring ring{};
  io_uring_buf_ring* buffers = nullptr;
  char* memory = nullptr;
  int listener = -1;
  bool accepting = false;
  answer_block blocks[2];
  unsigned char current = 0;  // block
  std::uint32_t answer_bytes = 0;
  std::time_t second = -1;
  std::vector<connection> connections;  // by fd
  std::vector<int> touched, starved;    // fds
};

void die(const char* what, int error) {
  std::fprintf(stderr, "http_uring: %s: %s\n", what, std::strerror(error));
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

// Once per batch. While a slow reader still holds the other block, the old date stays.
void renew_answers(server& s) {
  timespec now{};
  clock_gettime(CLOCK_REALTIME_COARSE, &now);
  answer_block& other = s.blocks[1 - s.current];
  if (now.tv_sec == s.second || other.in_flight != 0) return;
  s.second = now.tv_sec;
  s.current = static_cast<unsigned char>(1 - s.current);
  std::tm parts{};
  gmtime_r(&now.tv_sec, &parts);
  char answer[256];
  const std::size_t size = std::strftime(answer, sizeof answer,
                                         "HTTP/1.1 200 OK\r\nDate: %a, %d %b %Y %H:%M:%S GMT\r\nContent-Length: 13\r\n"
                                         "Content-Type: text/plain\r\n\r\nHello, World!",
                                         &parts);
  s.answer_bytes = static_cast<std::uint32_t>(size);
  other.text.clear();
  for (unsigned i = 0; i < answers_per_send_max; ++i) other.text.append(answer, size);
}

// One send in flight per connection, so that a short one is continued before anything else.
void start_send(server& s, int fd) {
  connection& c = s.connections[static_cast<unsigned>(fd)];
  if (c.unsent == 0) {
    const std::uint64_t count = c.owed < answers_per_send_max ? c.owed : answers_per_send_max;
    c.owed -= count;
    c.unsent = static_cast<std::uint32_t>(count) * s.answer_bytes;
    c.sending_at = 0;
    c.from_answers = s.current;
    ++s.blocks[s.current].in_flight;
  }
  io_uring_sqe* sqe = next_sqe(s);
  io_uring_prep_send(sqe, fd, s.blocks[c.from_answers].text.data() + c.sending_at, c.unsent,
                     MSG_NOSIGNAL | MSG_WAITALL);
  tag(sqe, kind::send, fd);
  c.sending = true;
}

void touch(server& s, int fd) {
  connection& c = s.connections[static_cast<unsigned>(fd)];
  if (!c.touched) s.touched.push_back(fd);
  c.touched = true;
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

// Requests that end in these bytes. `ending` carries an end that is split over two buffers.
unsigned count_ends(unsigned char& ending, std::string_view bytes) {
  constexpr std::string_view end = "\r\n\r\n";
  unsigned count = 0;
  while (ending != 0 && !bytes.empty()) {
    const char c = bytes.front();
    bytes.remove_prefix(1);
    ending = static_cast<unsigned char>(c == end[ending] ? ending + 1 : c == '\r' ? 1 : 0);
    if (ending == end.size()) {
      ++count;
      ending = 0;
    }
  }
  for (std::size_t at = 0; (at = bytes.find(end)) != bytes.npos; bytes.remove_prefix(at + end.size())) ++count;
  for (unsigned char length = end.size() - 1; length > ending; --length) {
    if (bytes.ends_with(end.substr(0, length))) ending = length;
  }
  return count;
}

void on_receive(server& s, int fd, const io_uring_cqe& cqe) {
  connection& c = s.connections[static_cast<unsigned>(fd)];
  if (cqe.res > 0) {
    const unsigned id = cqe.flags >> IORING_CQE_BUFFER_SHIFT;
    char* data = s.memory + id * buffer_size;
    c.owed += count_ends(c.ending, {data, static_cast<std::size_t>(cqe.res)});
    io_uring_buf_ring_add(s.buffers, data, buffer_size, static_cast<unsigned short>(id), buffer_count - 1, 0);
    io_uring_buf_ring_advance(s.buffers, 1);
  }
  touch(s, fd);
  if (cqe.flags & IORING_CQE_F_MORE) return;
  c.receiving = false;
  if (cqe.res == -ENOBUFS) return s.starved.push_back(fd);
  if (cqe.res > 0) {
    start_receive(s, fd);
  } else {
    c.open = false;  // end of stream or an error: what is owed is still sent
  }
}

void on_send(server& s, int fd, int result) {
  connection& c = s.connections[static_cast<unsigned>(fd)];
  c.sending = false;
  touch(s, fd);
  if (result == -EAGAIN || result == -EINTR) result = 0;
  if (result < 0) {  // the peer is gone: nothing is owed; the receive ends by itself
    c.owed = c.unsent = 0;
    shutdown(fd, SHUT_RDWR);
  } else {
    c.sending_at += static_cast<std::uint32_t>(result);
    c.unsent -= static_cast<std::uint32_t>(result);
    if (c.unsent != 0) return start_send(s, fd);
  }
  --s.blocks[c.from_answers].in_flight;
}

void on_completion(server& s, const io_uring_cqe& cqe) {
  const int fd = static_cast<int>(cqe.user_data >> 2);
  switch (static_cast<kind>(cqe.user_data & 3)) {
    case kind::accept: return on_accept(s, cqe.res, cqe.flags & IORING_CQE_F_MORE);
    case kind::receive: return on_receive(s, fd, cqe);
    case kind::send: return on_send(s, fd, cqe.res);
  }
}

// What the batch's completions left to do for one connection: answer, or close.
void settle(server& s, int fd) {
  connection& c = s.connections[static_cast<unsigned>(fd)];
  c.touched = false;
  if (c.owed != 0 && !c.sending) return start_send(s, fd);
  if (c.open || c.receiving || c.sending) return;
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
  renew_answers(s);
  for (int fd : s.touched) settle(s, fd);
  s.touched.clear();
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
  const int port = argc == 2 ? std::atoi(argv[1]) : 8080;
  if (argc > 2 || port <= 0 || port > 65535) {
    std::fprintf(stderr, "usage: http_uring [PORT]\n");
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
