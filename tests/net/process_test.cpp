// SPDX-License-Identifier: Apache-2.0
/// Children on the real kernel: what they are born with, how their end is told, and that none is left, alive or dead,
/// whatever becomes of who started them.

#include <skerry/framework/task/combine.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/process/child.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/timers/sleep.hpp>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <support/faulty_backend.hpp>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>
#include <support/scratch_directory.hpp>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

namespace skerry {
namespace {

using namespace test_support;
using namespace std::chrono_literals;
using net::child;
using net::child_end;
using net::child_options;
using net::pipe_stream;
using net::redirect;
using net::start_child;
using net::unique_fd;

task<std::string> all_of(pipe_stream& from) {
  std::string all;
  while (true) {
    buffer bytes = co_await from.read();
    if (bytes.empty()) co_return all;
    all += text_of(bytes);
  }
}

child_options talking() {
  child_options options;
  options.input = options.output = redirect::pipe();
  return options;
}

struct seen {
  child_end end;
  std::string output;
};

/// What a shell says and returns.
task<seen> run_shell(std::string script, child_options options = talking()) {
  child shell = start_child("/bin/sh", {"-c", script}, options);
  shell.streams().shutdown_output();
  seen result;
  result.output = co_await all_of(shell.streams());
  result.end = co_await shell.wait();
  co_return result;
}

/// Whether this process has a child, alive or dead.
bool has_children() { return ::waitid(P_ALL, 0, nullptr, WEXITED | WNOHANG | WNOWAIT) == 0; }

/// As run_and_count, and no child is left.
void run_without_leftovers(const std::function<task<>()>& body) {
  run_and_count(body);
  EXPECT_FALSE(has_children());
}

template <class Awaitable>
task<int> error_of(Awaitable&& what) {  // awaited in the same expression
  try {
    (void)co_await skerry::detail::as_task(std::forward<Awaitable>(what));
  } catch (const std::system_error& error) {
    co_return error.code().value();
  }
  co_return 0;
}

struct refusal {
  int error = 0;
  std::string text;
};
refusal refused(const std::string& program, std::vector<std::string> arguments = {},
                const child_options& options = talking()) {
  try {
    child made = start_child(program, std::move(arguments), options);
  } catch (const std::system_error& error) {
    return {error.code().value(), error.what()};
  }
  return {};
}
#define EXPECT_MENTIONS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST(child, answers_what_it_is_told_and_tells_how_it_ended) {
  run_without_leftovers([]() -> task<> {
    child sort = start_child("sort", {"-n"}, talking());
    co_await sort.streams().write("10\n9\n");
    sort.streams().shutdown_output();
    EXPECT_EQ(co_await all_of(sort.streams()), "9\n10\n");
    child_end end = co_await sort.wait();
    EXPECT_TRUE(end.succeeded());
    EXPECT_EQ(end.text(), "exit status 0");
    end = co_await sort.wait();  // as often as it is asked for
    EXPECT_TRUE(end.succeeded());
    EXPECT_FALSE(sort.signal(SIGTERM));
  });
}

TEST(child, ends_with_a_status_or_by_a_signal) {
  run_without_leftovers([]() -> task<> {
    seen ran = co_await run_shell("exit 7");
    EXPECT_EQ(ran.end.status, 7);
    EXPECT_EQ(ran.end.signal, 0);
    EXPECT_EQ(ran.end.text(), "exit status 7");
    ran = co_await run_shell("kill -KILL $$");
    EXPECT_EQ(ran.end.signal, SIGKILL);
    EXPECT_FALSE(ran.end.succeeded());
    EXPECT_EQ(ran.end.text(), "signal 9 (Killed)");
    child sleeper = start_child("sleep", {"1000"});
    EXPECT_GT(sleeper.pid(), 0);
    EXPECT_TRUE(sleeper.signal(SIGHUP));
    const child_end end = co_await sleeper.wait();
    EXPECT_EQ(end.signal, SIGHUP);
  });
}

TEST(child, passes_megabytes_both_ways_at_a_time) {
  run_without_leftovers([]() -> task<> {
    child cat = start_child("cat", {}, talking());
    const std::string bytes = numbered_bytes(disturbed() ? 100'000 : 3'000'000);
    std::string got;
    const auto write = [&]() -> task<> {
      co_await cat.streams().write(bytes);
      cat.streams().shutdown_output();
    };
    const auto read = [&]() -> task<> { got = co_await all_of(cat.streams()); };
    co_await when_all(write, read);
    EXPECT_TRUE(got == bytes);
    const child_end end = co_await cat.wait();
    EXPECT_TRUE(end.succeeded());
  });
}

TEST(child, has_its_descriptors_where_it_was_told_to) {
  const scratch_directory here;
  run_without_leftovers([&]() -> task<> {
    // Nothing to read unless told.
    child_options options;
    options.output = redirect::pipe();
    options.error = redirect::as_output();
    child shell = start_child("/bin/sh", {"-c", "cat; echo out; echo error >&2"}, options);
    EXPECT_EQ(co_await all_of(shell.streams()), "out\nerror\n");
    EXPECT_EQ(co_await error_of(shell.streams().write("x")), EBADF);
    (void)co_await shell.wait();

    options.output = redirect::null();
    options.error = redirect::pipe();
    shell = start_child("/bin/sh", {"-c", "echo out; echo error >&2"}, options);
    EXPECT_EQ(co_await all_of(shell.errors()), "error\n");
    buffer nothing = co_await shell.streams().read();
    EXPECT_TRUE(nothing.empty());
    (void)co_await shell.wait();

    // Crosswise: each of them is overwritten by the other.
    const unique_fd first(::open(here.file("first").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    const unique_fd second(::open(here.file("second").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    const unique_fd in(::open(here.put("in", "read me\n").c_str(), O_RDONLY | O_CLOEXEC));
    options.input = redirect::to(in.get());
    options.output = redirect::to(second.get());
    options.error = redirect::to(first.get());
    shell = start_child("/bin/sh", {"-c", "cat; echo error >&2"}, options);
    (void)co_await shell.wait();
    EXPECT_EQ(here.get("second"), "read me\n");
    EXPECT_EQ(here.get("first"), "error\n");
    // Ours as the other's.
    options.output = redirect::to(2);
    options.error = redirect::to(1);
    options.input = redirect::null();
    shell = start_child("/bin/sh",
                        {"-c", "[ /proc/self/fd/1 -ef /proc/$PPID/fd/2 ] && [ /proc/self/fd/2 -ef /proc/$PPID/fd/1 ]"},
                        options);
    const child_end end = co_await shell.wait();
    EXPECT_TRUE(end.succeeded());

    options.input = redirect::to(1'000'000);
    EXPECT_MENTIONS(refused("true", {}, options).text, "descriptor 1000000");
    options.input = redirect::as_output();
    EXPECT_EQ(refused("true", {}, options).error, EINVAL);
  });
}

TEST(child, is_born_without_our_descriptors_ignored_signals_and_masks) {
  struct sigaction old{};
  struct sigaction ignored{};
  ignored.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignored, &old);
  sigset_t some, before;
  ::sigemptyset(&some);
  ::sigaddset(&some, SIGUSR2);
  ::pthread_sigmask(SIG_BLOCK, &some, &before);
  run_without_leftovers([]() -> task<> {
    const unique_fd careless(::open("/dev/null", O_RDONLY));  // without O_CLOEXEC
    // The shell's own ls has one of the directory that it lists.
    seen ran = co_await run_shell("grep -E 'Sig(Blk|Ign)' /proc/self/status; exec ls /proc/self/fd");
    // Not from the shell, which blocks nothing whatever it was born with.
    child sed = start_child("sed", {"-n", "/SigBlk/p", "/proc/self/status"}, talking());
    EXPECT_EQ(co_await all_of(sed.streams()), "SigBlk:\t0000000000000000\n");
    (void)co_await sed.wait();
    // The C library ignores two of its own signals, 32 and 33, in what it starts.
    EXPECT_THAT(ran.output, testing::MatchesRegex("SigBlk:\t0{16}\nSigIgn:\t0{7}[01]80000000\n0\n1\n2\n3\n|"
                                                  "SigBlk:\t0{16}\nSigIgn:\t0{16}\n0\n1\n2\n3\n"));
  });
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::sigaction(SIGPIPE, &old, nullptr);
}

TEST(child, runs_where_and_with_what_it_was_told_to) {
  const scratch_directory here;
  run_without_leftovers([&]() -> task<> {
    child_options options = talking();
    options.directory = here.path();
    options.environment = {"GREETING=hello there", "PATH=/bin:/usr/bin"};
    seen ran = co_await run_shell("pwd; echo $GREETING; env | wc -l", options);
    EXPECT_EQ(ran.output, here.path() + "\nhello there\n3\n");  // the third is the shell's PWD
    options.directory = here.file("missing");
    const refusal missing = refused("true", {}, options);
    EXPECT_EQ(missing.error, ENOENT);
    EXPECT_MENTIONS(missing.text, "child_options::directory " + here.file("missing"));
    // Ours if nothing is said.
    ::setenv("SKERRY_CHILD_TEST", "inherited", 1);
    ran = co_await run_shell("echo $SKERRY_CHILD_TEST");
    EXPECT_EQ(ran.output, "inherited\n");
    ::unsetenv("SKERRY_CHILD_TEST");
  });
}

TEST(child, may_run_on_all_cpus_of_a_pinned_program_and_the_shard_stays_pinned) {
  cpu_set_t allowed;
  ASSERT_EQ(::sched_getaffinity(0, sizeof allowed, &allowed), 0);
  placement where;
  std::string list;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE && where.shards.size() < 2; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    where.shards.push_back({{cpu}, std::nullopt});
    list += (list.empty() ? "" : ",") + std::to_string(cpu);
  }
  if (where.shards.size() < 2) GTEST_SKIP() << "one CPU is no choice";
  where.pinned = true;
  where.count_reason = "test";
  host machine(quiet_options(2), where);
  std::string child_cpus;
  int own_cpus = 0;
  machine.run(
      [&]() -> task<> {
        seen ran = co_await run_shell("grep Cpus_allowed_list /proc/self/status");
        child_cpus = ran.output;
        cpu_set_t own;
        ::sched_getaffinity(0, sizeof own, &own);
        own_cpus = CPU_COUNT(&own);
      },
      true);
  ::sched_setaffinity(0, sizeof allowed, &allowed);
  ASSERT_TRUE(child_cpus.starts_with("Cpus_allowed_list:\t") && child_cpus.ends_with('\n')) << child_cpus;
  child_cpus = child_cpus.substr(child_cpus.find('\t') + 1);
  child_cpus.pop_back();
  const cpu_list got = parse_cpu_list(child_cpus);
  EXPECT_EQ(format_cpu_list(got), format_cpu_list(parse_cpu_list(list)));
  EXPECT_EQ(own_cpus, 1);
}

TEST(child, that_cannot_be_started_says_why_and_what_helps) {
  const scratch_directory here;
  run_without_leftovers([&]() -> task<> {
    refusal why = refused("no-such-program");
    EXPECT_EQ(why.error, ENOENT);
    EXPECT_MENTIONS(why.text, "start no-such-program: no directory of PATH has it");
    why = refused(here.file("missing"));
    EXPECT_MENTIONS(why.text, "there is no such file");
    why = refused(here.put("plain", "text"));
    EXPECT_EQ(why.error, EACCES);
    EXPECT_MENTIONS(why.text, "chmod +x");
    const std::string text = here.put("script", "no interpreter\n");
    EXPECT_EQ(::chmod(text.c_str(), 0700), 0);
    why = refused(text);
    EXPECT_EQ(why.error, ENOEXEC);
    EXPECT_MENTIONS(why.text, "#!");
    why = refused("true", {std::string(3'000'000, 'x')});
    EXPECT_EQ(why.error, E2BIG);
    EXPECT_MENTIONS(why.text, "128 KiB");
    why = refused("true", {std::string("a\0b", 3)});
    EXPECT_EQ(why.error, EINVAL);
    EXPECT_MENTIONS(why.text, "NUL");
    ::signal(SIGCHLD, SIG_IGN);
    why = refused("true");
    ::signal(SIGCHLD, SIG_DFL);
    EXPECT_EQ(why.error, ECHILD);
    EXPECT_MENTIONS(why.text, "signal(SIGCHLD, SIG_DFL)");
    co_return;
  });
}

TEST(child, without_free_descriptors_is_not_started_or_not_left) {
  run_without_leftovers([]() -> task<> {
    (void)refused("true");  // all that is made on first use
    for (int i = 0; i < 20; ++i) co_await turn();
    const unique_fd lowest(::dup(2));
    rlimit old{};
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
    bool started = false;
    for (rlim_t free = 0; free < 20 && !started; ++free) {
      rlimit narrow = old;
      narrow.rlim_cur = static_cast<rlim_t>(lowest.get()) + free;
      EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &narrow), 0);
      const refusal why = refused("true");
      EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &old), 0);
      started = why.error == 0;
      EXPECT_TRUE(started || why.error == EMFILE) << why.text;
      for (int i = 0; i < 20; ++i) co_await turn();
    }
    EXPECT_TRUE(started);
  });
}

