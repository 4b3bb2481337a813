// SPDX-License-Identifier: Apache-2.0
#include <skerry/backends/choose.hpp>
#include <skerry/framework/assert.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <limits>
#include <memory>
#include <span>
#include <unordered_set>
#include <utility>

#include <fcntl.h>
#include <support/faulty_backend.hpp>
#include <support/run_shards.hpp>
#include <support/test_seed.hpp>
#include <sys/socket.h>
#include <sys/uio.h>

namespace skerry::test_support {

const simulation_of_tests* simulation = nullptr;

namespace {

constexpr unsigned entries = 512;

bool is_send(std::uint8_t opcode) noexcept { return opcode == IORING_OP_SEND || opcode == IORING_OP_SEND_ZC; }

/// A datagram goes whole or not at all.
bool is_datagram(const submission& asked) noexcept {
  int type = 0;
  socklen_t size = sizeof type;
  return is_send(asked.opcode) &&
         (::getsockopt(asked.fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_STREAM);
}

bool is_vectored(std::uint8_t opcode) noexcept { return opcode == IORING_OP_READV || opcode == IORING_OP_WRITEV; }

std::span<const iovec> pieces_of(const submission& asked) noexcept {
  return {reinterpret_cast<const iovec*>(asked.addr), asked.len};
}

/// What an operation asks for, in bytes; 0 where there is no length.
std::uint64_t bytes_of(const submission& asked) noexcept {
  switch (asked.opcode) {
    case IORING_OP_SEND:
    case IORING_OP_SEND_ZC:
    case IORING_OP_READ:
    case IORING_OP_WRITE:
    case IORING_OP_READ_FIXED:
    case IORING_OP_WRITE_FIXED: return asked.len;
    default:
      if (!is_vectored(asked.opcode)) return 0;
  }
  std::uint64_t bytes = 0;
  for (const iovec& each : pieces_of(asked)) bytes += each.iov_len;
  return bytes;
}

/// How much of it goes to the kernel when no more than `bytes_max` is to. An O_DIRECT file takes whole blocks only, and
/// gives no less, but at its end.
std::uint64_t bytes_allowed(const submission& asked, std::uint32_t bytes_max) noexcept {
  constexpr std::uint64_t block = 4096;
  const std::uint64_t all = bytes_of(asked);
  if (bytes_max == 0 || bytes_max >= all || is_datagram(asked)) return all;
  if (is_send(asked.opcode) || (::fcntl(asked.fd, F_GETFL) & O_DIRECT) == 0) return bytes_max;
  return bytes_max < block ? all : bytes_max / block * block;
}

}  // namespace

fault_plan fail_nth(io_uring_op kind, std::uint64_t nth, int error) {
  return [=](const submission& what, std::uint64_t n) {
    return fault{.error = what.opcode == kind && n == nth ? error : 0};
  };
}

fault_plan fail_all(io_uring_op kind, int error) {
  return [=](const submission& what, std::uint64_t) { return fault{.error = what.opcode == kind ? error : 0}; };
}

fault_plan disturb(std::uint64_t seed) {
  return [draw = random_source(seed)](const submission& what, std::uint64_t) mutable {
    fault drawn;
    const std::uint64_t bytes = std::max<std::uint64_t>(bytes_of(what), 1);
    if (draw.uniform(3) == 0) drawn.bytes_max = static_cast<std::uint32_t>(1 + draw.uniform(bytes));
    if (draw.uniform(3) == 0) drawn.entries_late = static_cast<unsigned>(draw.uniform(4));
    return drawn;
  };
}

/// Stands in for one operation of the shard while the kernel has it.
class faulty_backend::proxy final : public operation {
 public:
  explicit proxy(faulty_backend& owner) noexcept : owner_(owner) {}

  void represent(operation& of, const fault& planned) noexcept {
    of_ = &of;
    planned_ = planned;
  }
  operation& represented() const noexcept { return *of_; }
  /// Lets `given`, a copy of what was asked for, ask for less.
  void cut(submission& given) {
    const std::uint64_t allowed = bytes_allowed(given, planned_.bytes_max);
    if (allowed == bytes_of(given)) return;
    if (!is_vectored(given.opcode)) {
      given.len = static_cast<std::uint32_t>(allowed);
      return;
    }
    pieces_.clear();
    std::uint64_t left = allowed;
    for (iovec each : pieces_of(given)) {
      if (left == 0) break;
      each.iov_len = std::min<std::uint64_t>(each.iov_len, left);
      left -= each.iov_len;
      pieces_.push_back(each);
    }
    given.addr = reinterpret_cast<std::uint64_t>(pieces_.data());
    given.len = static_cast<std::uint32_t>(pieces_.size());
  }
  void complete(std::int32_t result, std::uint32_t flags) noexcept override {
    if (planned_.error != 0) result = -planned_.error;
    owner_.held_.push_back({of_, this, result, flags, owner_.entries_ + planned_.entries_late});
  }

