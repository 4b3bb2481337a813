// SPDX-License-Identifier: Apache-2.0
// Operations between shards, and what a foreign thread and a shard do for each other.
#include <skerry/framework/reactor/poller.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/toolkit/alien/alien.hpp>
#include <skerry/toolkit/alien/inbox.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <boost/lockfree/spsc_queue.hpp>
#include <framework/instructions_driver.hpp>
#include <shards/shards_in_turns.hpp>

namespace {

using namespace skerry;
using perf::counted;
using perf::keep;
using perf::repeat;

task<int> ready(int n) { co_return n; }

/// On the first of two shards.
template <task<> (*Operation)(int count)>
void between_shards(int count) {
  perf::stepping_clock time;
  perf::shards_in_turns both(time);
  both.run([count] { return Operation(count); });
}

task<> submit_to_own_shard(int count) {
  for (int i = 0; i < count; ++i) keep(co_await submit_to(0, [](int n) { return n + 1; }, i));
}

task<> submit_to_other_shard(int count) {
  for (int i = 0; i < count; ++i) keep(co_await submit_to(1, [](int n) { return n + 1; }, i));
}

task<> submit_to_other_shard_task(int count) {
  for (int i = 0; i < count; ++i) keep(co_await submit_to(1, [](int n) { return ready(n); }, i));
}

/// So many callers at a time, each with one call in flight.
constexpr int callers = 250;
task<> submit_to_250_in_flight(int count) {
  std::vector<join_handle<>> each(callers);
  for (auto& caller : each) caller = spawn(submit_to_other_shard(count / callers));
  for (auto& caller : each) co_await caller;
}

/// The queue of a pair of shards, used as mailboxes do: one message in, and whatever is there out.
task<> spsc_push_pop(int count) {
  constexpr std::size_t batch_max = 64;
  boost::lockfree::spsc_queue<std::uintptr_t> queue(128);
  std::array<std::uintptr_t, batch_max> batch{};
  for (int i = 0; i < count; ++i) {
    const auto entry = static_cast<std::uintptr_t>(i);
    keep(queue.push(&entry, 1));
    keep(queue.pop(batch.data(), batch.size()));
    keep(batch);
  }
  co_return;
}

/// The queue of all foreign threads to a shard that attends to it: nobody rings.
struct silent_item final : skerry::detail::foreign_item {
  void arrived() noexcept override { keep(this); }
};
task<> inbox_deliver_arrive(int count) {
  auto& inbox = skerry::detail::foreign_inbox::here();
  const auto stack = inbox.stack();
  poller& shard = inbox;
  silent_item item;
  keep(stack->deliver(item));  // rings; from the next look on it is attended to
  while (inbox.arrived_total() == 0) co_await yield();
  for (int i = 0; i < count; ++i) {
    keep(stack->deliver(item));
    shard.poll();
  }
}

/// To a shard with ready tasks: the ring, and the turn in which the shard looks.
task<> alien_post(int count) {
  alien::entry door = co_await alien::open();
  for (int i = 0; i < count; ++i) {
    keep(alien::post(door, 0, [](int n) { keep(n); }, i));
    co_await yield();
  }
}

constexpr counted operations[] = {
    {"submit_to_own_shard", repeat<submit_to_own_shard>},
    {"submit_to_other_shard", between_shards<submit_to_other_shard>},
    {"submit_to_other_shard_task", between_shards<submit_to_other_shard_task>},
    {"submit_to_250_in_flight", between_shards<submit_to_250_in_flight>},
    {"spsc_push_pop", repeat<spsc_push_pop>},
    {"inbox_deliver_arrive", repeat<inbox_deliver_arrive>},
    {"alien_post", repeat<alien_post>},
};

}  // namespace

std::span<const counted> perf::counted_messages() { return operations; }
