// SPDX-License-Identifier: Apache-2.0
#pragma once

/// shard_map: which shard a key lives on. With another number of shards only the keys that must move do.
///
///     shard_map owners;  // by a 64-bit hash; or by what gives each key the same shard everywhere:
///     shard_map tenants(shard_count(), [](const tenant& t, shard_id shards) { return t.number % shards; });
///
/// A value, owned and used where it is. Invariant: the same key, shards and `place` give the same shard. Limits: the
/// hash's quality is the caller's. Source: Lamping and Veach, "A fast, minimal memory, consistent hash algorithm".

#include <skerry/framework/assert.hpp>
#include <skerry/framework/this_shard.hpp>

#include <cstdint>

namespace skerry {

struct jump_hash {
  shard_id operator()(std::uint64_t hash, shard_id shards) const noexcept {
    std::int64_t chosen = -1;
    for (std::int64_t next = 0; next < static_cast<std::int64_t>(shards);) {
      chosen = next;
      hash = hash * 2862933555777941757u + 1;
      next = static_cast<std::int64_t>(double(chosen + 1) * (0x1p31 / double((hash >> 33) + 1)));
    }
    return static_cast<shard_id>(chosen);
  }
};

template <class Place = jump_hash>
class shard_map {
 public:
  explicit shard_map(shard_id shards = shard_count(), const Place& place = {}) : shards_(shards), place_(place) {
    SKERRY_ASSERT(shards > 0, "keys need at least one shard");
  }
  /// `place(key, shards)`; jump_hash takes a 64-bit hash for the key, and about log2(shards) steps.
  shard_id shard_of(const auto& key) const { return place_(key, shards_); }

 private:
  shard_id shards_;
  [[no_unique_address]] Place place_;
};

}  // namespace skerry
