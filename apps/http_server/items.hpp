// SPDX-License-Identifier: Apache-2.0
#pragma once

/// items: a small collection whose members live on their shards, as an example of a service that is spread.
///
/// An item's number names its home: of four shards, shard 0 has 1, 5, 9 and so on, shard 1 has 2, 6, 10. A new item
/// stays on the shard that was asked, so making one costs no message; each shard counts for itself, and never gives a
/// number twice. Whoever asks for an item sends one message to its home, or none if he is there. Each shard begins with
/// one item, an example, so that there is something to ask for: /items/1 is that of shard 0.
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

/// What a shard begins with, without its number.
item example_of(skerry::shard_id shard);

/// The items of this shard.
class item_store {
 public:
  static constexpr std::size_t items_max = 100'000;

  item_store();
  /// Nothing when there is no room.
  std::optional<item> add(item made);
  std::map<std::uint64_t, item> items;

 private:
  std::uint64_t made_ = 0;  // ever, whatever was removed since
};

skerry::task<std::optional<item>> find_item(std::uint64_t id);
/// False when there is none of its number.
skerry::task<bool> replace_item(item changed);
skerry::task<bool> remove_item(std::uint64_t id);
/// At most `limit`, in the order of their numbers, from `from` on.
skerry::task<std::vector<item>> list_items(std::uint64_t from, std::size_t limit);

}  // namespace http_server