TEST(child, whose_handle_is_dropped_is_asked_to_end_and_reaped) {
  run_without_leftovers([]() -> task<> {
    child trapping = start_child(
        "/bin/sh", {"-c", "trap 'echo asked; exit 3' TERM; echo ready; while :; do sleep 1; done"}, talking());
    std::string said;
    while (said != "ready\n") {
      buffer bytes = co_await trapping.streams().read();
      said += text_of(bytes);
    }
    pipe_stream kept = std::move(trapping.streams());
    {
      const child gone = std::move(trapping);
    }
    EXPECT_EQ(co_await all_of(kept), "asked\n");
  });
}

TEST(child, that_does_not_end_when_asked_is_killed_after_its_grace) {
  const std::ptrdiff_t before = open_descriptors();
  manual_clock time;
  std::optional<pid_t> deaf;
  const auto body = [&]() -> task<> {
    child_options options = talking();
    options.grace = 1h;
    child stubborn = start_child("/bin/sh", {"-c", "trap '' TERM; echo ready; while :; do sleep 1; done"}, options);
    deaf = stubborn.pid();
    buffer ready = co_await stubborn.streams().read();
    EXPECT_EQ(text_of(ready), "ready\n");
    {
      const child gone = std::move(stubborn);
    }
    for (int i = 0; i < 50; ++i) co_await turn();
    EXPECT_TRUE(has_children());
    time.pass(59min);
    for (int i = 0; i < 50; ++i) co_await turn();
    EXPECT_TRUE(has_children());
    time.pass(2min);
  };
  app_options options = quiet_options(1);
  options.drain_timeout = 24h;
  run_shards(options, body, time);
  EXPECT_FALSE(has_children());
  EXPECT_EQ(open_descriptors(), before);
}

