// SPDX-License-Identifier: Apache-2.0
// What timers and tasks cost in Boost.Asio. Its timer queue is a binary heap, and a wait that is cancelled still runs
// its handler, so arming and cancelling includes one turn of the loop per 64. It has no mutex for coroutines, and
// Debian's 1.74 no channel yet.
//
//     build/release/perf/peer_asio_micro
//     {"timer_hot_ns": 90.00, "timer_random_ns": 300.00, "spawn_join_ns": 150.00, "yield_ns": 60.00, ...}
#include <chrono>
#include <cstddef>
#include <deque>

#include <boost/asio/post.hpp>
#include <boost/system/error_code.hpp>
#include <peers/asio_types.hpp>
#include <peers/micro.hpp>

namespace {

using namespace peers;
using std::chrono::milliseconds;

constexpr std::size_t timers = 1'000'000;
constexpr int hot = 64'000, random_ones = 12'800, turn = 64;

void ignore(const boost::system::error_code& /*cancelled*/) {}

double timer_hot_ns() {
  asio::io_context context(BOOST_ASIO_CONCURRENCY_HINT_UNSAFE);
  const auto late = std::chrono::steady_clock::now() + std::chrono::hours(1);
  timer earlier(context, late - std::chrono::minutes(1)), one(context);
  earlier.async_wait(ignore);
  return median_ns(hot, [&] {
    for (int i = 0; i < hot; ++i) {
      one.expires_at(late);
      one.async_wait(ignore);
      one.cancel();
      if (i % turn == 0) context.poll();
    }
  });
}

double timer_random_ns() {
  asio::io_context context(BOOST_ASIO_CONCURRENCY_HINT_UNSAFE);
  std::deque<timer> all;
  small_random random;
  const auto base = std::chrono::steady_clock::now() + std::chrono::hours(1);
  const auto some_time = [&] { return base + milliseconds(random.below(60'000)); };
  for (std::size_t i = 0; i < timers; ++i) all.emplace_back(context, some_time()).async_wait(ignore);
  return median_ns(random_ones, [&] {
    for (int i = 0; i < random_ones; ++i) {
      timer& one = all[random.below(timers)];
      one.expires_at(some_time());
      one.async_wait(ignore);
      if (i % turn == 0) context.poll();
    }
  });
}

awaitable<int> ready(int n) { co_return n; }

constexpr int operations = 20'000;

awaitable<> spawn_join_piece(executor here) {
  for (int i = 0; i < operations; ++i) keep(co_await asio::co_spawn(here, ready(i), use_awaitable));
}

awaitable<> ready_piece(executor) {
  for (int i = 0; i < operations; ++i) keep(co_await ready(i));
}

awaitable<> yield_piece(executor here) {
  for (int i = 0; i < operations; ++i) co_await asio::post(here, use_awaitable);
}

double coroutine_ns(awaitable<> (*piece)(executor)) {
  return median_ns(operations, [piece] {
    asio::io_context context(BOOST_ASIO_CONCURRENCY_HINT_UNSAFE);
    asio::co_spawn(context, piece(context.get_executor()), asio::detached);
    context.run();
  });
}

}  // namespace

int main() {
  json_line out;
  out.add("timer_hot_ns", timer_hot_ns());
  out.add("timer_random_ns", timer_random_ns());
  out.add("spawn_join_ns", coroutine_ns(spawn_join_piece));
  out.add("yield_ns", coroutine_ns(yield_piece));
  out.add("ready_co_await_ns", coroutine_ns(ready_piece));
}
