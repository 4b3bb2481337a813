// SPDX-License-Identifier: Apache-2.0
#pragma once

/// file_watch: what happens to files and directories, as it happens (inotify).
///
///     net::file_watch changes;
///     int settings = co_await changes.add("/etc/app", IN_CLOSE_WRITE | IN_MOVED_TO);
///     while (true) {
///       net::file_change each = co_await changes.next();
///       if (each.overflowed() || each.watch == settings) reload();
///     }
///
/// The kernel queues what happens; next() takes a batch of it and hands it out one by one. When nobody takes it and the
/// queue is full the kernel drops what comes: then the next change says so (`overflowed()`), and who follows looks at
/// everything anew. A write to a directory's file shows in the watch of that directory, with the file's name; whoever
/// replaces files (write_file_atomically) is seen as IN_MOVED_TO there, and a watch of the file itself ends.
///
/// Affinity:     the shard that made it.
/// Ownership:    dropping it ends all its watches. The kernel takes 7 to 15 ms for that, which it spends in a thread of
///               its own.
/// Errors:       std::system_error that names the path; ENOSPC and EMFILE, the kernel's limits, name the setting.
/// Cancellation: next() lets go at once, and what has come is there for the next call. A cancelled add has added its
///               watch or has not.
/// Limits:       a batch of `batch_bytes` here; the kernel's are fs.inotify.max_queued_events (then: overflow),
///               max_user_watches and max_user_instances. A directory is watched, not what is beneath its directories.
/// Source:       inotify(7) of the Linux manual.

#include <skerry/framework/task/task.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <sys/inotify.h>

namespace skerry::net {

class file_state;

/// One thing that has happened.
struct file_change {
  int watch = -1;            ///< what add() gave; -1: of none, see overflowed()
  std::uint32_t kinds = 0;   ///< IN_*; IN_ISDIR beside them, and IN_IGNORED when the watch has ended
  std::uint32_t cookie = 0;  ///< the same in both halves of a rename: IN_MOVED_FROM, IN_MOVED_TO
  std::string name;          ///< in the directory that is watched; empty when it is what is watched itself

  /// Changes were lost before this one.
  bool overflowed() const noexcept { return (kinds & IN_Q_OVERFLOW) != 0; }
};

class file_watch {
 public:
  static constexpr std::size_t batch_bytes = 4096;
  /// Everything but reading.
  static constexpr std::uint32_t changes =
      IN_MODIFY | IN_ATTRIB | IN_CLOSE_WRITE | IN_MOVE | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF;

  file_watch();
  file_watch(file_watch&& other) noexcept
      : state_(std::exchange(other.state_, nullptr)), batch_(std::move(other.batch_)) {}
  file_watch& operator=(file_watch&& other) noexcept {
    std::swap(state_, other.state_);
    std::swap(batch_, other.batch_);
    return *this;
  }
  ~file_watch();

  /// Watches what has that name now, for `kinds` (IN_*); the number that its changes have. A path that leads to what is
  /// watched already has that one's number, and `kinds` take the place of those it had (IN_MASK_ADD: join them).
  task<int> add(std::string path, std::uint32_t kinds = changes);
  /// Its last change is IN_IGNORED. EINVAL when there is no such watch.
  void remove(int watch);
  /// The next change; suspends while there is none.
  task<file_change> next();

 private:
  struct batch {
    alignas(inotify_event) char bytes[batch_bytes];
    std::size_t at = 0;
    std::size_t end = 0;
  };
  bool receive();
  file_change take();

  file_state* state_;
  std::unique_ptr<batch> batch_;
};

}  // namespace skerry::net
