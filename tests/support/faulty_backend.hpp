// SPDX-License-Identifier: Apache-2.0
#pragma once

/// faulty_backend: a real backend behind one that lies: any operation can fail with any errno, come back short or late,
/// and completions of different operations swap places.
///
///     shard --submit--> faulty_backend --what the plan lets through--> the kernel's backend
///           <-complete- held until due, in a drawn order <-----------------
///
/// An operation that fails never reaches the kernel, as a refused one would not; one that comes back short was cut
/// before it went. So whatever the plan does, the kernel agrees with what the shard was told. A close is done all the
/// same: in Linux the descriptor is gone whatever close says.
///
///     run_alone(body, make_faulty_backends(1, fail_nth(IORING_OP_SEND, 2, ECONNRESET), seed));
///
/// With SKERRY_TEST_FAULTS=1 every test that runs its shards by `run_shards` or `run_and_count` runs on such a backend
/// under `disturb(seed)`: nothing fails, but nothing comes whole or in time, either.
///
/// SKERRY_BACKEND=epoll puts it before that backend instead of io_uring's; CTest runs programs so as <name>@epoll.
///
/// Affinity:   as the backend behind it.
/// Ownership:  owns that backend; a proxy per operation in flight stands between the two.
/// Invariants: completions of one operation keep their order, the last one comes last.
/// Limits:     512 submissions per kernel entry; what is held back is bounded by the operations in flight.

#include <skerry/framework/backend/backend.hpp>
#include <skerry/framework/random.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

namespace skerry::test_support {

/// What becomes of one operation.
struct fault {
  int error = 0;                ///< an errno: it fails at once, the kernel never sees it
  std::uint32_t bytes_max = 0;  ///< asks for no more than this; 0: as it came. Nothing where there is no length
  unsigned entries_late = 0;    ///< each completion is held back for this many kernel entries
};

/// What a plan sees of a registration of memory (`backend::register_buffer`), which is no operation.
constexpr io_uring_op registering = IORING_OP_LAST;

/// Asked once per operation, in the order of submission; `nth` counts those of its opcode, from 1.
using fault_plan = std::function<fault(const submission& what, std::uint64_t nth)>;

/// The nth operation of a kind fails.
fault_plan fail_nth(io_uring_op kind, std::uint64_t nth, int error);
/// Every operation of a kind fails.
fault_plan fail_all(io_uring_op kind, int error);
/// Nothing fails; lengths and times are drawn.
fault_plan disturb(std::uint64_t seed);

class faulty_backend final : public backend {
 public:
  faulty_backend(std::unique_ptr<backend> behind, fault_plan plan, std::uint64_t seed);
  ~faulty_backend() override;

  buffer_ring& receive_buffers() noexcept override { return behind_->receive_buffers(); }
  void start() override { behind_->start(); }
  void stop() noexcept override;
  void submit_and_reap() noexcept override;
  void wait(clock::time_point deadline) noexcept override;
  void wake(backend& target) noexcept override { behind_->wake(*static_cast<faulty_backend&>(target).behind_); }
  void wake_from_outside() noexcept override { behind_->wake_from_outside(); }
  backend_capabilities capabilities() const noexcept override { return behind_->capabilities(); }
  int register_buffer(unsigned slot, const iovec& memory) noexcept override;

 private:
  class proxy;
  struct completion_held {
    operation* of;
    proxy* from;  ///< null: it failed here
    std::int32_t result;
    std::uint32_t flags;
    std::uint64_t due;
  };

  void make_room() noexcept override;
  void pass_on() noexcept;
  void count_entry() noexcept;
  void deliver_due() noexcept;
  void retire(proxy& p) noexcept;

  std::unique_ptr<backend> behind_;
  fault_plan plan_;
  random_source random_;
  std::vector<submission> ring_;
  std::uint32_t always_ = 1;  // what wants_entry() reads: there may always be something to hand over
  std::uint64_t entries_ = 0;
  std::vector<std::uint64_t> seen_;  // per opcode
  std::vector<completion_held> held_;
  std::vector<std::unique_ptr<proxy>> proxies_;
  std::vector<proxy*> idle_;
  std::unordered_map<operation*, proxy*> active_;
};

/// The kernel's backends, one per shard, each behind a faulty one with its own copy of the plan.
std::vector<std::unique_ptr<backend>> make_faulty_backends(std::size_t shards, const fault_plan& plan,
                                                           std::uint64_t seed);

/// The backend that SKERRY_BACKEND names, as for an app; auto where it names none. All backends of tests are of that
/// kind, also those behind faulty ones.
std::string backend_of_environment();
/// And what SKERRY_SQPOLL_IDLE_MS says; CTest runs programs so as <name>@sqpoll.
std::chrono::milliseconds sqpoll_of_environment();

/// Whether SKERRY_TEST_SEND_ZC is set: all sends of connections leave their memory to the kernel, also on loopback.
/// CTest runs programs so as <name>@zc.
bool zero_copy_wanted() noexcept;

/// Whether SKERRY_TEST_FAULTS is set: for tests of the order in which the kernel answers.
bool disturbed() noexcept;

/// What SKERRY_TEST_FAULTS asks for: disturbed backends, or none, for which a host makes its own.
std::vector<std::unique_ptr<backend>> backends_for_test(std::size_t shards);

}  // namespace skerry::test_support