 private:
  faulty_backend& owner_;
  operation* of_ = nullptr;
  fault planned_;
  std::vector<iovec> pieces_;  // fewer than were asked for, until the kernel has answered
};

faulty_backend::faulty_backend(std::unique_ptr<backend> behind, fault_plan plan, std::uint64_t seed)
    : backend(1),
      behind_(std::move(behind)),
      plan_(std::move(plan)),
      random_(seed),
      ring_(entries),
      seen_(std::numeric_limits<std::uint8_t>::max() + 1) {
  slots_ = ring_.data();
  mask_ = entries - 1;
  full_at_ = entries;
  kernel_flags_ = &always_;
  entry_flags_ = 1;
  bundles = behind_->bundles;
  zero_copy_from = behind_->zero_copy_from;
}

faulty_backend::~faulty_backend() { SKERRY_ASSERT(held_.empty(), "a shard ends after its last completion"); }

void faulty_backend::stop() noexcept {
  pass_on();
  behind_->stop();
}

int faulty_backend::register_buffer(unsigned slot, const iovec& memory) noexcept {
  if (memory.iov_len != 0) {  // taking memory out always works
    submission asked{};
    prepare::set(asked, registering, -1, memory.iov_base, static_cast<std::uint32_t>(memory.iov_len), slot);
    const fault planned = plan_(asked, ++seen_[registering]);
    if (planned.error != 0) return -planned.error;
  }
  return behind_->register_buffer(slot, memory);
}

void faulty_backend::make_room() noexcept {
  ++stats_.full;
  pass_on();
}

/// Hands over what the shard has queued, but for what the plan lets fail.
void faulty_backend::pass_on() noexcept {
  for (; submitted_ != tail_; ++submitted_) {
    const submission& asked = slots_[submitted_ & mask_];
    operation& of = *reinterpret_cast<operation*>(asked.user_data);
    const fault planned = plan_(asked, ++seen_[asked.opcode]);
    if (planned.error != 0 && asked.opcode != IORING_OP_CLOSE) {
      held_.push_back({&of, nullptr, -planned.error, 0, entries_ + planned.entries_late});
      continue;
    }
    if (idle_.empty()) idle_.push_back(proxies_.emplace_back(std::make_unique<proxy>(*this)).get());
    proxy& stand_in = *idle_.back();
    idle_.pop_back();
    stand_in.represent(of, planned);
    active_[&of] = &stand_in;
    submission& given = behind_->submit(stand_in);
    const std::uint64_t stand_in_tag = given.user_data;
    given = asked;
    given.user_data = stand_in_tag;
    stand_in.cut(given);
    ++stats_.submissions;
  }
  full_at_ = submitted_ + entries;
  // A cancel of what has failed here, or of what is done and held back, comes too late.
  while (!cancels_.empty()) {
    const auto found = active_.find(&cancels_.pop_front());
    if (found != active_.end()) behind_->cancel(*found->second);
  }
}

void faulty_backend::submit_and_reap() noexcept {
  pass_on();
  behind_->submit_and_reap();
  count_entry();
  deliver_due();
}

void faulty_backend::wait(clock::time_point deadline) noexcept {
  pass_on();
  // What is held back is due after so many entries: it must not wait for something else to happen.
  held_.empty() ? behind_->wait(deadline) : behind_->submit_and_reap();
  count_entry();
  deliver_due();
}

void faulty_backend::count_entry() noexcept {
  ++entries_;
  stats_.kernel_entries = behind_->stats().kernel_entries;
  stats_.waits = behind_->stats().waits;
  stats_.overflows = behind_->stats().overflows;
  stats_.wakes_sent = behind_->stats().wakes_sent;
}

void faulty_backend::retire(proxy& p) noexcept {
  active_.erase(&p.represented());
  idle_.push_back(&p);
}

/// In a drawn order of operations, each operation's completions in theirs.
void faulty_backend::deliver_due() noexcept {
  std::unordered_map<operation*, std::vector<completion_held>> due;
  std::unordered_set<operation*> blocked;  // by an earlier completion that is not due
  std::vector<operation*> order;
  std::vector<completion_held> later;
  for (const completion_held& each : held_) {
    if (each.due > entries_ || blocked.contains(each.of)) {
      blocked.insert(each.of);
      later.push_back(each);
      continue;
    }
    std::vector<completion_held>& of_this = due[each.of];
    if (of_this.empty()) order.push_back(each.of);
    of_this.push_back(each);
  }
  held_ = std::move(later);
  for (std::size_t left = order.size(); left > 1; --left) std::swap(order[left - 1], order[random_.uniform(left)]);
  for (operation* of : order) {
    for (const completion_held& each : due[of]) {
      if (each.from != nullptr && !completion::more(each.flags)) retire(*each.from);
      deliver(*of, each.result, each.flags);
    }
  }
}

std::vector<std::unique_ptr<backend>> make_faulty_backends(std::size_t shards, const fault_plan& plan,
                                                           std::uint64_t seed) {
  std::vector<std::unique_ptr<backend>> faulty;
  chosen_backends real = make_backends(backend_of_environment(), shards, entries, {sqpoll_of_environment(), {}});
  for (std::unique_ptr<backend>& behind : real.all) {
    faulty.push_back(std::make_unique<faulty_backend>(std::move(behind), plan, seed + faulty.size()));
  }
  return faulty;
}

std::string backend_of_environment() {
  const char* named = std::getenv("SKERRY_BACKEND");
  return named != nullptr ? named : "auto";
}

std::chrono::milliseconds sqpoll_of_environment() {
  const char* idle = std::getenv("SKERRY_SQPOLL_IDLE_MS");
  return std::chrono::milliseconds(idle != nullptr ? std::stoul(idle) : 0);
}

bool zero_copy_wanted() noexcept {
  static const bool yes = std::getenv("SKERRY_TEST_SEND_ZC") != nullptr;
  return yes;
}

bool disturbed() noexcept {
  static const bool yes = std::getenv("SKERRY_TEST_FAULTS") != nullptr;
  return yes;
}

std::vector<std::unique_ptr<backend>> backends_for_test(std::size_t shards) {
  if (!disturbed()) return {};
  const std::uint64_t seed = test_seed();
  return make_faulty_backends(shards, disturb(seed), seed);
}

}  // namespace skerry::test_support
