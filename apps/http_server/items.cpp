// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/resources.hpp>
#include <skerry/shards/submit_to.hpp>

#include <algorithm>
#include <iterator>
#include <string>
#include <utility>

#include <http_server/items.hpp>

namespace http_server {

using namespace skerry;

namespace {

/// Of 0, which no item has, and of a number that is not given yet, too: whoever asks is told there.
shard_id home_of(std::uint64_t id) { return static_cast<shard_id>((id - 1) % shard_count()); }

}  // namespace

item example_of(shard_id shard) { return {0, "example on shard " + std::to_string(shard), 100}; }

item_store::item_store() { add(example_of(this_shard_id())); }

std::optional<item> item_store::add(item made) {
  if (items.size() == items_max) return std::nullopt;
  made.id = made_++ * shard_count() + this_shard_id() + 1;
  return items.emplace(made.id, std::move(made)).first->second;
}

task<std::optional<item>> find_item(std::uint64_t id) {
  auto find = [](std::uint64_t wanted) -> std::optional<item> {
    const auto& items = resource<item_store>().items;
    const auto found = items.find(wanted);
    return found == items.end() ? std::nullopt : std::optional(found->second);
  };
  co_return co_await submit_to(home_of(id), find, id);
}

task<bool> replace_item(item changed) {
  auto replace = [](item given) {
    auto& items = resource<item_store>().items;
    const auto found = items.find(given.id);
    if (found == items.end()) return false;
    found->second = std::move(given);
    return true;
  };
  const shard_id home = home_of(changed.id);
  co_return co_await submit_to(home, replace, std::move(changed));
}

task<bool> remove_item(std::uint64_t id) {
  auto remove = [](std::uint64_t given) { return resource<item_store>().items.erase(given) != 0; };
  co_return co_await submit_to(home_of(id), remove, id);
}

task<std::vector<item>> list_items(std::uint64_t from, std::size_t limit) {
  auto list_here = [](std::uint64_t first, std::size_t most) {
    std::vector<item> some;
    const auto& items = resource<item_store>().items;
    for (auto at = items.lower_bound(first); at != items.end() && some.size() < most; ++at) some.push_back(at->second);
    return some;
  };
  std::vector<item> all;
  for (shard_id s = 0; s < shard_count(); ++s) {
    std::vector<item> some = co_await submit_to(s, list_here, from, limit);
    std::ranges::move(some, std::back_inserter(all));
  }
  std::ranges::sort(all, {}, &item::id);
  if (all.size() > limit) all.resize(limit);
  co_return all;
}

}  // namespace http_server
