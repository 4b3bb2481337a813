// SPDX-License-Identifier: Apache-2.0
#pragma once

/// poller: the seam through which the layers above add work to a reactor.
///
/// The timer wheel, the mailboxes and the streams implement it. A turn has these phases, each for all pollers, in the
/// order in which they were added, before the next:
///
///     poll()          take in what has arrived: due timers, messages, replies
///     flush()         hand over what is queued: outboxes, unsent bytes
///     wake_targets()  wake the shards that were handed something
///     deadline()      when poll() is needed again without any event
///     has_work()      the last look after sleep has been announced
///
/// Affinity: home shard. Nothing here may throw, block or resume a coroutine; it queues tasks.

#include <skerry/framework/clock.hpp>

namespace skerry {

class poller {
 public:
  virtual void poll() noexcept = 0;
  virtual void flush() noexcept {}
  virtual void wake_targets() noexcept {}
  /// `clock::time_point::max()` means never.
  virtual clock::time_point deadline() noexcept { return clock::time_point::max(); }
  virtual bool has_work() noexcept { return false; }

  poller(const poller&) = delete;
  poller& operator=(const poller&) = delete;

 protected:
  poller() = default;
  ~poller() = default;
};

}  // namespace skerry
