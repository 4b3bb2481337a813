// SPDX-License-Identifier: Apache-2.0
#pragma once

/// sync_cases: for each local primitive something to wait for that is not there yet. `wait()` is the awaitable, and
/// `serve()` lets at least one waiter pass.

#include <skerry/framework/sync/event.hpp>
#include <skerry/toolkit/sync/gate.hpp>
#include <skerry/toolkit/sync/mutex.hpp>

#include <list>
#include <optional>

namespace skerry::test_support {

struct mutex_case {
  mutex m;
  std::optional<units> held = m.try_lock();
  auto wait() { return m.lock(); }
  void serve() { held.reset(); }
};

struct shared_mutex_writer_case {
  shared_mutex m;
  std::optional<units> held = m.try_lock_shared();
  auto wait() { return m.lock(); }
  void serve() { held.reset(); }
};

struct shared_mutex_reader_case {
  shared_mutex m;
  std::optional<units> held = m.try_lock();
  auto wait() { return m.lock_shared(); }
  void serve() { held.reset(); }
};

struct semaphore_case {
  semaphore s{4};
  std::optional<units> held = s.try_acquire(2);
  auto wait() { return s.acquire(3); }
  void serve() { held.reset(); }
};

/// A mutex for each waiter, so that one that comes while another is on its way can wait for the condition at once.
struct condition_case {
  condition c;
  std::list<mutex> mutexes{};
  std::list<units> locks{};
  auto wait() {
    locks.push_back(*mutexes.emplace_back().try_lock());
    return c.wait(locks.back());
  }
  void serve() { c.notify_one(); }
};

struct event_case {
  event e;
  auto wait() { return e.wait(); }
  void serve() { e.set(); }
};

/// Woken waiters pass even if the event is reset before they run.
struct event_pulse_case {
  event e;
  auto wait() { return e.wait(); }
  void serve() {
    e.set();
    e.reset();
  }
};

struct auto_reset_event_case {
  auto_reset_event e;
  auto wait() { return e.wait(); }
  void serve() { e.set(); }
};

struct latch_case {
  latch l{1};
  auto wait() { return l.wait(); }
  void serve() {
    if (!l.try_wait()) l.count_down();
  }
};

struct gate_case {
  gate g;
  std::optional<gate::holder> inside = g.try_enter();
  auto wait() { return g.close(); }
  void serve() { inside.reset(); }
};

}  // namespace skerry::test_support
