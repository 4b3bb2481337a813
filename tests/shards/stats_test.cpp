// SPDX-License-Identifier: Apache-2.0
/// What a running shard counts, how its metrics show it, and what its trace keeps. Numbers are waited for, never timed.
#include <skerry/framework/io/readiness.hpp>
#include <skerry/framework/observe/metrics.hpp>
#include <skerry/framework/observe/trace.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/timers/sleep.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <support/run_shards.hpp>
#include <sys/eventfd.h>
#include <unistd.h>

namespace skerry {
namespace {

using test_support::quiet_options;
using test_support::run_shards;
using namespace std::chrono_literals;
using observe::trace_kind;

/// An eventfd that is always readable.
class readable_fd {
 public:
  readable_fd() : fd_(::eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)) {}
  ~readable_fd() { ::close(fd_); }
  readable_fd(const readable_fd&) = delete;
  readable_fd& operator=(const readable_fd&) = delete;
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

TEST(stats, count_tasks_turns_and_frames) {
  run_shards(1, []() -> task<> {
    shard_stats before = stats();
    for (int i = 0; i < 1000; ++i) co_await yield();
    auto kept = spawn([]() -> task<> { co_await sleep_for(1h); });
    co_await yield();
    shard_stats after = stats();
    // Steps are added up each time the clock is read, every 64 steps at least.
    EXPECT_NEAR(static_cast<double>(after.loop.tasks_run - before.loop.tasks_run), 1000, 70);
    EXPECT_GT(after.loop.turns, 0u);
    EXPECT_EQ(after.tasks_started, before.tasks_started + 1);
    EXPECT_EQ(after.tasks, before.tasks + 1);
    EXPECT_EQ(after.timers, before.timers + 1);
    EXPECT_GT(after.frames_in_use, before.frames_in_use);
    EXPECT_GT(after.frame_bytes_reserved, 0u);
    EXPECT_EQ(after.buffers.buffers, 16u);
    EXPECT_EQ(after.buffers.taken, 0u);
    kept.abort();
  });
}

TEST(stats, count_sleeps_wake_ups_and_idle_time) {
  run_shards(2, []() -> task<> {
    // The other shard sleeps between these calls, sooner or later.
    shard_stats there;
    while (there.loop.wakes_received == 0) {
      co_await sleep_for(1ms);
      there = co_await submit_to(1, [] { return stats(); });
    }
    shard_stats here = stats();
    EXPECT_EQ(there.id, 1u);
    EXPECT_GT(there.loop.sleeps, 0u);
    EXPECT_GT(there.loop.idle, 0ns);
    EXPECT_GE(there.loop.uptime, there.loop.idle);
    EXPECT_GT(here.kernel.wakes_sent, 0u);
    EXPECT_GT(here.timers_expired, 0u);
    EXPECT_GT(here.kernel.waits, 0u);
    EXPECT_GT(here.kernel.kernel_entries, here.kernel.waits);
  });
}

TEST(stats, count_messages_batches_and_their_waits_by_pair) {
  run_shards(3, []() -> task<> {
    for (int i = 0; i < 10; ++i) co_await submit_to(2, [] {});
    for (int i = 0; i < 5; ++i) co_await submit_to(1, [] {});
    shard_stats second = co_await submit_to(2, [] { return stats(); });
    EXPECT_EQ(second.received_from.at(0).requests, 11u);  // this call, too
    EXPECT_EQ(second.received_from.at(1).requests, 0u);
    EXPECT_GE(second.received_from.at(0).batches, 10u);
    EXPECT_GT(second.received_from.at(0).queue_wait, 0ns);
    // Each wait is in the bucket of its binary digits, so their sum lies between the buckets' lower and upper ends.
    const auto& waits = second.received_from.at(0).waits;
    std::chrono::nanoseconds least{0}, most{0};
    std::uint64_t requests = 0;
    for (std::size_t digits = 0; digits < waits.size(); ++digits) {
      requests += waits[digits];
      least += std::chrono::nanoseconds(waits[digits] << digits >> 1);
      most += std::chrono::nanoseconds(waits[digits] << digits);
    }
    EXPECT_EQ(requests, second.received_from.at(0).requests);
    EXPECT_GE(second.received_from.at(0).queue_wait, least);
    EXPECT_LE(second.received_from.at(0).queue_wait, most);
    EXPECT_EQ(stats().messages_sent, 10u + 5 + 1);
    EXPECT_EQ(second.messages_sent, 0u);
    EXPECT_EQ(stats().messages_outstanding, 0u);
  });
}

TEST(stats, count_a_full_submission_ring_and_an_overflowing_completion_ring_which_lose_nothing) {
  app_options options = quiet_options(1);
  options.ring_entries = 64;  // and 256 completions
  run_shards(options, []() -> task<> {
    readable_fd fd;
    int woken = 0;
    for (int i = 0; i < 1000; ++i) {
      spawn([](int descriptor, int& count) -> task<> {
        co_await readable(descriptor);
        ++count;
      }(fd.get(), woken));
    }
    while (woken < 1000) co_await yield();
    if (test_support::backend_of_environment() != "epoll") {  // which looks for events long before
      EXPECT_GT(stats().kernel.full, 0u);
      EXPECT_GT(stats().kernel.overflows, 0u);
    }
    EXPECT_GE(stats().kernel.completions, 1000u);
    EXPECT_GE(stats().kernel.submissions, 1000u);
  });
}

TEST(metrics_of_a_shard, are_its_stats_by_name) {
  run_shards(2, []() -> task<> {
    for (int i = 0; i < 7; ++i) co_await submit_to(1, [] {});
    auto kept = spawn([]() -> task<> { co_await sleep_for(1h); });
    co_await yield();
    std::map<std::string, std::uint64_t> seen;
    for (const observe::sample& each : this_shard().metrics->take_snapshot()) {
      EXPECT_FALSE(each.info.help.empty());
      const auto* total = std::get_if<std::uint64_t>(&each.value);
      const auto* level = std::get_if<std::int64_t>(&each.value);
      EXPECT_EQ(total != nullptr, each.info.name.ends_with("_total"));
      seen[each.info.name] = total != nullptr ? *total : static_cast<std::uint64_t>(*level);
    }
    shard_stats now = stats();
    const std::map<std::string, std::uint64_t> expected{
        {"skerry_reactor_turns_total", now.loop.turns},
        {"skerry_reactor_sleeps_total", now.loop.sleeps},
        {"skerry_reactor_idle_seconds_total", static_cast<std::uint64_t>(now.loop.idle.count())},
        {"skerry_kernel_entries_total", now.kernel.kernel_entries},
        {"skerry_kernel_submissions_total", now.kernel.submissions},
        {"skerry_tasks", now.tasks},
        {"skerry_tasks_started_total", now.tasks_started},
        {"skerry_timers", 1},
        {"skerry_frames", now.frames_in_use},
        {"skerry_frame_pool_bytes", now.frame_bytes_reserved},
        {"skerry_buffers", 16},
        {"skerry_messages_sent_total", 7},
        {"skerry_messages_outstanding", 0},
        {"skerry_log_lines_dropped_total", 0},
    };
    for (const auto& [name, value] : expected) EXPECT_EQ(seen.at(name), value) << name;
    // Another shard's are asked for there.
    observe::snapshot there = co_await submit_to(1, [] { return this_shard().metrics->take_snapshot(); });
    EXPECT_EQ(there.size(), seen.size());
    for (const observe::sample& each : there) {
      if (each.info.name == "skerry_messages_received_total") {
        EXPECT_EQ(std::get<std::uint64_t>(each.value), 8u);
      }
    }
    kept.abort();
  });
}

using plain_event = std::tuple<std::uint32_t, std::uint32_t, std::uint64_t, std::uint64_t>;  // kind, arg, a, b

std::vector<plain_event> stop_and_fetch() {
  std::vector<plain_event> events;
  shard& here = this_assembled_shard();
  for (const observe::trace_event& e : this_shard().trace->events()) {
    events.emplace_back(static_cast<std::uint32_t>(e.kind), e.arg, e.a, e.b);
  }
  here.stop_trace();
  return events;
}

std::vector<plain_event> only(const std::vector<plain_event>& events, trace_kind kind) {
  std::vector<plain_event> found;
  for (const plain_event& e : events) {
    if (std::get<0>(e) == static_cast<std::uint32_t>(kind)) found.push_back(e);
  }
  return found;
}

TEST(trace_of_a_shard, is_off_until_it_is_started_and_after_it_was_stopped) {
  run_shards(1, []() -> task<> {
    EXPECT_EQ(this_shard().trace, nullptr);
    observe::trace_buffer& kept = this_assembled_shard().start_trace(1024);
    co_await yield();
    co_await yield();
    this_assembled_shard().stop_trace();
    std::uint64_t total = kept.total();
    EXPECT_GT(total, 0u);
    co_await yield();
    EXPECT_EQ(kept.total(), total);
  });
}

TEST(trace_of_a_shard, has_every_step_of_a_task_between_its_begin_and_its_end) {
  run_shards(1, []() -> task<> {
    this_assembled_shard().start_trace(1024);
    std::uint64_t id = 0;
    auto task = spawn([](std::uint64_t& mine) -> skerry::task<> {
      mine = this_shard().current->id();
      co_await yield();
      co_await yield();
    }(id));
    co_await task;
    std::vector<plain_event> events = stop_and_fetch();
    unsigned begins = 0;
    std::uint64_t running = 0;
    for (const auto& [kind, arg, a, b] : events) {
      if (kind == static_cast<std::uint32_t>(trace_kind::task_begin)) {
        EXPECT_EQ(running, 0u);
        running = a;
        begins += a == id;
      }
      if (kind == static_cast<std::uint32_t>(trace_kind::task_end) && running != 0) {
        EXPECT_EQ(a, running);
        running = 0;
      }
    }
    EXPECT_EQ(begins, 3u);
  });
}

TEST(trace_of_a_shard, has_messages_on_both_sides_under_one_number) {
  run_shards(2, []() -> task<> {
    co_await submit_to(1, [] { this_assembled_shard().start_trace(1024); });
    this_assembled_shard().start_trace(1024);
    co_await submit_to(1, []() -> task<> { co_await yield(); });
    std::uint64_t sender = this_shard().current->id();
    std::vector<plain_event> here = stop_and_fetch();
    std::vector<plain_event> there = co_await submit_to(1, [] { return stop_and_fetch(); });
    EXPECT_EQ(only(here, trace_kind::message_sent).size(), 1u);
    const auto [sent_kind, to, number, task_of_sender] = only(here, trace_kind::message_sent).at(0);
    EXPECT_EQ(to, 1u);
    EXPECT_EQ(number, 2u);  // the call that started the trace over there was the first
    EXPECT_EQ(task_of_sender, sender);
    auto expect_one = [](const std::vector<plain_event>& in, trace_kind kind, std::uint32_t other, std::uint64_t a) {
      unsigned count = 0;
      for (const plain_event& e : only(in, kind)) count += std::get<1>(e) == other && std::get<2>(e) == a;
      EXPECT_EQ(count, 1u) << static_cast<std::uint32_t>(kind);
    };
    expect_one(there, trace_kind::message_begin, 0, number);
    expect_one(there, trace_kind::message_end, 0, number);
    expect_one(here, trace_kind::message_reply, 1, number);
  });
}

TEST(trace_of_a_shard, has_completions_and_timers) {
  run_shards(1, []() -> task<> {
    readable_fd fd;
    this_assembled_shard().start_trace(1024);
    co_await readable(fd.get());
    co_await readable(fd.get());
    co_await sleep_for(2ms);
    std::vector<plain_event> events = stop_and_fetch();
    std::vector<plain_event> completions = only(events, trace_kind::completion);
    EXPECT_EQ(completions.size(), 2u);
    const auto [kind, opcode, number, result] = completions.at(0);
    EXPECT_EQ(opcode, static_cast<std::uint32_t>(IORING_OP_POLL_ADD));
    EXPECT_EQ(number + 1, std::get<2>(completions.at(1)));  // a backend may have had operations of its own before
    EXPECT_EQ(result, static_cast<std::uint64_t>(POLLIN));
    EXPECT_EQ(only(events, trace_kind::timer).size(), 1u);
  });
}

}  // namespace
}  // namespace skerry