TEST(child, without_grace_is_killed_at_once) {
  run_without_leftovers([]() -> task<> {
    child_options options;
    options.grace = 0s;
    const child stubborn = start_child("/bin/sh", {"-c", "trap '' TERM; while :; do sleep 1; done"}, options);
    co_return;
  });
}

TEST(child, of_a_task_that_is_cancelled_at_any_point_does_not_stay) {
  run_without_leftovers([]() -> task<> {
    for (int turns = 0; turns < 6; ++turns) {
      child_options options = talking();
      options.error = redirect::pipe();
      auto waiting = spawn([](child_options how) -> task<> {
        child sleeper = start_child("sleep", {"1000"}, how);
        co_await sleeper.streams().write("unread");
        (void)co_await sleeper.wait();
      }(options));
      for (int i = 0; i < turns; ++i) co_await turn();
      waiting.abort();
      EXPECT_EQ(co_await error_of(waiting), ECANCELED);
    }
    EXPECT_TRUE(has_children());
  });
}

TEST(child, whose_wait_is_cancelled_runs_on) {
  run_without_leftovers([]() -> task<> {
    child cat = start_child("cat", {}, talking());
    auto waiting = spawn([&]() -> task<> { (void)co_await cat.wait(); });
    for (int i = 0; i < 4; ++i) co_await turn();
    waiting.abort();
    EXPECT_EQ(co_await error_of(waiting), ECANCELED);
    co_await cat.streams().write("still here");
    cat.streams().shutdown_output();
    EXPECT_EQ(co_await all_of(cat.streams()), "still here");
    const child_end end = co_await cat.wait();
    EXPECT_TRUE(end.succeeded());
  });
}

