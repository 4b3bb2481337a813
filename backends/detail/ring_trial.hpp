// SPDX-License-Identifier: Apache-2.0
#pragma once

/// ring_trial: what a ring can do, by trying it.
///
///     auto rings = make_io_uring_backends(1, 64);
///     rings.front()->bundles = skerry::detail::bundles_work(*rings.front());
///
/// A bare ring answers what needs no operation: set-up flags, registrations, the list of opcodes. What must be seen at
/// work is done once on a backend as a shard has it, with sockets of this process at both ends and buffers in a group
/// of their own, which goes with the trial: whatever becomes of it, the shard's buffers are as they were.
///
/// Affinity:   a backend's: the thread that started it, and no operation of others is in flight.
/// Errors:     std::system_error where a bare ring is refused; what a ring cannot do is an answer, and so is that there
///             are no descriptors for the trial.
/// Limits:     a trial waits at most a second. Where RLIMIT_MEMLOCK is used up by rings that were closed just now, each
///             set-up tries again for half a second.

#include <skerry/framework/backend/backend.hpp>

#include <chrono>
#include <cstdint>

namespace skerry::detail {

/// Known to kernels newer than the headers of Debian 12.
namespace io_uring_names {
constexpr std::uint32_t feature_bundle = 1u << 14, feature_min_timeout = 1u << 15, feature_no_iowait = 1u << 17;
constexpr std::uint16_t buffer_ring_incremental = 2;
constexpr unsigned register_napi = 27, unregister_napi = 28;
/// io_uring_napi. The kernel answers with what was in force before.
struct napi_settings {
  std::uint32_t busy_poll_us = 0;
  std::uint8_t prefer_busy_poll = 0, rest[11]{};
};
constexpr std::uint8_t op_ftruncate = 55;
}  // namespace io_uring_names

class bare_ring {
 public:
  /// Throws std::system_error.
  explicit bare_ring(std::uint32_t flags);
  ~bare_ring();
  bare_ring(const bare_ring&) = delete;
  bare_ring& operator=(const bare_ring&) = delete;

  std::uint32_t features() const noexcept { return features_; }
  /// Of the kernel's list.
  bool knows(std::uint8_t opcode) const noexcept;
  bool registers_own_descriptor() noexcept;
  /// A table of `IORING_REGISTER_BUFFERS2` or `IORING_REGISTER_FILES2` with nothing in it.
  bool registers_empty(unsigned table) noexcept;
  bool registers_buffer_ring(std::uint16_t flags) noexcept;
  bool registers_napi() noexcept;

 private:
  int fd_;
  std::uint32_t features_ = 0;
};

/// Lets waits on the ring poll the network for so long before they sleep, with a device's interrupts held back where
/// its administrator allows that (napi_defer_hard_irqs). On its issuer's thread, or any while it is disabled. 0, or the
/// error.
int register_napi(int ring, std::chrono::microseconds busy_poll) noexcept;

/// Whether a ring can be set up so.
bool sets_up(std::uint32_t flags) noexcept;

/// Each runs once on a backend of io_uring, with `true` where it gave what it should.
bool multishot_receive_works(backend& on);
bool multishot_accept_works(backend& on);
bool multishot_poll_works(backend& on);
/// One completion that fills two buffers, nothing out of place, and an end after as many bytes as were asked for.
bool bundles_work(backend& on);
/// Over TCP on loopback, where it copies after all and says so: two completions, and what was sent arrives.
bool zero_copy_works(backend& on);

}  // namespace skerry::detail
