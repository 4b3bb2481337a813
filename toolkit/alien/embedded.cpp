// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/framework/this_shard.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/topology.hpp>
#include <skerry/toolkit/alien/embedded.hpp>
#include <skerry/toolkit/pool/threads.hpp>

#include <utility>

namespace skerry::alien {

namespace {

const app_options& valid(const app_options& options) {
  validate(options);
  return options;
}

}  // namespace

embedded_app::embedded_app(const app_options& options)
    : options_(valid(options)), where_(decide(discover(options_), options_)) {}

embedded_app::~embedded_app() {
  try {
    stop();
  } catch (...) {
    // Who wants to know calls stop().
  }
}

void embedded_app::start(std::function<task<>()> main) {
  SKERRY_ASSERT(!on_shard(), "a shard cannot run another host in its own thread");
  SKERRY_ASSERT(!started(), "an app that runs is stopped before it starts again");
  std::promise<entry> opened;
  std::future<entry> open = opened.get_future();
  error_ = nullptr;
  thread_ = start_pool_thread("shard-0", {}, [this, &opened, run_first = std::move(main)] { run(run_first, opened); });
  try {
    door_ = open.get();
  } catch (...) {
    thread_.join();
    throw;
  }
}

void embedded_app::run(const std::function<task<>()>& main, std::promise<entry>& opened) noexcept {
  // The promise is on the stack of start(), which goes on as soon as it is kept.
  bool kept = false;
  try {
    host machine(options_, where_);
    {
      const std::scoped_lock hold(mutex_);
      running_ = &machine;
    }
    struct forget {
      embedded_app& self;
      ~forget() {
        const std::scoped_lock hold(self.mutex_);
        self.running_ = nullptr;
      }
    } const afterwards{*this};
    auto begin = [&]() -> task<> {
      entry door = co_await open();
      kept = true;
      opened.set_value(std::move(door));
      if (main) co_await main();
    };
    machine.run(begin, false);
  } catch (...) {
    if (kept) {
      error_ = std::current_exception();
    } else {
      opened.set_exception(std::current_exception());
    }
  }
}

void embedded_app::stop() {
  if (!started()) return;
  {
    const std::scoped_lock hold(mutex_);
    if (running_ != nullptr) running_->request_stop();
  }
  thread_.join();
  if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
}

}  // namespace skerry::alien
