// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the load generators share: connections on one io_uring, when to send what, and how long the answers took. A
// protocol says which bytes ask and checks, byte by byte, what comes back.
//
//   closed loop (the default)  each connection keeps `depth` requests in flight and sends the next when one is answered
//                              (`in_batches`: the next `depth` when all are)
//   open loop (rate R)         request i is due i / R seconds after the start, on connection i modulo their number,
//                              whatever came back before. One that finds its connection with `depth` in flight waits
//                              there. Latency counts from when it was due, so that a server that stalls pays for all
//                              who would have come meanwhile (no coordinated omission); when the time is over, what is
//                              still due is waited for and counted. The load spins, to send within microseconds.
//   short connections          each request has a connection of its own, whose opening is part of its latency; the
//                              client closes it when the answer is complete
//
// One thread, one io_uring with the set-up of a server, so that the load is not the slower of the two and the server is
// measured busy. It learns the time once per batch of completions, so a latency is exact to the length of a batch, and
// it keeps them in buckets that are at most 0.8 % wide.
//
// A send goes out without waiting, within the enter that submits it, and says nothing unless the socket took less than
// all; the rest is then sent by an operation that waits. So small messages cost one completion each, and large ones are
// never left half done.
//
// Errors: whatever is not as it should be ends the program with status 1 and one line on stderr: an answer that
// differs, a connection that ends, 5 seconds in which nothing comes back, an option out of bounds. Limits: loopback
// only; 1 million connections, 20 000 from each address of 127.0.0.0/8, because one has 28 000 ports; depth x request
// at most 16 MiB, and 1 GiB over all connections, which is what lies in memory to be sent.
#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <deque>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <arpa/inet.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <unistd.h>

namespace load {

inline const char* program = "load";

[[noreturn]] inline void fail(const std::string& what, int error = 0) {
  std::fprintf(stderr, "%s: %s%s%s\n", program, what.c_str(), error != 0 ? ": " : "",
               error != 0 ? std::strerror(error) : "");
  std::exit(1);
}

inline std::uint64_t now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(t.tv_nsec);
}

// ---- options ----

struct options {
  unsigned port = 0, connections = 64, depth = 1;
  double seconds = 3;
  double rate = 0;          // requests per second of all connections; 0: closed loop
  std::uint64_t total = 0;  // requests in all, however long they take; 0: as many as fit into the time
  bool in_batches = false;
  bool short_connections = false;
};

/// One option of a command line and where its value goes; a bool takes no value.
struct option {
  std::string_view name;
  std::variant<unsigned*, double*, std::string*, bool*> value;
};

template <class Number>
void read_number(std::string_view name, std::string_view text, Number& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size())
    fail(std::string(name) + " takes a number, not '" + std::string(text) + "'");
}

/// `program PORT [--option value]...`. The usage is printed when there is no port.
inline void parse(std::span<char*> words, const char* usage, options& common, std::initializer_list<option> known) {
  if (words.size() < 2 || words[1][0] == '-') fail(std::string("usage: ") + usage);
  read_number("PORT", words[1], common.port);
  for (std::size_t i = 2; i < words.size(); ++i) {
    const std::string_view name = words[i];
    const auto* const found = std::ranges::find(known, name, &option::name);
    if (found == known.end()) fail("unknown option " + std::string(name) + "; usage: " + usage);
    if (bool* const* flag = std::get_if<bool*>(&found->value)) {
      **flag = true;
      continue;
    }
    if (++i == words.size()) fail(std::string(name) + " needs a value");
    if (unsigned* const* count = std::get_if<unsigned*>(&found->value)) {
      read_number(name, words[i], **count);
    } else if (double* const* real = std::get_if<double*>(&found->value)) {
      read_number(name, words[i], **real);
    } else {
      *std::get<std::string*>(found->value) = words[i];
    }
  }
  if (common.port == 0 || common.port > 65535) fail("PORT is 1 to 65535");
  if (common.connections == 0 || common.connections > 1'000'000) fail("--connections is 1 to 1000000");
  if (common.depth == 0 || common.depth > 65536) fail("what is in flight on a connection is 1 to 65536");
  if (!(common.seconds > 0 && common.seconds <= 600)) fail("--seconds is above 0 and at most 600");
  if (!(common.rate >= 0 && common.rate <= 1e7)) fail("--rate is 0 (closed loop) to 10000000");
}

