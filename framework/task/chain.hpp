// SPDX-License-Identifier: Apache-2.0
#pragma once

/// chain: one line of coroutine frames that await each other, from a root down to one leaf. It is what runs, waits, is
/// cancelled and is listed; people call it a task. Every branch of a combinator is a chain of its own, and the chain
/// that waits for it has the combinator as its leaf.
///
///     unstarted --step--> running --suspend()--> suspended --wake()--> queued --step--> running
///         |                  |                       |                                     |
///       cancel()          finish()                cancel(): let_go()                    finish()
///         v                       v                                     v
///     destroying           done                 cancelling --wake()--> destroying --step--> done
///
/// Cancelling asks the leaf to let go and waits until it has: timers and queues do at once, I/O and messages when the
/// kernel or the other shard has answered. Only then are the frames destroyed, outermost first, in a step of their own
/// with this chain as the current task. Nothing is thrown, so no `catch` can swallow it.
///
///     state when cancel() comes     what happens
///     unstarted                     never runs
///     running, queued               completion wins; the next suspension ends it
///     suspended                     the leaf lets go, then the frames are destroyed; the awaiter's destructor gives
///                                   back what it may have got. Or it says that the cancel comes too late: as queued
///     cancelling, destroying, done  nothing
///
/// Affinity:   home shard only.
/// Ownership:  whoever derives from it (a spawned task, a branch inside an awaiter, a remote call inside its message).
/// Invariants: (1) it is in the run queue in exactly the states unstarted, queued and destroying, but for one whose
///             destruction was put off; (2) it has a leaf in exactly the states suspended and cancelling, so the leaf
///             and the queue's link share a word; (3) `ended()` runs once, as the last thing.
/// Limits:     none of its own; what makes chains bounds them.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/detail/intrusive_list.hpp>
#include <skerry/framework/reactor/run_queue.hpp>
#include <skerry/framework/this_shard.hpp>

#include <coroutine>
#include <cstdint>

namespace skerry::detail {

class chain;
/// Of a scope's list: a task enters it before it is started and leaves it in `ended()`, each once.
struct scope_tag {
  using unchecked = void;
};

/// Stands for the parent of a chain's outermost frame.
inline std::coroutine_handle<> end_of_chain() noexcept { return std::noop_coroutine(); }

/// What a chain waits for. An awaiter calls `suspend` in await_suspend; whoever completes the wait calls `wake`, once.
class leaf {
 public:
  /// Stop waiting. Leads to exactly one `wake()`, now or when the kernel or another shard has acknowledged; until then
  /// no memory of the awaiter goes.
  virtual void let_go() noexcept = 0;
  /// What to show people: "sleep", "submit_to", "recv". A string that lives for ever.
  virtual const char* describe() const noexcept = 0;

  leaf(const leaf&) = delete;
  leaf& operator=(const leaf&) = delete;

 protected:
  leaf() noexcept : chain_(nullptr) {}
  struct unasked {};
  explicit leaf(unasked) noexcept {}  ///< nobody asks for `waiting()` before it suspends
  ~leaf() = default;

  /// Publishes this as what the current chain waits for; it continues at `resume_point`.
  void suspend(std::coroutine_handle<> resume_point) noexcept;
  /// Queues the chain to run, or to be destroyed when it is being cancelled.
  void wake() noexcept;
  /// The same as the last thing that `ended` does: gives the chain for it to return.
  chain* woken() noexcept;
  /// From let_go, instead of letting go: what was waited for has come, only the wake-up has not. The task will go on
  /// with it, and its next wait ends it.
  void come_too_late() noexcept;
  /// The chain that waits; null before suspend.
  chain* waiting() const noexcept { return chain_; }

 private:
  chain* chain_;
};

/// The first two are those of a task that the run queue will resume. `rising` is a part of running: a frame has ended,
/// its parent is to go on.
enum class chain_state : std::uint8_t { unstarted, queued, running, rising, suspended, cancelling, destroying, done };

class chain : public list_hook<scope_tag>, public run_queue::hook {
 public:
  chain(const chain&) = delete;
  chain& operator=(const chain&) = delete;

