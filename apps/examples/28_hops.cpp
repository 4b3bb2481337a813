// SPDX-License-Identifier: Apache-2.0
// Hops and wake-ups are counted, so a design that chats between cores is seen: the same hundred keys, asked for one by
// one, in one go, and in one message. Run it with: build/release/apps/28_hops --shards 2 --overprovision
#include <skerry/shards/app.hpp>
#include <skerry/shards/call_batch.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/toolkit/flow/hops.hpp>

#include <vector>

#include <fmt/core.h>

namespace {

using namespace skerry;

constexpr int keys = 100;
auto look_up = [](int key) { return key + 1; };
auto look_up_all = [](std::vector<int> all) { return all.size(); };

/// What this shard has sent since it was made; every shard has such figures, also as /metrics of the admin endpoint.
class count {
 public:
  std::uint64_t messages() const { return stats().messages_sent - before_.messages_sent; }
  std::uint64_t wake_ups() const { return stats().kernel.wakes_sent - before_.kernel.wakes_sent; }

 private:
  shard_stats before_ = stats();
};

task<> run() {
  const hop_matrix before = co_await hops();  // [to][from], of all shards

  const count chatty;
  for (int key = 0; key < keys; ++key) co_await submit_to(1, look_up, key);
  fmt::print("one by one: {} messages, each to a shard that may sleep again\n", chatty.messages());

  const count together;
  call_batch<decltype(look_up), int> batch(keys);
  for (int key = 0; key < keys; ++key) batch.add(1, look_up, key);
  co_await batch.all();
  fmt::print("in one go: {} messages, {}\n", together.messages(),
             together.wake_ups() <= 2 ? "and only the first pays for a wake-up" : "and all pay");

  const count once;
  co_await submit_to(1, look_up_all, std::vector<int>(keys));
  fmt::print("by shard: {} message\n", once.messages());

  // The same in a test: SKERRY_EXPECT_HOPS_LE(1, co_await submit_to(1, look_up_all, all));
  const hop_matrix after = co_await hops();  // to ask is a message, too
  fmt::print("shard 1 has run {} calls of shard 0\n", after[1][0].requests - before[1][0].requests - 1);
}

}  // namespace

int main(int argc, char** argv) { return skerry::app("28_hops").run(argc, argv, run); }
