// SPDX-License-Identifier: Apache-2.0
#pragma once

/// items: a small collection whose members live on their shards, as an example of a service that is spread.
///
/// An item's number names its home: number modulo shards. A new item stays on the shard that was asked, so making one
/// costs no message; each shard counts in steps of the number of shards. Whoever asks for an item sends one message to
/// its home, or none if he is there.
///
/// Affinity: any shard; every item is touched by its home alone.
/// Limits:   `items_max` per shard; then making one is refused with 507.

#include <skerry/framework/task/task.hpp>
#include <skerry/framework/this_shard.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace http_server {

struct item {
  using crosses_shards = item;
  std::uint64_t id = 0;
  std::string name;
  std::int64_t price = 0;  ///< in the smallest coin
};

/// The items of this shard.
class item_store {
 public:
  static constexpr std::size_t items_max = 100'000;

  /// Nothing when there is no room.
  std::optional<item> add(item made);
  std::map<std::uint64_t, item> items;

 private:
  std::uint64_t made_ = 0;
};

skerry::task<std::optional<item>> find_item(std::uint64_t id);
/// False when there is none of its number.
skerry::task<bool> replace_item(item changed);
skerry::task<bool> remove_item(std::uint64_t id);
/// At most `limit`, in the order of their numbers, from `from` on.
skerry::task<std::vector<item>> list_items(std::uint64_t from, std::size_t limit);

}  // namespace http_server
