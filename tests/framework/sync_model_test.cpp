// SPDX-License-Identifier: Apache-2.0
/// Primitives under random use and random cancels, against simple models: who waits in which order, how many
/// notifications are under way.
///
/// Replay a failing run with the line it prints: SKERRY_TEST_SEED=<seed> build/<preset>/tests/framework/sync_model_test

#include <skerry/framework/random.hpp>
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/toolkit/sync/mutex.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <list>
#include <optional>
#include <vector>

#include <gtest/gtest.h>
#include <support/long_test.hpp>
#include <support/task_steps.hpp>
#include <support/test_seed.hpp>

namespace skerry {
namespace {

using namespace test_support;

struct ticket;

/// Who waits for something, in the order they came: those who were woken too, until they resume.
struct line {
  const char* what;
  std::deque<ticket*> waiting{};
  std::uint64_t owed = 0;     // wake-ups that some of them must get
  bool spare = false;         // a wake-up that nobody was left to get
  std::uint64_t entered = 0;  // ever
  std::uint64_t resumed = 0;
};

/// A worker's place in a line.
struct ticket {
  explicit ticket(line& queue) : in(queue) {}
  ticket(const ticket&) = delete;
  ticket& operator=(const ticket&) = delete;
  ~ticket() { leave(); }
  void enter() {
    self = this_shard().current;
    ++in.entered;
    in.waiting.push_back(this);
  }
  bool waits() const { return self != nullptr && self->waits_for() != nullptr; }
  void leave() {
    if (std::exchange(self, nullptr) == nullptr) return;
    std::erase(in.waiting, this);
    if (in.owed > in.waiting.size()) {
      in.owed = in.waiting.size();
      in.spare = true;
    }
  }
  /// It resumed: nobody who came before it may still be there.
  void served() {
    if (self == nullptr) return;  // it never waited
    ++in.resumed;
    EXPECT_EQ(in.waiting.front(), this) << "overtaken in the line for " << in.what;
    if (in.owed > 0) --in.owed;
    leave();
  }

  line& in;
  detail::chain* self = nullptr;
};

struct counted {
  std::int64_t& count;
  std::int64_t by;
  counted(std::int64_t& c, std::int64_t n) : count(c), by(n) { count += by; }
  ~counted() { count -= by; }
};

class world {
 public:
  explicit world(std::uint64_t seed) : random_(seed) {}

  task<> run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      if (workers_.size() < 24 && chance(40)) start_worker();
      if (chance(25)) abort_one();
      if (chance(40)) poke();
      if (chance(50)) co_await yield();
      if (chance(2)) co_await settle();
      std::erase_if(workers_, [](const worker& each) { return each.handle.is_finished(); });
    }
    for (worker& each : workers_) abort(each);
    while (std::ranges::any_of(workers_, [](const worker& each) { return !each.handle.is_finished(); })) {
      held_.clear();
      co_await yield();
    }
    held_.clear();
    EXPECT_FALSE(mutex_.is_locked());
    EXPECT_EQ(semaphore_.available(), 5u);
    EXPECT_TRUE(shared_mutex_.try_lock());
    for (const line* each : lines()) {
      EXPECT_TRUE(each->waiting.empty());
      EXPECT_GT(each->resumed, 0u) << "a line that nobody waited in tests nothing";
    }
    EXPECT_GT(destroyed_after_wake_, 0u);
  }

 private:
  struct worker {
    join_handle<> handle{};
    ticket* at = nullptr;
    bool ends_itself = false;
  };

  bool chance(unsigned percent) { return random_.uniform(100) < percent; }
  std::array<line*, 5> lines() {
    return {&mutex_line_, &shared_line_, &semaphore_line_, &condition_line_, &auto_line_};
  }

  /// Within the step that suspended: one that is being cancelled may be woken before that step is over, and goes.
  void suspended(worker& me, ticket& mine) {
    mine.enter();
    if (!mine.self->cancel_requested()) {
      me.at = &mine;
      return;
    }
    for (int i = 0; i < 4 && mine.waits(); ++i) poke();
    if (mine.waits()) {
      mine.leave();  // the end of this step lets go of it
    } else {
      ++destroyed_after_wake_;
    }
  }

  /// Waits for `make()`, gives what it got to `then`, keeps both over some turns.
  template <class Make, class Then>
  task<> use(worker& me, line& queue, Make make, Then then) {
    ticket mine(queue);
    if (me.ends_itself) me.handle.abort();
    auto got = co_await when_suspended(make, [&] { suspended(me, mine); });
    me.at = nullptr;
    EXPECT_TRUE(!me.ends_itself || mine.self == nullptr) << "resumed after it was cancelled";
    mine.served();
    [[maybe_unused]] auto effect = then(got);
    for (auto turns = random_.uniform(4); turns > 0; --turns) co_await yield();
  }

  task<> wait_for_condition(worker& me) {
    units held = co_await mutex_.lock();
    ticket mine(condition_line_);
    if (me.ends_itself) me.handle.abort();
    co_await when_suspended([&] { return condition_.wait(held); }, [&] { suspended(me, mine); });
    me.at = nullptr;
    mine.served();
    EXPECT_EQ(mutex_held_, 0);
    counted alone(mutex_held_, 1);
    co_await yield();
  }

