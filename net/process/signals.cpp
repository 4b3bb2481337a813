// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/detail/intrusive_list.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/net/detail/watched_descriptor.hpp>
#include <skerry/net/process/signals.hpp>

#include <atomic>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace skerry::net {

namespace {

[[noreturn]] void fail(int error, const std::string& what) {
  throw std::system_error(error, std::generic_category(), what);
}

constexpr std::uint64_t bit_of(int number) noexcept { return std::uint64_t{1} << (number - 1); }

// What the handler, on any thread, and shard 0 share. All are seq_cst. In a section of their own, for the hosts of a
// simulation are processes in one.
//
// The eventfd of the host that listens, or none: written by shard 0 (and by who becomes or was it), read by the
// handler. A handler that has read it may still write to it, so it is closed only when none runs any more: each counts
// itself before it reads, and shard 0 looks at the count after it has written.
constexpr int nobody = -1;
[[gnu::section("skerry_process")]] constinit std::atomic<int> bell_fd{nobody};
[[gnu::section("skerry_process")]] constinit std::atomic<unsigned> handlers_running{0};
// Those that have come and shard 0 has not seen: set by the handler before it writes to the eventfd, exchanged by shard
// 0 after it has read from that.
[[gnu::section("skerry_process")]] constinit std::atomic<std::uint64_t> come{0};
// Whose host it is: exchanged at its first and its last use.
[[gnu::section("skerry_process")]] constinit std::atomic<bool> claimed{false};

void on_signal(int number) {
  const int saved = errno;
  handlers_running.fetch_add(1);
  if (const int fd = bell_fd.load(); fd != nobody) {
    come.fetch_or(bit_of(number));
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(fd, &one, sizeof one);  // full: it will be read anyway
  }
  handlers_running.fetch_sub(1);
  errno = saved;
}

const char* why_not(int number) noexcept {
  switch (number) {
    case SIGTERM:
    case SIGINT: return "it stops the app: wait for net::shutdown_signal()";
    case SIGALRM: return "it ends a stop that takes too long: use timers";
    case SIGPIPE: return "it is ignored, and the write that meant it throws EPIPE";
    case SIGKILL:
    case SIGSTOP: return "nobody can catch it";
    case SIGSEGV:
    case SIGBUS:
    case SIGFPE:
    case SIGILL:
    case SIGTRAP:
    case SIGSYS:
    case SIGABRT: return "it reports a fault, which a stream would run into again";
    default: return number >= 1 && number <= SIGRTMAX ? nullptr : "there is no such signal";
  }
}

/// The handlers of this process, from the first use to the end of the host.
class taken_signals {
 public:
  taken_signals() {
    if (claimed.exchange(true)) fail(EBUSY, "another host of this process listens to signals");
    ::sigemptyset(&unblocked_);
  }
  taken_signals(const taken_signals&) = delete;
  taken_signals& operator=(const taken_signals&) = delete;
  ~taken_signals() {
    for (const taken& each : taken_) ::sigaction(each.number, &each.before, nullptr);
    ::pthread_sigmask(SIG_BLOCK, &unblocked_, nullptr);
    come.store(0);
    claimed.store(false);
  }

  void take(int number) {
    for (const taken& each : taken_) {
      if (each.number == number) return;
    }
    taken_.push_back({number, {}});
    struct sigaction action{};
    action.sa_handler = &on_signal;
    action.sa_flags = SA_RESTART;
    if (::sigaction(number, &action, &taken_.back().before) != 0) {
      const int error = errno;
      taken_.pop_back();
      fail(error, "signal " + std::to_string(number));
    }
    // Whoever started us may have blocked it, and that would go for all threads.
    sigset_t this_one, before;
    ::sigemptyset(&this_one);
    ::sigaddset(&this_one, number);
    ::pthread_sigmask(SIG_UNBLOCK, &this_one, &before);
    if (::sigismember(&before, number) == 1) ::sigaddset(&unblocked_, number);
  }

 private:
  struct taken {
    int number;
    struct sigaction before;
  };
  std::vector<taken> taken_;
  sigset_t unblocked_;
};

template <class T>
T& made_on_first_use() {
  T* found = resources().find<T>();
  return found != nullptr ? *found : resources().emplace<T>();
}

}  // namespace

