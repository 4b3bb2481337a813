// SPDX-License-Identifier: Apache-2.0
#pragma once

/// watch_list: an epoll instance, and which jobs wait in it for which descriptor.
///
/// A descriptor is registered once, for what all who wait for it want, and the kernel is told only when that changes.
/// It is told before the last completion of those that waited, for their owner may close the descriptor then, and a
/// registration outlives the number where somebody else has the description. Rejected: telling it lazily, which saves a
/// call per one-shot poll and then finds another file under the number.
///
/// Affinity:   home shard.
/// Invariants: a descriptor is registered while somebody waits for it.
/// Limits:     16 bytes for each descriptor number up to the highest that was waited for.
/// Errors:     -errno from add(): nobody waits. What cannot be taken out (the kernel was told wrongly, or another file
///             has the number) is tried again when it is next reported.

#include <skerry/backends/detail/job.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <vector>

#include <sys/epoll.h>
#include <unistd.h>

namespace skerry::detail {

/// Owned by the backend.
struct own_descriptor {
  explicit own_descriptor(int made) : fd(made) {
    if (fd < 0) throw std::system_error(errno, std::generic_category(), "epoll backend");
  }
  own_descriptor(const own_descriptor&) = delete;
  own_descriptor& operator=(const own_descriptor&) = delete;
  ~own_descriptor() { ::close(fd); }
  const int fd;
};

inline bool is_poll(const job& j) noexcept { return j.what.opcode == IORING_OP_POLL_ADD; }
/// Told each time something arises, not as long as it is there.
inline bool wants_edges(const job& j) noexcept { return is_poll(j) && j.what.len != 0; }
/// The events it waits for; errors and hang-ups come in any case.
std::uint32_t wanted_by(const job& j) noexcept;

class watch_list {
 public:
  /// `how` is 0 or EPOLLET; `calls` counts system calls. Throws std::system_error.
  watch_list(std::uint32_t how, std::uint64_t& calls);

  int fd() const noexcept { return epoll_.fd; }
  /// Of those that wait for `fd`; they are linked by `next`.
  job* first(int fd) const noexcept {
    return static_cast<std::size_t>(fd) < by_fd_.size() ? by_fd_[static_cast<std::size_t>(fd)].first : nullptr;
  }

  /// 0 or -errno. -EPERM: the file knows no readiness. -ENOENT: those that wait already, wait for a file that had this
  /// number before.
  int add(job& j) noexcept;
  void remove(job& j) noexcept;
  /// For what is not a job's.
  int control(int call, int fd, std::uint32_t events) noexcept;
  /// Something was reported that nobody waits for.
  void not_wanted(int fd) noexcept;

 private:
  struct waiters {
    job* first = nullptr;
    std::uint32_t told = 0;  // to the kernel; 0 if it is not registered
  };

  std::uint32_t wanted(const waiters& w) const noexcept;
  int tell(int fd, bool in_any_case) noexcept;

  own_descriptor epoll_;
  const std::uint32_t how_;
  std::uint64_t& calls_;
  std::vector<waiters> by_fd_;
};

}  // namespace skerry::detail
