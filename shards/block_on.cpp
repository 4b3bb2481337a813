// SPDX-License-Identifier: Apache-2.0
#include <skerry/shards/block_on.hpp>
#include <skerry/shards/host.hpp>

namespace skerry::detail {

void block_on_host(const std::function<task<>()>& main) {
  app_options options;
  options.shards = 1;
  options.log_level = "warning";
  placement where;
  where.shards.resize(1);
  where.count_reason = "block_on";
  host one(options, where);
  // A stop after main: what it left behind is cancelled, not waited for.
  one.run(
      [&main, &one]() -> task<> {
        co_await main();
        one.request_stop();
      },
      false);
}

}  // namespace skerry::detail
