// SPDX-License-Identifier: Apache-2.0
/// A tree of tasks under random growth and random cancels: groups, timeouts, races and what is shielded, whose tasks
/// sleep, send and receive. Beside it a model, simple enough to be seen to be right: who has which children, who was
/// cancelled and may not go on, which timers run, what is in each channel.

#include <skerry/framework/random.hpp>
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/task/cancel.hpp>
#include <skerry/framework/task/combine.hpp>
#include <skerry/framework/task/group.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>
#include <skerry/toolkit/channel/channel.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <iterator>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <support/long_test.hpp>
#include <support/run_shards.hpp>
#include <support/task_steps.hpp>
#include <support/test_seed.hpp>

namespace skerry {
namespace {

using namespace test_support;
using std::chrono::milliseconds;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int steps = 200'000;
#else
constexpr int steps = 1'000'000;
#endif

struct failure {};

class world;

/// How a task hangs on its parent, which decides what ends it.
enum class bond { root, member, body, timed, racer, shielded };
enum class waits { nothing, timer, place, item, children };

/// A task of the tree: a local of its coroutine, so it goes when that does, whichever way.
struct node {
  node(world& tree, node* over, bond how);
  ~node();
  node(const node&) = delete;
  node& operator=(const node&) = delete;

  world& w;
  node* const parent;
  const bond hangs_by;
  detail::chain* const self = this_shard().current;
  std::vector<node*> children{};
  waits waits_for = waits::nothing;
  std::size_t channel_index = 0;                        // of what it waits to send to or receive from
  std::pair<clock::time_point, std::uint64_t> timer{};  // and when it was armed
  std::optional<clock::time_point> children_end_by{};
  bool cancelled = false;
  bool may_go_on = true;  // to the end of its present wait, if it is cancelled
  bool is_over = false;   // it returns or throws
  bool failed = false;

  /// Whether it was cancelled, or a deadline above it has passed.
  bool must_end() const {
    if (cancelled) return true;
    if (parent == nullptr || hangs_by == bond::shielded) return false;
    if (hangs_by == bond::timed && parent->children_end_by && *parent->children_end_by <= clock::now()) return true;
    return parent->must_end();
  }
};

struct channel_model {
  explicit channel_model(std::size_t most) : capacity(most) {
    capacity == 0 ? real.emplace(unbounded) : real.emplace(capacity);
  }
  std::size_t capacity;  // 0: unbounded
  std::optional<channel<int>> real;
  std::deque<int> items;
  bool is_full() const { return capacity != 0 ? items.size() == capacity : items.size() == 5; }
};

class world {
 public:
  world(std::uint64_t seed, manual_clock& time) : random_(seed), time_(time) {}

  task<> run(int count);

  bool chance(unsigned percent) { return random_.uniform(100) < percent; }
  std::uint64_t below(std::uint64_t bound) { return random_.uniform(bound); }
  bool crowded() const { return live > 150; }

  /// The model of a cancel, at the moment of it.
  static void mark(node& n, bool if_ready_it_goes_on = true) {
    if (n.cancelled) return;
    n.cancelled = true;
    // Who waits for a race that is decided goes on with the winner's result.
    n.may_go_on = n.self->waits_for() == nullptr ? if_ready_it_goes_on : n.waits_for == waits::children;
    for (node* each : n.children) {
      if (each->hangs_by != bond::shielded) mark(*each);
    }
  }

  /// Waits for `make()`, about which the model knows `what`.
  template <class Make>
  auto wait(node& me, waits what, Make make) -> task<decltype(make().await_resume())> {
    bool suspended = false;
    me.waits_for = what;
    auto note = [&] {
      suspended = true;
      if (what == waits::timer) sleepers.emplace(me.timer, &me);
      if (me.self->cancel_requested()) me.may_go_on = false;
    };
    struct over {
      node& me;
      ~over() {
        me.w.sleepers.erase(me.timer);
        me.waits_for = waits::nothing;
      }
    };
    [[maybe_unused]] over at_end{me};
    if constexpr (std::is_void_v<decltype(make().await_resume())>) {
      co_await when_suspended(make, note);
      went_on(me, suspended);
    } else {
      auto result = co_await when_suspended(make, note);
      went_on(me, suspended);
      co_return result;
    }
  }

