// SPDX-License-Identifier: Apache-2.0
#pragma once

/// watched_descriptor: a descriptor that tells by being readable that something has happened, as long as it is watched,
/// whoever waits for it or nobody.
///
///     watch() --> polled --readable--> noticed() --true--> polled again
///                   |  ^                   '------false--> not watched any more
///                   v  '--- a pause passes
///              the kernel refuses the poll for now (ENOMEM): looked at, and again after a pause, never a spin
///
/// Affinity:   home shard.
/// Invariants: it is used, in the sense of pooled_descriptor, from watch() until the last completion.

#include <skerry/net/detail/descriptor.hpp>
#include <skerry/timers/timer.hpp>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <utility>

#include <poll.h>

namespace skerry::net::detail {

class watched_descriptor : public pooled_descriptor {
 public:
  static constexpr std::chrono::milliseconds failure_pause{100};

  void watch() noexcept {
    use();
    poll();
  }

 protected:
  explicit watched_descriptor(unique_fd fd) : pooled_descriptor(std::move(fd), false) {}
  /// Something may have happened. Whether to go on.
  virtual bool noticed() noexcept = 0;
  /// From let_go: nothing is noticed any more.
  void stop_watching() noexcept {
    stopped_ = true;
    if (!pause_.armed()) return kernel().cancel(polling_);
    timers::this_timers().cancel(pause_);
    leave();
  }

 private:
  struct polling final : operation {
    explicit polling(watched_descriptor& of) noexcept : owner(of) {}
    void complete(std::int32_t result, std::uint32_t) noexcept override { owner.polled(result); }
    watched_descriptor& owner;
  };
  struct pausing final : timers::timer {
    explicit pausing(watched_descriptor& of) noexcept : owner(of) {}
    void expired() noexcept override { owner.poll(); }
    watched_descriptor& owner;
  };

  void poll() noexcept { prepare::poll(kernel().submit(polling_), fd(), POLLIN); }
  void polled(std::int32_t result) noexcept {
    if (stopped_ || !noticed()) return leave();
    if (result >= 0 || result == -EINTR || result == -ECANCELED) return poll();
    timers::this_timers().arm(pause_, clock::now() + failure_pause);
  }

  polling polling_{*this};
  pausing pause_{*this};
  bool stopped_ = false;
};

}  // namespace skerry::net::detail
