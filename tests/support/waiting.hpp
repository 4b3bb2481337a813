// SPDX-License-Identifier: Apache-2.0
#pragma once

/// waiting: what tests of combinators wait for and count.

#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/framework/this_shard.hpp>
#include <skerry/shards/block_on.hpp>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <system_error>
#include <utility>

#include <gtest/gtest.h>

namespace skerry::test_support {

/// Something to wait for that the test opens by hand, and whose item stays with it until its waiter goes on; `late`
/// keeps a cancelled waiter until `open()` acknowledges.
class door {
 public:
  class awaiter final : public detail::leaf {
   public:
    explicit awaiter(door& d) : door_(d) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> resume_point) noexcept {
      EXPECT_EQ(door_.waiter_, nullptr);
      door_.waiter_ = this;
      ++door_.waits;
      suspend(resume_point);
      if (door_.ajar) door_.open();
    }
    void await_resume() const noexcept { ++door_.passed; }
    void let_go() noexcept override {
      ++door_.let_go_calls;
      if (!door_.late) door_.open();
    }
    const char* describe() const noexcept override { return "door"; }
    void end_wait() noexcept { wake(); }

   private:
    door& door_;
  };
  awaiter wait() noexcept { return awaiter(*this); }
  void open() noexcept { std::exchange(waiter_, nullptr)->end_wait(); }
  bool waited_for() const noexcept { return waiter_ != nullptr; }

  bool late = false;
  bool ajar = false;  ///< opens as soon as somebody waits: completion in the very step of the wait
  int waits = 0;
  int passed = 0;
  int let_go_calls = 0;

 private:
  awaiter* waiter_ = nullptr;
};

/// Counts its destruction.
struct guard {
  explicit guard(int& destroyed) noexcept : destroyed_(destroyed) {}
  guard(const guard&) = delete;
  guard& operator=(const guard&) = delete;
  ~guard() { ++destroyed_; }
  int& destroyed_;
};

/// What became of the coroutines below.
struct tally {
  int started = 0;
  int finished = 0;
  int destroyed = 0;
  int running() const { return started - destroyed; }
};

struct failure : std::runtime_error {
  explicit failure(int n) : std::runtime_error("as it should"), number(n) {}
  int number;
};

inline task<int> ready(int n) { co_return n; }

inline task<int> pass(door& d, int result, tally& seen) {
  guard here(seen.destroyed);
  ++seen.started;
  co_await d.wait();
  ++seen.finished;
  co_return result;
}

inline task<> fail_after(door& d, int number, tally& seen) {
  co_await pass(d, 0, seen);
  throw failure(number);
}

template <class T>
task<T> fail_with(int number) {
  throw failure(number);
  co_return T();
}
inline task<> fail_now(int number) { co_await fail_with<int>(number); }

inline task<> let_others_run() {
  for (int i = 0; i < 8; ++i) co_await yield();
}

inline task<> as_void(task<int> body) { co_await std::move(body); }

inline std::uint64_t unseen_errors() { return this_shard().loop->stats().unseen_errors; }
inline std::size_t frames_in_use() { return this_shard().loop->frames().in_use(); }

/// Whether `handle`'s task was cancelled; waits for its end.
template <class T>
task<bool> ends_cancelled(join_handle<T>& handle) {
  try {
    co_await handle;
  } catch (const std::system_error& error) {
    co_return error.code() == std::errc::operation_canceled;
  }
  co_return false;
}

/// The number of the failure that `body` ends with; 0 if it ends without.
inline task<int> failure_of(task<> body) {
  try {
    co_await std::move(body);
  } catch (const failure& thrown) {
    co_return thrown.number;
  }
  co_return 0;
}

/// Runs `body()` on a shard of its own; it ends with as many frames as it began.
template <class Fn>
void run_with_all_frames_back(Fn body) {
  block_on([&body]() -> task<> {
    const std::size_t before = frames_in_use();
    co_await body();
    co_await let_others_run();
    EXPECT_EQ(frames_in_use(), before);
  });
}

}  // namespace skerry::test_support
