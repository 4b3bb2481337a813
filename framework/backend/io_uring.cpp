// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/backend/backend.hpp>
#include <skerry/framework/startup_error.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <csignal>
#include <fstream>
#include <system_error>
#include <utility>

#include <fmt/core.h>
#include <liburing.h>
#include <linux/capability.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace skerry {

namespace {

using std::chrono::milliseconds;

// Known to kernels newer than the headers of Debian 12.
constexpr unsigned feature_no_iowait = 1u << 17;
constexpr unsigned enter_no_iowait = 1u << 7;

constexpr unsigned entries_min = 64;
constexpr std::uint64_t ignored = 0;          // user_data of submissions that nobody waits for, as in an empty slot
constexpr std::uint64_t failed_wake_tag = 1;  // user_data is the backend that must be woken in another way
constexpr std::uint64_t cancel_answer = 3;    // user_data of cancels whose answer counts

/// The set-up flags, most wanted first; a kernel that does not know one says EINVAL.
///
///     SINGLE_ISSUER   the kernel skips locking: the ring is made disabled, and the shard that enables it is its issuer
///     DEFER_TASKRUN   completions run inside our entries only, never in the middle of a task
///     COOP_TASKRUN    the fallback where DEFER_TASKRUN is unknown
///     TASKRUN_FLAG    the ring says in memory that completions wait: no entry to find out
///     SUBMIT_ALL      one bad submission does not hold up the rest of the batch
///     CQSIZE          at least four completions per submission: overflow is slow
///
/// SQPOLL, where it is asked for, takes the place of the first four: completions run on a thread of the kernel's.
constexpr unsigned flag_ladder[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
    0,
};

/// Completions per submission: 16, so that thousands of connections can answer at once; 4 in the smaller rings.
constexpr unsigned completions_for(unsigned entries) { return entries * (entries > 256 ? 16 : 4); }

/// Receive buffers that can be lent at a time.
constexpr unsigned buffers_for(unsigned entries) { return std::min(4 * entries, 2048u); }

/// What a ring and its ring of buffers are charged against RLIMIT_MEMLOCK.
constexpr std::size_t locked_bytes(unsigned entries) {
  constexpr std::size_t page = 4096, header = 320;
  auto pages = [](std::size_t bytes) { return (bytes + page - 1) / page * page; };
  return pages(entries * sizeof(io_uring_sqe)) +
         pages(header + entries * sizeof(unsigned) + completions_for(entries) * sizeof(io_uring_cqe)) +
         pages(buffers_for(entries) * sizeof(io_uring_buf));
}
static_assert(locked_bytes(entries_min) == 16 * 1024, "four shards start with the 64 KiB that many systems allow");

/// 0 or -errno.
int set_up(io_uring& ring, unsigned entries, milliseconds sqpoll_idle) {
  int result = -EINVAL;
  for (const unsigned* flags = flag_ladder; result == -EINVAL && flags != std::end(flag_ladder); ++flags) {
    io_uring_params params{};
    params.flags = (sqpoll_idle.count() != 0 ? IORING_SETUP_SQPOLL : *flags) | IORING_SETUP_SUBMIT_ALL |
                   IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED;
    params.cq_entries = completions_for(entries);
    params.sq_thread_idle = static_cast<unsigned>(sqpoll_idle.count());
    result = io_uring_queue_init_params(entries, &ring, &params);
  }
  return result;
}

std::string refusal_text(int error, std::size_t shards) {
  if (error == ENOMEM) {
    rlimit limit{};
    getrlimit(RLIMIT_MEMLOCK, &limit);
    return fmt::format(
        "cannot set up {} io_uring ring{}: RLIMIT_MEMLOCK is {} KiB for all processes of this user, and the smallest "
        "ring takes {} KiB\n"
        "raise it (ulimit -l 8192, or LimitMEMLOCK=8M in a systemd unit), or run fewer shards (--shards)",
        shards, shards == 1 ? "" : "s", limit.rlim_cur / 1024, locked_bytes(entries_min) / 1024);
  }
  std::string cause = std::generic_category().message(error);
  std::ifstream setting("/proc/sys/kernel/io_uring_disabled");
  int disabled = 0;
  if (setting >> disabled && disabled != 0) {
    return fmt::format(
        "io_uring is not usable here: {}; /proc/sys/kernel/io_uring_disabled is {}\n"
        "allow it with: sysctl -w kernel.io_uring_disabled=0",
        cause, disabled);
  }
  return fmt::format(
      "io_uring is not usable here: {}\n"
      "it needs Linux 6.1 or newer, and a sandbox that allows io_uring_setup (containers: a seccomp profile that "
      "permits it)",
      cause);
}

/// It is an operation itself: the multishot poll on its eventfd, whose completions do nothing but end a wait.
class io_uring_backend final : public backend, private operation {
 public:
  io_uring_backend(unsigned entries, milliseconds sqpoll_idle) : io_uring_backend(entries, sqpoll_idle, ring_only()) {
    // From here on the destructor runs, also when something is refused.
    io_uring_buf_reg lent{};
    lent.ring_addr = reinterpret_cast<std::uint64_t>(receive_buffers().memory());
    lent.ring_entries = receive_buffers().capacity();
    lent.bgid = buffer_ring::group;
    check(io_uring_register_buf_ring(&ring_, &lent, 0), "io_uring_register_buf_ring");
    io_uring_register_buffers_sparse(&ring_, registered_buffers_max);  // without it, register_buffer says ENXIO
    event_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    check(event_fd_ < 0 ? -errno : 0, "eventfd");
    slots_ = ring_.sq.sqes;
    mask_ = *ring_.sq.kring_mask;
    full_at_ = *ring_.sq.kring_entries;
    kernel_flags_ = ring_.sq.kflags;
    entry_flags_ = IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW;
    polled_ = sqpoll_idle.count() != 0;  // that thread runs completions at once, and no flag says so
    for (unsigned i = 0; i <= mask_; ++i) ring_.sq.array[i] = i;  // slot i is entry i, for ever
  }

