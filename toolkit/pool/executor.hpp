// SPDX-License-Identifier: Apache-2.0
#pragma once

/// executor: the seam between a task that has work done elsewhere and what does it: threads that block, threads that
/// compute, or in a simulation an event on the shard itself.
///
///     task on its home shard              executor
///     post(job) ------------------------> run(job), on whatever thread
///     goes on <---- job.arrived() ------- the job comes back through the home shard's inbox
///
///     posted --a thread takes it--> under way --> home
///        '---- withdraw(): true: it is home at once, and has not run
///
/// Cancelling a task that waits for a job: one that still waits is withdrawn and never runs. One under way is asked to
/// stop (`stop_requested`; only it can tell where it may) and waited for, for it uses arguments in the task's frame.
///
/// Affinity:   post and withdraw on the job's home shard; run on a thread of the executor's.
/// Ownership:  the job lives in the frame of the task that waits, until it is home.
/// Invariants: a job that was posted comes home exactly once.
/// Limits:     whoever posts bounds how many jobs an executor has (`job_slots`).

#include <skerry/framework/assert.hpp>
#include <skerry/framework/clock.hpp>
#include <skerry/framework/detail/intrusive_list.hpp>
#include <skerry/framework/observe/histogram.hpp>
#include <skerry/framework/observe/metrics.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/toolkit/alien/inbox.hpp>
#include <skerry/toolkit/sync/mutex.hpp>

#include <atomic>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace skerry {

class compute_worker;

/// Which of the jobs that wait goes first.
enum class job_priority : std::uint8_t { high, normal, low };
inline constexpr std::size_t job_priorities = 3;

/// One piece of work.
class job : public detail::foreign_item, public detail::list_hook<job> {
 public:
  /// The work. `on`: the worker of a compute pool that does it; null elsewhere. What it throws is kept for the task.
  virtual void run(compute_worker* on) noexcept = 0;
  /// Instead of run: the executor cannot.
  virtual void fail(std::exception_ptr why) noexcept = 0;

  /// Any thread.
  bool stop_requested() const noexcept { return stop_.load(std::memory_order_relaxed); }

  // For the executor.
  job_priority priority() const noexcept { return priority_; }
  void begin() noexcept { begun_at_ = clock::read(); }
  /// After run or fail, on any thread. The last touch: it may be gone before this returns.
  void go_home() noexcept {
    ended_at_ = clock::read();
    home_->deliver(*this);
  }
  /// For an executor that decides the times itself; it calls arrived() on the home shard.
  void plan(clock::time_point begin, clock::time_point end) noexcept {
    begun_at_ = begin;
    ended_at_ = end;
  }
  clock::time_point begun_at() const noexcept { return begun_at_; }
  clock::time_point ended_at() const noexcept { return ended_at_; }

 protected:
  job(detail::inbox_stack& home, job_priority priority) noexcept
      : home_(&home), posted_at_(clock::now()), begun_at_(posted_at_), ended_at_(posted_at_), priority_(priority) {}
  ~job() = default;

  detail::inbox_stack* home_;
  clock::time_point posted_at_;
  clock::time_point begun_at_;  // executor's, until it is home
  clock::time_point ended_at_;  // executor's, until it is home
  job_priority priority_;
  // Set by the home shard, read by the job where it likes: relaxed, it guards nothing.
  std::atomic<bool> stop_{false};
};

/// Does jobs.
class executor {
 public:
  virtual ~executor() = default;
  virtual void post(job& work) noexcept = 0;
  /// True: the executor has forgotten it, and it never runs. False: it is under way, or on its way home.
  virtual bool withdraw(job& work) noexcept = 0;
  /// Of those posted from anywhere, how many wait.
  virtual std::size_t waiting() const noexcept = 0;
  virtual std::size_t threads() const noexcept = 0;
};

namespace detail {

/// One shard's share in an executor: how many jobs it may have there, and what became of them.
class job_slots {
 public:
  /// `name` is that of the metrics: skerry_<name>_jobs and so on.
  job_slots(std::string_view name, std::shared_ptr<executor> does, std::uint64_t jobs_max);
  ~job_slots() { SKERRY_ASSERT(slots_.available() == jobs_max_, "an executor outlives the jobs it was given"); }

