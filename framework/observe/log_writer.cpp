// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/clock.hpp>
#include <skerry/framework/observe/log_writer.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <csignal>
#include <exception>
#include <type_traits>
#include <utility>

#include <fmt/core.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

namespace skerry {

namespace {

constexpr std::size_t batch_bytes = 64 * 1024;

/// The log of threads that run no shard; null: descriptor 2. Such a thread has no host to ask, so this is one per
/// process. Written by serve_other_threads() and ~log_writer(), read by those threads; seq_cst, no hot path.
constinit std::atomic<log_writer*> other_threads_log = nullptr;

/// Returns how much was written; less than all only when the descriptor failed.
std::size_t write_to(int fd, std::string_view bytes) noexcept {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (n > 0) {
      done += static_cast<std::size_t>(n);
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n == 0 || errno != EAGAIN) break;
    // Somebody who shares this descriptor made it non-blocking; it is not ours to change back.
    pollfd ready{fd, POLLOUT, 0};
    if (::poll(&ready, 1, -1) < 0 && errno != EINTR) break;
  }
  return done;
}

}  // namespace

namespace detail {

constinit task_name_hook current_task_name = nullptr;

void log_line(log_level level, fmt::string_view format, fmt::format_args args) noexcept {
  SKERRY_ASSERT(level < log_level::off, "no line has the level off");
  const shard_core* shard = current_shard;
  log_channel* channel = shard != nullptr ? shard->log : nullptr;
  log_writer* others = other_threads_log.load();
  const log_level least = others != nullptr ? others->settings_.level : log_settings().level;
  if (channel == nullptr && level < least) return;
  std::array<char, log_message_max> bytes;
  log_record record{.wall = clock::wall(), .level = level};
  const auto fill = [&](fmt::string_view text, fmt::format_args with) {  // allocates nothing
    const auto result = fmt::vformat_to_n(bytes.data(), bytes.size(), text, with);
    record.message = {bytes.data(), std::min(result.size, bytes.size())};
    record.cut = result.size - record.message.size();
  };
  const auto fail = [&](const char* what) {
    fill("this line cannot be formatted ({}): {}", fmt::make_format_args(what, format));
  };
  try {
    fill(format, args);
  } catch (const std::exception& failure) {
    fail(failure.what());
  } catch (...) {
    fail("an exception of an unknown type");
  }
  if (shard != nullptr) {
    record.shard = shard->id;
    if (current_task_name != nullptr) record.task = current_task_name().substr(0, log_task_max);
  }
  if (channel == nullptr) return others != nullptr ? others->write_now(record) : log_writer({}, 0).write_now(record);
  if (channel->push(record)) channel->writer().line_queued();
}

}  // namespace detail

log_channel::log_channel(log_writer& writer, log_level level, shard_id shard, std::size_t capacity)
    : writer_(writer),
      capacity_(capacity),
      bytes_(std::make_unique_for_overwrite<char[]>(capacity)),
      shard_(shard),
      level_(level) {
  constexpr std::size_t capacity_min = 8 * 1024;
  static_assert(sizeof(taken_line) <= capacity_min);
  SKERRY_ASSERT(std::has_single_bit(capacity), "a log channel's capacity is a power of two");
  SKERRY_ASSERT(capacity >= capacity_min, "a log channel holds the longest line");
}

bool log_channel::push(log_record record) noexcept {
  static_assert(std::is_trivially_copyable_v<log_record>);
  SKERRY_ASSERT(record.shard == shard_, "a shard logs through its own channel");
  SKERRY_ASSERT(record.task.size() <= log_task_max, "whoever made the record cut the task's name");
  SKERRY_ASSERT(record.message.size() <= log_message_max, "whoever made the record cut the message");
  const std::uint64_t start = published_.load(std::memory_order_relaxed);
  const std::uint64_t end = start + sizeof record + record.task.size() + record.message.size();
  record.dropped = dropped_.load(std::memory_order_relaxed);
  if (end - consumed_seen_ > capacity_) consumed_seen_ = consumed_.load(std::memory_order_acquire);
  SKERRY_ASSERT(consumed_seen_ <= start, "no more is taken than was queued");
  if (end - consumed_seen_ > capacity_) {
    dropped_.store(record.dropped + 1, std::memory_order_release);
    return false;
  }
  std::uint64_t at = copy_in(start, {reinterpret_cast<const char*>(&record), sizeof record});
  at = copy_in(at, record.task);
  copy_in(at, record.message);
  published_.store(end, std::memory_order_seq_cst);
  return true;
}

bool log_channel::take(taken_line& line) noexcept {
  log_record& record = line.record;
  std::uint64_t at = consumed_.load(std::memory_order_relaxed);
  const std::uint64_t end = published_.load();
  if (at == end) return false;
  SKERRY_ASSERT(end - at <= capacity_, "the channel holds no more than its capacity");
  at = copy_out(at, reinterpret_cast<char*>(&record), sizeof record);
  const std::size_t task_size = record.task.size(), message_size = record.message.size();
  SKERRY_ASSERT(task_size <= log_task_max, "the channel returns what was put in: a task's name");
  SKERRY_ASSERT(message_size <= log_message_max, "the channel returns what was put in: a message");
  at = copy_out(at, line.bytes.data(), task_size + message_size);
  SKERRY_ASSERT(at <= end, "a line is published whole");
  record.task = {line.bytes.data(), task_size};
  record.message = {line.bytes.data() + task_size, message_size};
  consumed_.store(at, std::memory_order_release);
  return true;
}

