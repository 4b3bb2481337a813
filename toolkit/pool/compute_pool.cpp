// SPDX-License-Identifier: Apache-2.0
#include <skerry/toolkit/pool/compute_pool.hpp>
#include <skerry/toolkit/pool/threads.hpp>

#include <algorithm>
#include <utility>

namespace skerry {

namespace {

/// How long a worker looks for work before it parks: first it spins, then it gives its CPU to whoever else is ready
/// there, for as long as a shard takes to wake up, see the last job done and post the next one.
class patience {
 public:
  bool wait_a_little() noexcept {
    if (++looks_ < spins) {
      spin();
    } else if (looks_ < spins + yields) {
      std::this_thread::yield();
    } else {
      return false;
    }
    return true;
  }
  void renew() noexcept { looks_ = 0; }

 private:
  static constexpr int spins = 64, yields = 128;
  static void spin() noexcept {
#if defined(__x86_64__)
    for (int i = 0; i < 16; ++i) __builtin_ia32_pause();
#elif defined(__aarch64__)
    for (int i = 0; i < 16; ++i) asm volatile("yield");
#endif
  }
  int looks_ = 0;
};

}  // namespace

void compute_worker::call_a_sleeper() noexcept { pool_->call_a_sleeper(); }

void compute_worker::run_job(job& work) noexcept {
  root_ = &work;
  work.begin();
  work.run(this);
  root_ = nullptr;
  work.go_home();
}

void compute_worker::run_stolen(detail::stealable& work) noexcept {
  const job* before = std::exchange(root_, work.root_);
  compute_worker& owner = *work.owner_;
  work.run_(work, *this);
  root_ = before;
  // It is gone as soon as it is done.
  if (work.state_.exchange(detail::stealable::state::done, std::memory_order_acq_rel) !=
      detail::stealable::state::aside) {
    pool_->wake(owner);
  }
}

void compute_worker::wait_for(detail::stealable& work) noexcept {
  const bool may_steal = nesting_ < nesting_max;
  patience left;
  while (work.state_.load(std::memory_order_acquire) != detail::stealable::state::done) {
    if (detail::stealable* other = may_steal ? pool_->steal(*this) : nullptr; other != nullptr) {
      ++nesting_;
      run_stolen(*other);
      --nesting_;
      left.renew();
    } else if (!left.wait_a_little()) {
      pool_->park_until(*this, work, may_steal);
      left.renew();
    }
  }
}

compute_pool::compute_pool(const std::vector<cpu_list>& places, std::uint64_t seed) {
  for (std::uint64_t i = 0; i < places.size(); ++i)
    workers_.emplace_back(new compute_worker(*this, sleepers_, seed, i));
  try {
    for (std::size_t i = 0; i < places.size(); ++i) {
      threads_.push_back(start_pool_thread("skerry-compute", places[i], [this, i] { work(*workers_[i]); }));
    }
  } catch (...) {
    stop();
    throw;
  }
}

compute_pool::~compute_pool() { stop(); }

void compute_pool::stop() noexcept {
  {
    const std::scoped_lock hold(mutex_);
    SKERRY_ASSERT(injected_.load(std::memory_order_relaxed) == 0, "a pool ends when nobody waits for its jobs");
    stopping_ = true;
    for (auto& each : workers_) each->call_.notify_one();
  }
  for (std::thread& each : threads_) each.join();
}

void compute_pool::post(job& work) noexcept {
  const std::scoped_lock hold(mutex_);
  jobs_[static_cast<std::size_t>(work.priority())].push_back(work);
  injected_.store(injected_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  if (idle_.empty()) return;
  compute_worker& next = idle_.front();
  leave(next);
  next.called_ = true;
  next.call_.notify_one();
}

bool compute_pool::withdraw(job& work) noexcept {
  const std::scoped_lock hold(mutex_);
  if (!work.linked()) return false;
  work.unlink();
  injected_.store(injected_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
  return true;
}

job* compute_pool::take_job() noexcept {
  if (injected_.load(std::memory_order_relaxed) == 0) return nullptr;
  const std::scoped_lock hold(mutex_);
  const bool lowest_first = ++picks_ % fair_every == 0;
  for (std::size_t i = 0; i < job_priorities; ++i) {
    auto& from = jobs_[lowest_first ? job_priorities - 1 - i : i];
    if (from.empty()) continue;
    injected_.store(injected_.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    return &from.pop_front();
  }
  return nullptr;
}

void compute_pool::work(compute_worker& me) noexcept {
  for (patience left;;) {
    if (job* next = take_job(); next != nullptr) {
      me.run_job(*next);
    } else if (detail::stealable* stolen = steal(me); stolen != nullptr) {
      me.run_stolen(*stolen);
    } else if (left.wait_a_little()) {
      continue;
    } else if (!park(me)) {
      return;
    }
    left.renew();
  }
}

detail::stealable* compute_pool::steal(compute_worker& thief) noexcept {
  if (workers_.size() == 1) return nullptr;
  std::size_t at = thief.random_.uniform(workers_.size());
  for (std::size_t i = 0; i < workers_.size(); ++i) {
    compute_worker& victim = *workers_[at];
    if (++at == workers_.size()) at = 0;
    if (&victim == &thief) continue;
    if (detail::stealable* found = victim.deque_.steal(); found != nullptr) return found;
  }
  return nullptr;
}

bool compute_pool::nothing_to_steal() const noexcept {
  return std::ranges::all_of(workers_, [](const auto& each) { return each->deque_.looks_empty(); });
}

void compute_pool::enter(worker_list& sleepers, compute_worker& me) noexcept {
  sleepers.push_back(me);
  me.called_ = false;
  sleepers_.fetch_add(1, std::memory_order_seq_cst);
}

void compute_pool::leave(compute_worker& me) noexcept {
  me.unlink();
  sleepers_.fetch_sub(1, std::memory_order_relaxed);
}

bool compute_pool::park(compute_worker& me) noexcept {
  std::unique_lock hold(mutex_);
  if (stopping_) return false;
  if (injected_.load(std::memory_order_relaxed) != 0) return true;
  enter(idle_, me);
  if (nothing_to_steal()) me.call_.wait(hold, [this, &me] { return me.called_ || stopping_; });
  if (me.linked()) leave(me);
  return true;
}

void compute_pool::park_until(compute_worker& me, detail::stealable& awaited, bool may_steal) noexcept {
  using state = detail::stealable::state;
  std::unique_lock hold(mutex_);
  state seen = state::aside;
  awaited.state_.compare_exchange_strong(seen, state::waited_for, std::memory_order_acq_rel);
  if (seen == state::done) return;
  auto is_done = [&awaited] { return awaited.state_.load(std::memory_order_acquire) == state::done; };
  if (!may_steal) return me.call_.wait(hold, is_done);
  enter(waiting_, me);
  if (nothing_to_steal()) me.call_.wait(hold, [&] { return me.called_ || is_done(); });
  if (me.linked()) leave(me);
}

void compute_pool::call_a_sleeper() noexcept {
  const std::scoped_lock hold(mutex_);
  worker_list& from = idle_.empty() ? waiting_ : idle_;
  if (from.empty()) return;
  compute_worker& next = from.front();
  leave(next);
  next.called_ = true;
  next.call_.notify_one();
}

void compute_pool::wake(compute_worker& owner) noexcept {
  const std::scoped_lock hold(mutex_);
  owner.call_.notify_one();
}

}  // namespace skerry