  executor& does() const noexcept { return *does_; }
  inbox_stack& home() const noexcept { return *home_; }
  units::awaiter acquire() noexcept { return slots_.acquire(); }
  std::uint64_t jobs() const noexcept { return jobs_max_ - slots_.available(); }
  /// What the metrics tell.
  void came_home(clock::duration waited, clock::duration ran) noexcept {
    wait_.record(static_cast<std::uint64_t>(waited.count()));
    run_.record(static_cast<std::uint64_t>(ran.count()));
  }
  void was_withdrawn() noexcept { ++withdrawn_total_; }
  const observe::histogram& wait_times() const noexcept { return wait_; }
  std::uint64_t withdrawn_total() const noexcept { return withdrawn_total_; }

 private:
  std::shared_ptr<inbox_stack> home_;
  std::shared_ptr<executor> does_;
  std::uint64_t jobs_max_;
  semaphore slots_;
  observe::histogram wait_, run_;
  std::uint64_t withdrawn_total_ = 0;
  std::vector<observe::registration> published_;
};

/// Whether `fn` takes a worker before its arguments. What `unchecked` wraps decides: the wrapper itself takes anything.
template <class Fn, class... Args>
struct wants_worker : std::is_invocable<Fn&, compute_worker&, Args...> {};
template <class Fn, class... Args>
struct wants_worker<unchecked_fn<Fn>, Args...> : wants_worker<Fn, Args...> {};

/// What `fn` gives, with a worker or without.
template <class Fn, class... Args>
struct job_result : std::invoke_result<Fn&, Args...> {
  static constexpr bool takes_worker = false;
};
template <class Fn, class... Args>
  requires wants_worker<Fn, Args...>::value
struct job_result<Fn, Args...> : std::invoke_result<Fn&, compute_worker&, Args...> {
  static constexpr bool takes_worker = true;
};

/// Calls `use(worker)` with the executor's, or with one that works alone.
template <class Use>
decltype(auto) with_worker(compute_worker* on, Use&& use);

/// A job and the wait for it.
template <class Fn, class... Args>
class [[nodiscard("co_await it: nothing is posted before")]] job_awaiter final : public leaf, public job {
 public:
  using result_of = job_result<Fn, Args...>;
  using value = typename result_of::type;

  job_awaiter(const char* what, job_slots& slots, job_priority priority, Fn fn, Args... args)
      : job(slots.home(), priority), what_(what), slots_(slots), fn_(std::move(fn)), arguments_(std::move(args)...) {}

  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    suspend(resume_point);
    slots_.does().post(*this);
  }
  value await_resume() {
    slots_.came_home(begun_at_ - posted_at_, ended_at_ - begun_at_);
    return result_.take();
  }
  void let_go() noexcept override {
    if (slots_.does().withdraw(*this)) {
      slots_.was_withdrawn();
      wake();
    } else {
      stop_.store(true, std::memory_order_relaxed);
    }
  }
  const char* describe() const noexcept override { return what_; }

  void run(compute_worker* on) noexcept override {
    try {
      if constexpr (std::is_void_v<value>) {
        call(on);
        result_.set_value();
      } else {
        result_.set_value(call(on));
      }
    } catch (...) {
      result_.set_error(std::current_exception());
    }
  }
  void fail(std::exception_ptr why) noexcept override { result_.set_error(std::move(why)); }
  void arrived() noexcept override { wake(); }

 private:
  value call(compute_worker* on) {
    if constexpr (result_of::takes_worker) {
      return with_worker(on, [this](compute_worker& worker) -> value {
        auto with_it = [&](Args&... args) -> value { return fn_(worker, std::move(args)...); };
        return std::apply(with_it, arguments_);
      });
    } else {
      return std::apply(fn_, std::move(arguments_));
    }
  }

  const char* what_;
  job_slots& slots_;
  [[no_unique_address]] Fn fn_;
  std::tuple<Args...> arguments_;
  result_slot<value> result_;
};

template <class Fn, class... Args>
consteval void require_job_crosses() {
  if constexpr (!crosses<Fn>::value) require_no_captures<Fn>();
  (require_crossing<Args>(), ...);
  require_crossing<typename job_result<Fn, Args...>::type>();
  static_assert(!any_task<typename job_result<Fn, Args...>::type>,
                "a job runs on a thread that is no shard, where no task can wait: give it a plain function");
}

/// Waits for a slot, then for the job.
template <class Fn, class... Args>
task<typename job_result<Fn, Args...>::type> do_job(const char* what, job_slots& slots, job_priority priority, Fn fn,
                                                    Args... args) {
  units slot = co_await slots.acquire();
  job_awaiter<Fn, Args...> work(what, slots, priority, std::move(fn), std::move(args)...);
  co_return co_await work;
}

}  // namespace detail

}  // namespace skerry
