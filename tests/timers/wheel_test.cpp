// SPDX-License-Identifier: Apache-2.0
/// The wheel against a sorted map, and the edges where a digit of the tick wraps.
///
/// Replay a failing random test with the line it prints: SKERRY_TEST_SEED=<seed> build/<preset>/tests/timers/wheel_test

#include <skerry/timers/wheel.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <support/long_test.hpp>

namespace skerry::timers {
namespace {

struct named_timer : timer_node {
  explicit named_timer(int name = 0) : id(name) {}
  int id;
};

int id_of(timer_node& node) { return static_cast<named_timer&>(node).id; }

/// Advances and returns the ids in the order they fired.
std::vector<int> fired_ids(wheel& w, std::uint64_t now_tick) {
  std::vector<int> ids;
  const std::size_t count = w.advance(now_tick, [&](timer_node& node) { ids.push_back(id_of(node)); });
  EXPECT_EQ(count, ids.size());
  EXPECT_EQ(w.now(), now_tick);
  return ids;
}

void drop_all(wheel& w) {
  w.clear([](timer_node&) {});
}

using ids = std::vector<int>;

// Where a digit wraps, seen from starts before, on and after it.
const std::vector<std::uint64_t> interesting_starts = [] {
  std::vector<std::uint64_t> starts = {0, 1, 2, 1000, 123456789, UINT64_MAX / 2, UINT64_MAX - (std::uint64_t{1} << 34)};
  for (const unsigned bits : {8U, 16U, 24U, 32U, 40U, 56U, 63U}) {
    const std::uint64_t edge = std::uint64_t{1} << bits;
    for (const std::uint64_t back : {1U, 2U, 3U, 255U, 256U, 257U}) {
      if (edge > back) starts.push_back(edge - back);
    }
    starts.insert(starts.end(), {edge, edge + 1, edge + 255});
  }
  return starts;
}();

const std::vector<std::uint64_t> interesting_delays = [] {
  std::vector<std::uint64_t> delays;
  for (const unsigned bits : {0U, 1U, 8U, 9U, 16U, 17U, 24U, 25U, 32U, 33U}) {
    const std::uint64_t edge = std::uint64_t{1} << bits;
    for (const std::uint64_t delay : {edge - 1, edge, edge + 1}) {
      if (delay != 0) delays.push_back(delay);
    }
  }
  return delays;
}();

TEST(wheel, timer_fires_at_its_tick_and_not_one_before) {
  for (const auto start : interesting_starts) {
    for (const auto delay : interesting_delays) {
      wheel w(start);
      named_timer t(1);
      w.arm(t, start + delay);
      EXPECT_TRUE(t.armed());
      EXPECT_EQ(t.deadline_tick(), start + delay);
      ASSERT_EQ(fired_ids(w, start + delay - 1), ids{}) << start << " + " << delay;
      ASSERT_EQ(fired_ids(w, start + delay), ids{1}) << start << " + " << delay;
      EXPECT_FALSE(t.armed());
      EXPECT_TRUE(w.empty());
    }
  }
}

TEST(wheel, timer_fires_once_when_time_jumps_over_it) {
  for (const auto start : interesting_starts) {
    for (const auto delay : interesting_delays) {
      wheel w(start);
      named_timer t(1);
      w.arm(t, start + delay);
      ASSERT_EQ(fired_ids(w, start + (std::uint64_t{1} << 34)), ids{1}) << start << " + " << delay;
      ASSERT_EQ(fired_ids(w, UINT64_MAX), ids{});
    }
  }
}

TEST(wheel, one_jump_fires_all_in_deadline_order) {
  for (const auto start : interesting_starts) {
    wheel w(start);
    std::deque<named_timer> timers;
    std::vector<std::uint64_t> delays = interesting_delays;
    std::sort(delays.begin(), delays.end());
    delays.erase(std::unique(delays.begin(), delays.end()), delays.end());
    ids expected;
    for (std::size_t i = 0; i < delays.size(); ++i) {
      timers.emplace_back(static_cast<int>(i));
      expected.push_back(static_cast<int>(i));
    }
    for (std::size_t i = delays.size(); i-- > 0;) w.arm(timers[i], start + delays[i]);
    ASSERT_EQ(w.size(), delays.size());
    ASSERT_EQ(fired_ids(w, start + (std::uint64_t{1} << 34)), expected) << start;
  }
}

TEST(wheel, timers_of_one_tick_fire_in_arming_order_across_levels) {
  // Timers for one tick, armed from ever nearer: each starts in a lower list than the one before, or is already moved
  // there.
  for (const auto start : interesting_starts) {
    for (const std::uint64_t last_digits : {0x00U, 0x01U, 0x80U, 0xffU}) {
      const std::uint64_t target = ((start + (std::uint64_t{1} << 33)) & ~std::uint64_t{0xff}) | last_digits;
      wheel w(start);
      std::deque<named_timer> timers;
      ids expected;
      const auto arm_next = [&] {
        const int id = static_cast<int>(timers.size());
        expected.push_back(id);
        w.arm(timers.emplace_back(id), target);
      };
      arm_next();
      for (int bit = 33; bit >= 0; --bit) {
        for (const std::uint64_t nudge : {1U, 0U}) {
          const std::uint64_t remaining = (std::uint64_t{1} << bit) + nudge;
          if (target - w.now() < remaining) continue;
          ASSERT_EQ(fired_ids(w, target - remaining), ids{});
          arm_next();
          arm_next();
        }
      }
      ASSERT_EQ(fired_ids(w, target), expected) << "start " << start << " target " << target;
    }
  }
}

TEST(wheel, rearmed_timer_goes_behind_the_others_of_its_tick) {
  wheel w(77);
  named_timer a(1), b(2), c(3);
  for (named_timer* t : {&a, &b, &c}) w.arm(*t, 100'000);
  w.rearm(a, 100'000);
  EXPECT_EQ(fired_ids(w, 100'000), (ids{2, 3, 1}));
  w.rearm(a, 100'001);
  EXPECT_EQ(fired_ids(w, 100'001), ids{1});
}

TEST(wheel, past_deadline_fires_at_the_next_advance_even_of_the_same_tick) {
  wheel w(1000);
  named_timer a(1), b(2), c(3), d(4);
  w.arm(d, 1001);
  w.arm(a, 1000);
  w.arm(b, 3);
  w.arm(c, 0);
  EXPECT_EQ(w.next_deadline(), 1000U);
  EXPECT_EQ(fired_ids(w, 1000), (ids{1, 2, 3}));
  EXPECT_EQ(fired_ids(w, 1000), ids{});
  w.arm(a, 5);
  EXPECT_EQ(fired_ids(w, 2000), (ids{1, 4}));
}

TEST(wheel, timer_cancelled_in_its_own_tick_never_fires) {
  for (const std::uint64_t deadline : {5ULL, 256ULL, 65536ULL, 1ULL << 24, 1ULL << 32, (1ULL << 32) + 5}) {
    wheel w;
    named_timer a(1), b(2), c(3), d(4);
    for (named_timer* t : {&a, &b, &c, &d}) w.arm(*t, deadline);
    ids fired;
    const auto count = w.advance(deadline, [&](timer_node& node) {
      fired.push_back(id_of(node));
      w.cancel(b);
      w.cancel(d);
      w.cancel(node);  // has fired: nothing to do
    });
    EXPECT_EQ(fired, (ids{1, 3}));
    EXPECT_EQ(count, 2U);
    EXPECT_TRUE(w.empty());
    EXPECT_EQ(w.next_deadline(), std::nullopt);
  }
}

TEST(wheel, timer_of_the_tick_being_fired_can_be_moved_to_a_later_one) {
  wheel w;
  named_timer a(1), b(2), c(3);
  for (named_timer* t : {&a, &b, &c}) w.arm(*t, 256);
  ids fired;
  w.advance(300, [&](timer_node& node) {
    fired.push_back(id_of(node));
    if (id_of(node) == 1) w.rearm(b, 290);
  });
  EXPECT_EQ(fired, (ids{1, 3, 2}));
}

TEST(wheel, callback_that_rearms_for_its_own_tick_fires_again_in_the_next_call_only) {
  wheel w(41);
  named_timer t(1);
  w.arm(t, 42);
  for (int call = 0; call < 3; ++call) {
    const auto count = w.advance(42, [&](timer_node& node) { w.arm(node, w.now()); });
    EXPECT_EQ(count, 1U);
    EXPECT_EQ(w.next_deadline(), 42U);
  }
  EXPECT_EQ(w.advance(50, [&](timer_node& node) { w.arm(node, 0); }), 1U);
  EXPECT_EQ(fired_ids(w, 50), ids{1});
}

TEST(wheel, callback_that_rearms_for_a_later_tick_within_the_jump_fires_in_the_same_call) {
  wheel w(250);
  named_timer t(1);
  std::vector<std::uint64_t> ticks;
  w.arm(t, 253);
  w.advance(259, [&](timer_node& node) {
    ticks.push_back(w.now());
    w.arm(node, w.now() + 2);
  });
  EXPECT_EQ(ticks, (std::vector<std::uint64_t>{253, 255, 257, 259}));
  EXPECT_EQ(w.next_deadline(), 261U);
  drop_all(w);
}

TEST(wheel, callback_may_destroy_the_timer_it_gets) {
  wheel w;
  std::vector<std::unique_ptr<named_timer>> timers;
  for (int i = 0; i < 3; ++i) w.arm(*timers.emplace_back(std::make_unique<named_timer>(i)), 300);
  w.advance(300, [&](timer_node& node) { timers[static_cast<std::size_t>(id_of(node))].reset(); });
  for (const auto& t : timers) EXPECT_EQ(t, nullptr);
}

TEST(wheel, jump_of_years_takes_no_walk_over_ticks) {
  // A walk over 2^64 ticks would never end, and one over blocks of 2^32 ticks would exceed the time limit of the test.
  wheel w(1);
  named_timer a(1), b(2), c(3);
  w.arm(b, UINT64_MAX);
  w.arm(c, UINT64_MAX);
  w.arm(a, UINT64_MAX - 1);
  EXPECT_EQ(w.next_deadline(), UINT64_MAX - 1);
  EXPECT_EQ(fired_ids(w, UINT64_MAX), (ids{1, 2, 3}));
  w.arm(a, UINT64_MAX);
  EXPECT_EQ(fired_ids(w, UINT64_MAX), ids{1});
  EXPECT_EQ(w.next_deadline(), std::nullopt);
}

TEST(wheel, overflow_list_gives_each_timer_back_in_its_block_and_order) {
  wheel w(12345);
  std::deque<named_timer> timers;
  ids expected;
  for (int block = 1; block <= 40; ++block) {
    for (int i = 0; i < 3; ++i) expected.push_back(static_cast<int>(expected.size()));
  }
  for (const int id : expected) timers.emplace_back(id);
  for (std::size_t i = 0; i < 3; ++i) {
    for (std::size_t block = 40; block-- > 0;) w.arm(timers[block * 3 + i], (std::uint64_t{block} + 1) << 33);
  }
  EXPECT_EQ(w.next_deadline(), std::uint64_t{1} << 33);
  w.cancel(timers[0]);
  w.cancel(timers[1]);
  w.cancel(timers[2]);
  EXPECT_LE(w.next_deadline(), std::uint64_t{2} << 33);
  expected.erase(expected.begin(), expected.begin() + 3);
  EXPECT_EQ(fired_ids(w, std::uint64_t{41} << 33), expected);
}

TEST(wheel, lonely_timer_is_woken_for_exactly_once) {
  for (const auto start : interesting_starts) {
    for (const auto delay : interesting_delays) {
      wheel w(start);
      named_timer t(1);
      w.arm(t, start + delay);
      ASSERT_EQ(w.next_deadline(), start + delay) << start << " + " << delay;
      drop_all(w);
    }
  }
}

TEST(wheel, sleeper_who_trusts_next_deadline_wakes_at_most_four_times_in_vain) {
  for (const auto start : interesting_starts) {
    for (const auto delay : interesting_delays) {
      wheel w(start);
      std::deque<named_timer> timers;
      for (int i = 0; i < 20; ++i) w.arm(timers.emplace_back(i), start + delay);
      int wakes = 0;
      while (!w.empty()) {
        const auto next = w.next_deadline();
        ASSERT_TRUE(next.has_value());
        ASSERT_GT(*next, w.now());
        ASSERT_LE(*next, start + delay);
        ++wakes;
        w.advance(*next, [](timer_node&) {});
      }
      ASSERT_LE(wakes, 5) << start << " + " << delay;
      ASSERT_EQ(w.now(), start + delay);
    }
  }
}

TEST(wheel, clear_takes_out_every_timer_and_keeps_what_its_callback_arms) {
  wheel w(1000);
  std::deque<named_timer> timers;
  int id = 0;
  for (const auto delay : interesting_delays) w.arm(timers.emplace_back(id++), 1000 + delay);
  w.arm(timers.emplace_back(id++), 0);
  w.arm(timers.emplace_back(id++), UINT64_MAX);
  named_timer late(-1);
  std::size_t seen = 0;
  const auto count = w.clear([&](timer_node& node) {
    EXPECT_FALSE(node.armed());
    if (seen++ == 0) w.arm(late, 1001);
  });
  EXPECT_EQ(count, timers.size());
  EXPECT_EQ(seen, timers.size());
  EXPECT_EQ(w.size(), 1U);
  EXPECT_EQ(fired_ids(w, UINT64_MAX), ids{-1});
}

TEST(wheel_death, bugs_stop_with_a_sentence) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  wheel w(10), other;
  named_timer t;
  w.arm(t, 20);
  EXPECT_DEATH(w.arm(t, 30), "rearm\\(\\) moves it");
  EXPECT_DEATH(other.cancel(t), "another wheel");
  EXPECT_DEATH(w.advance(9, [](timer_node&) {}), "went backwards");
  EXPECT_DEATH(w.advance(20, [&](timer_node&) { w.advance(21, [](timer_node&) {}); }), "from a callback");
  EXPECT_DEATH(
      {
        wheel short_lived;
        t.~named_timer();
      },
      "cancel it first");
  const auto abandon = [] {
    named_timer n;
    wheel short_lived;
    short_lived.arm(n, 1);
  };
  EXPECT_DEATH(abandon(), "clear\\(\\) it first");
  w.cancel(t);
}

/// What the wheel promises, in the simplest form: a map sorted by (deadline, sequence of arming).
class model_check {
 public:
  model_check(std::uint64_t seed, std::uint64_t start, std::size_t timers)
      : random_(seed), wheel_(start), now_(start), timers_(timers), keys_(timers) {
    for (std::size_t i = 0; i < timers; ++i) timers_[i].id = static_cast<int>(i);
  }
  ~model_check() { drop_all(wheel_); }

  std::size_t fired() const { return fired_; }

  void run(std::size_t operations) {
    for (std::size_t i = 0; i < operations && !::testing::Test::HasFatalFailure(); ++i) {
      const auto dice = draw(100);
      if (dice < 75) {
        touch_some_timer();
      } else {
        advance(now_ + next_jump());
      }
      check_next_deadline();
    }
  }

 private:
  struct key {
    std::uint64_t deadline;  // at least the now of its arming
    std::uint64_t sequence;
    auto operator<=>(const key&) const = default;
  };
  struct entry {
    std::size_t id;
    std::uint64_t first_call;  // the advance() that may fire it first
  };

  std::uint64_t draw(std::uint64_t below) { return random_() % below; }

  /// Every magnitude as likely as the others, small ones preferred, with a taste for the ends of blocks.
  std::uint64_t distance(unsigned bits_max) {
    const auto bits = std::min(draw(bits_max + 1), draw(bits_max + 1));
    std::uint64_t far = draw(std::uint64_t{1} << bits);
    if (draw(4) == 0) {
      const auto edge = std::uint64_t{1} << (8 * draw(5));
      far = (edge - now_ % edge) + draw(3) - 1;
    }
    return std::min(far, UINT64_MAX - now_);
  }

  std::uint64_t next_jump() {
    if (draw(4) == 0) {
      if (const auto next = wheel_.next_deadline()) return *next - now_;
    }
    return distance(draw(50) == 0 ? 40 : 18);
  }

  void touch_some_timer() {
    const auto i = static_cast<std::size_t>(draw(timers_.size()));
    if (draw(3) == 0) {
      cancel(i);
    } else if (draw(20) == 0) {
      arm(i, now_ - std::min(now_, draw(300)));
    } else if (draw(300) == 0) {
      arm(i, UINT64_MAX - draw(3));
    } else if (draw(4) == 0 && !model_.empty()) {
      arm(i, model_.begin()->first.deadline + draw(2));  // company for a tick that has some
    } else {
      arm(i, now_ + distance(36));
    }
  }

  void arm(std::size_t i, std::uint64_t deadline) {
    if (keys_[i]) model_.erase(*keys_[i]);
    const bool due = deadline <= now_;
    keys_[i] = key{due ? now_ : deadline, ++sequence_};
    model_.emplace(*keys_[i], entry{i, due ? calls_ + 1 : 0});
    wheel_.rearm(timers_[i], deadline);
  }

  void cancel(std::size_t i) {
    if (keys_[i]) model_.erase(*keys_[i]);
    keys_[i].reset();
    wheel_.cancel(timers_[i]);
  }

  auto first_due(std::uint64_t target) {
    auto at = model_.begin();
    while (at != model_.end() && at->second.first_call > calls_) ++at;
    return at != model_.end() && at->first.deadline <= target ? at : model_.end();
  }

  void advance(std::uint64_t target) {
    ++calls_;
    const std::size_t count_before = fired_;
    const auto count = wheel_.advance(target, [&](timer_node& node) { on_fire(node, target); });
    ASSERT_EQ(count, fired_ - count_before);
    now_ = target;
    ASSERT_EQ(wheel_.now(), target);
    ASSERT_TRUE(first_due(target) == model_.end()) << "a due timer did not fire";
    ASSERT_EQ(wheel_.size(), model_.size());
  }

  void on_fire(timer_node& node, std::uint64_t target) {
    const auto expected = first_due(target);
    ASSERT_TRUE(expected != model_.end()) << "nothing is due, but timer " << id_of(node) << " fires";
    ASSERT_EQ(static_cast<int>(expected->second.id), id_of(node)) << "at tick " << expected->first.deadline;
    ASSERT_FALSE(node.armed());
    now_ = std::max(now_, expected->first.deadline);
    ASSERT_EQ(wheel_.now(), now_);
    keys_[expected->second.id].reset();
    model_.erase(expected);
    ++fired_;
    // A callback does what anybody may: on itself, its neighbours in the tick, or anything else.
    switch (draw(8)) {
      case 0: arm(static_cast<std::size_t>(id_of(node)), now_ + draw(2)); break;
      case 1: arm(static_cast<std::size_t>(id_of(node)), now_ + distance(30)); break;
      case 2: touch_some_timer(); break;
      case 3:
        if (const auto next = first_due(target); next != model_.end()) cancel(next->second.id);
        break;
      default: break;
    }
    check_next_deadline();
  }

  void check_next_deadline() {
    const auto next = wheel_.next_deadline();
    ASSERT_EQ(next.has_value(), !model_.empty());
    ASSERT_EQ(wheel_.empty(), model_.empty());
    if (!next) return;
    const auto earliest = std::max(now_, model_.begin()->first.deadline);
    ASSERT_LE(*next, earliest) << "a sleeper would be late, now " << now_;
    ASSERT_GE(*next, now_);
    ASSERT_EQ(*next == now_, earliest == now_) << "a wake-up that makes no progress";
    if (earliest >> 8 == now_ >> 8 || model_.size() <= wheel::exact_scan_max) {
      ASSERT_EQ(*next, earliest);
    }
  }

  std::mt19937_64 random_;
  wheel wheel_;
  std::uint64_t now_;
  std::uint64_t calls_ = 0;
  std::uint64_t sequence_ = 0;
  std::size_t fired_ = 0;
  std::deque<named_timer> timers_;
  std::vector<std::optional<key>> keys_;
  std::map<key, entry> model_;
};

std::uint64_t seed_of_this_run() {
  if (const char* text = std::getenv("SKERRY_TEST_SEED")) return std::strtoull(text, nullptr, 0);
  return std::random_device{}();
}

TEST(wheel, behaves_like_a_sorted_map_over_a_million_random_operations) {
  const std::uint64_t seed = seed_of_this_run();
  std::cout << "replay with SKERRY_TEST_SEED=" << seed << "\n";
  SCOPED_TRACE("SKERRY_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  const std::size_t rounds = static_cast<std::size_t>(test::rounds(40));
  constexpr std::array<std::size_t, 4> populations = {3, 20, 200, 2000};
  std::size_t fired = 0;
  for (std::size_t round = 0; round < rounds; ++round) {
    const std::uint64_t start =
        round % 2 == 0 ? interesting_starts[random() % interesting_starts.size()] : random() >> (random() % 64);
    model_check check(random(), start, populations[round % populations.size()]);
    check.run(1'000'000 / 40);
    fired += check.fired();
    if (HasFatalFailure()) break;
  }
  EXPECT_GT(fired, 50'000U) << "the test hardly fires anything";
}

}  // namespace
}  // namespace skerry::timers
