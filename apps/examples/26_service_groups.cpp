// SPDX-License-Identifier: Apache-2.0
// Service groups: each subsystem has credits of its own, and a chain of calls climbs from level to level, so that none
// can wait for itself. Run it with: build/release/apps/26_service_groups --shards 2 --overprovision
#include <skerry/shards/app.hpp>
#include <skerry/toolkit/flow/everywhere.hpp>
#include <skerry/toolkit/flow/post_to.hpp>
#include <skerry/toolkit/flow/service_group.hpp>

#include <functional>

#include <fmt/core.h>

namespace {

using namespace skerry;

constexpr service_group orders("orders", 1, 8);  // name, level, calls in flight between two shards
constexpr service_group stock("stock", 2, 8);

shard_id other() { return (this_shard_id() + 1) % shard_count(); }

/// Of `stock`, above `orders`.
task<int> reserve(int pieces) { co_return pieces; }

/// Of `orders`: may ask `stock`, on whatever shard, under whatever load.
task<int> take_order(int pieces) {
  co_return co_await submit_to(stock, other(), [](int n) { return reserve(n); }, pieces);
}

/// Of `stock`, and comes back into `orders`: two of these could wait for each other, so the first one is told.
task<> reorder() {
  co_await submit_to(orders, other(), [](int n) { return take_order(n); }, 1);
}

task<> run() {
  fmt::print("reserved {}\n", co_await submit_to(orders, other(), [](int n) { return take_order(n); }, 3));
  try {
    co_await submit_to(stock, other(), [] { return reorder(); });
  } catch (const group_reentered& refused) {
    fmt::print("{}\n", refused.code() == std::errc::resource_deadlock_would_occur ? "refused: it does not climb" : "?");
  }

  // One way: from a bounded outbox, which suspends who posts faster than they are handled.
  for (int i = 0; i < 3; ++i) co_await post_to(other(), [](int n) { fmt::print("noted {}\n", n); }, i);
  // Many at once; the answers are reduced in order.
  const unsigned sum = co_await map_reduce([] { return this_shard_id() + 1; }, 0u, std::plus<>());
  fmt::print("sum {}\n", sum);
}

}  // namespace

int main(int argc, char** argv) { return skerry::app("26_service_groups").run(argc, argv, run); }
