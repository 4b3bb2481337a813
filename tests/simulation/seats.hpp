// SPDX-License-Identifier: Apache-2.0
#pragma once

/// seats: the sharded program that tests/README.md tests: seats of a hall, each on the shard that its number names.

#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/framework/this_shard.hpp>
#include <skerry/shards/submit_to.hpp>

#include <map>
#include <string>
#include <utility>

namespace seats {

/// One shard's seats, and who has them.
struct hall {
  std::map<int, std::string> taken;
};

inline skerry::shard_id home_of(int seat) { return static_cast<skerry::shard_id>(seat) % skerry::shard_count(); }

/// Looks, then takes. Between the two calls somebody else may do the same.
inline skerry::task<bool> book_in_two_calls(int seat, std::string who) {
  const auto is_free = [](int s) { return !skerry::resource<hall>().taken.contains(s); };
  const bool free = co_await skerry::submit_to(home_of(seat), is_free, seat);
  if (!free) co_return false;
  const auto take = [](int s, std::string whose) { skerry::resource<hall>().taken[s] = std::move(whose); };
  co_await skerry::submit_to(home_of(seat), take, seat, std::move(who));
  co_return true;
}

/// Looks and takes in one call, which nothing interrupts.
inline skerry::task<bool> book(int seat, std::string who) {
  const auto take = [](int s, std::string whose) {
    return skerry::resource<hall>().taken.try_emplace(s, std::move(whose)).second;
  };
  co_return co_await skerry::submit_to(home_of(seat), take, seat, std::move(who));
}

}  // namespace seats
