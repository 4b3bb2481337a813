// SPDX-License-Identifier: Apache-2.0
/// How a host and an app begin and end: what must have ended first, in which order a stop goes, and with which status.
#include <skerry/framework/resources.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/shards/foreign_ptr.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/timers/sleep.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>

#include <gtest/gtest.h>
#include <support/run_shards.hpp>

namespace skerry {
namespace {

using test_support::quiet_options;
using test_support::run_shards;
using namespace std::chrono_literals;

placement unpinned(unsigned shards) {
  placement where;
  where.shards.resize(shards);
  where.count_reason = "test";
  return where;
}

/// A host that ends at request_stop only.
class stoppable_host {
 public:
  explicit stoppable_host(app_options options) : host_(options, unpinned(*options.shards)) {}
  host& operator*() noexcept { return host_; }
  void run(const std::function<task<>()>& main) { host_.run(main, false); }

 private:
  host host_;
};

void stop_this_host() { this_shard().host->request_stop(); }

task<> wait_for_ever() {
  while (true) co_await sleep_for(1h);
}

/// A run of tasks of which each starts the next one on another shard and ends.
task<> wander(int hops_left, borrowed<int> done) {
  co_await sleep_for(1ms);
  if (hops_left == 0) {
    ++*done;
    co_return;
  }
  co_await submit_to((this_shard_id() + 1) % shard_count(),
                     [](int left, borrowed<int> count) { spawn(wander(left, count), "wanderer"); }, hops_left - 1,
                     done);
}

TEST(host, ends_when_main_and_every_root_scope_have_ended) {
  int done = 0;
  run_shards(3, [&done]() -> task<> {
    spawn(wander(20, borrowed(done)), "wanderer");
    co_return;
  });
  EXPECT_EQ(done, 1);
}

TEST(host, does_not_end_by_itself_without_auto_shutdown) {
  stoppable_host machine(quiet_options(2));
  bool asked = false;
  std::thread outside;
  machine.run([&]() -> task<> {
    // Main and all tasks end long before this thread asks.
    outside = std::thread([&] {
      asked = true;
      (*machine).request_stop();
    });
    co_return;
  });
  outside.join();
  EXPECT_TRUE(asked);
}

TEST(host, stopped_by_a_task_on_another_shard_cancels_main) {
  stoppable_host machine(quiet_options(2));
  bool went_on = false;
  machine.run([&]() -> task<> {
    co_await submit_to(1, [] { spawn([]() -> task<> { co_return stop_this_host(); }, "stopper"); });
    co_await wait_for_ever();
    went_on = true;
  });
  EXPECT_FALSE(went_on);
}

TEST(host, may_be_stopped_before_it_runs_and_any_number_of_times) {
  stoppable_host machine(quiet_options(2));
  (*machine).request_stop();
  (*machine).request_stop();
  machine.run([]() -> task<> {
    stop_this_host();
    co_await wait_for_ever();
  });
}

TEST(host, that_never_runs_leaves_nothing_behind) {
  {
    stoppable_host unused(quiet_options(2));
  }
  EXPECT_FALSE(on_shard());
  EXPECT_EQ(block_on([]() -> task<int> { co_return 3; }), 3);
}

/// Writes down what happens to it.
class recorder final : public drainable {
 public:
  explicit recorder(std::string& events) : events_(events) { this_assembled_shard().add_drainable(*this); }
  ~recorder() { this_assembled_shard().remove_drainable(*this); }
  void begin_drain() noexcept override { events_ += "drain "; }
  bool drained() const noexcept override { return drained_; }
  bool empty() const noexcept override { return true; }
  void finish() {
    events_ += "drained ";
    drained_ = true;
    this_assembled_shard().drain_progressed();
  }

 private:
  std::string& events_;
  bool drained_ = false;
};

struct writes_at_its_end {
  std::string& events;
  const char* text;
  ~writes_at_its_end() { events += text; }
};

class recorded_service final : public service {
 public:
  explicit recorded_service(std::string& events) : events_(events) {}
  task<> stop() override {
    events_ += "service ";
    co_return;
  }