// ---- latencies ----

/// Counts of nanoseconds in buckets: exact below 256, then 128 to each power of two. 40 KiB, however long the run.
class histogram {
 public:
  void add(std::uint64_t ns) {
    ++counts_[bucket(ns)];
    ++total_;
  }
  /// The middle of the bucket in which that fraction of all is reached.
  double quantile_us(double fraction) const {
    if (total_ == 0) return 0;
    auto left = static_cast<std::uint64_t>(fraction * static_cast<double>(total_ - 1)) + 1;
    std::size_t i = 0;
    while (counts_[i] < left) left -= counts_[i++];
    return (static_cast<double>(lowest(i)) + static_cast<double>(lowest(i + 1) - 1)) / 2 / 1000;
  }

 private:
  static constexpr unsigned exact_bits = 8, bits_max = 44;  // 2^44 ns are five hours
  static std::size_t bucket(std::uint64_t ns) {
    ns = std::min(ns, (std::uint64_t{1} << bits_max) - 1);
    const int shift = std::max(0, static_cast<int>(std::bit_width(ns)) - static_cast<int>(exact_bits));
    return static_cast<std::size_t>(shift) * 128 + static_cast<std::size_t>(ns >> shift);
  }
  static std::uint64_t lowest(std::size_t bucket) {
    const std::size_t shift = bucket < 256 ? 0 : bucket / 128 - 1;
    return std::uint64_t{bucket - shift * 128} << shift;
  }
  std::array<std::uint64_t, (bits_max - exact_bits + 2) * 128> counts_{};
  std::uint64_t total_ = 0;
};

// ---- the engine ----

/// Protocol:
///   void ask(std::uint32_t connection, std::string& out)      appends one request
///   unsigned answered(std::uint32_t connection, std::string_view bytes)
///                                                            checks bytes; says how many answers they complete
///   std::size_t bytes_max                                    of a request or an answer, the longer of the two
template <class Protocol>
class engine {
 public:
  engine(const options& wanted, Protocol& protocol);
  engine(const engine&) = delete;
  engine& operator=(const engine&) = delete;
  ~engine();

  void run();
  /// {"<what>": 600, "seconds": 3.000, "p50_us": 61.2, "p99_us": 98.4, "p999_us": 131.0<more>}
  void print(const char* what, const std::string& more = "") const;
  std::uint64_t count() const { return answered_; }

 private:
  struct connection {
    int fd = -1;
    unsigned in_flight = 0;
    bool touched = false;   // is on the list of those to look at when the batch has been read
    bool launched = false;  // `out` is being sent by an operation that does not wait
    bool blocked = false;   // `out` is being sent by one that does: what is asked now goes to `later`
    std::size_t sent = 0;   // of `out`
    std::string out{}, later{};
    std::deque<std::uint64_t> due_ns{};  // of each request that is not answered; the first in_flight of them are sent
  };

  // user_data is the connection's number and what was done on it.
  static constexpr std::uint64_t launched_bit = std::uint64_t{1} << 63, blocked_bit = std::uint64_t{1} << 62;
  static constexpr std::uint64_t patience_ns = 5'000'000'000;

  bool open_loop() const { return wanted_.rate > 0; }
  void set_up_ring();
  void allow_descriptors() const;
  int connect_one();
  io_uring_sqe* next_sqe();
  void give_buffer(unsigned id);
  void start_receive(std::uint32_t number);
  void start_send(std::uint32_t number, bool wait);

  void touch(std::uint32_t number);
  void want(std::uint32_t number, std::uint64_t due);
  void want_more(std::uint32_t number, std::uint64_t now);
  void make_due(std::uint64_t now);
  void look_at(std::uint32_t number);
  void on_sent(std::uint32_t number, const io_uring_cqe& cqe);
  void on_received(std::uint32_t number, const io_uring_cqe& cqe, std::uint64_t now);
  void settle_launched();
  bool turn(std::uint64_t& now);

  options wanted_;
  Protocol& protocol_;
  io_uring ring_{};
  io_uring_buf_ring* buffers_ = nullptr;
  unsigned buffer_count_ = 1024;  // a power of two
  unsigned buffer_size_ = 4096;
  std::vector<char> memory_{};
  std::vector<connection> connections_{};
  std::vector<std::uint32_t> touched_{}, launched_{};
  histogram latencies_{};
  std::uint64_t opened_ = 0, due_ = 0, answered_ = 0, total_ = 0, start_ = 0, elapsed_ = 0;
};