  /// Queues the first step. `root` is the outermost frame, suspended at its start.
  void start(std::coroutine_handle<> root) noexcept { hold(root), start_held(); }
  /// Queues it before everything that is queued already (a message handler's first step), charged to `group`.
  void start_express(std::coroutine_handle<> root, scheduling_group group) noexcept {
    charge_to(group), hold(root), current_shard->ready->push_express(prepare());
  }
  /// Asks it to end, once it has been started. Idempotent; never allocates, destroys or resumes.
  void cancel() noexcept;
  /// Like cancel, but one whose wait is over does not go on either: what it waited for is given back.
  void abandon() noexcept;
  /// Runs or destroys, as the state says; called by the run queue. Gives what `ended` gives.
  chain* step(shard_core& shard) noexcept;
  /// A frame ends that had waited or is the outermost: `parent` goes on if there is one.
  void frame_ended(std::coroutine_handle<> parent) noexcept {
    SKERRY_ASSERT(state_ == chain_state::running, "only the running task can finish");
    state_ = parent == end_of_chain() ? chain_state::done : chain_state::rising;
    if (state_ == chain_state::rising) resume_point_ = parent;
  }
  /// Its wait is over: it is to be queued, to run or to be destroyed when it is being cancelled.
  chain* woken() noexcept;
  /// Goes to the back of the run queue; called by `yield` from await_suspend.
  void requeue(std::coroutine_handle<> resume_point) noexcept;

  scheduling_group group() const noexcept { return current_shard->ready->group_of(*this); }
  chain_state state() const noexcept { return state_; }
  bool cancel_requested() const noexcept { return is_marked(cancel_mark); }
  /// Whether its frames were destroyed instead of running to their end.
  bool was_cancelled() const noexcept { return is_marked(destroyed_mark); }
  const char* name() const noexcept { return name_; }
  const leaf* waits_for() const noexcept {
    return state_ == chain_state::suspended || state_ == chain_state::cancelling ? leaf_ : nullptr;
  }
  /// The chain whose combinator this is a branch of; null for a spawned task.
  chain* parent() const noexcept { return is_marked(branch_mark) ? static_cast<chain*>(above_) : nullptr; }
  /// Of a spawned task: the chain that waits for its end.
  virtual chain* joined_by() const noexcept { return nullptr; }
  /// Of a call's handler: what is known of where it comes from.
  virtual call_origin* origin() const noexcept { return nullptr; }
  [[gnu::cold]] void find_origin(shard_id target) noexcept;
  /// Counts up from 1 on each shard; the same in every run of a simulation.
  std::uint64_t id() const noexcept { return id_; }
  /// Time in units of 2^24 ns (17 ms), which wraps after two years: now, at its start, when it began to wait.
  static std::uint32_t stamp() noexcept { return std::uint32_t(current_shard->now.time_since_epoch().count() >> 24); }
  std::uint32_t started_at() const noexcept { return started_at_; }
  std::uint32_t waits_since() const noexcept { return waits_since_; }
  std::coroutine_handle<> resume_point() const noexcept { return resume_point_; }

 protected:
  /// A branch: charged as its parent is.
  chain(const char* name, chain& parent) noexcept : hook(parent), above_(&parent), name_(name), marks_(branch_mark) {}
  /// One without a parent remembers in its place what `owner()` gives. To be charged to a group, or started by
  /// `start_express`, maybe on another shard.
  chain(const char* name, void* owner, std::uint8_t marks = 0) noexcept : above_(owner), name_(name), marks_(marks) {}
  ~chain() {
    SKERRY_ASSERT(state_ == chain_state::done || state_ == chain_state::unstarted,
                  "a task goes away when it has ended");
  }

  /// The last call on it: it may free itself. Gives whom it has woken at the very end, not queued yet; null for nobody.
  /// Who is next anyway then runs without going through the queue.
  virtual chain* ended() noexcept = 0;
  /// Asked when the frames of one with `asked_mark` are about to be destroyed. Who says no stays as it is, out of the
  /// run queue, until `destroy_now()`: the body of a group waits so for its children, which may refer to what it holds.
  virtual bool may_be_destroyed() noexcept { return true; }
  /// Instead of a start: a cancel that comes later finds nothing to do.
  void never_starts() noexcept { state_ = chain_state::done; }
  void* owner() const noexcept { return above_; }
  bool is_marked(std::uint8_t mark) const noexcept { return (marks_ & mark) != 0; }
  void mark(std::uint8_t mark) noexcept { marks_ |= mark; }
  void unmark(std::uint8_t mark) noexcept { marks_ &= static_cast<std::uint8_t>(~mark); }
  static constexpr std::uint8_t asked_mark = 8, first_free_mark = 16;  ///< from that on for whoever derives
  void charge_to(scheduling_group group) noexcept { current_shard->ready->charge_to(*this, group); }
  void charge_as_current() noexcept { current_shard->ready->charge_as(*this, current_shard->current); }
  void hold(std::coroutine_handle<> root) noexcept { root_ = resume_point_ = root; }  ///< until `start_held`
  void start_held() noexcept { run_queue::push(prepare()); }
  void destroy_now() noexcept {
    SKERRY_ASSERT(state_ == chain_state::destroying, "only what was to be destroyed can be destroyed later");
    run_queue::push(*this);
  }

