// SPDX-License-Identifier: Apache-2.0
// Load for an echo server: every connection keeps --depth messages of --size bytes in flight (closed loop) and every
// byte that comes back is compared with the one that went out. One thread, one io_uring, the same set-up as the server,
// so that the load is never the slower of the two and the server is measured busy. It learns the time once per batch,
// so a latency is exact to the length of a batch.
//
//     build/release/perf/echo_load 7777 --connections 64 --size 64 --seconds 3
//     {"messages": 612345, "seconds": 3.000, "p50_us": 210.2, "p99_us": 350.1}
//
// Loopback only. Exit status 1 when a byte differs, a connection ends, or nothing comes back for 5 seconds.
// Limit: depth x size at most 16 KiB, so that a send never finds the socket full and none is ever left half done.
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
#include <unistd.h>

namespace {

constexpr unsigned buffer_count = 1024;
constexpr unsigned buffer_size = 4096;
constexpr std::uint64_t pattern_period = 251;  // prime: a shifted or repeated piece never matches
constexpr std::uint64_t in_flight_bytes_max = 16384;

struct options {
  int port = 0;
  unsigned connections = 64, size = 64, depth = 1;
  double seconds = 3;
};

struct connection {
  int fd = -1;
  std::uint64_t sent = 0, received = 0;       // bytes
  std::deque<std::uint64_t> departures_ns{};  // one per message in flight
};

struct load {
  options wanted{};
  io_uring ring{};
  io_uring_buf_ring* buffers = nullptr;
  std::vector<char> memory = std::vector<char>(std::size_t{buffer_count} * buffer_size);
  std::vector<char> pattern =
      std::vector<char>(pattern_period + std::max<std::uint64_t>(in_flight_bytes_max, buffer_size));
  std::vector<connection> connections{};
  std::vector<std::uint32_t> latencies_ns{};
  std::uint64_t messages = 0;
};

[[noreturn]] void fail(const std::string& what, int error = 0) {
  std::fprintf(stderr, "echo_load: %s%s%s\n", what.c_str(), error != 0 ? ": " : "",
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
    else if (name == "--size")
      o.size = count;
    else if (name == "--depth")
      o.depth = count;
    else if (name == "--seconds")
      o.seconds = std::atof(argv[i + 1]);
    else
      fail("unknown option " + std::string(name));
  }
  if (o.port <= 0 || o.port > 65535 || argc % 2 != 0)
    fail("usage: echo_load PORT [--connections N] [--size BYTES] [--depth N] [--seconds S]");
  if (o.connections == 0 || o.size == 0 || o.depth == 0 || std::uint64_t{o.size} * o.depth > in_flight_bytes_max)
    fail("connections, size and depth start at 1, and depth x size ends at 16384");
  if (!(o.seconds > 0 && o.seconds <= 600)) fail("--seconds is above 0 and at most 600");
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

const char* expected(const load& l, std::uint64_t number, std::uint64_t position) {
  return l.pattern.data() + (position + number) % pattern_period;
}

// Sent straight from the pattern, which never changes. It completes within the enter and posts nothing unless it
// failed.
void send_messages(load& l, std::uint64_t number, unsigned count, std::uint64_t now) {
  connection& c = l.connections[number];
  io_uring_sqe* sqe = next_sqe(l);
  io_uring_prep_send(sqe, c.fd, expected(l, number, c.sent), std::size_t{count} * l.wanted.size,
                     MSG_NOSIGNAL | MSG_WAITALL | MSG_DONTWAIT);
  sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
  io_uring_sqe_set_data64(sqe, number | send_bit);
  c.sent += std::uint64_t{count} * l.wanted.size;
  for (unsigned i = 0; i < count; ++i) c.departures_ns.push_back(now);
}

void on_receive(load& l, std::uint64_t number, const io_uring_cqe& cqe, std::uint64_t now) {
  connection& c = l.connections[number];
  if (cqe.res == -ENOBUFS) return start_receive(l, number);
  if (cqe.res < 0) fail("receive", -cqe.res);
  if (cqe.res == 0) fail("the server closed a connection");
  const auto size = static_cast<std::uint32_t>(cqe.res);
  const unsigned id = cqe.flags >> IORING_CQE_BUFFER_SHIFT;
  if (c.received + size > c.sent) fail("more bytes came back than went out");
  if (std::memcmp(l.memory.data() + std::size_t{id} * buffer_size, expected(l, number, c.received), size) != 0)
    fail("connection " + std::to_string(number) + " got other bytes than it sent");
  give_buffer(l, id);
  const std::uint64_t before = c.received / l.wanted.size;
  c.received += size;
  const auto complete = static_cast<unsigned>(c.received / l.wanted.size - before);
  for (unsigned i = 0; i < complete; ++i) {
    l.latencies_ns.push_back(
        static_cast<std::uint32_t>(std::min<std::uint64_t>(now - c.departures_ns.front(), UINT32_MAX)));
    c.departures_ns.pop_front();
  }
  l.messages += complete;
  if (complete > 0) send_messages(l, number, complete, now);
  if ((cqe.flags & IORING_CQE_F_MORE) == 0) start_receive(l, number);
}

std::uint64_t run(load& l) {
  const std::uint64_t start = now_ns();
  const std::uint64_t end = start + static_cast<std::uint64_t>(l.wanted.seconds * 1e9);
  std::uint64_t now = start;
  for (std::uint64_t number = 0; number < l.connections.size(); ++number) {
    start_receive(l, number);
    send_messages(l, number, l.wanted.depth, now);
  }
  while (now < end) {
    __kernel_timespec patience{.tv_sec = 5, .tv_nsec = 0};
    io_uring_cqe* cqe = nullptr;
    const int done = io_uring_submit_and_wait_timeout(&l.ring, &cqe, 1, &patience, nullptr);
    if (done == -ETIME) fail("nothing came back for 5 seconds");
    if (done < 0 && done != -EINTR) fail("submit_and_wait", -done);
    now = now_ns();
    unsigned head = 0, seen = 0;
    io_uring_for_each_cqe(&l.ring, head, cqe) {
      ++seen;
      if (cqe->user_data & send_bit) fail("a send was cut short or failed", cqe->res < 0 ? -cqe->res : 0);
      on_receive(l, cqe->user_data, *cqe, now);
    }
    io_uring_cq_advance(&l.ring, seen);
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
  for (std::size_t i = 0; i < l.pattern.size(); ++i)
    l.pattern[i] = static_cast<char>(i % pattern_period * 7 % pattern_period);
  set_up_ring(l);
  for (unsigned id = 0; id < buffer_count; ++id) give_buffer(l, id);
  l.connections.resize(l.wanted.connections);
  for (connection& c : l.connections) c.fd = connect_to(l.wanted.port);
  l.latencies_ns.reserve(4'000'000);
  const std::uint64_t elapsed = run(l);
  std::printf("{\"messages\": %llu, \"seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f}\n",
              static_cast<unsigned long long>(l.messages), static_cast<double>(elapsed) / 1e9,
              percentile_us(l.latencies_ns, 0.5), percentile_us(l.latencies_ns, 0.99));
}
