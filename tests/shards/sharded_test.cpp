// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/foreign_ptr.hpp>
#include <skerry/shards/shard_map.hpp>
#include <skerry/shards/sharded.hpp>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <support/run_shards.hpp>

namespace {

using namespace skerry;
using test_support::run_shards;

/// What happened, on shard 0's side; every shard reports by message, so nothing is shared.
struct events {
  std::string text;
};

class counter {
 public:
  explicit counter(int start) : value_(start) {}
  ~counter() { EXPECT_EQ(this_shard_id(), home_); }
  void add(int n) { value_ += n; }
  int value() const { return value_; }

 private:
  int value_;
  shard_id home_ = this_shard_id();
};

template <char Name>
struct named_service {
  explicit named_service(borrowed<events> log) : log_(log) {}
  task<> stop() {
    if (this_shard_id() == 0) log_->text += Name;
    co_return;
  }
  borrowed<events> log_;
};

TEST(sharded, makes_uses_and_destroys_an_object_on_every_shard) {
  run_shards(3, []() -> task<> {
    sharded<counter> all;
    co_await all.start(10);
    EXPECT_EQ(all.local().value(), 10);
    co_await all.invoke_on(2, [](counter& c, int n) { c.add(n); }, 5);
    co_await all.invoke_on_all([](counter& c) { c.add(1); });
    std::vector<int> values = co_await all.map([](counter& c) { return c.value(); });
    EXPECT_EQ(values, (std::vector<int>{11, 11, 16}));
    int sum = co_await all.map_reduce([](counter& c) { return c.value(); }, 0, std::plus<>());
    EXPECT_EQ(sum, 38);
    co_await all.stop();
  });
}

TEST(sharded, each_shard_gets_arguments_of_its_own) {
  run_shards(3, []() -> task<> {
    sharded<counter> all;
    auto make = [](shard_id shard, int each, const std::string& name) {
      EXPECT_EQ(shard, this_shard_id());
      EXPECT_EQ(name, "a copy for every shard");
      return std::make_unique<counter>(each * static_cast<int>(shard));
    };
    co_await all.start_with(make, 7, std::string("a copy for every shard"));
    const std::vector<int> values = co_await all.map([](counter& c) { return c.value(); });
    EXPECT_EQ(values, (std::vector<int>{0, 7, 14}));
    co_await all.stop();
  });
}

TEST(sharded, a_maker_that_throws_stops_what_was_made) {
  events seen;
  run_shards(3, [&seen]() -> task<> {
    sharded<named_service<'m'>> all;
    auto make = [](shard_id shard, borrowed<events> log) {
      if (shard == 2) throw std::runtime_error("not here");
      return std::make_unique<named_service<'m'>>(log);
    };
    std::string thrown;
    try {
      co_await all.start_with(make, borrowed(seen));
    } catch (const std::runtime_error& e) {
      thrown = e.what();
    }
    EXPECT_EQ(thrown, "not here");
    EXPECT_EQ(seen.text, "m") << "stopped by start, not by the end of the app";
    co_await all.start_with([](shard_id, borrowed<events> log) { return std::make_unique<named_service<'m'>>(log); },
                            borrowed(seen));
    co_await all.stop();
    EXPECT_EQ(seen.text, "mm");
  });
}

TEST(sharded, on_a_shard_runs_functions_and_tasks_with_its_instance) {
  run_shards(3, []() -> task<> {
    sharded<counter> all;
    co_await all.start(1);
    co_await all.on(2)([](counter& c, int n) { c.add(n); }, 5);
    auto later = [](counter& c, std::unique_ptr<int> n) -> task<int> {
      co_await yield();
      EXPECT_EQ(this_shard_id(), 2u);
      co_return c.value() + *n;
    };
    EXPECT_EQ(co_await all.on(2)(later, std::make_unique<int>(10)), 16);
    const auto here = all.on(this_shard_id());
    EXPECT_EQ(co_await here([](counter& c) { return c.value(); }), 1);
    co_await all.stop();
  });
}

TEST(sharded, start_that_throws_stops_what_was_made) {
  struct picky {
    picky() {
      if (this_shard_id() == 1) throw std::runtime_error("not here");
    }
  };
  run_shards(2, []() -> task<> {
    sharded<picky> all;
    bool thrown = false;
    try {
      co_await all.start();
    } catch (const std::runtime_error& e) {
      thrown = std::string(e.what()) == "not here";
    }
    EXPECT_TRUE(thrown);
  });
}

TEST(sharded, services_left_running_stop_in_reverse_order_at_the_end) {
  events seen;
  run_shards(2, [&seen]() -> task<> {
    sharded<named_service<'a'>> first;
    sharded<named_service<'b'>> second;
    co_await first.start(borrowed(seen));
    co_await second.start(borrowed(seen));
  });
  EXPECT_EQ(seen.text, "ba");
}

struct dies_at_home {
  explicit dies_at_home(int& deaths) : deaths_(deaths) {}
  ~dies_at_home() {
    EXPECT_EQ(this_shard_id(), home_);
    ++deaths_;
  }
  int& deaths_;
  shard_id home_ = this_shard_id();
};

TEST(foreign_ptr, object_dropped_elsewhere_dies_at_home) {
  int deaths = 0;
  run_shards(2, [&deaths]() -> task<> {
    foreign_ptr<dies_at_home> p(std::make_unique<dies_at_home>(deaths));
    co_await submit_to(1, [](foreign_ptr<dies_at_home> taken) { EXPECT_EQ(taken.home(), 0u); }, std::move(p));
    foreign_ptr<dies_at_home> local(std::make_unique<dies_at_home>(deaths));
    EXPECT_NE(local.get(), nullptr);
  });
  EXPECT_EQ(deaths, 2);
}

TEST(shared_immutable, every_shard_reads_the_same_object) {
  run_shards(2, []() -> task<> {
    shared_immutable<std::string> text(std::string("one for all"));
    std::size_t size = co_await submit_to(1, [](shared_immutable<std::string> seen) { return seen->size(); }, text);
    EXPECT_EQ(size, text->size());
  });
}

TEST(shard_map, spreads_keys_evenly_and_moves_few_when_a_shard_is_added) {
  shard_map eight(8);
  shard_map nine(9);
  std::array<int, 8> counts{};
  int moved = 0;
  std::uint64_t hash = 1;
  for (int i = 0; i < 90'000; ++i) {
    hash = hash * 6364136223846793005u + 1442695040888963407u;
    ++counts[eight.shard_of(hash)];
    moved += eight.shard_of(hash) != nine.shard_of(hash);
    EXPECT_TRUE(eight.shard_of(hash) == nine.shard_of(hash) || nine.shard_of(hash) == 8);
  }
  for (int count : counts) EXPECT_NEAR(count, 90'000 / 8, 600);
  EXPECT_NEAR(moved, 10'000, 600);
}

TEST(shard_map, places_keys_by_a_function_of_ones_own) {
  const shard_map by_letter(
      4, [](std::string_view key, shard_id shards) { return static_cast<shard_id>(key.front() - 'a') * shards / 26; });
  EXPECT_EQ(by_letter.shard_of("ant"), 0u);
  EXPECT_EQ(by_letter.shard_of(std::string("mouse")), 1u);
  EXPECT_EQ(by_letter.shard_of("zebra"), 3u);
  struct after_those_of_others {
    std::uint64_t kept;
    shard_id operator()(std::uint64_t hash, shard_id shards) const {
      return hash < kept ? 0 : 1 + jump_hash()(hash, shards - 1);
    }
  };
  const shard_map<after_those_of_others> first_kept(9, {100});
  const shard_map eight(8);
  EXPECT_EQ(first_kept.shard_of(99u), 0u);
  for (std::uint64_t hash = 100; hash < 200; ++hash) {
    EXPECT_EQ(first_kept.shard_of(hash), 1 + eight.shard_of(hash)) << hash;
  }
}

}  // namespace
