// SPDX-License-Identifier: Apache-2.0
#pragma once

/// channel: c-ares on a reactor.
///
/// c-ares calls for sockets, and they are made here, each with the operation that polls it. A socket that c-ares closes
/// is closed when the kernel has let go of that poll, so that no completion meets another socket under its number.
///
///     made --c-ares wants events--> polled --completion--> ready --poll()--> c-ares --> polled or, when idle, closed
///                                      '-- other events wanted: cancelled and polled anew
///
/// Polls are one-shot: c-ares reads less than there is, and the next poll tells of the rest.
///
/// Affinity:   the shard that made it.
/// Ownership:  owns its sockets until c-ares closes them, then they own themselves. `answer_to` objects are the
///             caller's and live until they are answered.
/// Invariants: (1) with nothing asked no socket is open and no timer is armed; (2) each question is
///             answered once.
/// Limits:     none of its own; whoever asks bounds the questions.

#include <skerry/framework/backend/operation.hpp>
#include <skerry/framework/observe/metrics.hpp>
#include <skerry/framework/reactor/poller.hpp>
#include <skerry/net/dns/resolver.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/timers/timer.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

struct ares_channeldata;
struct ares_addrinfo;

namespace skerry::net::dns::detail {

/// What all resolvers of a shard share: their figures, and the sockets that the shard's end waits for.
struct shard_part final : drainable {
  shard_part();
  ~shard_part();
  void begin_drain() noexcept override {}
  bool drained() const noexcept override { return true; }
  bool empty() const noexcept override { return stats.sockets == 0; }

  resolver_stats stats;
  backend& kernel;

 private:
  friend class polled_socket;
  shard& home_;
  std::vector<observe::registration> published_;
};
shard_part& this_part();

/// Somebody who has asked.
class answer_to {
 public:
  /// An ARES_* status and, for success, a list that is freed after this call.
  virtual void answered(int status, const ares_addrinfo* found) noexcept = 0;

 protected:
  ~answer_to() = default;
};

class polled_socket;

class channel final : public poller, private timers::timer {
 public:
  /// Throws std::system_error.
  channel(const resolver_options& options, shard_part& part);
  ~channel();

  /// May answer before it returns.
  void ask(const std::string& name, family wanted, answer_to& who) noexcept;
  /// Answers everything with ARES_ECANCELLED.
  void cancel_all() noexcept;

  void poll() noexcept override;
  bool has_work() noexcept override { return something_ready_; }

 private:
  friend class polled_socket;
  struct calls;  // what c-ares calls

  void expired() noexcept override { something_ready_ = due_ = true; }
  /// After every call of c-ares that may have changed what it waits for.
  void wait_on() noexcept;

  shard_part& part_;
  ares_channeldata* ares_ = nullptr;
  std::map<int, polled_socket*> sockets_;
  std::vector<std::pair<int, std::uint32_t>> ready_;  // of one poll; keeps its memory
  bool something_ready_ = false;
  bool due_ = false;  // the timer has expired
  bool is_poller_ = false;
};

}  // namespace skerry::net::dns::detail
