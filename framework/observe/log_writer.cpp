// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/clock.hpp>
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/observe/log_writer.hpp>

#include <cerrno>
#include <csignal>
#include <exception>
#include <utility>

#include <poll.h>
#include <pthread.h>
#include <unistd.h>

namespace skerry {

namespace {

constexpr std::size_t batch_bytes = 64 * 1024;

}  // namespace

void descriptor_sink::write(std::string_view lines) noexcept {
  SKERRY_ASSERT(lines.ends_with('\n'), "a sink is given whole lines");
  if (torn_ && write_some("\n") == 0) {
    lost_bytes_ += lines.size();
    return;
  }
  const std::size_t written = write_some(lines);
  SKERRY_ASSERT(written <= lines.size(), "no more is written than there is");
  lost_bytes_ += lines.size() - written;
  torn_ = written > 0 && lines[written - 1] != '\n';
}

// Returns fewer than all bytes only when the descriptor failed.
std::size_t descriptor_sink::write_some(std::string_view bytes) noexcept {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::write(fd_, bytes.data() + done, bytes.size() - done);
    if (n > 0) {
      done += static_cast<std::size_t>(n);
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n == 0 || errno != EAGAIN) break;
    // Somebody who shares this descriptor made it non-blocking; it is not ours to change back.
    pollfd ready{fd_, POLLOUT, 0};
    if (::poll(&ready, 1, -1) < 0 && errno != EINTR) break;
  }
  return done;
}

log_writer::log_writer(log_settings settings, log_sink& sink, delivery how)
    : settings_(settings), delivery_(how), sink_(sink) {
  cpus_known_ = ::pthread_getaffinity_np(::pthread_self(), sizeof cpus_, &cpus_) == 0;
}

log_writer::~log_writer() {
  log_writer* self = this;
  detail::other_threads_log.compare_exchange_strong(self, nullptr);
  asked_.store(last_pass);
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
  auto* channel = new log_channel(*this, settings_.level, shard, capacity);
  channel->next_ = channels_.load();
  while (!channels_.compare_exchange_weak(channel->next_, channel)) {
  }
  return *channel;
}

void log_writer::submit(log_channel& from, const log_record& record) noexcept {
  SKERRY_ASSERT(&from.writer() == this, "a channel belongs to the writer that opened it");
  if (delivery_ == delivery::at_once) {
    write_now(record);
  } else if (from.push(record)) {
    line_queued();
  }
}

void log_writer::write_now(const log_record& record) noexcept {
  try {
    std::string line;
    append_line(line, record, settings_.format);
    std::lock_guard alone(sink_mutex_);
    sink_.write(line);
  } catch (const std::exception&) {
    // No memory for a line: there is nowhere left to say so.
  }
}

bool log_writer::flush(std::chrono::milliseconds patience) noexcept {
  if (state_.load() == unstarted) return !anything_queued();
  const std::uint64_t mine = ++asked_;
  line_queued();
  std::unique_lock lock(passed_mutex_);
  return passed_changed_.wait_for(lock, patience, [&] { return passed_ >= mine; });
}

void log_writer::serve_other_threads() noexcept {
  log_writer* none = nullptr;
  const bool first = detail::other_threads_log.compare_exchange_strong(none, this);
  SKERRY_ASSERT(first, "one log of a process serves the threads that run no shard");
}

void log_writer::wake() noexcept {
  std::uint32_t seen = sleeping;
  if (state_.compare_exchange_strong(seen, awake)) {
    state_.notify_one();
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
    const std::uint64_t asked = asked_.load();
    drain();
    if (asked == last_pass) return;
    {
      std::lock_guard lock(passed_mutex_);
      passed_ = asked;
    }
    passed_changed_.notify_all();
    state_.store(sleeping);
    if (!anything_queued() && asked_.load() == asked) state_.wait(sleeping);
    state_.store(awake);
  }
}

void log_writer::drain() noexcept {
  for (log_channel* each = channels_.load(); each != nullptr; each = each->next_) drain(*each);
  write_batch();
}

// Takes what was there at the start: a shard that logs without end must not keep the others waiting.
void log_writer::drain(log_channel& channel) noexcept {
  const auto report = [&](std::uint64_t dropped_so_far, std::chrono::nanoseconds wall) {
    const std::uint64_t missing = channel.report_drops(dropped_so_far);
    if (missing > 0) append_drop_report(batch_, wall, channel.shard(), missing, settings_.format);
    if (batch_.size() >= batch_bytes) write_batch();
  };
  taken_line line;
  const std::uint64_t end = channel.published();
  const std::uint64_t dropped = channel.dropped();
  while (channel.consumed() != end) {
    const bool taken = channel.take(line);
    SKERRY_ASSERT(taken, "what was published stays until it is taken");
    report(line.record.dropped, line.record.wall);
    append_line(batch_, line.record, settings_.format);
    if (batch_.size() >= batch_bytes) write_batch();
  }
  if (channel.empty()) report(dropped, kernel_clock().wall());  // else the next line tells what is missing before it
}

void log_writer::write_batch() noexcept {
  if (batch_.empty()) return;
  SKERRY_ASSERT(batch_.size() <= batch_bytes + 2 * log_line_max, "a batch keeps within the memory reserved for it");
  std::lock_guard alone(sink_mutex_);
  sink_.write(batch_);
  batch_.clear();
}

bool log_writer::anything_queued() const noexcept {
  for (log_channel* each = channels_.load(); each != nullptr; each = each->next_) {
    if (!each->empty()) return true;
  }
  return false;
}

}  // namespace skerry