 private:
  std::string& events_;
};

TEST(stop, drains_then_cancels_then_stops_services) {
  std::string events;
  stoppable_host machine(quiet_options(2));
  machine.run([&]() -> task<> {
    recorder& accepted = resources().emplace<recorder>(events);
    this_assembled_shard().add_service(std::make_unique<recorded_service>(events));
    writes_at_its_end here{events, "cancelled "};
    stop_this_host();
    while (!this_assembled_shard().draining()) co_await yield();
    // Nothing is cancelled while something accepted is left.
    co_await sleep_for(3ms);
    accepted.finish();
    co_await wait_for_ever();
  });
  EXPECT_EQ(events, "drain drained cancelled service ");
}

TEST(stop, by_itself_drains_too_and_stops_services) {
  std::string events;
  run_shards(2, [&]() -> task<> {
    resources().emplace<recorder>(events).finish();
    this_assembled_shard().add_service(std::make_unique<recorded_service>(events));
    co_return;
  });
  EXPECT_EQ(events, "drained drain service ");
}

/// Dies on its home shard.
struct counts_its_end {
  explicit counts_its_end(int& ends) : ends_(ends) {}
  ~counts_its_end() { ++ends_; }
  int& ends_;
};

TEST(stop, brings_messages_home_that_objects_send_while_they_are_destroyed) {
  int ends = 0;
  stoppable_host machine(quiet_options(2));
  machine.run([&]() -> task<> {
    auto make = [](borrowed<int> count) { return foreign_ptr(std::make_unique<counts_its_end>(*count)); };
    foreign_ptr<counts_its_end> far = co_await submit_to(1, make, borrowed(ends));
    stop_this_host();
    co_await wait_for_ever();
  });
  EXPECT_EQ(ends, 1);
}

TEST(stop, brings_messages_home_that_resources_send_while_they_are_destroyed) {
  int ends = 0;
  run_shards(2, [&]() -> task<> {
    auto keep = [](foreign_ptr<counts_its_end> far) {
      resources().emplace<foreign_ptr<counts_its_end>>(std::move(far));
    };
    co_await submit_to(1, keep, foreign_ptr(std::make_unique<counts_its_end>(ends)));
  });
  EXPECT_EQ(ends, 1);
}

TEST(stop, of_what_main_waits_for_is_no_error_of_main) {
  for (int i = 0; i < 20; ++i) {
    stoppable_host machine(quiet_options(3));
    machine.run([]() -> task<> {
      spawn([]() -> task<> { co_return stop_this_host(); }, "stopper");
      // Main is cancelled before any other shard begins to stop, so no call of its ends with operation_canceled.
      for (shard_id turn = 0;; ++turn) co_await submit_to(1 + turn % 2, []() -> task<> { co_await yield(); });
    });
  }
}

TEST(main_task, that_throws_ends_the_others_and_run_rethrows) {
  int destroyed = 0;
  struct guard {
    int& count;
    ~guard() { ++count; }
  };
  auto left = [](int& count) -> task<> {
    guard here{count};
    co_await wait_for_ever();
  };
  EXPECT_THROW(run_shards(2,
                          [&]() -> task<> {
                            spawn(left(destroyed), "left");
                            co_await yield();
                            throw std::runtime_error("no");
                          }),
               std::runtime_error);
  EXPECT_EQ(destroyed, 1);
}

TEST(shard_start, that_fails_on_the_calling_thread_throws_and_leaves_it_free) {
  placement where = unpinned(1);
  where.shards[0].cpus = {cpu_id_max};
  app_options options = quiet_options(1);
  host machine(options, where);
  EXPECT_THROW(machine.run([]() -> task<> { co_return; }, true), startup_error);
  EXPECT_FALSE(on_shard());
}

}  // namespace
}  // namespace skerry
