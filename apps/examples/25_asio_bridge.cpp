// SPDX-License-Identifier: Apache-2.0
// An Asio program that awaits shards: coroutines on an io_context call into Skerry without blocking its thread.
// Run it with: build/release/apps/25_asio_bridge
#include <skerry/toolkit/alien/embedded.hpp>

#include <exception>
#include <utility>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <fmt/core.h>

namespace {
namespace asio = boost::asio;
using namespace skerry;

/// Told on the shard; passes the word to the io_context, which has work until then.
template <class T, class Handler>
struct wake_asio {
  Handler handler;
  asio::executor_work_guard<asio::associated_executor_t<Handler>> work;
  void set_value(T value) noexcept { tell({}, std::move(value)); }
  void set_error(std::exception_ptr error) noexcept { tell(std::move(error), T()); }
  void tell(std::exception_ptr e, T v) noexcept {
    asio::post(work.get_executor(), [h = std::move(handler), e, v]() mutable { h(e, std::move(v)); });
  }
};

template <class T, class Fn, class... Args>
asio::awaitable<T> on_shard(alien::entry door, shard_id shard, Fn fn, Args... args) {
  using answer = void(std::exception_ptr, T);
  auto begin = [&](auto handler) {
    asio::executor_work_guard work(asio::get_associated_executor(handler));
    alien::call(door, shard, wake_asio<T, decltype(handler)>{std::move(handler), std::move(work)}, fn, args...);
  };
  co_return co_await asio::async_initiate<const asio::use_awaitable_t<>&, answer>(begin, asio::use_awaitable);
}

asio::awaitable<void> ask(alien::entry door) {
  fmt::print("shard 1 says {}\n", co_await on_shard<int>(door, 1, [](int n) { return n + 1; }, 41));
}

}  // namespace

int main() {
  app_options options;
  options.shards = 2;
  options.overprovision = true;
  options.log_level = "error";
  alien::embedded_app shards(options);
  shards.start();
  asio::io_context loop(1);
  asio::co_spawn(loop, ask(shards.door()), asio::detached);
  loop.run();
}
