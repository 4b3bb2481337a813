// SPDX-License-Identifier: Apache-2.0
#pragma once

/// directory: making, removing and listing directories.
///
///     co_await net::make_directory("/tmp/spool");
///     net::directory_reader spool = co_await net::open_directory("/tmp/spool");
///     while (std::optional<net::directory_entry> each = co_await spool.next()) look_at(each->name);
///     std::vector<net::directory_entry> all = co_await net::list_directory("/tmp/spool", 10'000);
///
/// Making, removing and opening are operations of the ring. Listing is not, because rings have none for it: the shard
/// itself asks the kernel, a batch of `batch_bytes` at a time (about 100 names), and lets others run between two. Out
/// of the page cache a batch takes 25 us (590 batches of a directory with 50 000 names; batches eight times as large
/// took 191 us, and all of them the same time together). A big directory that nobody has looked at since the machine
/// started comes from the device: then a batch takes three times as long on average, and one in some hundred as long
/// as the device, 5 ms here, in which the shard stands still. Who serves such directories under load lists them on a
/// shard that serves nobody. A thread for it was rejected: two hand-overs cost more than a batch, and no bound holds on
/// how many directories are listed at once.
///
/// Affinity:     the shard that opened it. One task at a time.
/// Errors:       std::system_error naming the path. E2BIG from list_directory when there are more than its bound.
/// Cancellation: as of files; next() loses nothing, and may be cancelled where others run.
/// Invariants:   "." and ".." are left out. What is there from before until after is given once; what comes or goes
///               meanwhile may be or may not.
/// Limits:       a batch in memory; list_directory: its bound, which has no default because it is memory.

#include <skerry/framework/task/task.hpp>
#include <skerry/net/file/file.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace skerry::net {

enum class entry_kind : std::uint8_t { unknown, regular, directory, symbolic_link, other };

struct directory_entry {
  std::string name;
  std::uint64_t inode = 0;
  entry_kind kind = entry_kind::unknown;  ///< unknown: this file system tells it by the file's status only
};

class directory_reader {
 public:
  static constexpr std::size_t batch_bytes = 4096;

  /// The next entry, in no order; nothing at the end.
  task<std::optional<directory_entry>> next();
  const std::string& path() const noexcept { return opened_.path(); }
  /// To open what is in it by (open_options::directory).
  int fd() const noexcept { return opened_.fd(); }

 private:
  friend task<directory_reader> open_directory(std::string path);
  struct batch {
    alignas(std::uint64_t) std::array<std::byte, batch_bytes> bytes;
  };
  explicit directory_reader(file opened) : opened_(std::move(opened)), batch_(std::make_unique<batch>()) {}
  bool receive();

  file opened_;
  std::unique_ptr<batch> batch_;
  std::size_t at_ = 0;
  std::size_t end_ = 0;
  bool others_may_run_ = false;
};

task<directory_reader> open_directory(std::string path);

/// All of it, at most `entries_max`.
task<std::vector<directory_entry>> list_directory(std::string path, std::size_t entries_max);

/// `mode`: its permissions, less the process's umask. EEXIST when something has that name.
task<> make_directory(std::string path, unsigned mode = 0777);
/// ENOTEMPTY when it is not empty, ENOTDIR when it is no directory.
task<> remove_directory(std::string path);

}  // namespace skerry::net
