// SPDX-License-Identifier: Apache-2.0
// The limit of a submit_to round trip to a sleeping shard: two pinned threads, each asleep in its own io_uring, wake
// each other in turn. A wake and the sleep after it are one kernel entry, so a round trip is two entries, two context
// switches in and two out; nothing that sleeps in a ring can do with less.
//
//     eventfd    IORING_OP_WRITE to the other's eventfd, on which it has a multishot poll; the counter is never read
//     msg_ring   IORING_OP_MSG_RING into the other's ring
//     Both with the success completion skipped: it would end the wait.
//
// Tried: a write(2) of its own to the eventfd, before the enter that sleeps: as fast as IORING_OP_WRITE. On an idle
// 2-core virtual machine, medians: eventfd 87 us, MSG_RING 68 us; best pieces 32 and 33 us (most of it is waking an
// idle CPU).
//
//     build/release/perf/wake_ping_pong eventfd|msg_ring [CPU CPU]
//     {"us": 40.0, "best_us": 35.0}      the median and the best of 100 pieces of 50 round trips
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <latch>
#include <string_view>
#include <thread>

#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace {

constexpr int pieces = 100, round_trips = 50;
enum class way { eventfd, msg_ring };
enum : std::uint64_t { woken = 1, failed = 2 };

struct side {
  io_uring ring{};
  int bell = -1;
  way how = way::eventfd;
};

void check(int result, const char* what) {
  if (result >= 0) return;
  std::fprintf(stderr, "wake_ping_pong: %s: %s\n", what, std::strerror(-result));
  std::exit(1);
}

void pin(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) != 0)
    check(-EINVAL, "no such CPU; name two that are there");
}

// Runs on the thread that uses the ring, as SINGLE_ISSUER wants.
void set_up(side& s, way how) {
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN;
  check(io_uring_queue_init_params(64, &s.ring, &params), "io_uring_setup");
  check(io_uring_register_ring_fd(&s.ring), "register_ring_fd");
  s.how = how;
  s.bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (how == way::msg_ring) return;
  io_uring_sqe* sqe = io_uring_get_sqe(&s.ring);
  io_uring_prep_poll_multishot(sqe, s.bell, POLLIN);
  io_uring_sqe_set_data64(sqe, woken);
  io_uring_submit(&s.ring);
}

// Queues the wake; it leaves with the next enter.
void wake(side& from, const side& to) {
  static const std::uint64_t one = 1;
  io_uring_sqe* sqe = io_uring_get_sqe(&from.ring);
  if (from.how == way::eventfd) {
    io_uring_prep_write(sqe, to.bell, &one, sizeof one, 0);
  } else {
    io_uring_prep_msg_ring(sqe, to.ring.ring_fd, 0, woken, 0);
  }
  io_uring_sqe_set_data64(sqe, failed);
  sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

void submit_and_sleep(side& s) {
  for (;;) {
    const int done = io_uring_submit_and_wait(&s.ring, 1);
    if (done != -EINTR) check(done, "submit_and_wait");
    io_uring_cqe* cqe = nullptr;
    if (io_uring_peek_cqe(&s.ring, &cqe) != 0) continue;
    if (cqe->user_data != woken || cqe->res < 0) check(cqe->res < 0 ? cqe->res : -EIO, "wake");
    io_uring_cqe_seen(&s.ring, cqe);
    return;
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view name = argc >= 2 ? argv[1] : "";
  if ((argc != 2 && argc != 4) || (name != "eventfd" && name != "msg_ring")) {
    std::fprintf(stderr, "usage: wake_ping_pong eventfd|msg_ring [CPU CPU]\n");
    return 1;
  }
  const way how = name == "eventfd" ? way::eventfd : way::msg_ring;
  const int here = argc == 4 ? std::atoi(argv[2]) : 0, there = argc == 4 ? std::atoi(argv[3]) : 1;
  static side a, b;
  static std::latch both_ready(2);
  constexpr int total = pieces * round_trips;
  pin(here);
  set_up(a, how);
  std::thread echo([there, how] {
    pin(there);
    set_up(b, how);
    both_ready.arrive_and_wait();
    for (int i = 0; i < total; ++i) {
      submit_and_sleep(b);
      wake(b, a);
    }
    io_uring_submit(&b.ring);
  });
  both_ready.arrive_and_wait();
  std::array<double, pieces> us{};
  for (double& piece : us) {
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < round_trips; ++i) {
      wake(a, b);
      submit_and_sleep(a);
    }
    piece = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count() / round_trips;
  }
  echo.join();
  std::ranges::sort(us);
  std::printf("{\"us\": %.2f, \"best_us\": %.2f}\n", us[pieces / 2], us[0]);
}
