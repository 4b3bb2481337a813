// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log_channel.hpp>
#include <skerry/framework/observe/log_writer.hpp>

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace skerry {

struct log_channel::header {
  std::int64_t wall_ns;
  std::uint64_t dropped;
  std::uint64_t cut;
  std::uint32_t message_size;
  std::uint16_t task_size;
  log_level level;
  std::uint8_t unused;
};

namespace {

constexpr std::size_t capacity_min = 8 * 1024;  // two of the longest lines, so that one always fits an empty queue

constexpr std::size_t padded(std::size_t size) noexcept { return (size + 7) & ~std::size_t{7}; }

}  // namespace

log_channel::log_channel(log_writer& writer, shard_id shard, std::size_t capacity)
    : writer_(writer),
      mask_(capacity - 1),
      bytes_(std::make_unique_for_overwrite<std::byte[]>(capacity)),
      shard_(shard),
      level_(writer.settings().level) {
  static_assert(sizeof(header) == 32);
  static_assert(padded(sizeof(header) + log_task_max + log_message_max) <= capacity_min);
  SKERRY_ASSERT(std::has_single_bit(capacity), "a log channel's capacity is a power of two");
  SKERRY_ASSERT(capacity >= capacity_min, "a log channel holds the longest line");
}

bool log_channel::push(const log_record& record) noexcept {
  SKERRY_ASSERT(record.shard == shard_, "a shard logs through its own channel");
  SKERRY_ASSERT(record.task.size() <= log_task_max, "whoever made the record cut the task's name");
  SKERRY_ASSERT(record.message.size() <= log_message_max, "whoever made the record cut the message");
  const std::uint64_t start = published_.load(std::memory_order_relaxed);
  const std::size_t size = padded(sizeof(header) + record.task.size() + record.message.size());
  const std::uint64_t dropped = dropped_.load(std::memory_order_relaxed);
  if (start + size - consumed_seen_ > mask_ + 1) {
    consumed_seen_ = consumed();
    SKERRY_ASSERT(consumed_seen_ <= start, "no more is taken than was queued");
    if (start + size - consumed_seen_ > mask_ + 1) {
      dropped_.store(dropped + 1, std::memory_order_release);
      return false;
    }
  }
  const header head{record.wall.count(),
                    dropped,
                    record.cut,
                    static_cast<std::uint32_t>(record.message.size()),
                    static_cast<std::uint16_t>(record.task.size()),
                    record.level,
                    0};
  copy_in(start, &head, sizeof head);
  copy_in(start + sizeof head, record.task.data(), record.task.size());
  copy_in(start + sizeof head + record.task.size(), record.message.data(), record.message.size());
  published_.store(start + size, std::memory_order_seq_cst);
  return true;
}

bool log_channel::take(taken_line& line) noexcept {
  const std::uint64_t start = consumed_.load(std::memory_order_relaxed);
  const std::uint64_t end = published();
  if (start == end) return false;
  SKERRY_ASSERT(end - start <= mask_ + 1, "the queue holds no more than its capacity");
  header head;
  copy_out(start, &head, sizeof head);
  SKERRY_ASSERT(head.task_size <= log_task_max, "the queue returns what was put in: a task's name");
  SKERRY_ASSERT(head.message_size <= log_message_max, "the queue returns what was put in: a message");
  copy_out(start + sizeof head, line.bytes.data(), head.task_size + std::size_t{head.message_size});
  line.dropped = head.dropped;
  line.record = {.wall = std::chrono::nanoseconds(head.wall_ns),
                 .level = head.level,
                 .shard = shard_,
                 .task = {line.bytes.data(), head.task_size},
                 .message = {line.bytes.data() + head.task_size, head.message_size},
                 .cut = head.cut};
  const std::uint64_t next = start + padded(sizeof head + head.task_size + head.message_size);
  SKERRY_ASSERT(next <= end, "a line is published whole");
  consumed_.store(next, std::memory_order_release);
  return true;
}

std::uint64_t log_channel::report_drops(std::uint64_t dropped_so_far) noexcept {
  if (dropped_so_far <= reported_) return 0;
  return dropped_so_far - std::exchange(reported_, dropped_so_far);
}

void log_channel::copy_in(std::uint64_t position, const void* from, std::size_t size) noexcept {
  if (size == 0) return;
  const std::size_t at = position & mask_;
  const std::size_t first = std::min(size, mask_ + 1 - at);
  std::memcpy(bytes_.get() + at, from, first);
  std::memcpy(bytes_.get(), static_cast<const std::byte*>(from) + first, size - first);
}

void log_channel::copy_out(std::uint64_t position, void* to, std::size_t size) const noexcept {
  const std::size_t at = position & mask_;
  const std::size_t first = std::min(size, mask_ + 1 - at);
  std::memcpy(to, bytes_.get() + at, first);
  std::memcpy(static_cast<std::byte*>(to) + first, bytes_.get(), size - first);
}

}  // namespace skerry
