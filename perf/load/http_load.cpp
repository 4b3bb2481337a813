// SPDX-License-Identifier: Apache-2.0
// Load for an HTTP server: GET of one path on connections that stay open. Every answer must be a 200 with a body as
// long as the first one's. One thread, one io_uring, the same set-up as http_uring, so that the load is never the
// slower of the two and the server is measured busy.
//
//   closed loop (the default)   each connection keeps --depth requests in flight and sends the next when one is
//   answered. open loop (--rate R)        request i is due i / R seconds after the start, on connection i modulo their
//   number,
//                               whatever came back before. One that finds its connection with --depth in flight waits
//                               there. Latency counts from when it was due, so that a server that stalls pays for all
//                               who would have come meanwhile (no coordinated omission); when the time is over, what is
//                               still due is waited for and counted. The load spins, to send within microseconds.
//
//     build/release/perf/http_load 8080 --connections 64 --depth 1 --path / --seconds 3 --rate 20000
//     {"requests": 60000, "seconds": 3.000051, "p50_us": 61.2, "p99_us": 98.4, "p999_us": 131.0, "body_bytes": 13}
//
// It learns the time once per batch, so a latency is exact to the length of a batch. Loopback only. Exit status 1 when
// an answer is not as it should be, a connection ends, or nothing comes back for 5 seconds. Limits: HTTP/1.1 answers
// with a Content-Length and at most 16 KiB of head; depth x request at most 16 KiB, so that a send never finds the
// socket full and none is ever left half done.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include <arpa/inet.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <strings.h>
#include <unistd.h>

namespace {

constexpr unsigned buffer_count = 1024;
constexpr unsigned buffer_size = 4096;
constexpr std::size_t in_flight_bytes_max = 16384;
constexpr std::size_t head_bytes_max = 16384;
constexpr std::uint64_t patience_ns = 5'000'000'000;

struct options {
  int port = 0;
  unsigned connections = 64, depth = 1;
  std::string path = "/";
  double seconds = 3;
  double rate = 0;  // requests per second of all connections; 0: closed loop
};

struct connection {
  int fd = -1;
  std::deque<std::uint64_t> due_ns{};  // of each request that is not answered; the first in_flight of them are sent
  unsigned in_flight = 0;
  std::string head{};  // the beginning of an answer's head that a buffer's end has cut
  std::uint64_t body_left = 0;
};

struct load {
  options wanted{};
  io_uring ring{};
  io_uring_buf_ring* buffers = nullptr;
  std::vector<char> memory = std::vector<char>(std::size_t{buffer_count} * buffer_size);
  std::string requests{};  // `depth` times the same
  std::size_t request_bytes = 0;
  std::vector<connection> connections{};
  std::string known_head{};  // was found to be good: servers send the same one for a second
  std::uint64_t body_bytes = UINT64_MAX;
  std::vector<std::uint32_t> latencies_ns{};
  std::uint64_t answered = 0, due = 0;
};

[[noreturn]] void fail(const std::string& what, int error = 0) {
  std::fprintf(stderr, "http_load: %s%s%s\n", what.c_str(), error != 0 ? ": " : "",
               error != 0 ? std::strerror(error) : "");
  std::exit(1);
}

std::uint64_t now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec);
}

options parse(int argc, char** argv) {
  options o;
  if (argc >= 2) o.port = std::atoi(argv[1]);
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    const auto count = static_cast<unsigned>(std::max(0, std::atoi(argv[i + 1])));
    if (name == "--connections")
      o.connections = count;
    else if (name == "--depth")
      o.depth = count;
    else if (name == "--path")
      o.path = argv[i + 1];
    else if (name == "--seconds")
      o.seconds = std::atof(argv[i + 1]);
    else if (name == "--rate")
      o.rate = std::atof(argv[i + 1]);
    else
      fail("unknown option " + std::string(name));
  }
  if (o.port <= 0 || o.port > 65535 || argc % 2 != 0)
    fail("usage: http_load PORT [--connections N] [--depth N] [--path P] [--seconds S] [--rate REQUESTS_PER_SECOND]");
  if (o.connections == 0 || o.depth == 0) fail("connections and depth start at 1");
  if (!o.path.starts_with('/')) fail("--path starts with /");
  if (!(o.seconds > 0 && o.seconds <= 600)) fail("--seconds is above 0 and at most 600");
  if (!(o.rate >= 0 && o.rate <= 1e7)) fail("--rate is at most 10000000");
  return o;
}

int connect_to(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket", errno);
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) fail("connect", errno);
  return fd;
}

