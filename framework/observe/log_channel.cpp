// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log_channel.hpp>

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>
#include <utility>

namespace skerry {

/// A record in the queue; its texts follow.
struct log_channel::header {
  std::chrono::nanoseconds wall;
  std::uint64_t dropped;
  std::uint64_t cut;
  std::uint32_t message_size;
  std::uint16_t task_size;
  log_level level;
};

log_channel::log_channel(log_writer& writer, log_level level, shard_id shard, std::size_t capacity)
    : writer_(writer),
      capacity_(capacity),
      bytes_(std::make_unique_for_overwrite<std::byte[]>(capacity)),
      shard_(shard),
      level_(level) {
  constexpr std::size_t capacity_min = 8 * 1024;
  static_assert(sizeof(taken_line) <= capacity_min);
  SKERRY_ASSERT(std::has_single_bit(capacity), "a log channel's capacity is a power of two");
  SKERRY_ASSERT(capacity >= capacity_min, "a log channel holds the longest line");
}

bool log_channel::push(const log_record& record) noexcept {
  SKERRY_ASSERT(record.shard == shard_, "a shard logs through its own channel");
  SKERRY_ASSERT(record.task.size() <= log_task_max, "whoever made the record cut the task's name");
  SKERRY_ASSERT(record.message.size() <= log_message_max, "whoever made the record cut the message");
  const std::uint64_t start = published_.load(std::memory_order_relaxed);
  const std::uint64_t end = start + sizeof(header) + record.task.size() + record.message.size();
  const std::uint64_t dropped = dropped_.load(std::memory_order_relaxed);
  if (end - consumed_seen_ > capacity_) consumed_seen_ = consumed();
  SKERRY_ASSERT(consumed_seen_ <= start, "no more is taken than was queued");
  if (end - consumed_seen_ > capacity_) {
    dropped_.store(dropped + 1, std::memory_order_release);
    return false;
  }
  const header head{record.wall,
                    dropped,
                    record.cut,
                    static_cast<std::uint32_t>(record.message.size()),
                    static_cast<std::uint16_t>(record.task.size()),
                    record.level};
  std::uint64_t at = copy_in(start, &head, sizeof head);
  at = copy_in(at, record.task.data(), record.task.size());
  copy_in(at, record.message.data(), record.message.size());
  published_.store(end, std::memory_order_seq_cst);
  return true;
}

bool log_channel::take(taken_line& line) noexcept {
  const std::uint64_t start = consumed_.load(std::memory_order_relaxed);
  const std::uint64_t end = published();
  if (start == end) return false;
  SKERRY_ASSERT(end - start <= capacity_, "the queue holds no more than its capacity");
  header head;
  std::uint64_t at = copy_out(start, &head, sizeof head);
  SKERRY_ASSERT(head.task_size <= log_task_max, "the queue returns what was put in: a task's name");
  SKERRY_ASSERT(head.message_size <= log_message_max, "the queue returns what was put in: a message");
  at = copy_out(at, line.bytes.data(), head.task_size + std::size_t{head.message_size});
  SKERRY_ASSERT(at <= end, "a line is published whole");
  line.record = {head.wall,
                 head.level,
                 shard_,
                 {line.bytes.data(), head.task_size},
                 {line.bytes.data() + head.task_size, head.message_size},
                 head.cut,
                 head.dropped};
  consumed_.store(at, std::memory_order_release);
  return true;
}

std::uint64_t log_channel::report_drops(std::uint64_t dropped_so_far) noexcept {
  if (dropped_so_far <= reported_) return 0;
  return dropped_so_far - std::exchange(reported_, dropped_so_far);
}

std::uint64_t log_channel::copy_in(std::uint64_t position, const void* from, std::size_t size) noexcept {
  if (size == 0) return position;
  const std::size_t at = position & (capacity_ - 1), first = std::min(size, capacity_ - at);
  std::memcpy(bytes_.get() + at, from, first);
  std::memcpy(bytes_.get(), static_cast<const std::byte*>(from) + first, size - first);
  return position + size;
}

std::uint64_t log_channel::copy_out(std::uint64_t position, void* to, std::size_t size) const noexcept {
  const std::size_t at = position & (capacity_ - 1), first = std::min(size, capacity_ - at);
  std::memcpy(to, bytes_.get() + at, first);
  std::memcpy(static_cast<std::byte*>(to) + first, bytes_.get(), size - first);
  return position + size;
}

}  // namespace skerry
