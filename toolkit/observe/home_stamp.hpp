// SPDX-License-Identifier: Apache-2.0
#pragma once

/// home_stamp: what belongs to one shard knows in debug builds which one that is, and which task made it.
///
///     struct door {
///       void open() noexcept { home.check("a door"); }
///       [[no_unique_address]] home_stamp home;
///     };
///
/// Types keep most things from crossing (transferable.hpp); what gets past them, by a static, a pointer, borrowed() or
/// unchecked(), is told at the first touch, with both tasks:
///
///     skerry: assertion failed: home: a door belongs to shard 0, where task 12 "porter" made it
///       at toolkit/observe/home_stamp.hpp:62, shard 1, task "submit_to"
///
/// On where CMake's SKERRY_HOME_STAMPS is: in builds of type Debug, the sanitizers' among them. Else it is empty and
/// checks nothing. Join handles, timers and cancel sources are checked there, too, by the core (`home_mark`); local
/// primitives, channels, received buffers and files in every build, where they are used, and frames of tasks where they
/// end. These name the task that touches.
///
/// Affinity:   made at home; `check` anywhere, which is its purpose.
/// Invariants: an object lives on the shard that made it until its end.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/this_shard.hpp>

#include <cstdint>
#include <cstdio>

namespace skerry {

#ifdef SKERRY_HOME_STAMPS

class home_stamp {
 public:
  home_stamp() noexcept : home_(detail::current_shard) {
    if (home_ == nullptr) return;
    shard_ = home_->id;
    if (home_->current == nullptr) return;
    task_ = home_->current->id();
    name_ = home_->current->name();
  }
  /// Stops the process elsewhere. `what` begins the sentence: "a connection".
  void check(const char* what) const noexcept {
    if (home_ != detail::current_shard) [[unlikely]]
      report(what);
  }

 private:
  [[noreturn, gnu::cold]] void report(const char* what) const noexcept {
    char text[256];
    std::snprintf(text, sizeof text, "%s belongs to shard %u, where task %llu \"%s\" made it", what, shard_,
                  static_cast<unsigned long long>(task_), name_);
    detail::assert_failed("home", text, __FILE__, __LINE__);
  }

  const shard_core* home_;
  std::uint64_t task_ = 0;
  const char* name_ = "";  // lives for ever
  shard_id shard_ = 0;
};

#else

class home_stamp {
 public:
  void check(const char*) const noexcept {}
};

#endif

}  // namespace skerry
