// SPDX-License-Identifier: Apache-2.0
#pragma once

/// shard_map: which shard a key lives on. With another number of shards only the keys that must move do.
///
/// Source: Lamping and Veach, "A fast, minimal memory, consistent hash algorithm", 2014. Limits: the hash's quality is
/// the caller's.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/this_shard.hpp>

#include <cstdint>

namespace skerry {

class shard_map {
 public:
  explicit shard_map(shard_id shards = shard_count()) noexcept : shards_(shards) {
    SKERRY_ASSERT(shards > 0, "keys need at least one shard");
  }

  /// The shard of a key with this 64-bit hash; about log2(shards) steps.
  shard_id shard_of(std::uint64_t hash) const noexcept {
    std::int64_t chosen = -1;
    for (std::int64_t next = 0; next < static_cast<std::int64_t>(shards_);) {
      chosen = next;
      hash = hash * 2862933555777941757u + 1;
      next =
          static_cast<std::int64_t>(static_cast<double>(chosen + 1) * (0x1p31 / static_cast<double>((hash >> 33) + 1)));
    }
    return static_cast<shard_id>(chosen);
  }

 private:
  shard_id shards_;
};

}  // namespace skerry
