// SPDX-License-Identifier: Apache-2.0
#pragma once

/// copied_buffers: buffers for bytes that came to this shard in another way than from its kernel: with a connection
/// that moved here, or back from a reader that had taken them.
///
/// A reader gets a `buffer`, and that is a slot of a pool. The shard's own pool has lent all its free slots to the
/// kernel, which cannot be asked for one. So this is a second pool, whose ring of free slots is not the kernel's but
/// ours: `copy()` takes the entry that a kernel would take. Rejected: a buffer that owns its memory, a branch for
/// everyone whenever one is copied or destroyed; and sending the bytes to ourselves through a socket pair, two more
/// descriptors per connection and a receive that has to change over in the middle.
///
/// Affinity:   home shard.
/// Ownership:  a resource of the shard, made when something is copied first.
/// Lifetime:   as for the shard's own pool, every buffer is back before the shard ends.
/// Limits:     buffer_pool::buffers_max of buffer_pool::buffer_bytes (16 MiB) held by readers at a time.
/// Errors:     at the limit std::system_error (no_buffer_space).

#include <skerry/framework/backend/backend.hpp>
#include <skerry/framework/io/buffer_pool.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace skerry::net::detail {

class copied_buffers {
 public:
  copied_buffers();
  ~copied_buffers();
  copied_buffers(const copied_buffers&) = delete;
  copied_buffers& operator=(const copied_buffers&) = delete;

  /// At least one byte, at most buffer_pool::buffer_bytes.
  buffer copy(std::span<const std::byte> bytes);
  buffer_pool_stats stats() const noexcept { return pool_.stats(); }

 private:
  void make_room();

  std::unique_ptr<backend> nobody_;  // has no operation ever; the pool wants its ring
  buffer_pool pool_;
  std::uint32_t next_ = 0;  // the ring's first entry that was not taken
};

/// This shard's; made on first use.
copied_buffers& this_copied_buffers();

}  // namespace skerry::net::detail