  task<> wait_for_auto_reset(worker& me) {
    ticket mine(auto_line_);
    if (me.ends_itself) me.handle.abort();
    co_await when_suspended([this] { return auto_.wait(); }, [&] { suspended(me, mine); });
    me.at = nullptr;
    if (mine.self != nullptr) {
      EXPECT_GT(auto_line_.owed, 0u) << "a wake-up that nobody gave";
    } else {
      EXPECT_TRUE(std::exchange(auto_line_.spare, false));
    }
    mine.served();
  }

  void start_worker() {
    worker& me = workers_.emplace_back();
    me.ends_itself = chance(10);
    const std::uint64_t n = 1 + random_.uniform(3);
    const bool flip = chance(50);
    auto chosen = [&]() -> task<> {
      switch (random_.uniform(5)) {
        case 0:
          return use(
              me, mutex_line_, [this] { return mutex_.lock(); },
              [this](units&) {
                EXPECT_EQ(mutex_held_, 0);
                return counted(mutex_held_, 1);
              });
        case 1:
          return use(
              me, shared_line_, [this, flip] { return flip ? shared_mutex_.lock() : shared_mutex_.lock_shared(); },
              [this, flip](units&) {
                EXPECT_EQ(flip ? shared_held_ : shared_held_ / 100, 0) << "one writer or many readers";
                return counted(shared_held_, flip ? 100 : 1);
              });
        case 2:
          return use(
              me, semaphore_line_, [this, n] { return semaphore_.acquire(n); },
              [this](units& got) {
                EXPECT_LE(units_held_ + static_cast<std::int64_t>(got.count()), 5);
                return counted(units_held_, static_cast<std::int64_t>(got.count()));
              });
        case 3: return wait_for_condition(me);
        default: return wait_for_auto_reset(me);
      }
    };
    me.handle = spawn(chosen(), "worker");
  }

  void abort_one() {
    if (!workers_.empty()) {
      abort(*std::next(workers_.begin(), static_cast<std::ptrdiff_t>(random_.uniform(workers_.size()))));
    }
  }
  static void abort(worker& chosen) {
    if (chosen.at != nullptr && chosen.at->waits()) chosen.at->leave();  // it lets go at once
    chosen.at = nullptr;
    chosen.handle.abort();
  }

  /// What somebody does who does not wait.
  void poke() {
    auto keep = [this](std::optional<units> got) {
      if (got) held_.push_back(std::move(*got));
    };
    switch (random_.uniform(5)) {
      case 0: keep(semaphore_.try_acquire(1 + random_.uniform(2))); break;
      case 1: keep(chance(50) ? shared_mutex_.try_lock_shared() : mutex_.try_lock()); break;
      case 2:
        // Woken ones are in the line too, until they resume.
        if (auto_line_.waiting.size() > auto_line_.owed) {
          ++auto_line_.owed;
        } else {
          auto_line_.spare = true;
        }
        auto_.set();
        break;
      case 3:
        condition_line_.owed = chance(70)
                                   ? std::min<std::uint64_t>(condition_line_.owed + 1, condition_line_.waiting.size())
                                   : condition_line_.waiting.size();
        if (condition_line_.owed == condition_line_.waiting.size()) {
          condition_.notify_all();
        } else {
          condition_.notify_one();
        }
        break;
      default:
        if (!held_.empty()) held_.pop_front();
    }
  }

  /// Lets everybody run until all wait, and asks whether they have a reason to.
  task<> settle() {
    for (int quiet = 0; quiet < 8;) {
      const std::size_t before = progress();
      held_.clear();
      co_await yield();
      quiet = progress() == before ? quiet + 1 : 0;
    }
    EXPECT_FALSE(mutex_.is_locked());
    EXPECT_EQ(semaphore_.available(), 5u);
    EXPECT_TRUE(mutex_line_.waiting.empty() && shared_line_.waiting.empty() && semaphore_line_.waiting.empty());
    EXPECT_TRUE(condition_line_.owed == 0 || condition_line_.waiting.empty()) << "a notification was lost";
    condition_line_.owed = 0;
    EXPECT_EQ(auto_line_.owed, 0u) << "a wake-up was lost";
    if (!auto_line_.waiting.empty()) {
      EXPECT_FALSE(auto_line_.spare);
    }
  }
  std::size_t progress() {
    std::size_t sum = 0;
    for (const line* each : lines()) sum += each->entered + each->resumed + each->waiting.size();
    for (const worker& each : workers_) sum += each.handle.is_finished() ? 1 : 0;
    return sum;
  }

  random_source random_;
  std::uint64_t destroyed_after_wake_ = 0;

  mutex mutex_;
  condition condition_;
  std::int64_t mutex_held_ = 0;
  line mutex_line_{"mutex"}, condition_line_{"condition"};
  shared_mutex shared_mutex_;
  std::int64_t shared_held_ = 0;
  line shared_line_{"shared_mutex"};
  semaphore semaphore_{5};
  std::int64_t units_held_ = 0;
  line semaphore_line_{"semaphore"};
  auto_reset_event auto_;
  line auto_line_{"auto_reset_event"};
  std::deque<units> held_;
  std::list<worker> workers_;
};

TEST(sync_model, random_use_with_random_cancels_loses_nothing_and_starves_nobody) {
  const std::uint64_t seed = test_support::test_seed();
  block_on([seed]() -> task<> {
    const std::size_t before = this_shard().loop->frames().in_use();
    {
      world w(seed);
      co_await w.run(test::rounds(150'000));
    }
    EXPECT_EQ(this_shard().loop->frames().in_use(), before);
  });
}

}  // namespace
}  // namespace skerry
