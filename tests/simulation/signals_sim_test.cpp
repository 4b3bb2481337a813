// SPDX-License-Identifier: Apache-2.0
// Signals of simulated hosts: what programs asked for, what nobody asked for, and what ends a host. Part of sim_test.
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/connect.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/net/message_socket.hpp>
#include <skerry/net/process/shutdown.hpp>
#include <skerry/net/process/signals.hpp>
#include <skerry/net/socket.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/toolkit/observe/stall_detector.hpp>
#include <skerry/toolkit/observe/task_dump.hpp>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <support/raw_peer.hpp>
#include <sys/ioctl.h>
#include <sys/types.h>
#include <unistd.h>

namespace {

using namespace skerry;
using namespace std::chrono_literals;

sim::report run(std::uint64_t seed, const std::function<task<>()>& body, unsigned shards = 1) {
  sim::options o;
  o.seed = seed;
  o.shards = shards;
  o.order = sim::schedule::adversarial;
  o.system.late_completion = 0.05;
  o.system.interrupted = 0.01;
  o.system.ended_multishot = 0.02;
  return sim::run(o, body);
}

/// Under so many seeds; what they ended with, which must be the same when one is run again.
std::set<std::uint64_t> run_seeds(unsigned seeds, unsigned shards, const std::function<task<>()>& body) {
  std::set<std::uint64_t> hashes;
  for (unsigned seed = 1; seed <= seeds; ++seed) {
    const sim::report ended = run(seed, body, shards);
    EXPECT_EQ(ended.violation, "");
    if (!ended.ok()) break;
    hashes.insert(ended.trace_hash);
    if (seed > 3) continue;
    EXPECT_EQ(run(seed, body, shards).trace_hash, ended.trace_hash) << "seed " << seed;
  }
  return hashes;
}

task<> endless() {
  event never;
  co_await never.wait();
}

// --- a server that reloads under load ---

/// What each of two hosts serves with. Of the test, so that it can look.
struct configuration {
  int loaded = 0;   // times
  int wanted = 1;   // what its file says
  int current = 1;  // what is answered
};

configuration of[2];

task<> answer(net::stream s, int host) {
  while (true) {
    buffer got = co_await s.read();
    if (got.empty()) co_return;
    const int said = co_await submit_to(0, [](int whose) { return of[whose].current; }, host);
    co_await s.write(std::to_string(said) + '\n');
  }
}

task<> accept_all(int host) {
  net::listener doors(*net::address::parse("0.0.0.0", 7777));
  while (true) {
    std::optional<net::stream> come = co_await doors.accept();
    if (!come) co_return;
    spawn(answer(std::move(*come), host));
  }
}

task<> reload_when_told(int host) {
  net::signal_stream wishes = net::signals({SIGHUP});
  while (true) {
    const int got = co_await wishes.next();
    EXPECT_EQ(got, SIGHUP);
    co_await sleep_for(50us);  // reads its file
    of[host].current = of[host].wanted;
    ++of[host].loaded;
  }
}

task<> reloading_server(int host) {
  spawn(reload_when_told(host));
  for (shard_id s = 1; s < shard_count(); ++s) {
    co_await submit_to(s, [](int whose) { spawn(accept_all(whose)); }, host);
  }
  co_await accept_all(host);
}

task<int> ask(net::stream& s) {
  co_await s.write(std::string_view("?"));
  std::string line;
  while (!line.ends_with('\n')) {
    buffer got = co_await s.read();
    if (got.empty()) throw std::runtime_error("the server has gone");
    line.append(reinterpret_cast<const char*>(got.begin()), got.size());
  }
  co_return std::stoi(line);
}

/// Each of two hosts runs the same program and hears its own signals, while clients are answered by old and new.
task<> reload_two_under_load() {
  of[0] = of[1] = {};
  sim::host_handle servers[] = {sim::host("a", 3), sim::host("b", 2)};
  for (int i : {0, 1}) servers[i].start([i] { return reloading_server(i); });
  co_await sleep_for(10ms);
  std::vector<join_handle<>> clients;
  for (int i : {0, 1, 0, 1}) {
    clients.push_back(spawn([at = servers[i].ip()]() -> task<> {
      net::stream s = co_await net::connect(*net::address::parse(at, 7777));
      int last = 1;
      for (int asked = 0; asked < 40; ++asked) {
        const int now = co_await ask(s);
        EXPECT_GE(now, last);  // never back
        last = now;
      }
    }));
  }
  for (int round = 2; round < 6; ++round) {
    const int before[] = {of[0].loaded, of[1].loaded};
    of[0].wanted = round;
    of[1].wanted = round;
    servers[0].signal(SIGHUP);
    while (of[0].loaded == before[0]) co_await sleep_for(100us);
    EXPECT_EQ(of[0].current, round);
    EXPECT_EQ(of[1].loaded, before[1]);  // it was the other's
    servers[1].signal(SIGHUP);
    while (of[1].loaded == before[1]) co_await sleep_for(100us);
  }
  EXPECT_EQ(of[0].loaded, 4);
  EXPECT_EQ(of[1].loaded, 4);
  for (join_handle<>& each : clients) co_await each;
  for (sim::host_handle& each : servers) {
    EXPECT_FALSE(each.exit_status().has_value());
    each.signal(SIGTERM);
    co_await each.ended();
    EXPECT_EQ(each.exit_status(), 0);
  }
}

TEST(sim_signals, two_hosts_reload_under_load_and_each_hears_its_own) {
  EXPECT_EQ(run_seeds(30, 1, reload_two_under_load).size(), 30u);
}

// --- merging, and who hears ---

TEST(sim_signals, those_that_come_before_one_is_fetched_are_one_and_how_many_are_is_drawn) {
  static std::set<int> heard_times;
  heard_times.clear();
  run_seeds(100, 1, []() -> task<> {
    static int heard, other;
    heard = other = 0;
    sim::host_handle a = sim::host("a", 3);
    a.start([]() -> task<> {
      net::signal_stream one = net::signals({SIGUSR1}), two = net::signals({SIGUSR1, SIGUSR2});
      spawn([](net::signal_stream from) -> task<> {
        while (true) other += co_await from.next() == SIGUSR1;
      }(std::move(two)));
      while (true) {
        (void)co_await one.next();
        ++heard;
      }
    });
    co_await sleep_for(10ms);
    for (int i = 0; i < 5; ++i) a.signal(SIGUSR1);
    co_await sleep_for(100ms);
    EXPECT_GE(heard, 1);
    EXPECT_LE(heard, 5);
    EXPECT_EQ(heard, other);
    heard_times.insert(heard);
    a.stop();
    co_await a.ended();
  });
  EXPECT_GE(heard_times.size(), 3u);
}

TEST(sim_signals, a_shard_that_signals_its_own_process_may_not_be_the_one_that_handles_it) {
  static std::set<bool> handled_before_return;
  handled_before_return.clear();
  run_seeds(50, 2, []() -> task<> {
    static volatile std::sig_atomic_t handled;
    static shard_id by;
    handled = 0;
    struct sigaction mine{};
    mine.sa_flags = SA_SIGINFO | SA_RESTART;
    mine.sa_sigaction = [](int number, siginfo_t* told, void*) {
      EXPECT_EQ(number, SIGUSR2);
      EXPECT_EQ(told->si_signo, SIGUSR2);
      EXPECT_EQ(told->si_pid, ::getpid());
      EXPECT_EQ(told->si_code, handled == 0 ? SI_USER : SI_TKILL);
      by = this_shard_id();
      handled = handled + 1;
    };
    EXPECT_EQ(::sigaction(SIGUSR2, &mine, nullptr), 0);
    EXPECT_EQ(::kill(::getpid(), SIGUSR2), 0);
    handled_before_return.insert(handled == 1);
    while (handled == 0) co_await sleep_for(10us);
    // To a thread: at once, or when that has its turn.
    EXPECT_EQ(::raise(SIGUSR2), 0);
    EXPECT_EQ(handled, 2);
    EXPECT_EQ(::pthread_kill(::pthread_self(), SIGUSR2), 0);
    EXPECT_EQ(handled, 3);
    EXPECT_EQ(by, 0u);
    const pid_t other = co_await submit_to(1, [] { return ::gettid(); });
    EXPECT_NE(other, ::gettid());
    EXPECT_EQ(::tgkill(::getpid(), other, SIGUSR2), 0);
    EXPECT_EQ(handled, 3);
    while (handled == 3) co_await sleep_for(10us);
    EXPECT_EQ(by, 1u);
    EXPECT_EQ(::tgkill(::getpid(), other + (1 << 20), SIGUSR2), -1);
    EXPECT_EQ(errno, ESRCH);
  });
  EXPECT_EQ(handled_before_return, (std::set<bool>{false, true}));
}

TEST(sim_signals, one_that_is_pending_for_a_shard_merges_and_a_handler_is_not_interrupted_by_its_own_number) {
  run_seeds(20, 1, []() -> task<> {
    static int handled, depth;
    handled = depth = 0;
    sim::host_handle a = sim::host("a", 3);
    a.start([]() -> task<> {
      struct sigaction mine{};
      mine.sa_handler = [](int number) {
        EXPECT_EQ(++depth, 1);
        const int raised = ++handled == 1 ? ::raise(number) : 0;
        EXPECT_EQ(raised, 0);
        EXPECT_EQ(depth--, 1);
      };
      EXPECT_EQ(::sigaction(SIGUSR1, &mine, nullptr), 0);
      co_await endless();
    });
    co_await sleep_for(10ms);
    for (unsigned s = 0; s < 3; ++s) a.stall(s, 10ms);
    for (int i = 0; i < 5; ++i) a.signal(SIGUSR1);
    co_await sleep_for(100ms);
    EXPECT_EQ(handled, 2);
    a.stop();
    co_await a.ended();
  });
}

[[gnu::section("skerry_process")]] constinit int starts_of_this_process = 40;

TEST(sim_signals, what_a_process_has_one_of_each_host_has_one_of_and_each_life_a_new_one) {
  run_seeds(5, 1, []() -> task<> {
    starts_of_this_process = 1;
    const auto main = []() -> task<> {
      EXPECT_EQ(++starts_of_this_process, 41);
      co_await sleep_for(10ms);
      EXPECT_EQ(starts_of_this_process, 41);
    };
    for (int life = 0; life < 2; ++life) {
      sim::host_handle hosts[] = {sim::host("a"), sim::host("b")};
      for (sim::host_handle& each : hosts) each.start(main, true);
      for (sim::host_handle& each : hosts) co_await each.ended();
    }
    EXPECT_EQ(starts_of_this_process, 1);
  });
  EXPECT_EQ(starts_of_this_process, 40);
}

TEST(sim_signals, what_all_shards_block_waits_and_merges_until_one_does_not) {
  run_seeds(20, 2, []() -> task<> {
    static volatile std::sig_atomic_t handled;
    handled = 0;
    struct sigaction mine{}, before{};
    mine.sa_handler = [](int) { handled = handled + 1; };
    EXPECT_EQ(::sigaction(SIGUSR1, &mine, &before), 0);
    EXPECT_EQ(before.sa_handler, SIG_DFL);
    const auto mask = [](int how) {
      sigset_t one;
      ::sigemptyset(&one);
      ::sigaddset(&one, SIGUSR1);
      EXPECT_EQ(::pthread_sigmask(how, &one, nullptr), 0);
    };
    for (shard_id s = 0; s < 2; ++s) co_await submit_to(s, mask, SIG_BLOCK);
    for (int i = 0; i < 3; ++i) EXPECT_EQ(::kill(::getpid(), SIGUSR1), 0);
    sim::host("test").signal(SIGUSR1);
    co_await sleep_for(1ms);
    EXPECT_EQ(handled, 0);
    co_await submit_to(1, mask, SIG_UNBLOCK);
    EXPECT_EQ(handled, 1);
    EXPECT_EQ(::kill(::getpid(), SIGUSR1), 0);  // for shard 1
    while (handled == 1) co_await sleep_for(10us);
    EXPECT_EQ(::sigaction(SIGUSR1, &before, nullptr), 0);
  });
}

TEST(sim_signals,
     a_handler_that_is_interrupted_before_it_rings_does_not_ring_what_took_the_number_of_a_stream_that_went) {
  run_seeds(10, 4, []() -> task<> {
    static bool over;
    over = false;
    net::signal_stream first = net::signals({SIGUSR1});  // from here on it is caught
    auto hits = [] {
      spawn([]() -> task<> {
        while (!over) {
          EXPECT_EQ(::raise(SIGUSR1), 0);
          co_await test_support::turn();
        }
      });
    };
    for (shard_id s = 1; s < 4; ++s) co_await submit_to(s, hits);
    for (int round = 0; round < 50; ++round) {
      const int got = co_await first.next();
      EXPECT_EQ(got, SIGUSR1);
      {
        const net::signal_stream gone = std::move(first);
      }
      // As soon as the number is free, something has it that can be written to.
      std::vector<net::unique_fd> others;
      for (int i = 0; i < 20; ++i) {
        auto [one, other] = net::message_socket::pair_of_descriptors();
        others.push_back(std::move(one));
        others.push_back(std::move(other));
        co_await test_support::turn();
      }
      for (const net::unique_fd& each : others) {
        int unread = 0;
        EXPECT_EQ(::ioctl(each.get(), FIONREAD, &unread), 0);
        EXPECT_EQ(unread, 0);
      }
      first = net::signals({SIGUSR1});
    }
    over = true;
  });
}

// --- what nobody asked for ---

TEST(sim_signals, one_that_nobody_asked_for_is_ignored_or_ends_the_process_whose_kernel_closes_what_is_open) {
  run_seeds(20, 1, []() -> task<> {
    for (const int number : {SIGCHLD, SIGURG, SIGWINCH, SIGCONT, SIGPIPE, SIGHUP, SIGUSR1, SIGQUIT, SIGKILL, 40}) {
      const bool harmless =
          number == SIGCHLD || number == SIGURG || number == SIGWINCH || number == SIGCONT || number == SIGPIPE;
      sim::host_handle a = sim::host("a", 2);
      of[0] = {};
      a.start([] { return accept_all(0); });
      co_await sleep_for(10ms);
      net::stream s = co_await net::connect(*net::address::parse(a.ip(), 7777));
      const int answered = co_await ask(s);
      EXPECT_EQ(answered, of[0].current);
      a.signal(number);
      if (harmless) {
        co_await sleep_for(10ms);
        const int again = co_await ask(s);
        EXPECT_EQ(again, of[0].current);
        a.stop();
      } else {
        buffer end = co_await s.read();  // its kernel says so, where a crash says nothing
        EXPECT_TRUE(end.empty());
      }
      co_await a.ended();
      EXPECT_EQ(a.exit_status(), harmless ? 0 : 128 + number);
    }
  });
}

TEST(sim_signals, a_process_that_is_killed_keeps_what_it_wrote_and_one_whose_power_fails_what_it_synced) {
  static int kept[2];
  kept[0] = kept[1] = 0;
  constexpr unsigned seeds = 30;
  run_seeds(seeds, 1, []() -> task<> {
    for (const bool killed : {false, true}) {
      sim::host_handle a = sim::host(killed ? "a" : "b");
      static bool written;
      written = false;
      a.start([]() -> task<> {
        net::file f = co_await net::open_file("kept", net::open_options(O_RDWR | O_CREAT));
        co_await f.write("bytes", 0);
        written = true;
        co_await endless();
      });
      while (!written) co_await sleep_for(1ms);
      killed ? a.signal(SIGKILL) : a.crash();
      co_await a.ended();
      EXPECT_EQ(a.exit_status(), killed ? std::optional(128 + SIGKILL) : std::nullopt);
      static std::string found;
      found.clear();
      a.start(
          []() -> task<> {
            try {
              net::file f = co_await net::open_file("kept", net::open_options(O_RDONLY));
              buffer got = co_await f.read(0);
              found.assign(reinterpret_cast<const char*>(got.begin()), got.size());
            } catch (const std::system_error&) {
              // Its name is gone.
            }
          },
          true);
      co_await a.ended();
      EXPECT_EQ(a.exit_status(), 0);
      kept[killed] += found == "bytes";
    }
  });
  EXPECT_GE(kept[true], static_cast<int>(seeds));
  EXPECT_LT(kept[false], static_cast<int>(seeds));
}

TEST(sim_signals, one_that_the_test_itself_sends_and_has_not_asked_for_is_a_violation) {
  for (const int number : {SIGUSR1, SIGHUP}) {
    bool went_on = false;
    const sim::report ended = run(7, [&]() -> task<> {
      EXPECT_EQ(::kill(::getpid(), number), 0);
      went_on = true;
      co_return;
    });
    EXPECT_NE(ended.violation.find("host test: the process ended with status " + std::to_string(128 + number)),
              std::string::npos)
        << ended.violation;
    EXPECT_FALSE(went_on);
  }
  const sim::report stopped = run(8, []() -> task<> {
    sim::host_handle a = sim::host("a");
    a.start(endless);
    co_await sleep_for(1ms);
    a.signal(SIGTSTP);
    co_await a.ended();
  });
  EXPECT_NE(stopped.violation.find("stall()"), std::string::npos) << stopped.violation;
}

// --- the stop ---

TEST(sim_signals, the_first_SIGTERM_drains_and_the_second_ends_it_at_once) {
  for (const bool twice : {false, true}) {
    run_seeds(30, 1, [twice]() -> task<> {
      static bool stopping, saved;
      stopping = saved = false;
      sim::host_handle a = sim::host("a", 2);
      a.start([]() -> task<> {
        net::shutdown_hold hold = co_await net::shutdown_signal();
        stopping = true;
        co_await sleep_for(1s);
        // The frame of one that was ended goes on from here into nothing, or is cancelled.
        saved = !co_await submit_to(1, [] { return false; });
      });
      co_await sleep_for(10ms);
      a.signal(twice ? SIGINT : SIGTERM);
      while (!stopping) co_await sleep_for(1ms);
      if (twice) a.signal(SIGTERM);
      const auto since = sim::virtual_time();
      co_await a.ended();
      const auto took = sim::virtual_time() - since;
      EXPECT_EQ(a.exit_status(), twice ? 128 + SIGTERM : 0);
      EXPECT_EQ(took >= 900ms, !twice);
      EXPECT_TRUE(saved || twice);
      // stop() is a first one, too.
      stopping = false;
      a.start([]() -> task<> {
        net::shutdown_hold hold = co_await net::shutdown_signal();
        stopping = true;
        co_await sleep_for(1s);
      });
      co_await sleep_for(10ms);
      a.stop();
      while (!stopping) co_await sleep_for(1ms);
      a.stop();
      co_await sleep_for(10ms);
      EXPECT_TRUE(a.runs());
      a.signal(SIGINT);
      co_await a.ended();
      EXPECT_EQ(a.exit_status(), 128 + SIGINT);
    });
  }
}

TEST(sim_signals, a_program_may_stop_itself_by_SIGTERM) {
  run_seeds(10, 1, []() -> task<> {
    sim::host_handle a = sim::host("a");
    a.start([]() -> task<> {
      co_await sleep_for(1ms);
      EXPECT_EQ(::kill(::getpid(), SIGTERM), 0);
      co_await endless();
    });
    co_await a.ended();
    EXPECT_EQ(a.exit_status(), 0);
    a.start([]() -> task<> {
      EXPECT_EQ(::raise(SIGTERM), 0);
      EXPECT_EQ(::raise(SIGTERM), 0);
      co_await endless();
    });
    co_await a.ended();
    EXPECT_EQ(a.exit_status(), 128 + SIGTERM);
  });
}

// --- crash and restart ---

TEST(sim_signals, a_crash_loses_what_is_pending_and_a_restart_begins_with_nothing_asked_for) {
  run_seeds(50, 1, []() -> task<> {
    static int heard;
    heard = 0;
    sim::host_handle a = sim::host("a", 2);
    const auto listens = []() -> task<> {
      net::signal_stream wishes = net::signals({SIGHUP});
      while (true) heard += co_await wishes.next();
    };
    for (int life = 0; life < 3; ++life) {
      a.start(listens);
      co_await sleep_for(10ms);
      a.stall(0, 50ms);
      a.stall(1, 50ms);
      for (int i = 0; i < 3; ++i) a.signal(SIGHUP);  // under way, or pending
      if (sim::draw(2) == 0) co_await sleep_for(1ms);
      a.crash();
      co_await a.ended();
      EXPECT_EQ(a.exit_status(), std::nullopt);
    }
    EXPECT_EQ(heard, 0);
    a.signal(SIGHUP);  // to nobody
    a.start(listens);
    co_await sleep_for(10ms);
    EXPECT_EQ(heard, 0);
    a.signal(SIGHUP);
    co_await sleep_for(10ms);
    EXPECT_EQ(heard, SIGHUP);
    a.stop();
    co_await a.ended();
    a.start(endless);  // another program there, which has asked for nothing
    co_await sleep_for(10ms);
    a.signal(SIGHUP);
    co_await a.ended();
    EXPECT_EQ(a.exit_status(), 128 + SIGHUP);
  });
}

// --- what else programs do with them ---

TEST(sim_signals, a_program_that_dumps_its_tasks_and_looks_for_stalls_runs_unchanged_on_two_hosts) {
  testing::internal::CaptureStderr();
  const sim::report ended = run(3, []() -> task<> {
    sim::host_handle hosts[] = {sim::host("a", 2), sim::host("b")};
    for (sim::host_handle& each : hosts) {
      each.start([]() -> task<> {
        resources().emplace<stall_detector>(10ms);
        co_await dump_tasks_on_sigquit();
        spawn(endless(), "waits for ever");
        co_await endless();
      });
    }
    co_await sleep_for(10ms);
    hosts[0].signal(SIGQUIT);
    co_await sleep_for(10ms);
    for (sim::host_handle& each : hosts) {
      each.stop();
      co_await each.ended();
      EXPECT_EQ(each.exit_status(), 0);
    }
  });
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_EQ(ended.violation, "");
  const std::size_t first = said.find("\"waits for ever\"");
  ASSERT_NE(first, std::string::npos) << said;
  EXPECT_EQ(said.find("\"waits for ever\"", first + 1), std::string::npos) << said;
  EXPECT_NE(said.find("shard 1: "), std::string::npos) << said;
}

}  // namespace
