// SPDX-License-Identifier: Apache-2.0
#pragma once

/// watches: what happens to the files of a simulated host, told to whoever watches them (inotify).
///
///     file_system, disk --what happens--> watches --if it is wanted--> watch_queue --read--> program
///                                                                        '-- full: IN_Q_OVERFLOW, no more
///
/// It does not matter which shard changes a file, or by which call. What a program sees, and in which order, is what
/// Linux shows today: of a file in a directory first the directory's watch hears, with the name, then the file's own,
/// without. Whatever has neither a name nor somebody who has it open is gone, and says so to its own watches
/// (IN_DELETE_SELF, IN_IGNORED), a directory not before what was in it. A change that is the same as the last in the
/// queue is not told twice.
///
/// Drawn from the seed: how many of the changes that are there one read gives (`short_transfer`: fewer), and whether
/// the kernel lacks the memory for one (`out_of_memory`), which is told as an overflow.
///
/// Affinity:   the simulator's thread, whosever turn it is.
/// Ownership:  the disk has the table. Watches know a file by its number, so that none keeps a file.
/// Invariants: (1) a watch is in the table and in its queue, or in neither; (2) the last change of a watch is
///             IN_IGNORED, if there is room; (3) a queue has IN_Q_OVERFLOW in it at most once.
/// Limits:     `system_options::watches_max`, `watch_queues_max`, `watched_changes_max`. There are no links, and
///             nothing changes owner, mode or times, so IN_ATTRIB comes only when a file loses its name. That a Unix
///             socket is bound to a file does not keep it.
/// Source:     inotify(7) of the Linux manual.

#include <skerry/simulation/detail/file_system.hpp>
#include <skerry/simulation/detail/simulated_backend.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace skerry::sim::detail {

class watch_queue;

/// Of one host: who watches which file.
class watches {
 public:
  /// To the watches of the directory: what became of the name in it.
  void tell_of_name(const inode& directory, std::string_view name, const inode& what, std::uint32_t kinds,
                    std::uint32_t cookie = 0);
  /// To its own watches alone.
  void tell_itself(const inode& what, std::uint32_t kinds);
  /// To those of the directory that it is in, or was in last, and to its own. `resized`: as Linux has it, to those
  /// that want nothing of files without a name (IN_EXCL_UNLINK), too.
  void tell_both(const inode& what, std::uint32_t kinds, bool resized = false);
  /// It has no name any more, in this directory. Unless somebody has it open, it is gone.
  void unnamed(inode& what, inode& directory);
  /// Somebody has it open no more.
  void released(inode& what);
  /// What the two halves of a rename have in common.
  std::uint32_t next_cookie() noexcept { return ++cookies_; }
  /// Nobody watches any more, and nothing is told.
  void power_off() noexcept;

 private:
  friend class watch_queue;
  struct watch {
    watch_queue* by;
    int number;
    std::uint32_t wanted;
  };
  void gone(const inode& what);
  void tell(std::uint64_t about, std::string_view name, std::uint32_t kinds, std::uint32_t cookie, bool unlinked);
  watch* find(std::uint64_t about, const watch_queue& by) noexcept;

  std::map<std::uint64_t, std::vector<watch>> of_;  // by the number of the inode
  std::size_t count_ = 0;
  std::size_t queues_ = 0;
  std::uint32_t cookies_ = 0;
};

/// What inotify_init1 gives.
class watch_queue final : public node {
 public:
  /// Its descriptor, or -EMFILE.
  static int open(machine& of, int flags);
  explicit watch_queue(machine& of) noexcept;
  ~watch_queue() override;

  /// As inotify_add_watch and inotify_rm_watch.
  int add(const char* path, std::uint32_t kinds);
  int remove(int watch);

  std::uint32_t events() const noexcept override;
  bool attempt(request& r) noexcept override;
  long read_now(msghdr& into, int flags) override;
  int control(unsigned long command, int& value) const noexcept override;
  std::uint32_t file_type() const noexcept override { return 0; }
  void closed() noexcept override;
  void vanished() noexcept override { leave(); }

 private:
  friend class watches;
  struct happening {
    int watch;
    std::uint32_t kinds;
    std::uint32_t cookie;
    std::string name;
  };
  static std::size_t bytes_of(const happening& each) noexcept;

  void put(happening what);
  /// Its watch of that file has ended.
  void ended(int watch);
  /// As many whole ones as fit, or some of them; -EAGAIN, or -EINVAL if not even the first does.
  long take(void* into, std::size_t most);
  void leave() noexcept;

  machine& of_;
  std::deque<happening> queue_;
  std::map<int, std::uint64_t> watched_;  // the number of the inode
  int last_watch_ = 0;
  bool overflowed_ = false;  // IN_Q_OVERFLOW is in the queue
  bool counted_ = true;      // among the host's
};

}  // namespace skerry::sim::detail
