// SPDX-License-Identifier: Apache-2.0
#pragma once

/// zero_copy_send: one send of a connection whose bytes the kernel does not copy but reads in place, until it says that
/// it has let go of them.
///
///     sending_ --begin()--> first completion
///                             bytes were taken: the block is this piece's, which the endpoint counts, and what is
///                             left in it is copied, to go with the next send at once
///                               second completion: the block goes back to its pool
///                             none were: the block stays in sending_
///                               second completion, which then waits for nobody: as after a plain send
///
/// A connection tries it when it has `backend::zero_copy_from` bytes at once to send, and never if both its ends are on
/// this host: there the kernel copies after all, and tells so besides. It tells so of other devices, too; then the
/// connection tries no more. Nor does it when memory cannot be kept in place (RLIMIT_MEMLOCK): the same bytes go by a
/// plain send.
///
/// Rejected: to wait with the next send for the second completion, which comes when the peer has acknowledged: that
/// would be one piece per round trip. So would a move wait for a peer that does not read: pieces stay behind
/// with the pool, and the close, on the other shard, waits until the peer has acknowledged.
///
/// Affinity:   home shard.
/// Ownership:  its own, until the last completion. The endpoint stays until then: its close waits for what is held, at
///             most `endpoint::held_rest_max` from one piece to the next, in a drain `send_rest_max`, and then resets
///             the connection, whereupon the kernel lets go.
/// Invariants: bytes that the kernel may read are not changed, moved or given back.
/// Limits:     `held_max` pieces per connection, whose next sends copy: 448 KiB. So do those after a move, until the
///             peer has what stayed behind.

#include <skerry/framework/backend/operation.hpp>
#include <skerry/framework/task/frame_pool.hpp>
#include <skerry/net/byte_pool.hpp>

#include <cstddef>
#include <cstdint>

namespace skerry::net {
class endpoint;
class endpoint_pool;
}  // namespace skerry::net

namespace skerry::net::detail {

struct held_tag;

class zero_copy_send final : public skerry::detail::pooled,
                             public operation,
                             public skerry::detail::list_hook<held_tag> {
 public:
  static constexpr unsigned held_max = 7;

  /// Sends what is in `sending_`; false if that is to be copied.
  static bool begin(endpoint& of) noexcept;
  /// What the kernel holds of it is the pool's alone from here on.
  static void stay_behind(endpoint& of) noexcept;

 private:
  explicit zero_copy_send(endpoint& of) noexcept;
  void complete(std::int32_t result, std::uint32_t flags) noexcept override;
  void taken(std::size_t bytes) noexcept;
  void answered(std::int32_t result) noexcept;
  void let_go() noexcept;
  skerry::detail::list_hook<held_tag>& held_hook() noexcept { return *this; }

  endpoint_pool& pool_;
  endpoint* of_;
  byte_queue held_;
  std::int32_t result_ = 0;  // of the first completion, if that took nothing
};

}  // namespace skerry::net::detail
