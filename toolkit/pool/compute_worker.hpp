// SPDX-License-Identifier: Apache-2.0
#pragma once

/// compute_worker: a thread of the compute pool as a job sees it, and how a job splits its work.
///
///     long fib(compute_worker& here, int n) {
///       if (n < 2) return n;
///       auto [a, b] = here.join([n](compute_worker& on) { return fib(on, n - 1); },
///                               [n](compute_worker& on) { return fib(on, n - 2); });
///       return a + b;
///     }
///
/// join puts the second function aside, where another worker may steal it, and calls the first. Then it takes the
/// second back and calls it, too; or, if it was stolen, does other stolen work until it is done. Nothing is allocated:
/// what is put aside lies on the stack of the join, which waits for it in any case, so functions may refer to what is
/// around them. A worker that has nothing to steal while it waits parks, and is called for more work or for the end.
///
/// Waiting can become no circle: what a worker does on top of a wait began later than the wait, and whatever waits
/// waits for something that began later than itself.
///
/// A worker made by itself belongs to no pool: nobody steals, and join is two calls.
///
/// Affinity:     the worker's thread. The reference must not leave the job.
/// Errors:       what a function throws leaves join when the other has ended, or was never begun; of two, the first's.
/// Cancellation: `stop_requested()` tells that nobody wants the job's result any more; long work looks now and then.
/// Limits:       work_deque::capacity functions put aside; beyond it join calls both. `nesting_max` times work that was
///               stolen while waiting lies on one stack; deeper, a worker that waits does nothing else.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/random.hpp>
#include <skerry/framework/task/branch.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/toolkit/pool/executor.hpp>
#include <skerry/toolkit/pool/work_deque.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <type_traits>
#include <utility>

namespace skerry {

class compute_pool;
class compute_worker;

namespace detail {

/// What `fn` gives on a worker, which it may take as an argument.
template <class Fn>
struct on_worker : std::invoke_result<Fn&> {
  static decltype(auto) call(Fn& fn, compute_worker&) { return fn(); }
};
template <class Fn>
  requires std::is_invocable_v<Fn&, compute_worker&>
struct on_worker<Fn> : std::invoke_result<Fn&, compute_worker&> {
  static decltype(auto) call(Fn& fn, compute_worker& here) { return fn(here); }
};

/// The second function of a join. `state_`: written by the owner (aside -> waited_for) and by the thief (-> done), both
/// by read-modify-write; done releases the result, which the owner acquires.
class stealable {
 protected:
  using runner = void (*)(stealable& work, compute_worker& on) noexcept;
  stealable(runner run, compute_worker& owner, const job* root) noexcept : run_(run), owner_(&owner), root_(root) {}

 private:
  friend class skerry::compute_worker;
  friend class skerry::compute_pool;
  enum class state : std::uint8_t { aside, waited_for, done };

  runner run_;
  compute_worker* owner_;
  const job* root_;  // of whose work it is a part
  std::atomic<state> state_{state::aside};
};

template <class Fn>
class stealable_call final : public stealable {
 public:
  using value = typename on_worker<Fn>::type;
  stealable_call(Fn& fn, compute_worker& owner, const job* root) noexcept
      : stealable(&run_stolen, owner, root), fn_(fn) {}
  value take() { return result_.take(); }

 private:
  static void run_stolen(stealable& work, compute_worker& on) noexcept {
    auto& self = static_cast<stealable_call&>(work);
    try {
      if constexpr (std::is_void_v<value>) {
        on_worker<Fn>::call(self.fn_, on);
        self.result_.set_value();
      } else {
        self.result_.set_value(on_worker<Fn>::call(self.fn_, on));
      }
    } catch (...) {
      self.result_.set_error(std::current_exception());
    }
  }

  Fn& fn_;
  result_slot<value> result_;
};

}  // namespace detail

class compute_worker : public detail::list_hook<compute_worker> {
 public:
  static constexpr unsigned nesting_max = 32;

  /// One that works alone.
  compute_worker() noexcept : random_(0) {}
  compute_worker(const compute_worker&) = delete;
  compute_worker& operator=(const compute_worker&) = delete;