template <class Protocol>
engine<Protocol>::engine(const options& wanted, Protocol& protocol) : wanted_(wanted), protocol_(protocol) {
  const std::uint64_t each = std::uint64_t{wanted.depth} * protocol.bytes_max;
  if (each > (16u << 20))
    fail("what is in flight on one connection ends at 16 MiB; it would be " + std::to_string(each) + " B");
  if (each * wanted.connections > (1u << 30)) fail("what is in flight ends at 1 GiB over all connections");
  if (wanted.short_connections && wanted.depth > 1) fail("a short connection has one message: no --depth with --short");
  total_ = open_loop() ? static_cast<std::uint64_t>(wanted.seconds * wanted.rate) : wanted.total;
  if (open_loop() && total_ == 0) fail("nothing is due: --seconds x --rate is below 1");
  allow_descriptors();
  set_up_ring();
  connections_.resize(wanted.connections);
  if (wanted.short_connections) return;
  for (connection& c : connections_) c.fd = connect_one();
}

template <class Protocol>
engine<Protocol>::~engine() {
  for (const connection& c : connections_)
    if (c.fd >= 0) close(c.fd);
  io_uring_queue_exit(&ring_);
  std::free(buffers_);
}

template <class Protocol>
void engine<Protocol>::allow_descriptors() const {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < wanted_.connections + 16u)
    fail(std::to_string(wanted_.connections) + " connections need more descriptors than RLIMIT_NOFILE allows (" +
         std::to_string(limit.rlim_cur) + "); raise it: ulimit -Hn " + std::to_string(wanted_.connections + 16u));
}

template <class Protocol>
void engine<Protocol>::set_up_ring() {
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN |
                 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE;
  // Sends that fail must find room at once: settle_launched() takes silence for success. One per connection fits, or,
  // with more connections than that, each has less in flight (16 KiB) than any socket takes.
  params.cq_entries = std::clamp(std::bit_ceil(wanted_.connections), 8192u, 65536u);
  if (int error = io_uring_queue_init_params(1024, &ring_, &params); error < 0) fail("io_uring_setup", -error);
  io_uring_register_ring_fd(&ring_);
  if (protocol_.bytes_max > buffer_size_) {
    buffer_count_ = 256;
    buffer_size_ = 65536;
  }
  memory_.resize(std::size_t{buffer_count_} * buffer_size_);
  buffers_ = static_cast<io_uring_buf_ring*>(std::aligned_alloc(4096, buffer_count_ * sizeof(io_uring_buf)));
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<std::uintptr_t>(buffers_);
  registration.ring_entries = buffer_count_;
  if (int error = io_uring_register_buf_ring(&ring_, &registration, 0); error < 0) fail("register_buf_ring", -error);
  io_uring_buf_ring_init(buffers_);
  for (unsigned id = 0; id < buffer_count_; ++id) give_buffer(id);
}

// The connection returns at once: on loopback the handshake happens within the call.
template <class Protocol>
int engine<Protocol>::connect_one() {
  constexpr std::uint64_t per_address = 20'000, addresses = 250;
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket", errno);
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  if (opened_ >= per_address) {
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK + static_cast<std::uint32_t>(opened_ / per_address % addresses));
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) fail("bind", errno);
  }
  ++opened_;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<std::uint16_t>(wanted_.port));
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) fail("connect", errno);
  return fd;
}

template <class Protocol>
io_uring_sqe* engine<Protocol>::next_sqe() {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  while (sqe == nullptr) {
    if (int done = io_uring_submit(&ring_); done < 0 && done != -EINTR) fail("io_uring_enter", -done);
    sqe = io_uring_get_sqe(&ring_);
  }
  return sqe;
}

template <class Protocol>
void engine<Protocol>::give_buffer(unsigned id) {
  io_uring_buf_ring_add(buffers_, memory_.data() + std::size_t{id} * buffer_size_, buffer_size_,
                        static_cast<unsigned short>(id), static_cast<int>(buffer_count_ - 1), 0);
  io_uring_buf_ring_advance(buffers_, 1);
}