void set_up_ring(load& l) {
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN |
                 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE;
  params.cq_entries = 8192;
  if (int error = io_uring_queue_init_params(1024, &l.ring, &params); error < 0) fail("io_uring_setup", -error);
  io_uring_register_ring_fd(&l.ring);
  l.buffers = static_cast<io_uring_buf_ring*>(std::aligned_alloc(4096, buffer_count * sizeof(io_uring_buf)));
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<std::uintptr_t>(l.buffers);
  registration.ring_entries = buffer_count;
  if (int error = io_uring_register_buf_ring(&l.ring, &registration, 0); error < 0) fail("register_buf_ring", -error);
  io_uring_buf_ring_init(l.buffers);
}

void give_buffer(load& l, unsigned id) {
  io_uring_buf_ring_add(l.buffers, l.memory.data() + std::size_t{id} * buffer_size, buffer_size,
                        static_cast<unsigned short>(id), buffer_count - 1, 0);
  io_uring_buf_ring_advance(l.buffers, 1);
}

io_uring_sqe* next_sqe(load& l) {
  io_uring_sqe* sqe = io_uring_get_sqe(&l.ring);
  while (sqe == nullptr) {
    io_uring_submit(&l.ring);
    sqe = io_uring_get_sqe(&l.ring);
  }
  return sqe;
}

// user_data is the connection's number; its top bit marks a send.
constexpr std::uint64_t send_bit = std::uint64_t{1} << 63;

void start_receive(load& l, std::uint64_t number) {
  io_uring_sqe* sqe = next_sqe(l);
  io_uring_prep_recv_multishot(sqe, l.connections[number].fd, nullptr, 0, 0);
  sqe->flags |= IOSQE_BUFFER_SELECT;
  sqe->buf_group = 0;
  io_uring_sqe_set_data64(sqe, number);
}

// Sends what is due and fits. It completes within the enter and posts nothing unless it failed.
void send_due(load& l, std::uint64_t number) {
  connection& c = l.connections[number];
  const auto count = std::min<std::size_t>(c.due_ns.size(), l.wanted.depth) - c.in_flight;
  if (count == 0) return;
  io_uring_sqe* sqe = next_sqe(l);
  io_uring_prep_send(sqe, c.fd, l.requests.data(), count * l.request_bytes, MSG_NOSIGNAL | MSG_WAITALL | MSG_DONTWAIT);
  sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
  io_uring_sqe_set_data64(sqe, number | send_bit);
  c.in_flight += static_cast<unsigned>(count);
}

// The Content-Length of a head that ends in an empty line; fails unless it is a 200.
std::uint64_t checked_length(std::string_view head) {
  if (!head.starts_with("HTTP/1.1 200 ")) fail("not a 200: " + std::string(head.substr(0, head.find('\r'))));
  constexpr std::string_view name = "content-length:";
  for (std::size_t line = head.find("\r\n") + 2; line < head.size(); line = head.find("\r\n", line) + 2) {
    if (head.size() - line <= name.size() || strncasecmp(head.data() + line, name.data(), name.size()) != 0) continue;
    return std::strtoull(head.data() + line + name.size(), nullptr, 10);  // ends at the line's end
  }
  fail("an answer without Content-Length: " + std::string(head));
}

void answer_complete(load& l, connection& c, std::uint64_t now) {
  l.latencies_ns.push_back(static_cast<std::uint32_t>(std::min<std::uint64_t>(now - c.due_ns.front(), UINT32_MAX)));
  c.due_ns.pop_front();
  --c.in_flight;
  ++l.answered;
  if (l.wanted.rate == 0) c.due_ns.push_back(now);
}

// Takes a head off the front of `bytes`, or keeps all of them for later when its end is missing. True when it had one.
bool take_head(load& l, connection& c, std::string_view& bytes) {
  if (c.head.empty() && !l.known_head.empty() && bytes.starts_with(l.known_head)) {
    bytes.remove_prefix(l.known_head.size());
    return true;
  }
  const std::size_t before = c.head.size();
  c.head += bytes;
  const std::size_t end = c.head.find("\r\n\r\n");
  if (end == std::string::npos) {
    if (c.head.size() > head_bytes_max) fail("an answer's head does not end");
    bytes = {};
    return false;
  }
  c.head.resize(end + 4);
  bytes.remove_prefix(c.head.size() - before);
  const std::uint64_t length = checked_length(c.head);
  if (l.body_bytes == UINT64_MAX) l.body_bytes = length;
  if (length != l.body_bytes) fail("a body of " + std::to_string(length) + " B after " + std::to_string(l.body_bytes));
  l.known_head.swap(c.head);
  c.head.clear();
  return true;
}

void take_bytes(load& l, connection& c, std::string_view bytes, std::uint64_t now) {
  while (!bytes.empty()) {
    if (c.body_left == 0) {
      if (c.in_flight == 0) fail("more answers than requests: " + std::string(bytes.substr(0, 100)));
      if (!take_head(l, c, bytes)) return;
      c.body_left = l.body_bytes;
    }
    const std::size_t body = std::min<std::uint64_t>(c.body_left, bytes.size());
    bytes.remove_prefix(body);
    c.body_left -= body;
    if (c.body_left == 0) answer_complete(l, c, now);
  }
}

