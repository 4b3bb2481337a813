// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/trace.hpp>

#include <algorithm>

namespace skerry::observe {

std::string_view name_of(trace_kind kind) noexcept {
  constexpr std::string_view names[] = {"custom",      "task_begin",    "task_end",   "message_sent", "message_begin",
                                        "message_end", "message_reply", "completion", "timer"};
  const auto index = static_cast<std::size_t>(kind);
  return index < std::size(names) ? names[index] : names[0];
}

trace_buffer::trace_buffer(std::size_t capacity)
    : mask_(capacity - 1), events_(std::make_unique_for_overwrite<trace_event[]>(capacity)) {
  SKERRY_ASSERT(std::has_single_bit(capacity), "a trace buffer's capacity is a power of two");
}

std::vector<trace_event> trace_buffer::events() const {
  const std::uint64_t kept = std::min<std::uint64_t>(total_, capacity());
  std::vector<trace_event> result;
  result.reserve(kept);
  for (std::uint64_t i = total_ - kept; i != total_; ++i) result.push_back(events_[i & mask_]);
  SKERRY_ASSERT(result.size() <= capacity(), "a trace buffer returns no more than it holds");
  return result;
}

std::uint64_t trace_buffer::hash() const noexcept {
  // The number of events goes in, and the last events get to change every bit.
  const std::uint64_t mixed = detail::fold(hash_ ^ 0x2d358dccaa6c78a5, total_ ^ 0x8bb84b93962eacc9);
  return mixed ^ std::rotl(hash_, 32);
}

}  // namespace skerry::observe