// A short connection receives once at a time: closing it would otherwise leave the receive, which holds the socket
// open.
template <class Protocol>
void engine<Protocol>::start_receive(std::uint32_t number) {
  io_uring_sqe* sqe = next_sqe();
  if (wanted_.short_connections) {
    io_uring_prep_recv(sqe, connections_[number].fd, nullptr, 0, 0);
  } else {
    io_uring_prep_recv_multishot(sqe, connections_[number].fd, nullptr, 0, 0);
  }
  sqe->flags |= IOSQE_BUFFER_SELECT;
  sqe->buf_group = 0;
  io_uring_sqe_set_data64(sqe, number);
}

template <class Protocol>
void engine<Protocol>::start_send(std::uint32_t number, bool wait) {
  connection& c = connections_[number];
  io_uring_sqe* sqe = next_sqe();
  io_uring_prep_send(sqe, c.fd, c.out.data() + c.sent, c.out.size() - c.sent,
                     MSG_NOSIGNAL | MSG_WAITALL | (wait ? 0 : MSG_DONTWAIT));
  io_uring_sqe_set_data64(sqe, number | (wait ? blocked_bit : launched_bit));
  c.blocked = wait;
  if (wait) return;
  sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
  c.launched = true;
  launched_.push_back(number);
}

template <class Protocol>
void engine<Protocol>::touch(std::uint32_t number) {
  if (!connections_[number].touched) touched_.push_back(number);
  connections_[number].touched = true;
}

template <class Protocol>
void engine<Protocol>::want(std::uint32_t number, std::uint64_t due) {
  connection& c = connections_[number];
  c.due_ns.push_back(due);
  ++due_;
  touch(number);
}

// Closed loop: the next one for the one that was answered, or the next batch.
template <class Protocol>
void engine<Protocol>::want_more(std::uint32_t number, std::uint64_t now) {
  const unsigned missing = wanted_.in_batches && connections_[number].in_flight > 0
                               ? 0
                               : wanted_.depth - static_cast<unsigned>(connections_[number].due_ns.size());
  for (unsigned i = 0; i < missing && (total_ == 0 || due_ < total_); ++i) want(number, now);
}

// Open loop: what is wanted by now. The schedule is the wall's: it does not know what came back.
template <class Protocol>
void engine<Protocol>::make_due(std::uint64_t now) {
  while (due_ < total_) {
    const std::uint64_t at = start_ + static_cast<std::uint64_t>(static_cast<double>(due_) / wanted_.rate * 1e9);
    if (at > now) return;
    want(static_cast<std::uint32_t>(due_ % connections_.size()), at);
  }
}

// Asks for what is due and may be in flight.
template <class Protocol>
void engine<Protocol>::look_at(std::uint32_t number) {
  connection& c = connections_[number];
  c.touched = false;
  while (c.in_flight < wanted_.depth && c.in_flight < c.due_ns.size()) {
    if (c.fd < 0) {
      c.fd = connect_one();
      start_receive(number);
    }
    protocol_.ask(number, c.blocked ? c.later : c.out);
    ++c.in_flight;
  }
  if (!c.blocked && !c.launched && !c.out.empty()) start_send(number, false);
}

template <class Protocol>
void engine<Protocol>::on_sent(std::uint32_t number, const io_uring_cqe& cqe) {
  connection& c = connections_[number];
  const bool full = cqe.res == -EAGAIN || cqe.res == -EINTR;
  if (cqe.res < 0 && !full) fail("send", -cqe.res);
  c.sent += full ? 0 : static_cast<std::size_t>(cqe.res);
  c.launched = false;
  if (c.sent < c.out.size()) return start_send(number, true);
  c.blocked = false;
  c.sent = 0;
  c.out.clear();
  c.out.swap(c.later);
  touch(number);
}

// An operation that was launched and said nothing by the end of its enter has sent everything.
template <class Protocol>
void engine<Protocol>::settle_launched() {
  for (std::uint32_t number : launched_) {
    connection& c = connections_[number];
    if (!c.launched) continue;
    c.launched = false;
    c.out.clear();
  }
  launched_.clear();
}