TEST(child, group_is_signalled_as_a_whole_and_none_of_it_is_left) {
  run_without_leftovers([]() -> task<> {
    for (const bool dropped : {false, true}) {
      child_options options = talking();
      options.own_group = true;
      options.grace = 0s;
      // The pipe ends when nobody has it any more: neither the shell nor what it has started.
      std::optional<child> shell = start_child("/bin/sh", {"-c", "sleep 1000 & echo ready; wait"}, options);
      buffer ready = co_await shell->streams().read();
      EXPECT_EQ(text_of(ready), "ready\n");
      pipe_stream kept = std::move(shell->streams());
      if (dropped) {
        shell.reset();
      } else {
        EXPECT_TRUE(shell->signal(SIGTERM));
      }
      EXPECT_EQ(co_await all_of(kept), "");
    }
    // The leader ends when it is asked, and leaves somebody behind who does not.
    child_options options = talking();
    options.own_group = true;
    std::optional<child> shell =
        start_child("/bin/sh", {"-c", "(trap '' TERM; echo ready; while :; do sleep 1; done) & wait"}, options);
    buffer ready = co_await shell->streams().read();
    EXPECT_EQ(text_of(ready), "ready\n");
    pipe_stream kept = std::move(shell->streams());
    shell.reset();
    EXPECT_EQ(co_await all_of(kept), "");
  });
}

