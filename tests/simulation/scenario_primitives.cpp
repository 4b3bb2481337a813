// SPDX-License-Identifier: Apache-2.0
// A semaphore and a reader-writer lock beside a model of first come, first served: after each acquisition, release or
// change of mind, those hold units whom the model says, and nobody else.
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/toolkit/sync/mutex.hpp>

#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include <simulation/scenarios.hpp>

namespace scenarios {

namespace {

using namespace skerry;

constexpr std::uint64_t units_in_all = 6;
constexpr unsigned operations = 150;

/// One task that wants units, and what the model knows of it.
struct user {
  std::uint64_t wants;
  event may_leave{"leave"};
  bool holds = false;        // in truth
  bool should_hold = false;  // by the model
  bool waits = true;         // by the model
  join_handle<void> running;
  explicit user(std::uint64_t count) : wants(count) {}
};

template <class Acquire>
task<> hold(Acquire acquire, user* me) {
  const units held = co_await acquire(me->wants);
  me->holds = true;
  co_await me->may_leave.wait();
  me->holds = false;
}

/// First come, first served.
class model {
 public:
  explicit model(std::uint64_t free) : free_(free) {}
  void wants(user& u) {
    waiting_.push_back(&u);
    serve();
  }
  void gives_up(user& u) {
    std::erase(waiting_, &u);
    u.waits = false;
    serve();
  }
  void leaves(user& u) {
    free_ += u.wants;
    u.should_hold = false;
    serve();
  }
  bool anybody_waits() const { return !waiting_.empty(); }
  std::uint64_t free() const { return free_; }

 private:
  void serve() {
    while (!waiting_.empty() && waiting_.front()->wants <= free_) {
      user& first = *waiting_.front();
      waiting_.pop_front();
      free_ -= first.wants;
      first.waits = false;
      first.should_hold = true;
    }
  }
  std::uint64_t free_;
  std::deque<user*> waiting_;
};

task<> settle() {
  for (int turns = 0; turns < 8; ++turns) co_await yield();
}

task<> end(user& u) {
  try {
    co_await u.running;
  } catch (const std::system_error& given_up) {
    if (given_up.code() != std::errc::operation_canceled) throw;
  }
}

void compare(const std::list<user>& all) {
  for (const user& each : all) {
    if (each.holds && !each.should_hold) sim::fail("somebody holds units out of turn");
    if (!each.holds && each.should_hold) sim::fail("units are free and the one whose turn it is waits");
  }
}

template <class Acquire, class TryAcquire, class DrawWants>
task<> exercise(Acquire acquire, TryAcquire try_acquire, DrawWants draw_wants, std::uint64_t total) {
  model expected(total);
  std::list<user> all;
  for (unsigned n = 0; n < operations; ++n) {
    if (all.size() < 12 && sim::draw(2) == 0) {
      user& made = all.emplace_back(draw_wants());
      made.running = spawn(hold(acquire, &made), "user");
      co_await settle();  // it asks now
      expected.wants(made);
    } else if (sim::draw(4) == 0) {
      const std::uint64_t count = draw_wants();
      const bool can = !expected.anybody_waits() && expected.free() >= count;
      const std::optional<units> got = try_acquire(count);
      if (got.has_value() != can) sim::fail("try_acquire overtakes or refuses");
    } else if (!all.empty()) {
      auto one = all.begin();
      std::advance(one, static_cast<std::ptrdiff_t>(sim::draw(all.size())));
      if (one->waits) {
        one->running.abort();
        expected.gives_up(*one);
      } else {
        one->may_leave.set();
        expected.leaves(*one);
      }
      co_await end(*one);
      all.erase(one);
    }
    co_await settle();
    compare(all);
  }
  while (!all.empty()) {
    all.front().running.abort();
    co_await end(all.front());
    all.pop_front();
  }
}

task<> test_primitives() {
  semaphore s(units_in_all);
  const auto any = [] { return 1 + sim::draw(units_in_all); };
  const auto acquire = [&s](std::uint64_t n) { return s.acquire(n); };
  const auto try_acquire = [&s](std::uint64_t n) { return s.try_acquire(n); };
  co_await exercise(acquire, try_acquire, any, units_in_all);

  shared_mutex m;
  const auto reader_or_writer = [] { return sim::draw(3) == 0 ? shared_mutex::readers_max : 1; };
  const auto lock = [&m](std::uint64_t n) { return n == 1 ? m.lock_shared() : m.lock(); };
  const auto try_lock = [&m](std::uint64_t n) { return n == 1 ? m.try_lock_shared() : m.try_lock(); };
  co_await exercise(lock, try_lock, reader_or_writer, shared_mutex::readers_max);
}

}  // namespace

sim::test_case primitives() {
  const auto configure = [](sim::options& o) { o.steps_max = 2'000'000; };
  return {"primitives", configure, test_primitives};
}

}  // namespace scenarios
