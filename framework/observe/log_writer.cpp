// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/clock.hpp>
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/observe/log_writer.hpp>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <exception>
#include <utility>

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace skerry {

namespace {

constexpr std::size_t batch_bytes = 64 * 1024;

// The system call itself, not std::atomic::wait: flush() needs the time-out, and that one spins before it sleeps.
void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t value, const timespec* patience) noexcept {
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAIT_PRIVATE, value, patience, nullptr, 0);
}

void futex_wake(std::atomic<std::uint32_t>& word) noexcept {
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace

log_writer::log_writer(log_settings settings) : log_writer(settings, standard_error_, delivery::by_thread) {}

log_writer::log_writer(log_settings settings, log_sink& sink, delivery how)
    : settings_(settings), delivery_(how), sink_(sink) {
  static_assert(sizeof state_ == 4 && decltype(state_)::is_always_lock_free, "a futex is a word of four bytes");
  cpus_known_ = ::pthread_getaffinity_np(::pthread_self(), sizeof cpus_, &cpus_) == 0;
}

log_writer::~log_writer() {
  log_writer* self = this;
  detail::other_threads_log.compare_exchange_strong(self, nullptr);
  stop_.store(true);
  if (thread_.joinable()) {
    line_queued();
    thread_.join();
  }
  drain();  // only if no thread could be started
  for (log_channel* each = channels_.load(); each != nullptr;) {
    SKERRY_ASSERT(each->empty(), "everything queued is written before the log ends");
    delete std::exchange(each, each->next_);
  }
}

log_channel& log_writer::open(shard_id shard, std::size_t capacity) {
  auto* channel = new log_channel(*this, shard, capacity);
  channel->next_ = channels_.load();
  while (!channels_.compare_exchange_weak(channel->next_, channel)) {
  }
  return *channel;
}

bool log_writer::submit(log_channel& from, const log_record& record) noexcept {
  SKERRY_ASSERT(&from.writer() == this, "a channel belongs to the writer that opened it");
  if (delivery_ == delivery::at_once) {
    write_now(record);
    return true;
  }
  const bool queued = from.push(record);
  if (queued) line_queued();
  return queued;
}

void log_writer::write_now(const log_record& record) noexcept {
  try {
    std::string line;
    append_line(line, record, settings_.format);
    write_locked(line);
  } catch (const std::exception&) {
    // No memory for a line: there is nowhere left to say so.
  }
}

bool log_writer::flush(std::chrono::milliseconds patience) noexcept {
  if (state_.load() == unstarted) return !anything_queued();
  const auto deadline = kernel_clock().monotonic() + patience;
  const std::uint32_t ticket = flush_wanted_.fetch_add(1) + 1;
  line_queued();
  for (;;) {
    const std::uint32_t done = flush_done_.load(std::memory_order_acquire);
    if (static_cast<std::int32_t>(done - ticket) >= 0) return true;
    const auto left = deadline - kernel_clock().monotonic();
    if (left <= left.zero()) return false;
    const auto seconds = std::chrono::floor<std::chrono::seconds>(left);
    const timespec wait{seconds.count(), (left - seconds).count()};
    futex_wait(flush_done_, done, &wait);
  }
}

void log_writer::serve_other_threads() noexcept {
  log_writer* none = nullptr;
  const bool first = detail::other_threads_log.compare_exchange_strong(none, this);
  SKERRY_ASSERT(first, "one log of a process serves the threads that run no shard");
}

void log_writer::wake() noexcept {
  std::uint32_t seen = sleeping;
  if (state_.compare_exchange_strong(seen, awake)) {
    futex_wake(state_);
  } else if (seen == unstarted && state_.compare_exchange_strong(seen, awake)) {
    start();
  }
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
  if (cpus_known_) ::pthread_setaffinity_np(::pthread_self(), sizeof cpus_, &cpus_);
  for (;;) {
    const std::uint32_t asked = flush_wanted_.load();
    const bool last = stop_.load();
    drain();
    if (asked != flush_done_.load(std::memory_order_relaxed)) {
      flush_done_.store(asked, std::memory_order_release);
      futex_wake(flush_done_);
    }
    if (last) return;
    if (!anything_queued()) sleep();
  }
}

void log_writer::sleep() noexcept {
  state_.store(sleeping);
  while (!anything_queued() && !anything_asked() && state_.load() == sleeping) futex_wait(state_, sleeping, nullptr);
  state_.store(awake);
}

void log_writer::drain() noexcept {
  for (log_channel* each = channels_.load(); each != nullptr; each = each->next_) drain(*each);
  write_batch();
}

// Takes what was there at the start: a shard that logs without end must not keep the others waiting.
void log_writer::drain(log_channel& channel) noexcept {
  taken_line line;
  const std::uint64_t end = channel.published();
  const std::uint64_t dropped = channel.dropped();
  while (channel.consumed() != end) {
    const bool taken = channel.take(line);
    SKERRY_ASSERT(taken, "what was published stays until it is taken");
    if (const std::uint64_t missing = channel.report_drops(line.dropped)) {
      append_drop_report(batch_, {.wall = line.record.wall, .level = log_level::warning, .shard = channel.shard()},
                         missing, settings_.format);
    }
    append_line(batch_, line.record, settings_.format);
    if (batch_.size() >= batch_bytes) write_batch();
  }
  if (!channel.empty()) return;  // its next line tells what is missing before it
  if (const std::uint64_t missing = channel.report_drops(dropped)) {
    append_drop_report(batch_, {.wall = kernel_clock().wall(), .level = log_level::warning, .shard = channel.shard()},
                       missing, settings_.format);
  }
}

void log_writer::write_batch() noexcept {
  if (batch_.empty()) return;
  SKERRY_ASSERT(batch_.size() <= batch_bytes + 2 * log_line_max, "a batch keeps within the memory reserved for it");
  write_locked(batch_);
  batch_.clear();
}

void log_writer::write_locked(std::string_view lines) noexcept {
  while (sink_busy_.test_and_set(std::memory_order_acquire)) sink_busy_.wait(true, std::memory_order_relaxed);
  sink_.write(lines);
  sink_busy_.clear(std::memory_order_release);
  sink_busy_.notify_one();
}

bool log_writer::anything_queued() const noexcept {
  for (log_channel* each = channels_.load(); each != nullptr; each = each->next_) {
    if (!each->empty()) return true;
  }
  return false;
}

bool log_writer::anything_asked() const noexcept {
  return stop_.load() || flush_wanted_.load() != flush_done_.load(std::memory_order_relaxed);
}

}  // namespace skerry