  ~io_uring_backend() override {
    stop();
    if (event_fd_ >= 0) ::close(event_fd_);
    io_uring_queue_exit(&ring_);
  }

  void submit_and_reap() noexcept override {
    queue_cancels();
    // A completion may queue more work; whoever does so is served in the next turn.
    enter(IORING_ENTER_GETEVENTS);
    reap();
  }

  void wait(clock::time_point deadline) noexcept override {
    queue_cancels();
    const bool nothing_done = *ring_.cq.khead == __atomic_load_n(ring_.cq.ktail, __ATOMIC_ACQUIRE);
    stats_.waits += nothing_done;
    enter(IORING_ENTER_GETEVENTS, nothing_done ? 1 : 0, deadline);
    reap();
  }

  void wake(backend& target) noexcept override {
    auto& other = static_cast<io_uring_backend&>(target);
    ++stats_.wakes_sent;
    submission& s = next_slot();
    // Rides in an entry that we make anyway, and arrives as a completion that ends the target's wait. Only a failure
    // (its completion ring is full) comes back to us, and is made good through the eventfd.
    prepare::set(s, IORING_OP_MSG_RING, other.ring_.ring_fd, nullptr, 0, ignored);
    s.flags = IOSQE_CQE_SKIP_SUCCESS;
    s.user_data = reinterpret_cast<std::uint64_t>(&other) | failed_wake_tag;
  }

  void wake_from_outside() noexcept override {
    std::uint64_t one = 1;
    // Cannot fail before 2^64 wakes; EAGAIN at that point would still leave the event raised.
    [[maybe_unused]] auto written = ::write(event_fd_, &one, sizeof one);
  }

  backend_capabilities capabilities() const noexcept override { return {"io_uring", ring_.features, ring_.ring_fd}; }

  int register_buffer(unsigned slot, const iovec& memory) noexcept override {
    return std::min(io_uring_register_buffers_update_tag(&ring_, slot, &memory, nullptr, 1), 0);
  }