void on_receive(load& l, std::uint64_t number, const io_uring_cqe& cqe, std::uint64_t now) {
  if (cqe.res == -ENOBUFS) return start_receive(l, number);
  if (cqe.res < 0) fail("receive", -cqe.res);
  if (cqe.res == 0) fail("the server closed a connection");
  const unsigned id = cqe.flags >> IORING_CQE_BUFFER_SHIFT;
  take_bytes(l, l.connections[number],
             {l.memory.data() + std::size_t{id} * buffer_size, static_cast<std::size_t>(cqe.res)}, now);
  give_buffer(l, id);
  send_due(l, number);
  if ((cqe.flags & IORING_CQE_F_MORE) == 0) start_receive(l, number);
}

// What open loop wants sent by now. The schedule is the wall's: it does not know what came back.
void make_due(load& l, std::uint64_t start, std::uint64_t now) {
  const auto total = static_cast<std::uint64_t>(l.wanted.seconds * l.wanted.rate);
  for (; l.due < total; ++l.due) {
    const std::uint64_t at = start + static_cast<std::uint64_t>(static_cast<double>(l.due) / l.wanted.rate * 1e9);
    if (at > now) return;
    const std::uint64_t number = l.due % l.connections.size();
    l.connections[number].due_ns.push_back(at);
    send_due(l, number);
  }
}

// One kernel entry and what it brought. Open loop only looks and does not wait.
bool turn(load& l, std::uint64_t& now) {
  int done = 0;
  if (l.wanted.rate > 0) {
    done = io_uring_submit_and_get_events(&l.ring);
  } else {
    __kernel_timespec patience{.tv_sec = patience_ns / 1'000'000'000, .tv_nsec = 0};
    io_uring_cqe* cqe = nullptr;
    done = io_uring_submit_and_wait_timeout(&l.ring, &cqe, 1, &patience, nullptr);
  }
  if (done < 0 && done != -EINTR && done != -ETIME) fail("io_uring_enter", -done);
  now = now_ns();
  const std::uint64_t before = l.answered;
  unsigned head = 0, seen = 0;
  io_uring_cqe* cqe = nullptr;
  io_uring_for_each_cqe(&l.ring, head, cqe) {
    ++seen;
    if (cqe->user_data & send_bit) fail("a send was cut short or failed", cqe->res < 0 ? -cqe->res : 0);
    on_receive(l, cqe->user_data, *cqe, now);
  }
  io_uring_cq_advance(&l.ring, seen);
  return l.answered != before;
}

std::uint64_t run(load& l) {
  const bool open = l.wanted.rate > 0;
  const auto total = static_cast<std::uint64_t>(l.wanted.seconds * l.wanted.rate);
  const std::uint64_t start = now_ns();
  const std::uint64_t end = start + static_cast<std::uint64_t>(l.wanted.seconds * 1e9);
  std::uint64_t now = start, last_answer = start;
  for (std::uint64_t number = 0; number < l.connections.size(); ++number) {
    start_receive(l, number);
    if (open) continue;
    l.connections[number].due_ns.assign(l.wanted.depth, now);
    send_due(l, number);
  }
  while (open ? l.answered < total : now < end) {
    if (open) make_due(l, start, now);
    if (turn(l, now) || (open && l.answered == l.due)) last_answer = now;
    if (now - last_answer > patience_ns) fail("nothing came back for 5 seconds");
  }
  return now - start;
}

double percentile_us(std::vector<std::uint32_t>& values, double fraction) {
  if (values.empty()) return 0;
  const auto at = values.begin() + static_cast<std::ptrdiff_t>(fraction * static_cast<double>(values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at / 1000.0;
}

}  // namespace

int main(int argc, char** argv) {
  load l{.wanted = parse(argc, argv)};
  const std::string request = "GET " + l.wanted.path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
  l.request_bytes = request.size();
  if (l.request_bytes * l.wanted.depth > in_flight_bytes_max) fail("depth x request ends at 16384 bytes");
  for (unsigned i = 0; i < l.wanted.depth; ++i) l.requests += request;
  set_up_ring(l);
  for (unsigned id = 0; id < buffer_count; ++id) give_buffer(l, id);
  l.connections.resize(l.wanted.connections);
  for (connection& c : l.connections) c.fd = connect_to(l.wanted.port);
  l.latencies_ns.reserve(4'000'000);
  const std::uint64_t elapsed = run(l);
  std::printf(
      "{\"requests\": %llu, \"seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
      "\"body_bytes\": %llu}\n",
      static_cast<unsigned long long>(l.answered), static_cast<double>(elapsed) / 1e9,
      percentile_us(l.latencies_ns, 0.5), percentile_us(l.latencies_ns, 0.99), percentile_us(l.latencies_ns, 0.999),
      static_cast<unsigned long long>(l.answered == 0 ? 0 : l.body_bytes));
}
