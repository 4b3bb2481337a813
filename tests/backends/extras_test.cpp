// SPDX-License-Identifier: Apache-2.0
/// What a ring does only where somebody asks for it, at the seam itself.
#include <skerry/backends/choose.hpp>
#include <skerry/backends/detail/ring_trial.hpp>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <memory>
#include <system_error>
#include <vector>

#include <gtest/gtest.h>
#include <poll.h>
#include <support/bare_kernel.hpp>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace skerry {
namespace {

using namespace std::chrono_literals;
using test_support::request;
using backends = std::vector<std::unique_ptr<backend>>;

constexpr unsigned entries = 64, completions = 4 * entries;

struct always_readable {
  int fd = ::eventfd(1, EFD_CLOEXEC);
  ~always_readable() { ::close(fd); }
};

/// Looks for completions without a sleep until it is so.
template <class Fn>
bool comes(backend& on, Fn is_so) {
  const clock::time_point end = clock::now() + 30s;
  while (!is_so() && clock::now() < end) on.submit_and_reap();
  return is_so();
}

bool all_ended(const std::deque<request>& all) {
  return std::ranges::all_of(all, [](const request& each) { return each.ended(); });
}

class sqpoll : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!detail::sets_up(IORING_SETUP_SQPOLL)) GTEST_SKIP() << "this kernel makes no such rings";
  }
  /// Its thread sleeps after `idle` without work.
  backend& make(std::chrono::milliseconds idle) {
    made_ = make_backends("io_uring", 1, entries, {idle, {}}).all;
    return *made_.front();
  }
  void TearDown() override {
    if (!made_.empty()) made_.front()->stop();
  }

  always_readable readable_;
  backends made_;
};

TEST_F(sqpoll, submits_without_an_entry_while_its_thread_is_awake) {
  backend& on = make(10s);
  request first;
  prepare::poll(on.submit(first), readable_.fd, POLLIN);
  ASSERT_TRUE(comes(on, [&] { return first.ended(); }));
  const backend_stats before = on.stats();
  for (int i = 0; i < 100; ++i) {
    request r;
    prepare::poll(on.submit(r), readable_.fd, POLLIN);
    ASSERT_TRUE(comes(on, [&] { return r.ended(); }));
    EXPECT_FALSE(on.has_submissions());
  }
  EXPECT_EQ(on.stats().kernel_entries, before.kernel_entries);
  EXPECT_EQ(on.stats().submissions, before.submissions + 100);
}

TEST_F(sqpoll, wakes_its_thread_when_it_sleeps) {
  backend& on = make(1ms);
  std::uint64_t entries_for_one = 0;
  for (auto without_work = 4ms; entries_for_one == 0; without_work *= 2) {  // it sleeps when the kernel gets to it
    ASSERT_LT(without_work, 60s);
    on.wait(clock::now() + without_work);
    request r;
    prepare::poll(on.submit(r), readable_.fd, POLLIN);
    const std::uint64_t before = on.stats().kernel_entries;
    ASSERT_TRUE(comes(on, [&] { return r.ended(); }));
    entries_for_one = on.stats().kernel_entries - before;
  }
  EXPECT_EQ(entries_for_one, 1u);
}

TEST_F(sqpoll, waits_for_room_in_a_full_ring_and_reuses_no_slot_before_it_was_read) {
  backend& on = make(1ms);
  std::deque<request> many(100 * entries);
  for (std::size_t i = 0; i < many.size(); ++i) {
    prepare::poll(on.submit(many[i]), readable_.fd, POLLIN);
    if (i % (entries - 1) == 0) on.submit_and_reap();  // they are shown, and few are read when the next ones come
  }
  EXPECT_GT(on.stats().full, 0u);
  ASSERT_TRUE(comes(on, [&] { return all_ended(many); }));
  for (const request& each : many) EXPECT_EQ(each.last(), POLLIN);
}

TEST_F(sqpoll, loses_nothing_when_completions_overflow_and_nobody_waits) {
  backend& on = make(10s);
  std::deque<request> many(completions + 2 * entries);
  for (request& each : many) prepare::poll(on.submit(each), readable_.fd, POLLIN);
  ASSERT_TRUE(comes(on, [&] { return all_ended(many); }));
  EXPECT_GT(on.stats().overflows, 0u);
}

TEST_F(sqpoll, cancels_what_was_submitted_before_and_nothing_that_comes_after_it_in_the_same_place) {
  backend& on = make(1ms);
  const int never = ::eventfd(0, EFD_CLOEXEC);
  for (int i = 0; i < 200; ++i) {
    request r;  // at one address in all rounds
    prepare::poll(on.submit(r), readable_.fd, POLLIN);
    if (i % 3 != 0) on.submit_and_reap();
    on.cancel(r);  // it may be done by now
    ASSERT_TRUE(comes(on, [&] { return r.ended(); }));
    request again;
    prepare::poll(on.submit(again), readable_.fd, POLLIN);
    ASSERT_TRUE(comes(on, [&] { return again.ended(); }));
    EXPECT_EQ(again.last(), POLLIN);
    request long_one;
    prepare::poll(on.submit(long_one), never, POLLIN);
    on.cancel(long_one);
    ASSERT_TRUE(comes(on, [&] { return long_one.ended(); }));
    EXPECT_EQ(long_one.last(), -ECANCELED);
  }
  ::close(never);
}

TEST(napi, is_registered_on_the_ring_of_each_shard) {
  if (!detail::bare_ring(0).registers_napi()) GTEST_SKIP() << "this kernel has no NAPI polling for rings";
  const backends made = make_backends("io_uring", 2, entries, {{}, 50us}).all;
  for (const auto& each : made) {
    detail::io_uring_names::napi_settings were;
    const int ring = each->capabilities().ring;
    ASSERT_EQ(::syscall(SYS_io_uring_register, ring, detail::io_uring_names::unregister_napi, &were, 1), 0);
    EXPECT_EQ(were.busy_poll_us, 50u);
    EXPECT_EQ(were.prefer_busy_poll, 1u);
  }
  made.front()->stop();
}

TEST(extras, are_refused_beside_epoll) {
  EXPECT_THROW(make_backends("epoll", 1, entries, {1ms, {}}), startup_error);
  EXPECT_THROW(make_backends("epoll", 1, entries, {{}, 1us}), startup_error);
  EXPECT_THROW(make_backends("epoll", 1, entries, {{}, {}, 1}), startup_error);
}

}  // namespace
}  // namespace skerry
