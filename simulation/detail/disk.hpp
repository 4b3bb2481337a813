// SPDX-License-Identifier: Apache-2.0
#pragma once

/// disk: the one disk of a simulated machine, which survives crash and restart, and the files that are open on it.
///
///     operation on a file or a path --drawn latency--> happens, completes
///         '-- cancelled: has not happened, or goes on, as a kernel's worker would      power_off(): in part, or not
///
/// What goes wrong: EIO, ENOSPC, transfers that are shorter than they could be; an fsync that fails, after which the
/// kernel holds for clean what it could not write; at a crash everything that was not synced (file_content,
/// file_system). "Write, fsync, rename, fsync the directory" keeps what was written, and anything less may lose it.
///
/// Calls that programs make beside the backend (getdents64, open, ftruncate, fstat) come here, too, and take no time.
///
/// Affinity:   the simulator's thread.
/// Limits:     `disk_options::bytes_max` of a disk: ENOSPC, or EFBIG for one file; paths and names as file_system.

#include <skerry/simulation/detail/file_system.hpp>
#include <skerry/simulation/detail/simulated_backend.hpp>
#include <skerry/simulation/detail/watches.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>

#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

namespace skerry::sim::detail {

class disk;
class world;

class open_file final : public node {
 public:
  open_file(disk& on, inode_ptr what, int how);

  /// A file waits for its disk only, and nobody waits for a file.
  void start(request& r) noexcept override;
  std::uint32_t events() const noexcept override;
  bool attempt(request& r) noexcept override;
  long read_now(msghdr& into, int flags) override;
  long write_now(const msghdr& from, int flags) override;
  long seek(std::int64_t by, int from);
  void closed() noexcept override;
  void vanished() noexcept override;

  disk& of;
  const inode_ptr found;
  const int flags;
  std::uint64_t position = 0;
  unsigned failed_syncs_seen;
  std::string listed_up_to;  // of a directory: the last name that was given
  unsigned listed_dots = 0;
};

class disk final : public node {
 public:
  explicit disk(machine& of);

  /// On a path.
  void start(request& r) noexcept override { begin(r, nullptr); }
  void begin(request& r, std::shared_ptr<open_file> on) noexcept;
  void cancel(request& r) noexcept override;
  std::uint32_t events() const noexcept override { return 0; }
  bool attempt(request&) noexcept override { return false; }
  void closed() noexcept override {}
  /// The machine crashes. Before its backends die: what is on its way may still happen.
  void power_off();
  /// Its process ends at once, likewise; what the page cache has stays.
  void process_ended() { end_pending(false); }

  // What system calls do; 0 or more, or -errno.
  int open_now(const char* path, int flags, std::uint32_t mode);
  long list_now(open_file& directory, std::byte* into, std::size_t bytes);
  int resize_now(open_file& of, std::uint64_t size);
  static int status_now(const inode& of, struct ::stat& into) noexcept;
  int find_now(const char* path, inode_ptr& found) { return names_.find(nullptr, path, found); }
  int make_socket(const char* path, inode_ptr& made);
  int unlink_now(const char* path, bool directory = false);
  int rename_now(const char* from, const char* to);
  int make_directory_now(const char* path, std::uint32_t mode);
  /// Who watches its files, and hears of what happens to them.
  watches& watched() noexcept { return watched_; }
  /// As flock.
  int lock_now(const open_file& by, int how);

 private:
  friend class open_file;
  struct pending {
    request* what;
    std::shared_ptr<open_file> on;
  };
  struct outcome {
    std::int32_t result;
    std::uint32_t flags = 0;
  };

  world& in() const noexcept;
  void due(std::uint64_t number);
  void end_pending(bool torn);
  /// Does what is asked for; `torn`: the power fails meanwhile.
  outcome perform(request& r, open_file* on, bool torn);
  std::int32_t open(const submission& what, const inode_ptr& from);
  std::int32_t open_found(int flags, inode_ptr found);
  outcome read(request& r, open_file& from);
  std::int32_t write(std::span<const iovec> pieces, open_file& to, std::uint64_t offset, bool torn);
  std::int32_t sync(open_file& of);
  std::int32_t allocate(open_file& of, int mode, std::uint64_t offset, std::uint64_t bytes);
  int status(const submission& what, open_file* on);
  std::uint64_t room() const noexcept;

  machine& of_;
  watches watched_;
  file_system names_;
  std::map<std::uint64_t, pending> pending_;
  std::uint64_t numbers_ = 0;
};

}  // namespace skerry::sim::detail
