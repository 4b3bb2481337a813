// SPDX-License-Identifier: Apache-2.0
// Load for a server that sends datagrams back: each of --connections sockets keeps --depth datagrams of --size bytes in
// flight, and sends the next where one came back. Every byte is compared with the one that went out.
//
// A datagram that is not back after 100 ms counts as lost and is replaced; it is an error when more than 1 % are, for
// then the figure is one of how datagrams are lost. --size 16 and more: the first 16 bytes say which datagram it is.
// Sockets are read and written 64 datagrams at a time (recvmmsg, sendmmsg), so that the load is not the slower side.
//
//     build/release/perf/udp_load 7777 --connections 8 --depth 16 --size 64 --seconds 3
//     {"messages": 612345, "seconds": 3.000051, "p50_us": 210.2, "p99_us": 350.1, "p999_us": 402.7, "lost": 0}
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <load/engine.hpp>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace {

constexpr std::size_t head_bytes = 16, size_max = 1472, batch_max = 64;
constexpr std::uint64_t lost_after_ns = 100'000'000;
constexpr double lost_max = 0.01;

struct head {
  std::uint32_t socket, slot;
  std::uint64_t number;  // of all that its slot has sent
};
static_assert(sizeof(head) == head_bytes);

struct slot {
  std::uint64_t number = 0;
  std::uint64_t sent_ns = 0;
};

struct peer {
  int fd = -1;
  std::vector<slot> slots{};
  std::vector<std::uint32_t> to_send{};
};

/// Datagrams on their way in or out of one call.
class batch {
 public:
  explicit batch(std::size_t size) : bytes_(batch_max * size) {
    for (std::size_t i = 0; i < batch_max; ++i) {
      pieces_[i] = {bytes_.data() + i * size, size};
      messages_[i].msg_hdr.msg_iov = &pieces_[i];
      messages_[i].msg_hdr.msg_iovlen = 1;
    }
  }
  char* operator[](std::size_t i) { return bytes_.data() + i * (bytes_.size() / batch_max); }
  std::size_t size_of(std::size_t i) const { return messages_[i].msg_len; }
  mmsghdr* data() { return messages_.data(); }

 private:
  std::vector<char> bytes_;
  std::array<iovec, batch_max> pieces_{};
  std::array<mmsghdr, batch_max> messages_{};
};

class udp_load {
 public:
  udp_load(const load::options& wanted, std::size_t size)
      : wanted_(wanted), size_(size), in_(size_max + 1), out_(size), peers_(wanted.connections) {
    for (std::size_t i = 0; i < pattern_.size(); ++i) pattern_[i] = static_cast<char>(i % 251);
    for (peer& each : peers_) {
      each.fd = connected(wanted.port);
      each.slots.resize(wanted.depth);
      polls_.push_back({each.fd, POLLIN, 0});
    }
  }
  ~udp_load() {
    for (const peer& each : peers_) close(each.fd);
  }
  udp_load(const udp_load&) = delete;
  udp_load& operator=(const udp_load&) = delete;

  void run() {
    const std::uint64_t start = load::now_ns();
    const auto end = start + static_cast<std::uint64_t>(wanted_.seconds * 1e9);
    std::uint64_t now = start, checked = start;
    for (std::uint32_t p = 0; p < peers_.size(); ++p) {
      for (std::uint32_t s = 0; s < wanted_.depth; ++s) peers_[p].to_send.push_back(s);
      send(p, now);
    }
    while (now < end) {
      if (poll(polls_.data(), polls_.size(), 20) < 0 && errno != EINTR) load::fail("poll", errno);
      now = load::now_ns();
      for (std::uint32_t p = 0; p < peers_.size(); ++p) {
        if (polls_[p].revents != 0) receive(p, now);
      }
      if (now - checked > lost_after_ns / 4) find_lost(checked = now);
    }
    elapsed_ns_ = now - start;
    if (answered_ == 0) load::fail("nothing came back");
    if (static_cast<double>(lost_) > lost_max * static_cast<double>(answered_))
      load::fail(std::to_string(lost_) + " of " + std::to_string(answered_ + lost_) + " datagrams were lost");
  }

  void print() const {
    std::printf(
        "{\"messages\": %llu, \"seconds\": %.6f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"p999_us\": %.1f, "
        "\"lost\": %llu}\n",
        static_cast<unsigned long long>(answered_), static_cast<double>(elapsed_ns_) / 1e9, latencies_.quantile_us(0.5),
        latencies_.quantile_us(0.99), latencies_.quantile_us(0.999), static_cast<unsigned long long>(lost_));
  }

 private:
  static int connected(unsigned port) {
    const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) load::fail("socket", errno);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<std::uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) < 0) load::fail("connect", errno);
    return fd;
  }

  /// What is to be sent on this socket, in as few calls as possible.
  void send(std::uint32_t p, std::uint64_t now) {
    peer& to = peers_[p];
    while (!to.to_send.empty()) {
      std::size_t count = 0;
      for (; count < batch_max && count < to.to_send.size(); ++count) {
        const std::uint32_t s = to.to_send[to.to_send.size() - 1 - count];
        to.slots[s] = {to.slots[s].number + 1, now};
        const head first{p, s, to.slots[s].number};
        std::memcpy(out_[count], &first, head_bytes);
        std::memcpy(out_[count] + head_bytes, pattern_.data() + s % 64, size_ - head_bytes);
      }
      const int sent = sendmmsg(to.fd, out_.data(), static_cast<unsigned>(count), 0);
      if (sent < 0 && errno == ECONNREFUSED) load::fail("nobody has that port");
      if (sent < 0 && errno != EAGAIN && errno != EINTR && errno != ENOBUFS) load::fail("send", errno);
      if (sent <= 0) return;  // find_lost() tries again
      to.to_send.resize(to.to_send.size() - static_cast<std::size_t>(sent));
    }
  }

  void receive(std::uint32_t p, std::uint64_t now) {
    peer& from = peers_[p];
    const int count = recvmmsg(from.fd, in_.data(), batch_max, MSG_DONTWAIT, nullptr);
    if (count < 0 && errno == ECONNREFUSED) load::fail("nobody has that port");
    if (count < 0 && errno != EAGAIN && errno != EINTR) load::fail("receive", errno);
    for (int i = 0; i < count; ++i) check(p, static_cast<std::size_t>(i), now);
    send(p, now);
  }

  void check(std::uint32_t p, std::size_t i, std::uint64_t now) {
    peer& from = peers_[p];
    head first;
    std::memcpy(&first, in_[i], head_bytes);
    if (in_.size_of(i) != size_ || first.socket != p || first.slot >= from.slots.size() ||
        first.number > from.slots[first.slot].number || first.number == 0 ||
        std::memcmp(in_[i] + head_bytes, pattern_.data() + first.slot % 64, size_ - head_bytes) != 0) {
      load::fail("another datagram came back than was sent");
    }
    slot& of = from.slots[first.slot];
    if (first.number < of.number) return;  // it was only late, and has been replaced
    if (of.sent_ns == 0) load::fail("a datagram came back twice");
    latencies_.add(now - of.sent_ns);
    of.sent_ns = 0;
    ++answered_;
    from.to_send.push_back(first.slot);
  }

  void find_lost(std::uint64_t now) {
    for (std::uint32_t p = 0; p < peers_.size(); ++p) {
      peer& each = peers_[p];
      if (each.to_send.empty()) {
        for (std::uint32_t s = 0; s < each.slots.size(); ++s) {
          if (each.slots[s].sent_ns == 0 || now - each.slots[s].sent_ns < lost_after_ns) continue;
          ++lost_;
          each.to_send.push_back(s);
        }
      }
      send(p, now);
    }
  }

  load::options wanted_;
  std::size_t size_;
  batch in_, out_;
  std::array<char, size_max + 64> pattern_{};
  std::vector<peer> peers_;
  std::vector<pollfd> polls_{};
  load::histogram latencies_{};
  std::uint64_t answered_ = 0, lost_ = 0, elapsed_ns_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  load::program = "udp_load";
  load::options wanted;
  wanted.connections = 8;
  wanted.depth = 16;
  unsigned size = 64;
  load::parse({argv, static_cast<std::size_t>(argc)},
              "udp_load PORT [--connections N] [--depth N] [--size BYTES] [--seconds S]", wanted,
              {{"--connections", &wanted.connections},
               {"--depth", &wanted.depth},
               {"--size", &size},
               {"--seconds", &wanted.seconds}});
  if (size < head_bytes || size > size_max) load::fail("--size is 16 to 1472");
  if (std::uint64_t{wanted.connections} * wanted.depth > 65536) load::fail("in flight are 65536 datagrams at most");
  udp_load generator(wanted, size);
  generator.run();
  generator.print();
}
