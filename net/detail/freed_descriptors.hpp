// SPDX-License-Identifier: Apache-2.0
#pragma once

/// freed_descriptors: whoever accepts and finds no descriptor free waits here until one is closed, on whichever shard.
/// A process has one table of them for all its shards.
///
///   shard that waits                                         shard that closes one
///   pause() --"I wait", once, to all who do not know-->      remembers it, last of those who wait
///   looks again: one may have been closed meanwhile
///   looks   <--"one is free"----------------------------     closed(): asks who has waited longest
///           --used: it waits on, as the last; no use: forgotten, and the next is asked; none left: nobody is-->
///
/// One descriptor is one look at a time, so shards take turns and nobody spins. While nobody waits a close costs a
/// look-up in the shard's table. Rejected: one word in which all shards see that somebody waits, an atomic of its own
/// kind for what is rare; and to tell all who wait of each, of whom one gets it.
///
/// Affinity:   home shard.
/// Ownership:  none; those who wait belong to others and leave when they go.
/// Invariants: who knows_ says has us in its waiting_, or asks us right now.
/// Limits:     a shard asks one other at a time; a stopping one asks nobody. What is closed past this (by libraries, or
///             in other processes where the system's table is full) is found when the pause of who waits is over.

#include <skerry/framework/detail/intrusive_list.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/framework/this_shard.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace skerry::net::detail {

enum class descriptor_use : std::uint8_t { used, no_use, none_left };

/// Waits for a descriptor while it is in the list.
class descriptor_waiter : public skerry::detail::list_hook<descriptor_waiter> {
 public:
  /// Called out of the list, to try at once. Unless none is left it goes on by itself, and may pause again.
  virtual descriptor_use use_descriptor() noexcept = 0;

 protected:
  ~descriptor_waiter() = default;
};

class freed_descriptors {
 public:
  freed_descriptors();

  void pause(descriptor_waiter& who) noexcept;
  /// A descriptor was closed on this shard.
  void closed() noexcept;
  /// Whether all shards know that somebody may wait here, or will be told.
  bool all_know() const noexcept { return std::ranges::find(knows_, false) == knows_.end(); }
  bool telling() const noexcept { return announcing_; }

 private:
  task<> announce();
  task<> pass_on();
  descriptor_use look() noexcept;
  void remember(shard_id who);

  skerry::detail::intrusive_list<descriptor_waiter, descriptor_waiter> paused_;
  std::vector<bool> knows_;        // shards that ask us, ourselves included
  std::vector<shard_id> waiting_;  // shards to ask, who has waited longest first; each once
  std::size_t closed_ = 0;         // of which nobody has been told
  bool announcing_ = false;
  bool passing_ = false;
};

/// This shard's; made on first use.
freed_descriptors& this_freed_descriptors();
/// A descriptor was closed, on a shard or elsewhere.
void descriptor_closed() noexcept;

}  // namespace skerry::net::detail
