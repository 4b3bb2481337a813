// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/clock.hpp>
#include <skerry/framework/this_shard.hpp>
#include <skerry/skerry.hpp>

#include <cstdio>

int main() {
  const skerry::clock::time_point before = skerry::clock::read();
  const skerry::clock::time_point after = skerry::clock::read();
  SKERRY_ASSERT(after >= before, "the clock is steady");
  SKERRY_ASSERT(!skerry::on_shard(), "main runs on no shard");

  std::printf("a consumer of skerry read the clock twice, %lld ns apart\n",
              static_cast<long long>((after - before).count()));
  return 0;
}