TEST(child, of_others_is_left_to_them) {
  run_without_leftovers([]() -> task<> {
    const pid_t theirs = ::fork();
    if (theirs == 0) ::_exit(5);
    child ours = start_child("true");
    const child_end end = co_await ours.wait();
    EXPECT_TRUE(end.succeeded());
    int status = 0;
    EXPECT_EQ(::waitpid(theirs, &status, 0), theirs);
    EXPECT_EQ(WEXITSTATUS(status), 5);
  });
}

TEST(child, that_somebody_else_has_waited_for_is_an_error_and_no_wait_for_ever) {
  run_without_leftovers([]() -> task<> {
    child stolen = start_child("true");
    int status = 0;
    EXPECT_EQ(::waitpid(stolen.pid(), &status, 0), stolen.pid());
    EXPECT_EQ(co_await error_of(stolen.wait()), ECHILD);
  });
}

TEST(child, is_seen_to_its_end_though_the_kernel_refuses_to_tell) {
  const std::ptrdiff_t before = open_descriptors();
  const auto plan = [](const submission& what, std::uint64_t nth) {
    fault planned;
    if (what.opcode == IORING_OP_POLL_ADD && nth <= 2) planned.error = ENOMEM;
    return planned;
  };
  run_alone(
      []() -> task<> {
        child sleeper = start_child("/bin/sh", {"-c", "read line; exit 4"}, talking());
        for (int i = 0; i < 4; ++i) co_await turn();
        sleeper.streams().shutdown_output();
        const child_end end = co_await sleeper.wait();
        EXPECT_EQ(end.status, 4);
      },
      make_faulty_backends(1, plan, 1));
  EXPECT_EQ(open_descriptors(), before);
  EXPECT_FALSE(has_children());
}

TEST(child, many_at_a_time_and_none_is_mixed_up) {
  run_without_leftovers([]() -> task<> {
    std::vector<child> all;
    for (int i = 0; i < 20; ++i) {
      all.push_back(start_child("/bin/sh", {"-c", "read line; exit $line"}, talking()));
    }
    for (std::size_t i = all.size(); i-- > 0;) co_await all[i].streams().write(std::to_string(i) + '\n');
    for (std::size_t i = 0; i < all.size(); ++i) {
      const child_end end = co_await all[i].wait();
      EXPECT_EQ(end.status, static_cast<int>(i));
    }
  });
}

}  // namespace
}  // namespace skerry
