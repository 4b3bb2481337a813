// SPDX-License-Identifier: Apache-2.0
// Channels between shards: every shard looks for primes and sends what it finds; one receives. Nobody waits for a reply
// to each item, and a fast sender waits when the receiver has 256 of its items to go.
// Run it with: build/release/apps/21_primes --shards 3 --overprovision
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/toolkit/channel/shard_channel.hpp>

#include <algorithm>
#include <utility>

#include <fmt/core.h>

namespace {

using namespace skerry;
constexpr unsigned below = 100'000;

bool is_prime(unsigned n) {
  for (unsigned d = 2; d * d <= n; ++d) {
    if (n % d == 0) return false;
  }
  return n > 1;
}

/// This shard's part of the numbers: every shard_count()-th.
task<> search(channel_sender<unsigned> found) {
  for (unsigned n = this_shard_id(); n < below; n += shard_count()) {
    if (is_prime(n)) co_await found.send(n);
    co_await maybe_yield();
  }
}  // the sender goes with the frame, and the receiver learns that nothing more comes from here

task<> search_on(shard_id shard, channel_sender<unsigned> found) {
  auto there = [](channel_sender<unsigned> sender) { return search(std::move(sender)); };
  co_await submit_to(shard, there, std::move(found));
}

task<> run() {
  mpsc_channel<unsigned> primes(256);
  for (shard_id shard = 0; shard < shard_count(); ++shard) spawn(search_on(shard, primes.sender()), "search");

  unsigned count = 0;
  unsigned greatest = 0;
  while (auto prime = co_await primes.recv()) {
    ++count;
    greatest = std::max(greatest, *prime);
  }
  fmt::print("{} primes below {}, the greatest is {}\n", count, below, greatest);
}

}  // namespace

int main(int argc, char** argv) { return skerry::app("21_primes").run(argc, argv, run); }
