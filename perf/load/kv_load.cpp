// SPDX-License-Identifier: Apache-2.0
// Load for a key-value server that speaks RESP2: every connection sends --pipeline commands, waits for all their
// replies, checks each one, and sends the next batch. One thread, one epoll: a batch costs two system calls, so the
// load is never the slower side.
//
//     build/release/perf/kv_load 6379 --op fill --keys 100000 --value 64       each key once
//     build/release/perf/kv_load 6379 --op get --connections 8 --pipeline 32 --seconds 3
//     {"commands": 3456789, "seconds": 3.000}
//
// A value starts with the number of its key, so a reply that answers another command is noticed. Exit status 1 on any
// reply of another shape, on an end of stream, or when nothing comes back for 5 seconds. Loopback only.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <string_view>
#include <vector>

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <unistd.h>

namespace {

constexpr unsigned digits = 12;  // of a key's number, in the key and at the start of its value

struct options {
  int port = 0;
  unsigned connections = 8, pipeline = 32, keys = 100'000, value = 64;
  double seconds = 3;
  std::string_view op = "get";
};

struct connection {
  int fd = -1;
  std::vector<std::uint32_t> asked{};  // the keys of this batch, in order
  std::string replies{};
};

struct load {
  options wanted{};
  int poll = -1;
  std::vector<connection> connections{};
  std::string request{};      // the batch being written
  std::string expected{};     // the reply to one command
  std::string bulk_header{};  // "$64\r\n"
  std::uint64_t commands = 0, random = 88172645463325252ull;
  std::uint32_t next_key = 0;  // of fill
};

[[noreturn]] void fail(const std::string& what, int error = 0) {
  std::fprintf(stderr, "kv_load: %s%s%s\n", what.c_str(), error != 0 ? ": " : "",
               error != 0 ? std::strerror(error) : "");
  std::exit(1);
}

double now_seconds() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

options parse(int argc, char** argv) {
  options o;
  if (argc >= 2) o.port = std::atoi(argv[1]);
  for (int i = 2; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    const auto count = static_cast<unsigned>(std::max(0, std::atoi(argv[i + 1])));
    if (name == "--connections") {
      o.connections = count;
    } else if (name == "--pipeline") {
      o.pipeline = count;
    } else if (name == "--keys") {
      o.keys = count;
    } else if (name == "--value") {
      o.value = count;
    } else if (name == "--seconds") {
      o.seconds = std::atof(argv[i + 1]);
    } else if (name == "--op") {
      o.op = argv[i + 1];
    } else {
      fail("unknown option " + std::string(name));
    }
  }
  if (o.port <= 0 || o.port > 65535 || argc % 2 != 0 || (o.op != "get" && o.op != "set" && o.op != "fill"))
    fail(
        "usage: kv_load PORT --op get|set|fill [--connections N] [--pipeline N] [--keys N] [--value BYTES] [--seconds "
        "S]");
  if (o.connections == 0 || o.connections > 1000 || o.pipeline == 0 || o.pipeline > 1000 || o.keys == 0)
    fail("connections and pipeline are 1 to 1000, keys at least 1");
  if (o.value < digits || o.value > 65536) fail("--value is 12 to 65536");
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

void append_number(std::string& out, std::uint32_t number) {
  char text[digits];
  for (unsigned i = digits; i-- > 0; number /= 10) text[i] = static_cast<char>('0' + number % 10);
  out.append(text, digits);
}

// The value of a key as RESP writes it.
void append_bulk(const load& l, std::string& out, std::uint32_t key) {
  out += l.bulk_header;
  append_number(out, key);
  out.append(l.wanted.value - digits, 'x');
  out += "\r\n";
}

std::uint32_t choose_key(load& l) {
  if (l.wanted.op == "fill") return l.next_key++;
  l.random ^= l.random << 13;
  l.random ^= l.random >> 7;
  l.random ^= l.random << 17;
  return static_cast<std::uint32_t>(l.random % l.wanted.keys);
}

void append_command(load& l, std::uint32_t key) {
  const bool get = l.wanted.op == "get";
  l.request += get ? "*2\r\n$3\r\nGET\r\n$16\r\nkey:" : "*3\r\n$3\r\nSET\r\n$16\r\nkey:";
  append_number(l.request, key);
  l.request += "\r\n";
  if (get) return;
  append_bulk(l, l.request, key);
}

void send_batch(load& l, connection& c) {
  l.request.clear();
  c.asked.clear();
  c.replies.clear();
  const unsigned left = l.wanted.op == "fill" ? l.wanted.keys - l.next_key : l.wanted.pipeline;
  for (unsigned i = 0; i < std::min(left, l.wanted.pipeline); ++i) {
    c.asked.push_back(choose_key(l));
    append_command(l, c.asked.back());
  }
  for (std::size_t sent = 0; sent < l.request.size();) {
    const ssize_t n = send(c.fd, l.request.data() + sent, l.request.size() - sent, MSG_NOSIGNAL);
    if (n < 0) fail("send", errno);
    sent += static_cast<std::size_t>(n);
  }
}

// The reply to the command at `index` of the batch; all replies of one kind have the same length.
void expect(load& l, const connection& c, std::size_t index) {
  if (l.wanted.op == "get") {
    l.expected.clear();
    append_bulk(l, l.expected, c.asked[index]);
  } else {
    l.expected = "+OK\r\n";
  }
}

bool on_readable(load& l, connection& c) {
  char part[65536];
  const ssize_t n = recv(c.fd, part, sizeof part, 0);
  if (n < 0) fail("receive", errno);
  if (n == 0) fail("the server closed a connection");
  if (c.asked.empty()) fail("a reply that nobody asked for");
  c.replies.append(part, static_cast<std::size_t>(n));
  expect(l, c, 0);
  if (c.replies.front() == '-' || c.replies.size() > l.expected.size() * c.asked.size())
    fail("unexpected reply: " + c.replies.substr(0, 80));
  if (c.replies.size() < l.expected.size() * c.asked.size()) return false;
  for (std::size_t i = 0; i < c.asked.size(); ++i) {
    expect(l, c, i);
    const std::string_view got(c.replies.data() + i * l.expected.size(), l.expected.size());
    if (got != l.expected) fail("command " + std::to_string(i) + " of a batch got " + std::string(got.substr(0, 80)));
  }
  l.commands += c.asked.size();
  return true;
}

double run(load& l) {
  const double start = now_seconds();
  const bool fill = l.wanted.op == "fill";
  for (connection& c : l.connections) send_batch(l, c);
  epoll_event events[64];
  for (;;) {
    const int ready = epoll_wait(l.poll, events, 64, 5000);
    if (ready == 0) fail("nothing came back for 5 seconds");
    if (ready < 0 && errno != EINTR) fail("epoll_wait", errno);
    const double now = now_seconds();
    for (int i = 0; i < ready; ++i) {
      connection& c = l.connections[events[i].data.u32];
      if (!on_readable(l, c)) continue;
      if (!fill || l.next_key < l.wanted.keys) send_batch(l, c);
    }
    if (fill ? l.commands == l.wanted.keys : now - start >= l.wanted.seconds) return now - start;
  }
}

}  // namespace

int main(int argc, char** argv) {
  load l{.wanted = parse(argc, argv)};
  l.bulk_header.append("$").append(std::to_string(l.wanted.value)).append("\r\n");
  l.poll = epoll_create1(EPOLL_CLOEXEC);
  l.connections.resize(l.wanted.connections);
  for (std::uint32_t i = 0; i < l.connections.size(); ++i) {
    l.connections[i].fd = connect_to(l.wanted.port);
    epoll_event event{.events = EPOLLIN, .data = {.u32 = i}};
    if (epoll_ctl(l.poll, EPOLL_CTL_ADD, l.connections[i].fd, &event) < 0) fail("epoll_ctl", errno);
  }
  const double elapsed = run(l);
  std::printf("{\"commands\": %llu, \"seconds\": %.6f}\n", static_cast<unsigned long long>(l.commands), elapsed);
}
