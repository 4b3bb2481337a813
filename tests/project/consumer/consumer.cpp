// SPDX-License-Identifier: Apache-2.0
// A user's whole program: a task that sleeps and computes, run to its end.
#include <skerry/skerry.hpp>

#include <chrono>
#include <cstdio>

namespace {

skerry::task<int> answer() {
  co_await skerry::sleep_for(std::chrono::milliseconds(1));
  co_return 42;
}

}  // namespace

int main() {
  int n = skerry::block_on(answer());
  std::printf("%d\n", n);
  return n == 42 ? 0 : 1;
}
