// SPDX-License-Identifier: Apache-2.0
#pragma once

/// kv_model: what one key of the key-value server may answer: the specification for sim::check_linearizability.
///
/// Commands and answers carry the time at which they were sent and received, for a key with a deadline is a key and
/// nothing at once until somebody looks. The deadline of `SET k v EX 10` is some moment between the sending and the
/// answer, ten seconds later; so the model keeps the earliest and the latest that it can be. An operation that can lie
/// before the latest finds the key, one that can lie behind the earliest finds nothing.
///
/// Commands of several keys are one operation per key: MGET a GET each, MSET a SET each, FLUSHALL a `flush` of every
/// key. A server that keeps nothing over a restart is a `flush` at the moment of its crash.
///
/// Units:  milliseconds, of any clock that runs as fast as the server's.
/// Limits: a reply that the model does not know (an error other than those of INCR) fits nothing, so a refusal for lack
///         of memory has to be left out of the history, as what has not happened.

#include <skerry/simulation/linearizability.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <support/resp_reply.hpp>

namespace kv_test {

struct kv_command {
  enum class verb : std::uint8_t {
    get,
    set,
    getdel,
    getex,
    del,
    exists,
    type,
    incr,
    append,
    strlen,
    expire,
    persist,
    ttl,
    pttl,
    flush
  };
  verb what = verb::get;
  std::string key;
  std::string value;                      ///< of SET, APPEND
  std::int64_t amount = 1;                ///< of INCR and its like: added
  std::optional<std::int64_t> expire_ms;  ///< of SET, GETEX, EXPIRE
  bool nx = false, xx = false, get = false, keep_ttl = false;
  std::uint64_t sent_ms = 0;
};

struct kv_answer {
  resp_reply reply;
  std::uint64_t received_ms = 0;
};

/// As a client sends it. FLUSHALL is for all keys.
std::vector<std::string> words_of(const kv_command& command);
std::string describe(const kv_command& command);

struct kv_state {
  bool there = false;
  std::string value;
  std::uint64_t dies_earliest = 0, dies_latest = 0;  ///< both 0: never

  bool lasts() const noexcept { return dies_latest == 0; }
  bool operator==(const kv_state&) const = default;
};

class kv_model {
 public:
  using input = kv_command;
  using output = kv_answer;
  using state = kv_state;

  /// `clock_lag_ms`: how far the clock that a shard goes by may be behind: it reads it once in a while, and may be
  /// stopped between that and a command.
  explicit kv_model(std::uint64_t clock_lag_ms = 0) : clock_lag_ms_(clock_lag_ms) {}

  kv_state initial() const { return {}; }
  template <class Next>
  void step(const kv_state& now, const kv_command& in, const kv_answer* seen, Next next) const {
    for (kv_state& after : outcomes(now, in, seen)) next(std::move(after));
  }
  bool reads_only(const kv_command& in, const kv_answer& out) const;
  const std::string& key(const kv_command& in) const { return in.key; }
  std::size_t hash(const kv_state& s) const { return std::hash<std::string>()(s.value) + s.dies_earliest; }
  std::string describe(const kv_state& s) const;
  std::string describe(const kv_command& in, const kv_answer* out) const;

 private:
  std::vector<kv_state> outcomes(const kv_state& now, const kv_command& in, const kv_answer* seen) const;

  std::uint64_t clock_lag_ms_;
};

using kv_history = skerry::sim::history<kv_model>;

/// Acknowledged means there: an unconditional SET without a deadline that was answered, and after which nobody sent
/// anything that changes the key, is what everybody reads. Needs no search, so its text is short; the first that was
/// lost, or nothing.
std::optional<std::string> find_lost_write(const kv_history& seen);

}  // namespace kv_test