template <class Protocol>
void engine<Protocol>::on_received(std::uint32_t number, const io_uring_cqe& cqe, std::uint64_t now) {
  connection& c = connections_[number];
  if (cqe.res == -ENOBUFS) return start_receive(number);
  if (cqe.res < 0) fail("receive", -cqe.res);
  if (cqe.res == 0) fail("the server closed a connection");
  const unsigned id = cqe.flags >> IORING_CQE_BUFFER_SHIFT;
  const unsigned complete =
      protocol_.answered(number, {memory_.data() + std::size_t{id} * buffer_size_, static_cast<std::size_t>(cqe.res)});
  give_buffer(id);
  if (complete > c.in_flight) fail("more answers than requests");
  for (unsigned i = 0; i < complete; ++i) {
    latencies_.add(now - c.due_ns.front());
    c.due_ns.pop_front();
  }
  c.in_flight -= complete;
  answered_ += complete;
  if (wanted_.short_connections && complete > 0) {
    close(c.fd);
    c.fd = -1;
  } else if ((cqe.flags & IORING_CQE_F_MORE) == 0) {
    start_receive(number);
  }
  if (complete > 0 && !open_loop()) want_more(number, now);
  if (c.due_ns.size() > c.in_flight) touch(number);
}

// One kernel entry and what it brought. Open loop only looks and does not wait. Sends first: their failures were posted
// before whatever the enter received, and what is asked next must find `out` settled.
template <class Protocol>
bool engine<Protocol>::turn(std::uint64_t& now) {
  for (std::uint32_t number : touched_) look_at(number);
  touched_.clear();
  int done = 0;
  if (open_loop()) {
    done = io_uring_submit_and_get_events(&ring_);
  } else {
    __kernel_timespec patience{.tv_sec = patience_ns / 1'000'000'000, .tv_nsec = 0};
    io_uring_cqe* cqe = nullptr;
    done = io_uring_submit_and_wait_timeout(&ring_, &cqe, 1, &patience, nullptr);
  }
  if (done < 0 && done != -EINTR && done != -ETIME) fail("io_uring_enter", -done);
  while (io_uring_sq_ready(&ring_) > 0)
    if (done = io_uring_submit(&ring_); done < 0 && done != -EINTR) fail("io_uring_enter", -done);
  now = now_ns();
  const std::uint64_t before = answered_;
  const unsigned ready = io_uring_cq_ready(&ring_);
  const auto each = [this, ready](auto&& use) {
    for (unsigned i = 0; i < ready; ++i) {
      const io_uring_cqe& cqe = ring_.cq.cqes[(*ring_.cq.khead + i) & *ring_.cq.kring_mask];
      use(cqe, static_cast<std::uint32_t>(cqe.user_data), (cqe.user_data & (launched_bit | blocked_bit)) != 0);
    }
  };
  each([this](const io_uring_cqe& cqe, std::uint32_t number, bool of_send) {
    if (of_send) on_sent(number, cqe);
  });
  settle_launched();
  each([this, now](const io_uring_cqe& cqe, std::uint32_t number, bool of_send) {
    if (!of_send) on_received(number, cqe, now);
  });
  io_uring_cq_advance(&ring_, ready);
  return answered_ != before;
}

template <class Protocol>
void engine<Protocol>::run() {
  start_ = now_ns();
  const std::uint64_t end = start_ + static_cast<std::uint64_t>(wanted_.seconds * 1e9);
  std::uint64_t now = start_, last_answer = start_;
  for (std::uint32_t number = 0; number < connections_.size(); ++number) {
    if (!wanted_.short_connections) start_receive(number);
    if (!open_loop()) want_more(number, now);
  }
  while (total_ > 0 ? answered_ < total_ : now < end) {
    if (open_loop()) make_due(now);
    const bool idle = answered_ == due_;
    if (turn(now) || idle) last_answer = now;
    if (now - last_answer > patience_ns) fail("nothing came back for 5 seconds");
  }
  elapsed_ = now - start_;
}

template <class Protocol>
void engine<Protocol>::print(const char* what, const std::string& more) const {
  std::printf("{\"%s\": %llu, \"seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f%s}\n", what,
              static_cast<unsigned long long>(answered_), static_cast<double>(elapsed_) / 1e9,
              latencies_.quantile_us(0.5), latencies_.quantile_us(0.99), latencies_.quantile_us(0.999), more.c_str());
}

}  // namespace load
