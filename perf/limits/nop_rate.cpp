// SPDX-License-Identifier: Apache-2.0
// The limit of operations per second on an io_uring: NOPs, a batch of them submitted and reaped in one kernel entry, on
// a ring with the flags of a shard. What an operation costs before it does anything: filling a slot, the kernel's way
// from slot to completion, reading the completion. A batch of 1 is the price of a kernel entry.
//
//     build/release/perf/nop_rate [BATCH]      1 to 1024, default 64
//     {"ns": 45.0, "best_ns": 43.0, "per_second": 22000000}      per operation: the median and the best of 200 pieces
//     of
//                                                                at least 10 000 operations
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <liburing.h>

namespace {

constexpr unsigned pieces = 200, per_piece = 10'000, batch_max = 1024;

void check(int result, const char* what) {
  if (result >= 0) return;
  std::fprintf(stderr, "nop_rate: %s: %s\n", what, std::strerror(-result));
  std::exit(1);
}

void run_batch(io_uring& ring, unsigned batch) {
  for (unsigned i = 0; i < batch; ++i) {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring);
    io_uring_prep_nop(sqe);
    io_uring_sqe_set_data64(sqe, i);
  }
  check(io_uring_submit_and_wait(&ring, batch), "submit_and_wait");
  unsigned head = 0, seen = 0;
  io_uring_cqe* cqe = nullptr;
  io_uring_for_each_cqe(&ring, head, cqe) {
    check(cqe->res, "nop");
    ++seen;
  }
  io_uring_cq_advance(&ring, seen);
  if (seen != batch) check(-EIO, "a completion is missing");
}

}  // namespace

int main(int argc, char** argv) {
  const int batch = argc == 2 ? std::atoi(argv[1]) : 64;
  if (argc > 2 || batch < 1 || batch > static_cast<int>(batch_max)) {
    std::fprintf(stderr, "usage: nop_rate [BATCH]      1 to 1024\n");
    return 1;
  }
  io_uring ring{};
  io_uring_params params{};
  params.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN |
                 IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL;
  check(io_uring_queue_init_params(batch_max, &ring, &params), "io_uring_setup");
  check(io_uring_register_ring_fd(&ring), "register_ring_fd");
  std::array<double, pieces> ns{};
  for (double& piece : ns) {
    const auto start = std::chrono::steady_clock::now();
    unsigned done = 0;
    for (; done < per_piece; done += static_cast<unsigned>(batch)) run_batch(ring, static_cast<unsigned>(batch));
    piece = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / done;
  }
  std::ranges::sort(ns);
  std::printf("{\"ns\": %.2f, \"best_ns\": %.2f, \"per_second\": %.0f}\n", ns[pieces / 2], ns[0], 1e9 / ns[pieces / 2]);
}