namespace detail {

/// What one stream has asked for and got.
class signal_queue final : public skerry::detail::pooled, public skerry::detail::list_hook<signal_queue> {
 public:
  explicit signal_queue(std::uint64_t wanted) noexcept : wanted_(wanted) {}
  ~signal_queue() { SKERRY_ASSERT(waiter_ == nullptr, "nobody waits for signals when their stream goes"); }

  void add(std::uint64_t numbers) noexcept {
    here_ |= numbers & wanted_;
    if (here_ != 0 && waiter_ != nullptr) std::exchange(waiter_, nullptr)->wake();
  }
  bool ready() const noexcept { return here_ != 0; }
  int take() noexcept {
    const int number = std::countr_zero(here_) + 1;
    here_ &= here_ - 1;
    return number;
  }
  void wait(signal_awaiter* waiter) noexcept {
    SKERRY_ASSERT(waiter == nullptr || waiter_ == nullptr, "one task at a time waits for a stream of signals");
    waiter_ = waiter;
  }

 private:
  const std::uint64_t wanted_;
  std::uint64_t here_ = 0;
  signal_awaiter* waiter_ = nullptr;
};

/// The eventfd while there are streams; the streams together are its handle.
class signal_bell final : public watched_descriptor {
 public:
  explicit signal_bell(unique_fd fd) : watched_descriptor(std::move(fd)) {
    come.store(0);
    bell_fd.store(this->fd());
    watch();
  }

  void add(signal_queue& queue) noexcept { queues_.push_back(queue); }
  /// True when that was the last.
  bool remove(signal_queue& queue) noexcept {
    queue.unlink();
    return queues_.empty();
  }

 private:
  bool noticed() noexcept override {
    std::uint64_t times = 0;
    [[maybe_unused]] const auto got = ::read(fd(), &times, sizeof times);
    const std::uint64_t numbers = come.exchange(0);
    queues_.for_each([numbers](signal_queue& each) { each.add(numbers); });
    return true;
  }
  void let_go() noexcept override {
    bell_fd.store(nobody);
    while (handlers_running.load() != 0) ::sched_yield();  // some instructions of another thread
    stop_watching();
  }

  skerry::detail::intrusive_list<signal_queue, signal_queue> queues_;
};

namespace {
/// Where the bell is while there is one.
struct current_bell {
  signal_bell* bell = nullptr;
};
}  // namespace

}  // namespace detail

// --- awaiter ---

bool signal_awaiter::await_ready() const noexcept { return from_.ready(); }
void signal_awaiter::await_suspend(std::coroutine_handle<> resume_point) noexcept {
  from_.wait(this);
  suspend(resume_point);
}
int signal_awaiter::await_resume() noexcept { return from_.take(); }
void signal_awaiter::let_go() noexcept {
  from_.wait(nullptr);
  wake();
}

// --- the handle ---

signal_stream& signal_stream::operator=(signal_stream&& other) noexcept {
  signal_stream taken(std::move(other));
  std::swap(queue_, taken.queue_);
  return *this;
}

signal_stream::~signal_stream() {
  if (queue_ == nullptr) return;
  const std::unique_ptr<detail::signal_queue> gone(queue_);
  detail::signal_bell*& bell = resource<detail::current_bell>().bell;
  if (bell->remove(*gone)) std::exchange(bell, nullptr)->release();
}

signal_awaiter signal_stream::next() noexcept {
  SKERRY_ASSERT(queue_ != nullptr, "a stream of signals that was moved from is not used");
  return signal_awaiter(*queue_);
}

signal_stream signals(std::initializer_list<int> numbers) {
  SKERRY_ASSERT(this_shard_id() == 0, "signals come to shard 0: co_await submit_to(0, ...)");
  std::uint64_t wanted = 0;
  for (const int each : numbers) {
    if (const char* why = why_not(each); why != nullptr) {
      fail(EINVAL, "signal " + std::to_string(each) + " is not for a stream: " + why);
    }
    wanted |= bit_of(each);
  }
  detail::this_descriptors();  // goes after what is made here
  auto& current = made_on_first_use<detail::current_bell>();
  auto& handlers = made_on_first_use<taken_signals>();
  auto queue = std::make_unique<detail::signal_queue>(wanted);
  if (current.bell == nullptr) {
    unique_fd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (fd.get() < 0) fail(errno, "signals: eventfd");
    current.bell = new detail::signal_bell(std::move(fd));
  }
  current.bell->add(*queue);
  signal_stream made(queue.release());
  for (const int each : numbers) handlers.take(each);
  return made;
}

}  // namespace skerry::net
