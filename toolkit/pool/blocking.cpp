// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/resources.hpp>
#include <skerry/toolkit/pool/blocking.hpp>
#include <skerry/toolkit/pool/threads.hpp>

#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace skerry {

namespace {

/// The threads of one shard. The mutex is held for a few instructions, and by threads that are about to run or to
/// sleep.
class blocking_threads final : public executor {
 public:
  explicit blocking_threads(unsigned threads_max) : threads_max_(threads_max), cpus_(cpus_of_all_shards()) {}
  ~blocking_threads() override {
    {
      const std::scoped_lock hold(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& each : threads_) each.join();
  }

  void post(job& work) noexcept override {
    bool more_threads = false;
    {
      const std::scoped_lock hold(mutex_);
      waiting_.push_back(work);
      more_threads = ++queued_ > idle_ && threads_.size() < threads_max_;
    }
    if (!more_threads) return wake_.notify_one();
    try {
      threads_.push_back(start_pool_thread("skerry-block", cpus_, [this] { serve(); }));
    } catch (const std::exception&) {
      // Those that there are do it. Where there are none, the job comes home without having run.
      if (!threads_.empty() || !withdraw(work)) return wake_.notify_one();
      work.fail(std::make_exception_ptr(std::system_error(
          std::make_error_code(std::errc::resource_unavailable_try_again),
          "no thread can be started for blocking calls: raise the limit of threads (ulimit -u, TasksMax= in a systemd "
          "unit, --pids-limit of a container)")));
      work.go_home();
    }
  }

  bool withdraw(job& work) noexcept override {
    const std::scoped_lock hold(mutex_);
    if (!work.linked()) return false;
    work.unlink();
    --queued_;
    return true;
  }

  std::size_t waiting() const noexcept override {
    const std::scoped_lock hold(mutex_);
    return queued_;
  }
  std::size_t threads() const noexcept override { return threads_.size(); }

 private:
  void serve() noexcept {
    std::unique_lock hold(mutex_);
    for (;;) {
      ++idle_;
      wake_.wait(hold, [this] { return queued_ != 0 || stopping_; });
      --idle_;
      if (queued_ == 0) return;
      job& next = waiting_.pop_front();
      --queued_;
      hold.unlock();
      next.begin();
      next.run(nullptr);
      next.go_home();
      hold.lock();
    }
  }

  const unsigned threads_max_;
  const cpu_list cpus_;
  std::vector<std::thread> threads_;  // the shard's
  // All below is the shard's and the threads', under the mutex.
  mutable std::mutex mutex_;
  std::condition_variable wake_;
  detail::intrusive_list<job, job> waiting_;
  std::size_t queued_ = 0, idle_ = 0;
  bool stopping_ = false;
};

std::shared_ptr<executor> make_threads(const blocking_options& options) {
  SKERRY_ASSERT(options.threads_max >= 1 && options.threads_max <= 1024, "a shard has 1 to 1024 threads for calls");
  return std::make_shared<blocking_threads>(options.threads_max);
}

}  // namespace

blocking_calls::blocking_calls(const blocking_options& options)
    : blocking_calls(make_threads(options), options.calls_max) {}

blocking_calls& blocking_calls::here() {
  if (auto* found = resources().find<blocking_calls>()) return *found;
  return resources().emplace<blocking_calls>();
}

void limit_blocking(const blocking_options& options) { resources().emplace<blocking_calls>(options); }

}  // namespace skerry
