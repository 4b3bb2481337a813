// SPDX-License-Identifier: Apache-2.0
#pragma once

/// file_system: the names on a simulated disk, as programs see them and as they are after a power cut.
///
///     create, rename, unlink, mkdir --> entries, and a change in the log --sync_directory()--> durable entries
///                                                                        --now and then, the oldest
///     power_off(): each change in the log survives or not
///
/// A rename is one change of two entries, so a file never loses both of its names, and never has both: so much every
/// file system promises that has a journal. A change survives only if every earlier one of the same entries does; one
/// that moves a directory elsewhere, only if all earlier ones do.
///
/// There are no links: nothing above asks for any. Errors are negative, as the kernel's.
///
/// Affinity:   the simulator's thread. Knows no requests; who watches a file hears of what becomes of its name.
/// Ownership:  directories own what is in them; whoever has a file open shares it.
/// Limits:     names of 255 bytes, paths of 4095; `log_max` changes that are not durable, then the oldest becomes so.

#include <skerry/simulation/detail/file_content.hpp>

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <linux/openat2.h>

namespace skerry::sim::detail {

/// What a name stands for. Of a Unix socket there is the name only; who is bound to it its host knows.
struct inode : std::enable_shared_from_this<inode> {
  using names = std::map<std::string, std::shared_ptr<inode>, std::less<>>;
  enum type : std::uint8_t { file, directory, socket };

  inode(std::uint64_t which, type what, std::uint32_t permissions, std::shared_ptr<std::uint64_t> used) noexcept
      : number(which), kind(what), is_directory(what == directory), mode(permissions), content(std::move(used)) {}

  const std::uint64_t number;
  const type kind;
  const bool is_directory;
  const std::uint32_t mode;
  std::chrono::nanoseconds modified{0};
  bool named = true;                  ///< or it is gone once nobody has it open
  unsigned opened = 0;                ///< how many have; of a directory also: files without a name that were in it
  std::uint64_t within = 0;           ///< the number of the directory that it is in, or was in last
  std::string name;                   ///< there
  std::shared_ptr<inode> stays;       ///< that directory, which does not go before a file that has no name and is open
  std::map<const void*, bool> locks;  ///< who holds one (flock); true: alone
  // of a file
  file_content content;
  unsigned failed_syncs = 0;
  // of a directory
  names entries, durable;
  inode* parent = nullptr;
};

using inode_ptr = std::shared_ptr<inode>;
class watches;

class file_system {
 public:
  static constexpr std::size_t log_max = 64;

  /// Has the directory /tmp. `told` hears of what happens, and outlives it.
  file_system(draw_source draw, watches& told);
  ~file_system();

  /// `from` is where a relative path begins; null: the root, which is the working directory.
  int open(const inode_ptr& from, std::string_view path, const open_how& how, inode_ptr& found);
  int make_directory(const inode_ptr& from, std::string_view path, std::uint32_t mode);
  int make_socket(const inode_ptr& from, std::string_view path, std::uint32_t mode, inode_ptr& made);
  int rename(const inode_ptr& from, std::string_view old_path, const inode_ptr& to, std::string_view new_path);
  int unlink(const inode_ptr& from, std::string_view path, bool directory);
  int find(const inode_ptr& from, std::string_view path, inode_ptr& found);

  void sync_directory(const inode& which);
  void power_off();
  /// Of all files.
  std::uint64_t used() const noexcept { return *used_; }
  std::chrono::nanoseconds wall{0};  ///< the time of what happens next

 private:
  struct place {
    inode_ptr directory;
    std::string name;           // empty: the path leads to a directory by itself (/, ., ..)
    inode_ptr found;            // null: there is none
    bool as_directory = false;  // it ends in a slash
  };
  struct change {
    struct entry {
      inode_ptr directory;
      std::string name;
      inode_ptr becomes;
    };
    std::vector<entry> entries;
    bool moves_directory = false;
  };
  using keys = std::set<std::pair<std::uint64_t, std::string>>;

  int resolve(inode_ptr at, std::string_view path, std::uint64_t how, place& into) const;
  inode_ptr make(inode::type kind, std::uint32_t mode);
  void happen(change what);
  void make_durable(const change& what);
  void rebuild(const inode_ptr& directory, std::set<std::uint64_t>& seen);

  draw_source draw_;
  watches& told_;
  std::shared_ptr<std::uint64_t> used_;
  std::uint64_t numbers_ = 1;
  inode_ptr root_;
  std::vector<std::weak_ptr<inode>> directories_;  // and some that are gone
  std::deque<change> log_;
};

}  // namespace skerry::sim::detail