  void start() override {
    if (std::exchange(started_, true)) return;
    // liburing 2.3 declares io_uring_enable_rings but does not export it.
    check(io_uring_register(static_cast<unsigned>(ring_.ring_fd), IORING_REGISTER_ENABLE_RINGS, nullptr, 0),
          "io_uring_enable_rings");
    // Saves the descriptor lookup in each entry; a kernel that cannot loses a few nanoseconds and nothing else.
    if (io_uring_register_ring_fd(&ring_) == 1) base_flags_ = IORING_ENTER_REGISTERED_RING;
    if ((ring_.features & feature_no_iowait) != 0) base_flags_ |= enter_no_iowait;
    // A sandbox may allow rings and forbid entering them.
    check(enter(IORING_ENTER_GETEVENTS | IORING_ENTER_SQ_WAKEUP), "io_uring_enter");
    watch_event();
  }

  void stop() noexcept override {
    cancel(*this);
    stopping_ = true;
    while (operation::in_flight()) wait(clock::time_point::max());
  }

 private:
  struct ring_only {};
  io_uring_backend(unsigned entries, milliseconds sqpoll_idle, ring_only) : backend(buffers_for(entries)) {
    check(set_up(ring_, entries, sqpoll_idle), "io_uring_setup");
  }

  static void check(int result, const char* what) {
    if (result < 0) throw std::system_error(-result, std::generic_category(), what);
  }

  void watch_event() noexcept { prepare::poll_multishot(submit(*this), event_fd_, POLLIN); }
  void complete(std::int32_t, std::uint32_t flags) noexcept override {
    if (!completion::more(flags) && !stopping_) watch_event();
  }

  /// What they name is in flight: the lists forget an operation with its last completion. The thread of SQPOLL may get
  /// to a cancel while the operation waits for its next attempt, where none finds it; then all are asked for again.
  void queue_cancels() noexcept {
    while (!cancels_.empty()) {
      operation& op = cancels_.pop_front();
      submission& s = next_slot();
      prepare::set(s, IORING_OP_ASYNC_CANCEL, -1, &op, 0, 0);
      if (polled_) s.user_data = cancel_answer, asked_.push_back(op);
    }
  }

  void make_room() noexcept override {
    ++stats_.full;
    while (tail_ == full_at_) enter(IORING_ENTER_SQ_WAIT);  // waits where a thread of the kernel's makes the room
  }

  int enter(unsigned flags, unsigned wait_for = 0, clock::time_point deadline = clock::time_point::max()) noexcept {
    const bool sqpoll = polled_;
    sqpoll ? void(flags = show_kernel_thread(flags, wait_for))
           : __atomic_store_n(ring_.sq.ktail, tail_, __ATOMIC_RELEASE);
    const int result = flags != 0 ? call_kernel(flags, wait_for, deadline) : 0;
    // The kernel's head is the truth, whatever the call returned (it says EINTR and ETIME after submitting, too). What
    // its thread is shown is handed over; a slot is free once the head has passed it.
    const std::uint32_t head = __atomic_load_n(ring_.sq.khead, __ATOMIC_ACQUIRE);
    const std::uint32_t handed_over = sqpoll ? tail_ : head;
    stats_.submissions += handed_over - submitted_;
    submitted_ = handed_over;
    full_at_ = head + mask_ + 1;
    return result;
  }

  /// The flags with which the kernel has to be entered beside that; 0 where it need not be.
  unsigned show_kernel_thread(unsigned flags, unsigned wait_for) noexcept {
    // The thread says that it sleeps, then looks at the tail once more; so here a full barrier is between the two.
    if (tail_ != submitted_) __atomic_exchange_n(ring_.sq.ktail, tail_, __ATOMIC_SEQ_CST);
    const unsigned said = __atomic_load_n(ring_.sq.kflags, __ATOMIC_SEQ_CST);
    if (tail_ != submitted_ && (said & IORING_SQ_NEED_WAKEUP) != 0) flags |= IORING_ENTER_SQ_WAKEUP;
    if (wait_for == 0 && (said & IORING_SQ_CQ_OVERFLOW) == 0) flags &= ~IORING_ENTER_GETEVENTS;
    return flags;
  }

