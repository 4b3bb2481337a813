// SPDX-License-Identifier: Apache-2.0
#pragma once

/// file_calls: submissions as the system calls that they stand for, and that may block.
///
/// Affinity: any thread; what a submission points to belongs to its owner until the completion.
/// Errors:   -errno as the result; -EINVAL for what is no operation on files.

#include <skerry/framework/backend/operation.hpp>

#include <cstdint>

namespace skerry::detail {

/// read, write, vectored or not, from registered memory or not.
bool is_transfer(const submission& what) noexcept;
bool is_read(const submission& what) noexcept;
/// How many it asks for, if it is one.
std::uint64_t bytes_of(const submission& what) noexcept;

/// Where the descriptor stands, instead of an offset.
inline constexpr std::int64_t where_it_stands = -1;

/// Makes the call, however long it takes.
std::int32_t perform(const submission& what) noexcept;

/// A transfer at `offset`, or where the descriptor stands, with flags RWF_*.
std::int32_t transfer(const submission& what, std::int64_t offset, int flags) noexcept;

/// A transfer on a descriptor that is ready, without waiting for more than that: of a pipe that others write to as
/// well, too, where a write that is longer than a page may wait for room.
std::int32_t transfer_ready(const submission& what) noexcept;

}  // namespace skerry::detail