 private:
  friend class leaf;
  static constexpr std::uint8_t cancel_mark = 1, destroyed_mark = 2, branch_mark = 4;
  chain& prepare() noexcept;
  void begin_cancel() noexcept;
  chain* destroy_and_end() noexcept;

  union {
    std::coroutine_handle<> root_;  // the outermost frame, from `hold` until done
  };
  union {
    std::coroutine_handle<> resume_point_;  // set by `hold` and by whoever sets the state to queued or rising
  };
  void* above_;
  const char* name_;
  std::uint64_t id_;  // since the start
  std::uint32_t started_at_, waits_since_;
  chain_state state_ = chain_state::unstarted;
  std::uint8_t marks_ = 0;  // no bit-fields: g++ would keep the bits between them, and read before it writes
};

/// Keeps calls between shards from waiting for each other for ever (the toolkit's service groups).
struct call_watch {
  /// Throws if the running task may not wait for the end of `task`.
  virtual void before_join(const chain& task) = 0;
  /// The running task makes a call: what its handler on `target` is to know of where it comes from, until call_ended.
  virtual call_origin* call_begins(shard_id target) noexcept = 0;
  virtual void call_ended(call_origin& origin) noexcept = 0;
};

/// What `co_await` of something says that somebody else cancelled: std::system_error(operation_canceled).
[[noreturn]] void throw_cancelled();

inline void leaf::suspend(std::coroutine_handle<> resume_point) noexcept {
  chain* current = current_shard->current;
  SKERRY_ASSERT(current != nullptr, "only a task can wait");
  chain_ = current;
  current->leaf_ = this;
  current->state_ = chain_state::suspended;
  current->waits_since_ = chain::stamp();
  current->resume_point_ = resume_point;
}

inline void leaf::wake() noexcept { run_queue::push(*woken()); }

inline chain* leaf::woken() noexcept {
  SKERRY_ASSERT(chain_ != nullptr, "a wake-up belongs to a wait");
  return chain_->woken();
}

inline void leaf::come_too_late() noexcept {
  SKERRY_ASSERT(chain_->state_ == chain_state::cancelling, "a cancel comes too late when it comes");
  chain_->state_ = chain_state::suspended;
}

inline chain& chain::prepare() noexcept {
  SKERRY_ASSERT(state_ == chain_state::unstarted, "a task starts once");
  started_at_ = stamp();
  id_ = current_shard->ready->next_id();
  return *this;
}

inline chain* chain::woken() noexcept {
  if (state_ != chain_state::suspended) [[unlikely]]
    SKERRY_ASSERT(state_ == chain_state::cancelling, "a waiting task is woken, once per wait");
  state_ = state_ == chain_state::cancelling ? chain_state::destroying : chain_state::queued;
  return this;
}

inline void chain::requeue(std::coroutine_handle<> resume_point) noexcept {
  SKERRY_ASSERT(state_ == chain_state::running, "only the running task can yield");
  state_ = chain_state::queued;
  resume_point_ = resume_point;
  run_queue::push(*this);
}

inline chain* chain::step(shard_core& shard) noexcept {
  shard.current = this;
  if (state_ > chain_state::queued) [[unlikely]]
    return destroy_and_end();
  do {
    state_ = chain_state::running;
    resume_point_.resume();
  } while (state_ == chain_state::rising);
  if (state_ == chain_state::done) return ended();
  SKERRY_ASSERT(state_ != chain_state::running,
                "a task may await only what Skerry provides: its awaiter published nothing to wait for");
  if (cancel_requested()) [[unlikely]]
    begin_cancel();
  return nullptr;
}

}  // namespace skerry::detail

namespace skerry {

/// The group of the running task; `main` outside tasks.
inline scheduling_group current_scheduling_group() noexcept {
  const detail::chain* current = this_shard().current;
  return current != nullptr ? current->group() : scheduling_group::main;
}

}  // namespace skerry