  int call_kernel(unsigned flags, unsigned wait_for, clock::time_point deadline) noexcept {
    flags |= base_flags_;
    io_uring_getevents_arg argument{};
    __kernel_timespec timeout{};
    const bool bounded = wait_for != 0 && deadline != clock::time_point::max();
    if (bounded) {
      const auto left = std::max(deadline - clock::now(), clock::duration::zero()).count();
      timeout = {left / 1'000'000'000, left % 1'000'000'000};
      argument.sigmask_sz = _NSIG / 8;
      argument.ts = reinterpret_cast<std::uint64_t>(&timeout);
      flags |= IORING_ENTER_EXT_ARG;
    }
    ++stats_.kernel_entries;
    return io_uring_enter2(static_cast<unsigned>(ring_.enter_ring_fd), tail_ - submitted_, wait_for, flags,
                           bounded ? reinterpret_cast<sigset_t*>(&argument) : nullptr,
                           bounded ? sizeof argument : _NSIG / 8);
  }

  void reap() noexcept {
    unsigned mask = *ring_.cq.kring_mask;
    unsigned head = *ring_.cq.khead;
    unsigned tail = __atomic_load_n(ring_.cq.ktail, __ATOMIC_ACQUIRE);
    while (head != tail) {
      const io_uring_cqe& cqe = ring_.cq.cqes[head & mask];
      if ((cqe.user_data & failed_wake_tag) != 0) [[unlikely]] {
        if (cqe.user_data != cancel_answer) {
          reinterpret_cast<io_uring_backend*>(cqe.user_data & ~failed_wake_tag)->wake_from_outside();
        } else if (cqe.res == -ENOENT) {
          while (!asked_.empty()) cancels_.push_back(asked_.pop_front());
        }
      } else if (cqe.user_data != ignored) {
        deliver(*reinterpret_cast<operation*>(cqe.user_data), cqe.res, cqe.flags);
      }
      ++head;
    }
    __atomic_store_n(ring_.cq.khead, head, __ATOMIC_RELEASE);
    if ((*kernel_flags_ & IORING_SQ_CQ_OVERFLOW) != 0) ++stats_.overflows;
  }

  io_uring ring_{};
  detail::intrusive_list<operation, cancel_tag> asked_;  // to be cancelled, with SQPOLL
  int event_fd_ = -1;
  unsigned base_flags_ = 0;
  bool started_ = false;
  bool stopping_ = false;
};

/// Whether this process is charged for what it locks: all but those with CAP_IPC_LOCK are, also root of a container.
bool memlock_charged() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2]{};
  return ::syscall(SYS_capget, &header, data) != 0 || (data[0].effective & 1u << CAP_IPC_LOCK) == 0;
}

/// The largest size of which all rings fit into half of RLIMIT_MEMLOCK; the other half is for other processes of this
/// user. 0 where no size fits at all.
unsigned entries_within_memlock(std::size_t shards, unsigned wanted) {
  rlimit limit{};
  if (!memlock_charged() || getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return wanted;
  if (shards * locked_bytes(entries_min) > limit.rlim_cur) return 0;
  while (wanted > entries_min && shards * locked_bytes(wanted) > limit.rlim_cur / 2) wanted /= 2;
  return wanted;
}

}  // namespace

std::vector<std::unique_ptr<backend>> make_io_uring_backends(std::size_t shards, unsigned entries,
                                                             milliseconds sqpoll_idle) {
  SKERRY_ASSERT(std::has_single_bit(entries), "ring entries are a power of two");
  std::vector<std::unique_ptr<backend>> made;
  entries = entries_within_memlock(shards, std::max(entries, entries_min));
  if (entries == 0) throw startup_error(refusal_text(ENOMEM, shards));
  // The kernel takes the charge for a closed ring back some 20 ms later, on a busy machine some 500, also for a process
  // that has just ended. So each size gets time before a smaller one is tried, the last one most.
  constexpr int wait_ms = 5;
  for (int tries = 0;; ++tries) {
    try {
      while (made.size() < shards) made.push_back(std::make_unique<io_uring_backend>(entries, sqpoll_idle));
      made.front()->start();
      return made;
    } catch (const std::system_error& refused) {
      const int error = refused.code().value();
      const bool last = tries >= (entries > entries_min ? 10 : 400);
      if (error != ENOMEM || (last && entries == entries_min)) throw startup_error(refusal_text(error, shards));
      if (last) {  // not before: rings closed at each try would be charged at the next
        made.clear();
        entries /= 2;
        tries = 0;
      }
      ::poll(nullptr, 0, wait_ms);
    }
  }
}

}  // namespace skerry
