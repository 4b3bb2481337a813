// SPDX-License-Identifier: Apache-2.0
// sharded<T>: one T on every shard, touched by that shard alone, so that it needs no lock; and answers from all of
// them. Run it with: build/release/apps/04_counters --shards 3 --overprovision
#include <skerry/shards/app.hpp>
#include <skerry/shards/sharded.hpp>

#include <functional>
#include <vector>

#include <fmt/core.h>

namespace {

using namespace skerry;

class counter {
 public:
  void add(unsigned n) { value_ += n; }
  unsigned value() const { return value_; }

 private:
  unsigned value_ = 0;
};

task<> run() {
  sharded<counter> all;
  co_await all.start();  // makes a counter on each shard; arguments would go to its constructor

  all.local().add(1);  // this shard's own: a plain call

  shard_id last = shard_count() - 1;
  auto add = [](counter& there, unsigned n) { there.add(n); };
  co_await all.invoke_on(last, add, 100u);  // a message to one other shard

  co_await all.invoke_on_all(add, 10u);  // a message to each, all under way at once

  auto value = [](counter& there) { return there.value(); };
  std::vector<unsigned> values = co_await all.map(value);
  for (shard_id shard = 0; shard < shard_count(); ++shard) fmt::print("shard {}: {}\n", shard, values[shard]);
  unsigned sum = co_await all.map_reduce(value, 0u, std::plus<>());
  fmt::print("sum: {}\n", sum);

  co_await all.stop();
}

}  // namespace

int main(int argc, char** argv) { return skerry::app("04_counters").run(argc, argv, run); }