  /// Calls both functions, perhaps at the same time; each takes a compute_worker& or nothing. Gives both results as a
  /// pair, a `unit` for one that has none; nothing when neither has.
  template <class First, class Second>
  auto join(First&& first, Second&& second) {
    using first_call = detail::on_worker<std::remove_reference_t<First>>;
    using second_call = detail::on_worker<std::remove_reference_t<Second>>;
    using first_value = typename first_call::type;
    using second_value = typename second_call::type;
    static_assert(!std::is_reference_v<first_value> && !std::is_reference_v<second_value>,
                  "functions given to join return values");
    detail::stealable_call<std::remove_reference_t<Second>> other(second, *this, root_);
    settling pending{*this, other, put_aside(other)};
    if constexpr (std::is_void_v<first_value> && std::is_void_v<second_value>) {
      first_call::call(first, *this);
      pending.settle() ? second_call::call(second, *this) : other.take();
    } else if constexpr (std::is_void_v<first_value>) {
      first_call::call(first, *this);
      return std::pair<unit, second_value>({}, pending.settle() ? second_call::call(second, *this) : other.take());
    } else {
      first_value one = first_call::call(first, *this);
      if constexpr (std::is_void_v<second_value>) {
        pending.settle() ? second_call::call(second, *this) : other.take();
        return std::pair<first_value, unit>(std::move(one), {});
      } else {
        return std::pair<first_value, second_value>(std::move(one),
                                                    pending.settle() ? second_call::call(second, *this) : other.take());
      }
    }
  }

  /// Whether nobody waits for the job's result any more.
  bool stop_requested() const noexcept { return root_ != nullptr && root_->stop_requested(); }

  /// Whether there is something that others could steal from here, or nobody would.
  bool has_work_aside() const noexcept { return pool_ == nullptr || !deque_.looks_empty(); }

 private:
  friend class compute_pool;
  compute_worker(compute_pool& pool, const std::atomic<std::uint32_t>& sleepers, std::uint64_t seed,
                 std::uint64_t number) noexcept
      : pool_(&pool), sleepers_(&sleepers), random_(seed, number) {}

  bool put_aside(detail::stealable& work) noexcept {
    if (pool_ == nullptr || !deque_.push(work)) return false;
    if (sleepers_->load(std::memory_order_seq_cst) != 0) [[unlikely]]
      call_a_sleeper();
    return true;
  }
  /// Takes back what was put aside, which is the latest if it is there: true. If it was stolen, waits: false.
  bool take_back(detail::stealable& work) noexcept {
    if (detail::stealable* latest = deque_.pop(); latest != nullptr) [[likely]] {
      SKERRY_ASSERT(latest == &work, "what was put aside later was taken back before");
      return true;
    }
    wait_for(work);
    return false;
  }
  /// Sees to it that nobody has the second function when the join is left, however it is.
  struct settling {
    compute_worker& here;
    detail::stealable& work;
    bool aside;
    /// True: it is for the caller to call.
    bool settle() noexcept { return !std::exchange(aside, false) || here.take_back(work); }
    ~settling() {
      if (aside) [[unlikely]]
        here.take_back(work);
    }
  };

  void wait_for(detail::stealable& work) noexcept;
  void run_stolen(detail::stealable& work) noexcept;
  void run_job(job& work) noexcept;
  void call_a_sleeper() noexcept;

  compute_pool* pool_ = nullptr;
  const std::atomic<std::uint32_t>* sleepers_ = nullptr;  // the pool's
  const job* root_ = nullptr;                             // what it works for
  random_source random_;
  unsigned nesting_ = 0;
  bool called_ = false;           // under the pool's mutex
  std::condition_variable call_;  // with it
  detail::work_deque<detail::stealable> deque_;
};

namespace detail {
template <class Use>
decltype(auto) with_worker(compute_worker* on, Use&& use) {
  if (on != nullptr) return use(*on);
  compute_worker alone;
  return use(alone);
}
}  // namespace detail

}  // namespace skerry
