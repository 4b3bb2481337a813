// SPDX-License-Identifier: Apache-2.0
// What SEND_ZC spares and costs where the kernel really does not copy: CPU time per datagram, as against SEND, in
// pieces of 1 to 60 KB. No row's limit: the figures are in ARCHITECTURE.md. Its own network has a bridge without
// members, which takes packets and drops them, so that nothing but sending is measured. Over TCP it would need a peer
// that is not on this machine.
//
//     ip netns add nowhere && ip -n nowhere link add to type bridge && ip -n nowhere link set to mtu 65535 up
//     ip -n nowhere addr add 10.9.9.1/24 dev to
//     ip -n nowhere neigh add 10.9.9.2 lladdr 02:00:00:00:00:09 dev to nud permanent
//     ip netns exec nowhere build/release/perf/send_zero_copy 10.9.9.2; ip netns del nowhere
#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <liburing.h>
#include <sys/resource.h>
#include <sys/socket.h>

namespace {

constexpr unsigned batch = 16, blocks = 64, rounds = 5;
constexpr std::size_t block_bytes = 65'536, bytes_per_round = 200'000'000;
constexpr unsigned report_usage = 1u << 3,
                   copied = 1u << 31;  // IORING_SEND_ZC_REPORT_USAGE, IORING_NOTIF_USAGE_ZC_COPIED

[[noreturn]] void die(const char* what, int error) {
  std::fprintf(stderr, "send_zero_copy: %s: %s\n", what, std::strerror(error));
  std::exit(1);
}

double cpu_us() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto us = [](const timeval& t) { return 1e6 * static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec); };
  return us(used.ru_utime) + us(used.ru_stime);
}

struct sender {
  io_uring ring{};
  int fd = -1;
  std::vector<char> memory = std::vector<char>(blocks * block_bytes, 'x');
  unsigned times_copied = 0;

  void send_batch(std::size_t bytes, bool zero_copy) {
    for (unsigned i = 0; i < batch; ++i) {
      io_uring_sqe* s = io_uring_get_sqe(&ring);
      const char* from = memory.data() + (i % blocks) * block_bytes;
      if (zero_copy) {
        io_uring_prep_send_zc(s, fd, from, bytes, 0, 0);
        s->ioprio = report_usage;
      } else {
        io_uring_prep_send(s, fd, from, bytes, 0);
      }
    }
    unsigned left = batch;  // completions
    if (zero_copy) left *= 2;
    io_uring_submit_and_wait(&ring, left);
    while (left > 0) {
      io_uring_cqe* c = nullptr;
      io_uring_wait_cqe(&ring, &c);
      if ((c->flags & IORING_CQE_F_NOTIF) != 0) {
        times_copied += (static_cast<unsigned>(c->res) & copied) != 0;
      } else if (c->res < 0) {
        die("send", -c->res);
      }
      io_uring_cqe_seen(&ring, c);
      --left;
    }
  }

  /// CPU time per datagram, the best of some rounds.
  double measure(std::size_t bytes, bool zero_copy) {
    const unsigned batches = static_cast<unsigned>(std::min<std::size_t>(bytes_per_round / bytes, 60'000)) / batch;
    double best = 1e9;
    for (unsigned round = 0; round < rounds; ++round) {
      const double before = cpu_us();
      for (unsigned i = 0; i < batches; ++i) send_batch(bytes, zero_copy);
      best = std::min(best, (cpu_us() - before) / (batches * batch));
    }
    return best;
  }
};

}  // namespace

int main(int argc, char** argv) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(9999);
  if (argc != 2 || inet_pton(AF_INET, argv[1], &to.sin_addr) != 1) {
    std::fprintf(stderr, "usage: send_zero_copy IPV4\n");
    return 1;
  }
  sender out;
  const int set_up = io_uring_queue_init(2 * batch, &out.ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
  if (set_up < 0) die("io_uring_queue_init", -set_up);
  out.fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const int send_buffer = 8 << 20;
  setsockopt(out.fd, SOL_SOCKET, SO_SNDBUFFORCE, &send_buffer, sizeof send_buffer);
  if (connect(out.fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) die("connect", errno);
  for (const std::size_t bytes : {1'000u, 2'000u, 4'000u, 8'000u, 16'000u, 32'000u, 60'000u}) {
    const double plain = out.measure(bytes, false), zero_copy = out.measure(bytes, true);
    std::printf("%zu bytes: send %.2f us, without copying %.2f us, %.2f x, copied after all %u times\n", bytes, plain,
                zero_copy, zero_copy / plain, std::exchange(out.times_copied, 0));
  }
}