  task<> nap(node& me) {
    me.timer = {clock::now() + milliseconds(1 + below(40)), ++armed_};
    co_await wait(me, waits::timer, [&me] { return sleep_until(me.timer.first); });
    EXPECT_GE(clock::now(), me.timer.first) << "early";
    for (const auto& [timer, other] : sleepers) {
      if (timer > me.timer) break;
      EXPECT_TRUE(other->must_end()) << "went on before one whose timer was due before";
    }
  }
  task<> send(node& me, std::size_t which) {
    channel_model& to = channels[which];
    const int value = ++sent;
    me.channel_index = which;
    const bool was_sent = co_await wait(me, waits::place, [&to, value] { return to.real->send(value); });
    EXPECT_EQ(was_sent, !to.real->is_closed());
    if (was_sent) to.items.push_back(value);
  }
  task<> receive(node& me, std::size_t which) {
    channel_model& from = channels[which];
    me.channel_index = which;
    const std::optional<int> got = co_await wait(me, waits::item, [&from] { return from.real->recv(); });
    take(from, got);
  }
  void take(channel_model& from, const std::optional<int>& got) {
    if (!got) {
      EXPECT_TRUE(from.real->is_drained() && from.items.empty());
      return;
    }
    ASSERT_FALSE(from.items.empty());
    EXPECT_EQ(*got, from.items.front());
    from.items.pop_front();
    ++received;
  }

  std::size_t live = 0;
  std::uint64_t progress = 0;  // tasks that began, went on or ended
  std::map<std::pair<clock::time_point, std::uint64_t>, const node*> sleepers;
  std::array<channel_model, 3> channels{channel_model(1), channel_model(3), channel_model(0)};
  int sent = 0;
  std::uint64_t received = 0, groups = 0, failures = 0, timeouts = 0, shields = 0, races = 0, destroyed = 0;

 private:
  struct root {
    node* at = nullptr;
    bool never = false;
    join_handle<> handle{};
  };

  void went_on(node& me, bool suspended) {
    if (!suspended) return;
    ++progress;
    EXPECT_TRUE(!me.cancelled || std::exchange(me.may_go_on, false)) << "went on after it was cancelled";
  }
  void start_root();
  void cancel_one();
  void poke();
  task<> settle();
  /// Whether there is something in it that a cancel does not reach; a group's body goes after the other members.
  static bool may_linger(const node& n) {
    const auto lingers = [](const node* each) { return may_linger(*each); };
    if (n.hangs_by == bond::body) {
      return std::ranges::any_of(n.parent->children, [&](node* each) { return each != &n && lingers(each); });
    }
    return n.hangs_by == bond::shielded || std::ranges::any_of(n.children, lingers);
  }
  void check(const node& n) const;

