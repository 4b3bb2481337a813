// SPDX-License-Identifier: Apache-2.0
/// Signals as a stream, whichever thread they hit, and the wish to stop as something that a task waits for.

#include <skerry/framework/task/cancel.hpp>
#include <skerry/framework/task/combine.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/net/process/child.hpp>
#include <skerry/net/process/shutdown.hpp>
#include <skerry/net/process/signals.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/timers/sleep.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <pthread.h>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>
#include <unistd.h>

namespace skerry {
namespace {

using namespace test_support;
using net::signal_stream;
using net::signals;

void send(int number) { EXPECT_EQ(::kill(::getpid(), number), 0); }

TEST(signal_stream, tells_what_has_come_in_turn) {
  run_and_count([]() -> task<> {
    signal_stream wishes = signals({SIGHUP, SIGUSR1});
    send(SIGUSR1);
    int got = co_await wishes.next();
    EXPECT_EQ(got, SIGUSR1);
    auto waiting = spawn([&]() -> task<int> { co_return co_await wishes.next(); });
    for (int i = 0; i < 4; ++i) co_await turn();
    EXPECT_FALSE(waiting.is_finished());
    send(SIGHUP);
    got = co_await waiting;
    EXPECT_EQ(got, SIGHUP);
    // Before somebody looks: one of each.
    for (int i = 0; i < 5; ++i) send(SIGUSR1), send(SIGHUP);
    std::vector<int> both;
    both.push_back(co_await wishes.next());
    both.push_back(co_await wishes.next());
    std::sort(both.begin(), both.end());
    EXPECT_EQ(both, (std::vector<int>{SIGHUP, SIGUSR1}));
    waiting = spawn([&]() -> task<int> { co_return co_await wishes.next(); });
    for (int i = 0; i < 8; ++i) co_await turn();
    EXPECT_FALSE(waiting.is_finished());
    waiting.abort();
  });
}

TEST(signal_stream, each_that_asked_gets_what_it_asked_for) {
  run_and_count([]() -> task<> {
    signal_stream one = signals({SIGUSR1});
    {
      signal_stream other = signals({SIGUSR1, SIGUSR2});
      send(SIGUSR1);
      EXPECT_EQ(co_await one.next(), SIGUSR1);
      EXPECT_EQ(co_await other.next(), SIGUSR1);
      send(SIGUSR2);
      EXPECT_EQ(co_await other.next(), SIGUSR2);
    }
    send(SIGUSR2);  // nobody wants it any more, and it harms nobody
    send(SIGUSR1);
    EXPECT_EQ(co_await one.next(), SIGUSR1);
    {
      signal_stream gone = std::move(one);
    }
    send(SIGUSR1);
    one = signals({SIGUSR1});
    one = signals({SIGRTMIN, SIGWINCH});
    send(SIGRTMIN);
    EXPECT_EQ(co_await one.next(), SIGRTMIN);
  });
}

TEST(signal_stream, hears_of_what_another_thread_was_given) {
  if (simulating()) GTEST_SKIP() << "there are no real threads";
  run_and_count([]() -> task<> {
    signal_stream wishes = signals({SIGUSR1});
    sigset_t all, before;
    ::sigfillset(&all);
    for (int round = 0; round < 20; ++round) {
      // The thread alone does not block it.
      ::pthread_sigmask(SIG_BLOCK, &all, &before);
      std::thread other([] {
        sigset_t none;
        ::sigemptyset(&none);
        ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
        ::pthread_kill(::pthread_self(), SIGUSR1);
      });
      const int got = co_await wishes.next();
      EXPECT_EQ(got, SIGUSR1);
      other.join();
      ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
  });
}

TEST(signal_stream, comes_and_goes_while_threads_are_hit_and_nobody_is_written_to_who_did_not_ask) {
  if (simulating()) GTEST_SKIP() << "there are no real threads";
  run_and_count([]() -> task<> {
    signal_stream first = signals({SIGUSR1});  // from here on it is caught
    bool over = false;
    std::vector<std::thread> hit;
    const pthread_t shard = ::pthread_self();
    __atomic_store_n(&over, false, __ATOMIC_SEQ_CST);
    for (int i = 0; i < 2; ++i) {
      hit.emplace_back([&over, shard] {
        while (!__atomic_load_n(&over, __ATOMIC_SEQ_CST)) {
          ::pthread_kill(::pthread_self(), SIGUSR1);
          ::pthread_kill(shard, SIGUSR1);
        }
      });
    }
    for (int round = 0; round < 300; ++round) {
      first = signals({SIGUSR1});
      int got = co_await first.next();
      EXPECT_EQ(got, SIGUSR1);
      {
        const signal_stream gone = std::move(first);
      }
      // What was closed might be this by now: a late handler would fill it.
      auto [out, in] = net::make_pipe();
      co_await turn();
      EXPECT_EQ(queued_bytes(out.get(), FIONREAD), 0);
      first = signals({SIGUSR1});
    }
    __atomic_store_n(&over, true, __ATOMIC_SEQ_CST);
    for (std::thread& each : hit) each.join();
  });
}

TEST(signal_stream, takes_what_was_blocked_and_puts_everything_back_at_the_end) {
  if (simulating()) GTEST_SKIP() << "there are no children";
  sigset_t one, before, after;
  ::sigemptyset(&one);
  ::sigaddset(&one, SIGUSR1);
  ::pthread_sigmask(SIG_BLOCK, &one, &before);
  struct sigaction ignored{}, old{}, now{};
  ignored.sa_handler = SIG_IGN;
  ::sigaction(SIGUSR2, &ignored, &old);
  run_and_count([]() -> task<> {
    signal_stream wishes = signals({SIGUSR1, SIGUSR2});
    send(SIGUSR1);
    EXPECT_EQ(co_await wishes.next(), SIGUSR1);
    send(SIGUSR2);
    EXPECT_EQ(co_await wishes.next(), SIGUSR2);
    // A child has neither the handler nor the mask; what is handled is as the kernel has it at first.
    net::child_options options;
    options.output = net::redirect::pipe();
    net::child sed = net::start_child("sed", {"-n", "/Sig[BIC]/p", "/proc/self/status"}, options);
    std::string said;
    while (true) {
      buffer bytes = co_await sed.streams().read();
      if (bytes.empty()) break;
      said += text_of(bytes);
    }
    EXPECT_TRUE(said.starts_with("SigBlk:\t0000000000000000\n")) << said;
    EXPECT_TRUE(said.ends_with("SigCgt:\t0000000000000000\n")) << said;
    (void)co_await sed.wait();
  });
  ::pthread_sigmask(SIG_SETMASK, &before, &after);
  EXPECT_EQ(::sigismember(&after, SIGUSR1), 1);
  ::sigaction(SIGUSR2, &old, &now);
  EXPECT_EQ(now.sa_handler, SIG_IGN);
  ::sigaction(SIGUSR1, nullptr, &now);
  EXPECT_EQ(now.sa_handler, SIG_DFL);
}

TEST(signal_stream, tells_of_children_and_does_not_take_their_end_away) {
  if (simulating()) GTEST_SKIP() << "there are no children";
  run_and_count([]() -> task<> {
    signal_stream deaths = signals({SIGCHLD});
    net::child one = net::start_child("false");
    EXPECT_EQ(co_await deaths.next(), SIGCHLD);
    const net::child_end end = co_await one.wait();
    EXPECT_EQ(end.status, 1);
  });
}

std::string refusal_of(int number) {
  try {
    const signal_stream made = signals({number});
  } catch (const std::system_error& error) {
    EXPECT_EQ(error.code().value(), EINVAL);
    return error.what();
  }
  return "";
}

TEST(signal_stream, refuses_those_that_are_not_to_be_had_and_says_what_helps) {
  run_and_count([]() -> task<> {
    for (const int stops : {SIGTERM, SIGINT}) EXPECT_NE(refusal_of(stops).find("shutdown_signal"), std::string::npos);
    EXPECT_NE(refusal_of(SIGPIPE).find("EPIPE"), std::string::npos);
    EXPECT_NE(refusal_of(SIGKILL).find("nobody can catch it"), std::string::npos);
    EXPECT_NE(refusal_of(SIGALRM).find("timers"), std::string::npos);
    EXPECT_NE(refusal_of(SIGSEGV).find("fault"), std::string::npos);
    for (const int none : {0, -1, 65, 1000}) EXPECT_NE(refusal_of(none).find("no such signal"), std::string::npos);
    EXPECT_NE(refusal_of(33), "");  // the C library's own
    co_return;
  });
}

TEST(signal_stream, is_one_hosts_at_a_time) {
  if (simulating()) GTEST_SKIP() << "each host is a process of its own";
  run_and_count([]() -> task<> {
    signal_stream ours = signals({SIGUSR1});
    int error = 0;
    std::thread another([&error] {
      block_on([&error]() -> task<> {
        try {
          const signal_stream theirs = signals({SIGUSR2});
        } catch (const std::system_error& refused) {
          error = refused.code().value();
        }
        co_return;
      });
    });
    another.join();
    EXPECT_EQ(error, EBUSY);
    send(SIGUSR1);
    EXPECT_EQ(co_await ours.next(), SIGUSR1);
  });
}

// --- the wish to stop ---

int run(const std::function<task<>()>& main) {
  if (simulating()) {  // which does what app does
    run_shards(2, main);
    return 0;
  }
  const char* arguments[] = {"program", "--shards", "2", "--overprovision", "--log-level", "error", "--admin", "off"};
  return app("program").run(static_cast<int>(std::size(arguments)), arguments, main);
}

TEST(shutdown, wakes_who_waits_on_each_shard_and_the_drain_waits_for_them) {
  for (const bool by_signal : {false, true}) {
    static std::vector<int> done;  // one shard after the other writes it
    done.assign(2, 0);
    const int status = run([by_signal]() -> task<> {
      for (shard_id s = 0; s < 2; ++s) {
        co_await submit_to(s, [] {
          spawn([]() -> task<> {
            net::shutdown_hold stopping = co_await net::shutdown_signal();
            for (int i = 0; i < 20; ++i) co_await turn();  // a cancel would end it here
            done[this_shard_id()] = 1;
          });
        });
      }
      for (int i = 0; i < 20; ++i) co_await turn();
      EXPECT_EQ(done, (std::vector<int>{0, 0}));
      by_signal ? send(SIGTERM) : app::shutdown();
    });
    EXPECT_EQ(status, 0);
    EXPECT_EQ(done, (std::vector<int>{1, 1}));
  }
}

TEST(shutdown, holds_up_the_drain_also_while_its_task_has_not_run_and_no_longer_once_it_was_cancelled) {
  std::vector<std::string> order;
  run_shards(quiet_options(1), [&]() -> task<> {
    auto cancelled = spawn([]() -> task<> { (void)co_await net::shutdown_signal(); });
    cancel_source never_said;
    auto given_up = spawn([&]() -> task<> {  // gives back what it was woken for and has not taken
      co_await with_cancel(never_said.token(), []() -> task<> { (void)co_await net::shutdown_signal(); }());
    });
    auto never = spawn([&]() -> task<> {
      net::shutdown_hold stopping = co_await net::shutdown_signal();
      order.push_back("stopping");
      for (int i = 0; i < 10; ++i) co_await turn();
      order.push_back("saved");
    });
    co_await turn();
    this_assembled_shard().begin_drain();
    EXPECT_FALSE(this_assembled_shard().draining() && order.size() != 0);
    cancelled.abort();
    given_up.abort();
    bool drained = false;
    auto drain = spawn([&]() -> task<> {
      co_await this_assembled_shard().until_drained(&drainable::drained);
      drained = true;
      order.push_back("drained");
    });
    co_await never;
    co_await drain;
    // Who asks now is told at once.
    net::shutdown_hold again = co_await net::shutdown_signal();
    order.push_back("late");
  });
  EXPECT_EQ(order, (std::vector<std::string>{"stopping", "saved", "drained", "late"}));
}

TEST(shutdown, does_not_come_where_main_ends_by_itself) {
  bool asked = false;
  run_shards(quiet_options(1), [&]() -> task<> {
    auto waiting = spawn([&]() -> task<> {
      net::shutdown_hold stopping = co_await net::shutdown_signal();
      asked = true;
    });
    co_await turn();
    waiting.abort();
  });
  EXPECT_FALSE(asked);
}

TEST(shutdown, a_signal_that_was_asked_for_does_not_end_the_process_in_the_drain) {
  EXPECT_EQ(run([]() -> task<> {
              spawn([]() -> task<> {
                signal_stream wishes = signals({SIGHUP});
                while (true) (void)co_await wishes.next();
              });
              spawn([]() -> task<> {
                net::shutdown_hold stopping = co_await net::shutdown_signal();
                send(SIGHUP);
                for (int i = 0; i < 8; ++i) co_await turn();
              });
              co_await turn();
              app::shutdown();
            }),
            0);
}

}  // namespace
}  // namespace skerry
