// SPDX-License-Identifier: Apache-2.0
#include <skerry/backends/detail/blocking_pool.hpp>
#include <skerry/backends/detail/file_calls.hpp>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <system_error>

#include <unistd.h>

namespace skerry::detail {

blocking_pool::~blocking_pool() {
  {
    const std::scoped_lock hold(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& each : threads_) each.join();
}

void blocking_pool::post(job& j) noexcept {
  bool more_threads = false;
  {
    const std::scoped_lock hold(mutex_);
    waiting_.push(j);
    more_threads = ++waiting_count_ > idle_ && threads_.size() < threads_max;
  }
  if (more_threads) start_thread();
  wake_.notify_one();
  if (threads_.empty() && withdraw(j)) {
    j.result = -EAGAIN;
    const std::scoped_lock hold(mutex_);
    end(j);
  }
}

void blocking_pool::start_thread() noexcept {
  sigset_t all, before;  // signals are for the threads of shards
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  try {
    threads_.emplace_back([this] { work(); });
  } catch (const std::exception&) {
    // Limits of threads or of memory. Those that run take the job, later; without any, it fails.
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

bool blocking_pool::withdraw(const job& j) noexcept {
  const std::scoped_lock hold(mutex_);
  for (job** at = &waiting_.first; *at != nullptr; at = &(*at)->next) {
    if (*at != &j) continue;
    if ((*at = j.next) == nullptr) waiting_.end = at;
    --waiting_count_;
    return true;
  }
  return false;
}

job* blocking_pool::take_done() noexcept {
  const std::scoped_lock hold(mutex_);
  return done_.take_all();
}

void blocking_pool::work() noexcept {
  std::unique_lock hold(mutex_);
  for (;;) {
    ++idle_;
    wake_.wait(hold, [this] { return waiting_.first != nullptr || stopping_; });
    --idle_;
    if (waiting_.first == nullptr) return;
    job& j = *waiting_.first;
    if ((waiting_.first = j.next) == nullptr) waiting_.end = &waiting_.first;
    --waiting_count_;
    hold.unlock();
    j.result = perform(j.what);
    hold.lock();
    end(j);
  }
}

/// Under the mutex. The event is raised once for all that the shard finds in one look.
void blocking_pool::end(job& j) noexcept {
  const std::uint64_t one = 1;
  if (done_.first == nullptr) [[maybe_unused]]
    const auto written = ::write(event_fd_, &one, sizeof one);
  done_.push(j);
}

}  // namespace skerry::detail
