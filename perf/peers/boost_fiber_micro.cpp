// SPDX-License-Identifier: Apache-2.0
// What fibers cost in Boost.Fiber, one thread: stacks from a pool, round robin. Debian's library is built for several
// threads, so its mutex and channel take a spinlock.
//
//     build/release/perf/peer_boost_fiber_micro
//     {"spawn_join_ns": 150.00, "yield_ns": 30.00, "channel_ns": 20.00, "mutex_ns": 10.00}
#include <cstddef>
#include <memory>

#include <boost/fiber/buffered_channel.hpp>
#include <boost/fiber/fiber.hpp>
#include <boost/fiber/mutex.hpp>
#include <boost/fiber/operations.hpp>
#include <boost/fiber/pooled_fixedsize_stack.hpp>
#include <peers/micro.hpp>

namespace {

using namespace peers;
namespace fibers = boost::fibers;

constexpr int operations = 20'000;
constexpr std::size_t stack_bytes = 16'384;

double spawn_join_ns() {
  fibers::pooled_fixedsize_stack stacks(stack_bytes);
  return median_ns(operations, [&stacks] {
    for (int i = 0; i < operations; ++i)
      fibers::fiber(fibers::launch::dispatch, std::allocator_arg, stacks, [i] { keep(i); }).join();
  });
}

// Two of them, so that each yield goes to another fiber.
double yield_ns() {
  const auto half = [] {
    for (int i = 0; i < operations / 2; ++i) boost::this_fiber::yield();
  };
  return median_ns(operations, [&half] {
    fibers::fiber first(half), second(half);
    first.join();
    second.join();
  });
}

double channel_ns() {
  fibers::buffered_channel<int> channel(64);
  return median_ns(operations, [&channel] {
    for (int i = 0; i < operations; ++i) {
      channel.push(i);
      keep(channel.value_pop());
    }
  });
}

double mutex_ns() {
  fibers::mutex mutex;
  return median_ns(operations, [&mutex] {
    for (int i = 0; i < operations; ++i) {
      mutex.lock();
      keep(&mutex);
      mutex.unlock();
    }
  });
}

}  // namespace

int main() {
  json_line out;
  out.add("spawn_join_ns", spawn_join_ns());
  out.add("yield_ns", yield_ns());
  out.add("channel_ns", channel_ns());
  out.add("mutex_ns", mutex_ns());
}