std::uint64_t log_channel::copy_in(std::uint64_t position, std::string_view from) noexcept {
  const std::size_t at = position & (capacity_ - 1), first = std::min(from.size(), capacity_ - at);
  std::ranges::copy(from.substr(0, first), bytes_.get() + at);
  std::ranges::copy(from.substr(first), bytes_.get());
  return position + from.size();
}

std::uint64_t log_channel::copy_out(std::uint64_t position, char* to, std::size_t size) const noexcept {
  const std::size_t at = position & (capacity_ - 1), first = std::min(size, capacity_ - at);
  std::copy_n(bytes_.get() + at, first, to);
  std::copy_n(bytes_.get(), size - first, to + first);
  return position + size;
}

void descriptor_sink::operator()(std::string_view lines) noexcept {
  SKERRY_ASSERT(lines.ends_with('\n'), "a sink is given whole lines");
  if (torn && write_to(fd, "\n") == 0) return;
  const std::size_t written = write_to(fd, lines);
  SKERRY_ASSERT(written <= lines.size(), "no more is written than there is");
  torn = written > 0 && lines[written - 1] != '\n';
}

log_writer::log_writer(log_settings settings, shard_id shards, log_sink sink)
    : settings_(settings), sink_(std::move(sink)) {
  for (shard_id shard = 0; shard < shards; ++shard) {
    channels_.emplace_back(*this, settings_.level, shard, settings_.channel_bytes);
  }
  ::pthread_getaffinity_np(::pthread_self(), sizeof cpus_, &cpus_);
}

log_writer::~log_writer() {
  log_writer* self = this;
  other_threads_log.compare_exchange_strong(self, nullptr);
  if (thread_.joinable()) {
    if (state_.fetch_or(ending) == asleep) state_.notify_one();
    thread_.join();
  }
  drain();  // only if no thread could be started
}

void log_writer::line_queued() noexcept {
  if ((state_.load() & news) != 0) return;
  const std::uint32_t before = state_.fetch_or(news);
  if (before == asleep) state_.notify_one();
  if (before == unstarted) start();
}

void log_writer::write_now(const log_record& record) noexcept {
  try {
    std::string line;
    append_line(line, record, settings_.format);
    std::lock_guard alone(sink_mutex_);
    sink_(line);
  } catch (const std::exception&) {
    // No memory for a line: there is nowhere left to say so.
  }
}

bool log_writer::flush(std::chrono::milliseconds patience) noexcept {
  if (state_.load() == unstarted) return std::ranges::all_of(channels_, &log_channel::empty);
  std::unique_lock lock(passes_);
  const std::uint64_t mine = ++asked_;
  line_queued();
  return passed_changed_.wait_for(lock, patience, [&] { return passed_ >= mine; });
}

void log_writer::serve_other_threads() noexcept {
  log_writer* none = nullptr;
  const bool first = other_threads_log.compare_exchange_strong(none, this);
  SKERRY_ASSERT(first, "one log of a process serves the threads that run no shard");
}

void log_writer::start() noexcept {
  // Signals are the application's; the new thread inherits this mask and so never takes one.
  sigset_t all, before;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    batch_.reserve(batch_bytes + 2 * log_line_max);
    thread_ = std::thread([this] { run(); });
  } catch (const std::exception&) {
    state_.store(unstarted);  // the next line tries again
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void log_writer::run() noexcept {
  ::pthread_setname_np(::pthread_self(), "skerry-log");
  ::pthread_setaffinity_np(::pthread_self(), sizeof cpus_, &cpus_);
  for (;;) {
    const bool last = (state_.exchange(0) & ending) != 0;
    std::unique_lock lock(passes_);
    const std::uint64_t asked = asked_;
    lock.unlock();
    drain();
    if (last) return;
    lock.lock();
    passed_ = asked;
    lock.unlock();
    passed_changed_.notify_all();
    std::uint32_t nothing_new = 0;
    if (state_.compare_exchange_strong(nothing_new, asleep)) state_.wait(asleep);
  }
}

void log_writer::drain() noexcept {
  for (log_channel& each : channels_) drain(each);
  write_batch();
}

// Takes what was there at the start: a shard that logs without end must not keep the others waiting.
void log_writer::drain(log_channel& channel) noexcept {
  const auto report = [&](std::uint64_t dropped_so_far, std::chrono::nanoseconds wall) {
    const std::uint64_t missing = dropped_so_far - std::exchange(channel.reported_, dropped_so_far);
    if (missing == 0) return;
    std::array<char, 80> text;
    const char* end = fmt::format_to(text.data(), "{} log lines dropped: the log's queue was full", missing);
    append_line(batch_, {wall, log_level::warning, channel.shard_, {}, {text.data(), end}}, settings_.format);
  };
  taken_line line;
  const std::uint64_t end = channel.published_.load();
  const std::uint64_t dropped = channel.dropped();
  while (channel.consumed_.load(std::memory_order_relaxed) != end) {
    const bool taken = channel.take(line);
    SKERRY_ASSERT(taken, "what was published stays until it is taken");
    report(line.record.dropped, line.record.wall);
    append_line(batch_, line.record, settings_.format);
    if (batch_.size() >= batch_bytes) write_batch();
  }
  if (channel.empty()) report(dropped, clock::wall());  // else the next line tells what is missing before it
}

void log_writer::write_batch() noexcept {
  if (batch_.empty()) return;
  std::lock_guard alone(sink_mutex_);
  sink_(batch_);
  batch_.clear();
}

}  // namespace skerry
