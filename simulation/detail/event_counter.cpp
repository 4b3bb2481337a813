// SPDX-License-Identifier: Apache-2.0
#include <skerry/simulation/detail/event_counter.hpp>
#include <skerry/simulation/detail/system_calls.hpp>

#include <cerrno>
#include <cstring>

#include <sys/eventfd.h>

namespace skerry::sim::detail {

long event_counter::take(void* into, std::size_t bytes) noexcept {
  if (bytes < sizeof count_) return -EINVAL;
  if (count_ == 0) return -EAGAIN;
  const std::uint64_t taken = one_by_one_ ? 1 : count_;
  count_ -= taken;
  std::memcpy(into, &taken, sizeof taken);
  changed();
  return sizeof taken;
}

long event_counter::give(const void* from, std::size_t bytes) noexcept {
  std::uint64_t more = 0;
  if (bytes < sizeof more) return -EINVAL;
  std::memcpy(&more, from, sizeof more);
  if (more > most) return -EINVAL;
  if (more > most - count_) return -EAGAIN;
  count_ += more;
  changed();
  return sizeof more;
}

bool event_counter::attempt(request& r) noexcept {
  const submission& what = r.what();
  auto* at = reinterpret_cast<void*>(what.addr);
  long done = -EOPNOTSUPP;
  if (what.opcode == IORING_OP_READ) done = take(at, what.len);
  if (what.opcode == IORING_OP_WRITE) done = give(at, what.len);
  if (done == -EAGAIN && !non_blocking) return false;
  r.finish(static_cast<std::int32_t>(done));
  return true;
}

long event_counter::read_now(msghdr& into, int) {
  if (into.msg_iovlen == 0) return -EINVAL;
  const iovec& piece = into.msg_iov[0];
  while (true) {
    const long done = take(piece.iov_base, piece.iov_len);
    if (done != -EAGAIN || non_blocking) return done;
    if (!of_.block_until([this] { return count_ > 0; })) return -EINTR;
  }
}

long event_counter::write_now(const msghdr& from, int) {
  if (from.msg_iovlen == 0) return -EINVAL;
  const iovec& piece = from.msg_iov[0];
  while (true) {
    const long done = give(piece.iov_base, piece.iov_len);
    if (done != -EAGAIN || non_blocking) return done;
    const std::uint64_t before = count_;
    if (!of_.block_until([this, before] { return count_ < before; })) return -EINTR;
  }
}

void event_counter::interrupt_at_times() const noexcept {
  world& in = of_.in();
  if (of_.now() != machine::state::running || in.draw(4) != 0) return;
  in.running_shard()->lose_turn_until(in.now() + in.between(nanoseconds(0), std::chrono::microseconds(100)));
}

}  // namespace skerry::sim::detail

// NOLINTBEGIN(bugprone-reserved-identifier): the linker makes these names.
extern "C" {

int __real_eventfd(unsigned, int);
int __wrap_eventfd(unsigned begin, int flags) {
  using namespace skerry::sim::detail;
  if (here() == nullptr) return __real_eventfd(begin, flags);
  if ((flags & ~(EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)) != 0) return answer(-EINVAL);
  const auto made = std::make_shared<event_counter>(*here(), begin, (flags & EFD_SEMAPHORE) != 0);
  made->non_blocking = (flags & EFD_NONBLOCK) != 0;
  return answer(here()->open(made));
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier)
