// SPDX-License-Identifier: Apache-2.0
// Every shard says its number. Run it with: build/release/apps/01_hello_shards --shards 4 --overprovision
#include <skerry/shards/app.hpp>
#include <skerry/shards/submit_to.hpp>

#include <fmt/core.h>

int main(int argc, char** argv) {
  return skerry::app("01_hello_shards").run(argc, argv, []() -> skerry::task<> {
    for (skerry::shard_id shard = 0; shard < skerry::shard_count(); ++shard) {
      skerry::shard_id answered = co_await skerry::submit_to(shard, [] { return skerry::this_shard_id(); });
      fmt::print("shard {} answered\n", answered);
    }
  });
}
