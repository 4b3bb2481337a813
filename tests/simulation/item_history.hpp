// SPDX-License-Identifier: Apache-2.0
#pragma once

/// item_history: what clients asked an http_server about its items, and what they were told. It knows what may come of
/// that, whatever breaks in between:
///
///   - an answer is that to its own request: the item that was asked for, or its number in the refusal
///   - an item is as somebody sent it, whole: its value is a number, and name and price follow from that
///   - a request is done once, or where that changes nothing twice (PUT, DELETE; a client asks again when it got no
///     answer): what POST sent is found in one item, what PUT sent only where it was sent to
///   - what was acknowledged is there: the answers about each item have an order (linearizability.hpp)
///
/// The server keeps nothing over a restart and numbers its items anew, so each of its lives is looked at for itself. It
/// begins with an example on each shard, numbered from 1 on. A request without an answer may have been done in any of
/// them, or in none.
///
/// Affinity: one simulation at a time, in one thread.
/// Errors:   what may not be is told by sim::fail.

#include <skerry/simulation/linearizability.hpp>
#include <skerry/simulation/sim.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace scenarios {

class item_history {
 public:
  /// A server of `shards` shards.
  explicit item_history(unsigned shards) : shards_(shards) { forget(); }

  enum class verb : std::uint8_t { make, show, change, remove };

  /// A value that nobody has sent yet.
  std::uint64_t new_value() noexcept { return ++values_; }
  /// What is sent for it: {"name": …, "price": …}.
  static std::string json_of(std::uint64_t value);

  /// Somebody is about to ask; gives the number of the request. `once`: it is never sent again where the first attempt
  /// got no answer, as the client does with PUT, DELETE and GET.
  std::size_t ask(std::uint32_t client, verb what, std::uint64_t id, std::uint64_t value, bool once);
  /// The whole answer has come, from the server's `life`th life.
  void answered(std::size_t request, unsigned life, unsigned status, std::string_view body);
  /// The whole answer to a request for a list of items has come.
  void listed(unsigned life, std::string_view body);
  /// There is no such item, says the server.
  static bool denies(std::string_view body, std::uint64_t id);

  /// What was there or made and not removed, as far as anybody knows, in this life: worth asking for.
  const std::vector<std::uint64_t>& known() const noexcept { return known_; }
  /// The server is gone, and all items with it but the examples.
  void forget();
  std::size_t answers() const noexcept { return answers_; }

  /// At the end: whether the answers about each item have an order.
  void check() const;

 private:
  struct request {
    std::uint32_t client;
    verb what;
    bool once;
    std::uint64_t id, value;
    std::uint64_t asked, answered = skerry::sim::never;
    unsigned life = 0;
    bool there = false;
    std::uint64_t seen = 0;
  };
  struct sent_value {
    bool in_new_item = false;
    std::uint64_t id = 0;  // of the item that it was sent to, or that it was found in
    unsigned life = 0;
  };

  /// Of an item as JSON its number and value; fails for one that nobody sent so.
  std::pair<std::uint64_t, std::uint64_t> read(unsigned life, std::string_view json);
  void sighted(unsigned life, std::uint64_t id, std::uint64_t value);

  unsigned shards_;
  std::vector<request> requests_;
  std::map<std::uint64_t, sent_value> sent_;
  std::vector<std::uint64_t> known_;
  std::uint64_t values_ = 0;
  std::size_t answers_ = 0;
};

}  // namespace scenarios
