// SPDX-License-Identifier: Apache-2.0
/// Local channels under random use and random cancels, against simple models: who waits in which order, what a channel
/// holds, what a receiver of a broadcast has missed.

#include <skerry/framework/random.hpp>
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/toolkit/channel/broadcast.hpp>
#include <skerry/toolkit/channel/channel.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <list>
#include <optional>
#include <string>
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
  }
  /// It resumed: nobody who came before it may still be there.
  void served() {
    if (self == nullptr) return;  // it never waited
    ++in.resumed;
    EXPECT_EQ(in.waiting.front(), this) << "overtaken in the line for " << in.what;
    leave();
  }

  line& in;
  detail::chain* self = nullptr;
};

constexpr std::size_t places = 3;

struct channel_model {
  explicit channel_model(bool is_bounded) : bounded(is_bounded) { open(); }
  void open() {
    if (bounded) {
      real.emplace(places);
    } else {
      real.emplace(unbounded);
    }
  }
  void check_settled() {
    EXPECT_EQ(real->size(), items.size());
    if (!receivers.waiting.empty()) {
      EXPECT_TRUE(items.empty()) << "an item and a receiver that waits";
    }
    if (!senders.waiting.empty()) {
      EXPECT_EQ(items.size(), places) << "a place and a sender that waits";
    }
  }
  bool bounded;
  std::optional<channel<int>> real;
  std::deque<int> items;
  line senders{"send"}, receivers{"recv"};
};

class world {
 public:
  explicit world(std::uint64_t seed) : random_(seed) {
    for (std::size_t i = 0; i < busy_.size(); ++i) receivers_.emplace_back(broadcast_);
  }

  task<> run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      if (workers_.size() < 24 && chance(40)) start_worker();
      if (chance(25)) abort_one();
      if (chance(40)) poke();
      if (chance(50)) co_await yield();
      if (chance(2)) co_await settle();
      if (chance(1)) co_await reopen(bounded_);
      if (chance(1)) co_await reopen(unbounded_);
      std::erase_if(workers_, [](const worker& each) { return each.handle.is_finished(); });
    }
    for (worker& each : workers_) abort(each);
    while (std::ranges::any_of(workers_, [](const worker& each) { return !each.handle.is_finished(); })) {
      co_await yield();
    }
    for (const line* each : lines()) {
      EXPECT_TRUE(each->waiting.empty());
      EXPECT_GT(each->resumed, 0u) << "a line that nobody waited in tests nothing";
    }
    EXPECT_GT(destroyed_after_wake_, 0u);
    EXPECT_GT(missed_, 0u);
  }

 private:
  struct worker {
    join_handle<> handle{};
    ticket* at = nullptr;
    bool ends_itself = false;
  };

  bool chance(unsigned percent) { return random_.uniform(100) < percent; }
  std::array<line*, 4> lines() {
    return {&bounded_.senders, &bounded_.receivers, &unbounded_.senders, &unbounded_.receivers};
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
    then(got);
    for (auto turns = random_.uniform(4); turns > 0; --turns) co_await yield();
  }

  task<> recv_broadcast(std::size_t which) {
    if (std::exchange(busy_[which], true)) co_return;
    struct freed {
      bool& flag;
      ~freed() { flag = false; }
    };
    [[maybe_unused]] freed at_end{busy_[which]};
    auto got = co_await receivers_[which].recv();
    const std::size_t index = read_[which] + got->missed;
    EXPECT_EQ(got->value, sent_.at(index));
    EXPECT_GE(index + 4, sent_.size()) << "it lags by no more than the ring";
    missed_ += got->missed;
    read_[which] = index + 1;
  }

  void start_worker() {
    worker& me = workers_.emplace_back();
    me.ends_itself = chance(10);
    const bool flip = chance(50);
    const int value = next_value_++;
    auto to_channel = [&](channel_model& c) {
      if (flip) {
        return use(
            me, c.senders, [&c, value] { return c.real->send(value); },
            [&c, value](bool sent) {
              if (sent) {
                c.items.push_back(value);
              } else {
                EXPECT_TRUE(c.real->is_closed());
              }
            });
      }
      return use(
          me, c.receivers, [&c] { return c.real->recv(); },
          [&c](std::optional<int> got) {
            if (got) {
              EXPECT_EQ(*got, c.items.front());
              c.items.pop_front();
            } else {
              EXPECT_TRUE(c.real->is_drained() && c.items.empty());
            }
          });
    };
    auto chosen = [&]() -> task<> {
      switch (random_.uniform(3)) {
        case 0: return to_channel(bounded_);
        case 1: return to_channel(unbounded_);
        default: return recv_broadcast(random_.uniform(busy_.size()));
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
    auto try_channel = [this](channel_model& c) {
      if (chance(50)) {
        const int value = next_value_++;
        if (c.real->try_send(value)) c.items.push_back(value);
      } else if (auto got = c.real->try_recv()) {
        EXPECT_EQ(*got, c.items.front());
        c.items.pop_front();
      }
    };
    switch (random_.uniform(3)) {
      case 0: try_channel(bounded_); break;
      case 1: try_channel(unbounded_); break;
      default: sent_.push_back(next_value_); broadcast_.send(next_value_++);
    }
  }

  /// Lets everybody run until all wait, and asks whether they have a reason to.
  task<> settle() {
    for (int quiet = 0; quiet < 8;) {
      const std::size_t before = progress();
      co_await yield();
      quiet = progress() == before ? quiet + 1 : 0;
    }
    bounded_.check_settled();
    unbounded_.check_settled();
  }
  std::size_t progress() {
    std::size_t sum = 0;
    for (const line* each : lines()) sum += each->entered + each->resumed + each->waiting.size();
    for (const worker& each : workers_) sum += each.handle.is_finished() ? 1 : 0;
    return sum;
  }

  task<> reopen(channel_model& c) {
    c.real->close();
    while (!c.senders.waiting.empty() || !c.receivers.waiting.empty()) {
      if (auto got = c.real->try_recv()) {
        EXPECT_EQ(*got, c.items.front());
        c.items.pop_front();
      }
      co_await yield();
    }
    co_await settle();
    c.items.clear();
    c.real.reset();
    c.open();
  }

  random_source random_;
  int next_value_ = 0;
  std::uint64_t destroyed_after_wake_ = 0;
  std::uint64_t missed_ = 0;

  channel_model bounded_{true}, unbounded_{false};
  broadcast<int> broadcast_{4};
  std::deque<broadcast<int>::receiver> receivers_{};
  std::vector<int> sent_;
  std::array<std::size_t, 3> read_{};
  std::array<bool, 3> busy_{};
  std::list<worker> workers_;
};

TEST(channel_model, random_use_with_random_cancels_loses_nothing_and_starves_nobody) {
  const std::uint64_t seed = test_seed();
  block_on([seed]() -> task<> {
    const std::size_t before = this_shard().loop->frames().in_use();
    resources().emplace<unbounded_channels>(places * sizeof(int));
    {
      world w(seed);
      co_await w.run(test::rounds(1'000'000));
    }
    EXPECT_EQ(this_shard().loop->frames().in_use(), before);
  });
}

}  // namespace
}  // namespace skerry