  random_source random_;
  manual_clock& time_;
  std::uint64_t armed_ = 0;
  std::list<root> roots_;
};

node::node(world& tree, node* over, bond how) : w(tree), parent(over), hangs_by(how) {
  ++w.live;
  ++w.progress;
  if (parent != nullptr) parent->children.push_back(this);
  if (parent != nullptr && hangs_by != bond::shielded) {
    EXPECT_FALSE(parent->cancelled) << "began after its parent was cancelled";
  }
}

node::~node() {
  EXPECT_TRUE(children.empty()) << "its children outlive it";
  EXPECT_TRUE(is_over || must_end()) << "destroyed, and nobody cancelled it";
  if (!is_over) ++w.destroyed;
  --w.live;
  ++w.progress;
  if (parent == nullptr) return;
  std::erase(parent->children, this);
  // What its end means for the others.
  const bool ends_others = (hangs_by == bond::member && failed) || (hangs_by == bond::racer && is_over);
  if (!ends_others) return;
  for (node* each : parent->children) world::mark(*each, hangs_by == bond::member);
}

task<> live_on(world& w, node* parent, bond how, unsigned depth);

task<> grow_group(world& w, node& me, unsigned depth) {
  ++w.groups;
  auto body = [&](group& g) -> task<> {
    node in_body(w, &me, bond::body);
    for (auto count = 1 + w.below(3); count > 0; --count) g.spawn(live_on(w, &me, bond::member, depth + 1));
    if (w.chance(50)) {
      co_await w.wait(in_body, waits::children, [&g] { return g.until_empty(); });
    } else if (w.chance(50)) {
      co_await w.nap(in_body);
    }
    in_body.is_over = true;
  };
  try {
    co_await with_group(body);
  } catch (const failure&) {
    ++w.failures;
  }
}

task<> grow_timeout(world& w, node& me, unsigned depth) {
  me.children_end_by = clock::now() + milliseconds(1 + w.below(30));
  auto inside = [&] { return live_on(w, &me, bond::timed, depth + 1); };
  try {
    co_await with_deadline(*me.children_end_by, inside);
  } catch (const timeout_error&) {
    EXPECT_GE(clock::now(), *me.children_end_by);
    ++w.timeouts;
  } catch (const failure&) {
    ++w.failures;
  }
  me.children_end_by.reset();
}

task<> grow_race(world& w, node& me, unsigned depth) {
  ++w.races;
  auto one = [&] { return live_on(w, &me, bond::racer, depth + 1); };
  auto other = [&]() -> task<> {
    node sleeper(w, &me, bond::racer);
    co_await w.nap(sleeper);
    sleeper.is_over = true;
  };
  try {
    co_await select(on(one, [] {}), on(other, [] {}));
  } catch (const failure&) {
    ++w.failures;
  }
}

task<> grow_shield(world& w, node& me, unsigned depth) {
  ++w.shields;
  auto inside = [&] { return live_on(w, &me, bond::shielded, depth + 1); };
  try {
    co_await shielded(inside);
  } catch (const failure&) {
    ++w.failures;
  }
}

/// Some things that a task does, one after the other.
task<> live_on(world& w, node* parent, bond how, unsigned depth) {
  node me(w, parent, how);
  for (auto actions = 1 + w.below(4); actions > 0; --actions) {
    const auto action = w.below(depth > 5 || w.crowded() ? 7 : 12);
    if (action < 3) {
      co_await w.nap(me);
    } else if (action < 5) {
      co_await w.send(me, w.below(3));
    } else if (action < 7) {
      co_await w.receive(me, w.below(3));
    } else {
      me.waits_for = waits::children;
      switch (action) {
        case 7: co_await grow_timeout(w, me, depth); break;
        case 8: co_await grow_race(w, me, depth); break;
        case 9: co_await grow_shield(w, me, depth); break;
        default: co_await grow_group(w, me, depth);
      }
      EXPECT_TRUE(me.children.empty()) << "went on before its children had ended";
      me.waits_for = waits::nothing;
      ++w.progress;
    }
    if (how != bond::root && w.chance(4)) {
      me.failed = me.is_over = true;
      throw failure();
    }
  }
  me.is_over = true;
}

void world::start_root() {
  root& added = roots_.emplace_back();
  auto begin = [this, &added]() -> task<> {
    EXPECT_FALSE(added.never) << "began after it was cancelled";
    struct place {
      root& of;
      ~place() { of.at = nullptr; }
    };
    [[maybe_unused]] place here{added};
    node top(*this, nullptr, bond::root);
    added.at = &top;
    co_await grow_group(*this, top, 0);
    top.is_over = true;
  };
  added.handle = spawn(begin, "root");
}

void world::cancel_one() {
  if (roots_.empty()) return;
  root& chosen = *std::next(roots_.begin(), static_cast<std::ptrdiff_t>(below(roots_.size())));
  if (chosen.at != nullptr) {
    mark(*chosen.at);
  } else if (!chosen.handle.is_finished()) {
    chosen.never = true;
  }
  chosen.handle.abort();
}

/// Somebody who does not wait.
void world::poke() {
  channel_model& c = channels[below(3)];
  if (chance(50)) {
    if (c.real->try_send(sent + 1)) c.items.push_back(++sent);
  } else if (const auto got = c.real->try_recv()) {
    take(c, got);
  }
}

void world::check(const node& n) const {
  EXPECT_TRUE(!n.must_end() || may_linger(n)) << "was cancelled, or its time is over, and it is still there";
  switch (n.must_end() ? waits::nothing : n.waits_for) {
    case waits::timer: EXPECT_GT(n.timer.first, clock::now()) << "sleeps past its time"; break;
    case waits::item:
      EXPECT_TRUE(channels[n.channel_index].items.empty()) << "an item, and one who waits for it";
      break;
    case waits::place: EXPECT_TRUE(channels[n.channel_index].is_full()) << "a place, and one who waits for it"; break;
    case waits::children:
    case waits::nothing: break;
  }
  for (const node* each : n.children) check(*each);
}

/// Lets everybody run until all wait, and asks whether they have a reason to.
task<> world::settle() {
  for (int quiet = 0; quiet < 8;) {
    const std::uint64_t before = progress;
    co_await yield();
    quiet = progress == before ? quiet + 1 : 0;
  }
  for (const root& each : roots_) {
    if (each.at != nullptr) check(*each.at);
  }
  for (const channel_model& c : channels) EXPECT_EQ(c.real->size(), c.items.size());
}

task<> world::run(int count) {
  const auto pass_time = [this](std::uint64_t ms) {
    time_.pass(milliseconds(ms));
    timers::this_timers().poll();
  };
  for (int i = 0; i < count && !testing::Test::HasFailure(); ++i) {
    const auto dice = below(100);
    if (dice < 40) {
      co_await yield();
    } else if (dice < 52) {
      if (!crowded()) start_root();
    } else if (dice < 60) {
      cancel_one();
    } else if (dice < 78) {
      pass_time(1 + below(6));
    } else if (dice < 99) {
      poke();
    } else {
      co_await settle();
    }
    std::erase_if(roots_, [](const root& each) { return each.handle.is_finished(); });
  }
  for (root& each : roots_) {
    if (each.at != nullptr) mark(*each.at);
    each.never |= each.at == nullptr;
    each.handle.abort();
  }
  for (channel_model& c : channels) c.real->close();
  while (live > 0 && !testing::Test::HasFailure()) {
    for (channel_model& c : channels) {
      while (const auto got = c.real->try_recv()) take(c, got);
    }
    pass_time(50);
    co_await yield();
  }
  for (root& each : roots_) {
    while (!each.handle.is_finished()) co_await yield();
  }
  EXPECT_TRUE(sleepers.empty());
}

TEST(tree_model, of_scopes_channels_timers_and_cancels_agrees_with_the_tasks) {
  const std::uint64_t seed = test_seed();
  manual_clock time;
  const auto main = [seed, &time]() -> task<> {
    resources().emplace<unbounded_channels>(5 * sizeof(int));
    const std::size_t before = this_shard().loop->frames().in_use();
    {
      auto w = std::make_unique<world>(seed, time);
      co_await w->run(test::rounds(steps));
      for (const std::uint64_t each :
           {w->received, w->groups, w->failures, w->timeouts, w->shields, w->races, w->destroyed}) {
        EXPECT_GT(each, 1000u) << "what seldom happens is not tested";
      }
    }
    EXPECT_EQ(this_shard().loop->frames().in_use(), before);
    EXPECT_EQ(this_shard().timers->size(), 0u);
  };
  app_options options = quiet_options(1);
  options.log_level = "off";  // second failures of a group
  run_shards(options, main, time);
}

}  // namespace
}  // namespace skerry
