// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/task/scope.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/shards/host.hpp>

#include <chrono>

namespace skerry::detail {

void block_on_host(const std::function<task<>()>& main) {
  app_options options;
  options.shards = 1;
  options.log_level = "warning";
  options.stall_threshold = std::chrono::nanoseconds(0);  // nobody else is on this shard
  placement where;
  where.shards.resize(1);
  where.count_reason = "block_on";
  host one(options, where);
  one.run(
      [&main, &one]() -> task<> {
        co_await main();
        this_shard().root->cancel();  // what main left behind is not waited for, as a drain would
        one.request_stop();
      },
      false);
}

}  // namespace skerry::detail
