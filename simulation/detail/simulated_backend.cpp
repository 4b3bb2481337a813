// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/detail/poison.hpp>
#include <skerry/simulation/detail/disk.hpp>
#include <skerry/simulation/detail/machine.hpp>
#include <skerry/simulation/detail/simulated_backend.hpp>
#include <skerry/simulation/detail/world.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <chrono>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>

namespace skerry::sim::detail {

// --- requests ---

bool request::multishot() const noexcept {
  switch (what_.opcode) {
    case IORING_OP_POLL_ADD: return (what_.len & IORING_POLL_ADD_MULTI) != 0;
    case IORING_OP_ACCEPT: return (what_.ioprio & IORING_ACCEPT_MULTISHOT) != 0;
    case IORING_OP_RECV:
    case IORING_OP_RECVMSG: return (what_.ioprio & IORING_RECV_MULTISHOT) != 0;
    default: return false;
  }
}

machine& request::owner() const noexcept { return from_.owner(); }

void request::finish(std::int32_t result, std::uint32_t flags) noexcept {
  SKERRY_ASSERT(!finished_, "a simulated operation ends once");
  finished_ = true;
  std::weak_ptr<node> at = std::exchange(at_, nullptr);
  if (what_.opcode == IORING_OP_SEND_ZC) return from_.read_on(*this, std::move(at), result);
  from_.arrive(*this, result, flags, true);
}

void request::emit(std::int32_t result, std::uint32_t flags) noexcept {
  SKERRY_ASSERT(!finished_, "what has ended completes no more");
  // The kernel may stop at any time of its own accord; whoever asked asks again.
  if (world::current().chance(world::current().given().system.ended_multishot, "ended_multishot"))
    return finish(result, flags);
  from_.arrive(*this, result, flags | IORING_CQE_F_MORE, false);
}

int request::take_buffer(void*& data, std::uint32_t& bytes) noexcept {
  const buffer_ring& lent = from_.receive_buffers();
  const auto* ring = static_cast<const io_uring_buf_ring*>(lent.memory());
  if (from_.buffers_taken_ == ring->tail) return -1;
  const auto* entries = static_cast<const io_uring_buf*>(lent.memory());
  const io_uring_buf& next = entries[from_.buffers_taken_++ & (lent.capacity() - 1)];
  data = reinterpret_cast<void*>(next.addr);
  bytes = next.len;
  skerry::detail::unpoison(data, bytes);  // to the pool a kernel writes, which no sanitizer sees
  return next.bid;
}

// --- nodes ---

/// True when it has ended.
bool node::try_one(request& r) noexcept {
  if (!r.is_poll()) return attempt(r);
  const std::uint32_t ready = events() & (r.what().poll32_events | POLLERR | POLLHUP);
  if (ready == 0) return false;
  r.multishot() ? r.emit(static_cast<std::int32_t>(ready)) : r.finish(static_cast<std::int32_t>(ready));
  return r.finished();
}

void node::start(request& r) noexcept {
  r.at_ = shared_from_this();
  if (!try_one(r)) waiting_.push_back(&r);
}

void node::changed() noexcept {
  if (std::exchange(changing_, true)) {
    changed_again_ = true;
    return;
  }
  const std::shared_ptr<node> stays = shared_from_this();
  do {
    changed_again_ = false;
    for (std::size_t i = 0; i < waiting_.size();) {
      request& r = *waiting_[i];
      if (try_one(r)) {
        std::erase(waiting_, &r);
      } else {
        ++i;
      }
    }
  } while (changed_again_);
  changing_ = false;
}

void node::cancel(request& r) noexcept {
  std::erase(waiting_, &r);
  r.finish(r.progress > 0 ? static_cast<std::int32_t>(r.progress) : -ECANCELED);
}

void node::cancel_all() noexcept {
  for (request* each : std::exchange(waiting_, {})) {
    each->finish(each->progress > 0 ? static_cast<std::int32_t>(each->progress) : -ECANCELED);
  }
}

// --- the backend ---

namespace {
constexpr std::uint32_t receive_buffers_for(unsigned entries) { return std::min(4 * entries, 2048u); }
}  // namespace

simulated_backend::simulated_backend(machine& of, shard_id shard, unsigned entries)
    : backend(receive_buffers_for(entries)), of_(of), shard_(shard), ring_(entries) {
  SKERRY_ASSERT(std::has_single_bit(entries), "ring entries are a power of two");
  slots_ = ring_.data();
  mask_ = entries - 1;
  full_at_ = entries;
  kernel_flags_ = &pending_flag_;
  entry_flags_ = 1;
}

simulated_backend::~simulated_backend() = default;

void simulated_backend::wake(backend& target) noexcept {
  ++stats_.wakes_sent;
  submission& s = next_slot();  // rides in the next entry, as a message between rings does
  s.opcode = IORING_OP_MSG_RING;
  s.off = static_cast<simulated_backend&>(target).shard_;
}

void simulated_backend::wake_from_outside() noexcept { runner_->wake(); }

int simulated_backend::register_buffer(unsigned, const iovec&) noexcept { return 0; }

void simulated_backend::make_room() noexcept {
  ++stats_.full;
  process_all();
}

void simulated_backend::submit_and_reap() noexcept {
  ++stats_.kernel_entries;
  process_all();
  runner_->woken = false;
  reap();
}

void simulated_backend::wait(clock::time_point deadline) noexcept {
  ++stats_.kernel_entries;
  process_all();
  if (arrived_.empty()) {
    ++stats_.waits;
    runner_->sleep(deadline);
  }
  runner_->woken = false;
  reap();
}

void simulated_backend::process_all() noexcept {
  while (submitted_ != tail_) {
    const submission what = slots_[submitted_++ & mask_];
    ++stats_.submissions;
    process(what);
  }
  full_at_ = submitted_ + mask_ + 1;
  while (!cancels_.empty()) {
    const auto found = requests_.find(&cancels_.pop_front());
    SKERRY_ASSERT(found != requests_.end(), "what is cancelled is in flight");
    request& r = *found->second;
    if (!r.finished_) std::shared_ptr<node>(r.at_)->cancel(r);
  }
}

/// What an operation of a machine that is off ends with: errors that nobody tries again after.
std::int32_t simulated_backend::refusal(const submission& what) noexcept {
  switch (what.opcode) {
    case IORING_OP_CLOSE: return 0;
    case IORING_OP_ACCEPT:
    case IORING_OP_POLL_ADD: return -EBADF;
    case IORING_OP_RECV:
    case IORING_OP_SEND:
    case IORING_OP_SEND_ZC:
    case IORING_OP_RECVMSG:
    case IORING_OP_SENDMSG: return -ECONNRESET;
    case IORING_OP_CONNECT: return -ENETDOWN;
    default: return -EIO;
  }
}

namespace {
bool names_a_path(const submission& what) noexcept {
  switch (what.opcode) {
    case IORING_OP_OPENAT2:
    case IORING_OP_STATX:
    case IORING_OP_RENAMEAT:
    case IORING_OP_UNLINKAT:
    case IORING_OP_MKDIRAT: return true;
    default: return false;
  }
}
}  // namespace

void simulated_backend::process(const submission& what) noexcept {
  world& w = world::current();
  if (what.opcode == IORING_OP_MSG_RING) {
    const auto target = static_cast<shard_id>(what.off);
    if (dead_) return of_.kernel(target)->runner_->wake();  // the world does not wait for those that die
    w.after(w.between(std::chrono::nanoseconds(100), std::chrono::microseconds(20)),
            [&m = of_, life = of_.lives(), target] {
              simulated_backend* kernel = m.lives() == life ? m.kernel(target) : nullptr;
              if (kernel != nullptr) kernel->runner_->wake();
            });
    return;
  }
  auto* op = reinterpret_cast<operation*>(what.user_data);
  auto made = std::make_unique<request>(*this, *op, what);
  request& r = *made;
  r.number_ = ++numbers_;
  requests_.insert_or_assign(op, std::move(made));
  if (dead_) return r.finish(refusal(what));
  if (what.opcode == IORING_OP_CLOSE) return r.finish(of_.close(what.fd));
  if (!r.is_poll()) {
    if (w.chance(w.given().system.interrupted, "interrupted")) return r.finish(-EINTR);
    if (w.chance(w.given().system.out_of_memory, "out_of_memory")) return r.finish(-ENOMEM);
  }
  if (what.fd == AT_FDCWD && names_a_path(what)) return of_.storage().start(r);
  const std::shared_ptr<node> at = of_.find(what.fd);
  if (at == nullptr) return r.finish(-EBADF);
  at->start(r);
}

void simulated_backend::arrive(request& r, std::int32_t result, std::uint32_t flags, bool last) noexcept {
  arrived_.push_back({&r, result, flags, last});
  pending_flag_ = 1;
  if (runner_->now != shard_runner::state::waiting) return;
  dead_ ? runner_->wake() : world::current().can_run(*runner_);
}

namespace {
std::string_view bytes_of(const submission& what) noexcept {
  return {reinterpret_cast<const char*>(what.addr), what.len};
}
}  // namespace

/// What is refused may be answered once or twice.
void simulated_backend::read_on(request& r, std::weak_ptr<node> at, std::int32_t result) noexcept {
  world& w = world::current();
  if (dead_ || (result < 0 && w.draw(2) == 0)) return arrive(r, result, 0, true);
  r.left = bytes_of(r.what_);
  arrive(r, result, IORING_CQE_F_MORE, false);
  if (result <= 0) at.reset();  // nothing is on its way, so nobody has to acknowledge it
  look_whether_acknowledged(r.op_, r.number_, std::move(at),
                            w.between(std::chrono::microseconds(1), std::chrono::milliseconds(2)));
}

void simulated_backend::look_whether_acknowledged(operation& op, std::uint64_t number, std::weak_ptr<node> at,
                                                  std::chrono::nanoseconds next) noexcept {
  world::current().after(next, [&m = of_, life = of_.lives(), shard = shard_, &op, number, at = std::move(at), next] {
    simulated_backend* const kernel = m.lives() == life ? m.kernel(shard) : nullptr;
    if (kernel == nullptr || kernel->dead_) return;
    const auto found = kernel->requests_.find(&op);
    SKERRY_ASSERT(found != kernel->requests_.end() && found->second->number_ == number,
                  "a send lasts until it lets go");
    const std::shared_ptr<node> there = at.lock();
    int unacknowledged = 0;
    if (there != nullptr) there->control(SIOCOUTQ, unacknowledged);
    if (unacknowledged == 0) return kernel->let_go(*found->second);
    constexpr std::chrono::nanoseconds seldom = std::chrono::seconds(1);
    kernel->look_whether_acknowledged(op, number, at, std::min(2 * next, seldom));
  });
}

void simulated_backend::let_go(request& r) noexcept {
  SKERRY_ASSERT(bytes_of(r.what_) == r.left, "bytes that the kernel sends without copying stay as they are");
  r.left.clear();
  const bool copied = !dead_ && world::current().draw(16) == 0;
  arrive(r, copied ? completion::copied : 0, IORING_CQE_F_NOTIF, true);
}

/// In the order in which they came but for neighbours that change places, and some that stay for the next time.
void simulated_backend::reap() noexcept {
  world& w = world::current();
  std::vector<arrival> now = std::exchange(arrived_, {});
  if (!dead_ && now.size() > 1) {
    for (std::size_t i = 1; i < now.size(); ++i) {
      if (now[i - 1].of != now[i].of && w.draw(4) == 0) std::swap(now[i - 1], now[i]);
    }
    const double late = w.given().system.late_completion;
    if (late > 0) {
      std::vector<arrival> first;
      for (arrival& each : now) {
        each.of->held_back_ = each.of->held_back_ || w.chance(late, "late_completion");
        (each.of->held_back_ ? arrived_ : first).push_back(each);
      }
      for (arrival& each : arrived_) each.of->held_back_ = false;
      now = std::move(first);
    }
  }
  pending_flag_ = !arrived_.empty();
  for (const arrival& each : now) {
    operation& op = each.of->op_;
    if (each.last) requests_.erase(&op);
    deliver(op, each.result, each.flags);
  }
  runner_->shuffle_tasks();
}

void simulated_backend::die() noexcept {
  dead_ = true;
  std::vector<request*> all;
  for (const auto& [op, each] : requests_) {
    if (!each->finished_ || !each->left.empty()) all.push_back(each.get());
  }
  std::ranges::sort(all, {}, [](const request* each) { return each->number_; });
  for (request* each : all) {
    if (each->finished_) {
      let_go(*each);
      continue;
    }
    if (each->at_ != nullptr) std::erase(each->at_->waiting_, each);
    each->finish(refusal(each->what_));
  }
}

}  // namespace skerry::sim::detail
