// SPDX-License-Identifier: Apache-2.0
#pragma once

/// io_uring_extras: what a ring does only where somebody asks for it, since most programs are slower with it.
///
///     sqpoll_idle       a thread of the kernel's per ring submits, and sleeps after so long without work: SQPOLL
///     napi_busy_poll    a wait looks for packets in the driver for so long before it sleeps: IORING_REGISTER_NAPI
///     zero_copy_from    sends of so many bytes or more leave their memory to the kernel: SEND_ZC
///
/// The kernel chooses the CPU of that thread among those that it lets the process use, and the thread keeps the user
/// and the groups that the process had at its start. A shard that spins while idle (`--idle-spin-us`) then makes no
/// system call to send or receive; that takes two CPUs per shard.
///
/// A send without copying spares what a copy costs and pays for a second completion; what pays more is known only where
/// the network card is. A connection tries it once it sends so much at a time and does not stay on this machine, and
/// gives it up when the kernel says that it had to copy after all.
///
/// Units: what the kernel counts in, milliseconds, microseconds and bytes; 0 is off.

#include <chrono>
#include <cstdint>

namespace skerry {

struct io_uring_extras {
  std::chrono::milliseconds sqpoll_idle{0};
  std::chrono::microseconds napi_busy_poll{0};
  std::uint32_t zero_copy_from = 0;

  /// How the first one is asked for on a command line; null where none is.
  const char* asked() const noexcept {
    if (sqpoll_idle.count() != 0) return "--sqpoll-idle-ms";
    if (napi_busy_poll.count() != 0) return "--napi-busy-poll-us";
    return zero_copy_from != 0 ? "--send-zc-bytes" : nullptr;
  }
};

}  // namespace skerry
