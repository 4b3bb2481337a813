// SPDX-License-Identifier: Apache-2.0
// What is told of changes to files of a simulated disk: what the real kernel tells, and what a simulation adds to it:
// hosts, shards, crashes, limits.
#include <skerry/framework/random.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/net/file/file_watch.hpp>
#include <skerry/net/file/whole_file.hpp>
#include <skerry/net/socket.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <support/scratch_directory.hpp>
#include <support/test_seed.hpp>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

namespace {

using namespace skerry;
using namespace std::chrono_literals;

// --- beside the real kernel ---

/// One call, on a path or a descriptor of a few.
struct call {
  // clang-format off
  enum kind : std::uint8_t {
    open, read, write, resize, close, unlink, make_directory, remove_directory, rename, watch, end, look
  };
  // clang-format on
  kind what;
  std::size_t one, other, descriptor;
  int flags;
  std::uint32_t kinds;
};

constexpr const char* paths[] = {"d", "e", "d/a", "d/b", "e/a", "e/b", "d/s", "e/s", "d/s/a", "e/s/a"};
constexpr std::size_t descriptors_max = 3;

/// With watches of these kinds.
std::vector<call> drawn_calls(random_source& drawn, std::uint32_t kinds) {
  const auto below = [&](std::uint64_t bound) { return static_cast<std::size_t>(drawn.uniform(bound)); };
  std::vector<call> calls{{call::make_directory, 0, 0, 0, 0, 0}, {call::make_directory, 1, 0, 0, 0, 0}};
  while (calls.size() < 600) {
    constexpr call::kind weighed[] = {call::open,   call::open,   call::open,           call::write,  call::write,
                                      call::write,  call::resize, call::make_directory, call::watch,  call::watch,
                                      call::rename, call::rename, call::close,          call::unlink, call::look};
    constexpr call::kind rare[] = {call::remove_directory, call::remove_directory, call::end, call::read};
    const call::kind what = below(10) == 0 ? rare[below(std::size(rare))] : weighed[below(std::size(weighed))];
    call next{what, below(std::size(paths)), below(std::size(paths)), below(descriptors_max), 0, 0};
    constexpr int ways[] = {O_RDONLY, O_WRONLY, O_RDWR, O_WRONLY | O_TRUNC, O_PATH};
    next.flags = ways[below(std::size(ways))];
    if (below(4) != 0 && next.flags != O_PATH) next.flags |= O_CREAT;
    next.kinds = kinds;
    if (below(2) == 0) next.kinds &= static_cast<std::uint32_t>(below(IN_ALL_EVENTS + 1));
    constexpr std::uint32_t more[] = {IN_ONESHOT, IN_MASK_ADD, IN_ONLYDIR, IN_EXCL_UNLINK};
    for (const std::uint32_t each : more) {
      if (below(12) == 0) next.kinds |= each;
    }
    calls.push_back(next);
  }
  calls.push_back({call::look, 0, 0, 0, 0, 0});
  return calls;
}

/// All that has come, cookies by the order in which they came.
void append_changes(int fd, std::map<std::uint32_t, std::size_t>& cookies, std::vector<std::string>& log) {
  alignas(inotify_event) char bytes[4096];
  for (ssize_t got = 0; (got = ::read(fd, bytes, sizeof bytes)) > 0;) {
    for (const char* at = bytes; at < bytes + got;) {
      inotify_event each;
      std::memcpy(&each, at, sizeof each);
      const char* name = each.len != 0 ? at + sizeof each : "";
      const std::size_t cookie =
          each.cookie == 0 ? 0 : cookies.try_emplace(each.cookie, cookies.size() + 1).first->second;
      log.push_back(
          fmt::format("    watch {} {:#x} cookie {} {} bytes {}", each.wd, each.mask, cookie, each.len, name));
      at += sizeof each + each.len;
    }
  }
  if (errno != EAGAIN) log.push_back(fmt::format("    errno {}", errno));
}

/// By plain calls, which the real kernel answers, or a simulated host whose shard makes them.
std::vector<std::string> play(const std::vector<call>& calls, const std::string& root) {
  std::vector<std::string> log;
  std::map<std::uint32_t, std::size_t> cookies;
  const net::unique_fd changes(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  std::array<std::optional<net::unique_fd>, descriptors_max> open;
  int watches = 0;
  for (const call& each : calls) {
    const std::string one = root + '/' + paths[each.one], other = root + '/' + paths[each.other];
    std::optional<net::unique_fd>& held = open[each.descriptor];
    const int fd = held ? held->get() : -1;
    long result = 0;
    char byte = 0;
    switch (each.what) {
      case call::open:
        held.emplace(::open(one.c_str(), each.flags | O_CLOEXEC, 0600));
        result = held->get() < 0 ? -1 : 0;
        break;
      case call::read: result = ::read(fd, &byte, 1); break;
      case call::write: result = ::write(fd, "x", 1); break;
      case call::resize: result = ::ftruncate(fd, static_cast<off_t>(each.one)); break;
      case call::close: held.reset(); break;
      case call::unlink: result = ::unlink(one.c_str()); break;
      case call::make_directory: result = ::mkdir(one.c_str(), 0700); break;
      case call::remove_directory: result = ::rmdir(one.c_str()); break;
      case call::rename: result = ::rename(one.c_str(), other.c_str()); break;
      case call::watch:
        result = ::inotify_add_watch(changes.get(), one.c_str(), each.kinds);
        watches = std::max(watches, static_cast<int>(result));
        break;
      case call::end:
        result = ::inotify_rm_watch(changes.get(), watches == 0 ? 1 : 1 + static_cast<int>(each.one) % watches);
        break;
      case call::look: append_changes(changes.get(), cookies, log); break;
    }
    const bool of_watches = each.what == call::watch || each.what == call::end;
    log.push_back(fmt::format("{} {} {} {:#x} {:#x}: {} errno {}", static_cast<int>(each.what), paths[each.one],
                              paths[each.other], each.flags, each.kinds, result, of_watches && result < 0 ? errno : 0));
  }
  return log;
}

TEST(sim_watches, tell_what_the_real_kernel_tells_of_random_calls) {
  utsname kernel{};
  int major = 0, minor = 0;
  ASSERT_EQ(::uname(&kernel), 0);
  ASSERT_EQ(std::sscanf(kernel.release, "%d.%d", &major, &minor), 2);
  const std::pair version(major, minor);
  if (version < std::pair(5, 17)) GTEST_SKIP() << "an older kernel tells of a name before what it led to";
  // That a file is opened was told after it was cut off.
  const std::uint32_t kinds = version < std::pair(6, 8) ? net::file_watch::changes : std::uint32_t{IN_ALL_EVENTS};
  random_source drawn(test_support::test_seed());
  std::size_t told = 0;
  for (int round = 0; round < 100; ++round) {
    const std::vector<call> calls = drawn_calls(drawn, kinds);
    const test_support::scratch_directory here;
    const std::vector<std::string> real = play(calls, here.path());
    std::vector<std::string> simulated;
    const sim::report ended = sim::run(sim::options(), [&]() -> task<> {
      ::mkdir("/tmp/here", 0700);
      simulated = play(calls, "/tmp/here");
      co_return;
    });
    ASSERT_EQ(ended.violation, "");
    const auto [its, ours] = std::ranges::mismatch(real, simulated);
    std::string before;
    for (auto each = real.begin(); each != its; ++each) before += *each + '\n';
    ASSERT_TRUE(its == real.end() && ours == simulated.end())
        << before << "the kernel: " << (its == real.end() ? "nothing" : *its)
        << "\nthe simulator: " << (ours == simulated.end() ? "nothing" : *ours);
    told += real.size() - calls.size();
  }
  EXPECT_GT(told, 1000u);
}

// --- in a world of its own ---

template <class Awaitable>
task<int> error_of(Awaitable&& what) {  // awaited in the same expression
  try {
    co_await std::forward<Awaitable>(what);
  } catch (const std::system_error& error) {
    co_return error.code().value();
  }
  co_return 0;
}

int error_of_a_queue() {
  try {
    const net::file_watch changes;
  } catch (const std::system_error& error) {
    return error.code().value();
  }
  return 0;
}

task<int> error_of_watch(net::file_watch& changes, std::string path) {  // awaited in the same expression
  co_return co_await error_of(changes.add(std::move(path)));
}

TEST(sim_watches, have_the_limits_that_they_are_given) {
  sim::options o;
  o.system.watch_queues_max = 2;
  o.system.watches_max = 2;
  o.system.watched_changes_max = 4;
  const sim::report ended = sim::run(o, []() -> task<> {
    {
      net::file_watch one, other;
      EXPECT_EQ(error_of_a_queue(), EMFILE);
      EXPECT_EQ(co_await error_of_watch(one, "/"), 0);
      EXPECT_EQ(co_await error_of_watch(other, "/"), 0);
      EXPECT_EQ(co_await error_of_watch(other, "/"), 0) << "the same watch";
      EXPECT_EQ(co_await error_of_watch(other, "/tmp"), ENOSPC);
      other.remove(1);
      EXPECT_EQ(co_await error_of_watch(other, "/tmp"), 0);
      for (int i = 0; i < 10; ++i) ::mkdir(("/tmp/" + std::to_string(i)).c_str(), 0700);
      std::string told;
      const auto next = [&]() -> task<bool> {
        const net::file_change each = co_await other.next();
        told += each.overflowed() ? "overflow " : each.name + ' ';
        co_return !each.overflowed();
      };
      for (bool more = true; more;) more = co_await next();
      ::mkdir("/tmp/later", 0700);
      co_await next();
      EXPECT_EQ(told, " 0 1 2 overflow later ") << "the end of the watch that was removed, and what had room";
    }
    while (net::open_files() != 0) co_await sleep_for(1ms);
    EXPECT_EQ(error_of_a_queue(), 0) << "closed ones do not count";
  });
  EXPECT_EQ(ended.violation, "");
}

TEST(sim_watches, and_what_they_have_not_told_are_gone_after_a_crash) {
  const sim::report ended = sim::run(sim::options(), []() -> task<> {
    sim::host_handle store = sim::host("store");
    bool watched = false;
    store.start([&watched]() -> task<> {
      net::file_watch changes;
      co_await changes.add("/tmp");
      ::mkdir("/tmp/untold", 0700);
      watched = true;
      co_await sleep_for(1h);
    });
    while (!watched) co_await sleep_for(1ms);
    store.crash();
    co_await store.ended();
    std::string told;
    store.start(
        [&told]() -> task<> {
          net::file_watch changes;
          EXPECT_EQ(co_await changes.add("/tmp"), 1);
          ::mkdir("/tmp/told", 0700);
          told = (co_await changes.next()).name;
        },
        true);
    co_await store.ended();
    EXPECT_EQ(told, "told");
  });
  EXPECT_EQ(ended.violation, "");
}

constexpr int settings_last = 15;

task<> read_settings(std::string& into) { into = co_await net::read_file("/tmp/settings", 100); }

/// Keeps to what its settings say, by what it is told alone.
task<> follow_settings(std::string& now) {
  net::file_watch changes;
  int error = EINTR;
  while (error != 0) error = co_await error_of(changes.add("/tmp", IN_CLOSE_WRITE | IN_MOVED_TO));
  while (true) {
    error = EINTR;
    while (error != 0 && error != ENOENT) error = co_await error_of(read_settings(now));
    if (now == std::to_string(settings_last)) co_return;
    while (true) {
      const net::file_change each = co_await changes.next();
      if (each.overflowed() || each.name == "settings") break;
    }
  }
}

task<> change_settings() {
  for (int i = 0; i <= settings_last; ++i) {
    int error = EINTR;
    while (error != 0) error = co_await error_of(net::write_file_atomically("/tmp/settings", std::to_string(i)));
    co_await sleep_for(std::chrono::microseconds(sim::draw(4000)));
  }
}

/// As a hash of all that happened: the settings are changed on one shard and followed on the other.
std::uint64_t settings_are_followed(std::uint64_t seed) {
  sim::options o;
  o.seed = seed;
  o.system.short_transfer = 0.3;
  o.system.interrupted = 0.05;
  o.system.late_completion = 0.1;
  o.shards = 2;
  o.system.out_of_memory = 0.05;
  o.system.watched_changes_max = 4;
  o.order = sim::schedule::adversarial;
  const sim::report ended = sim::run(o, []() -> task<> {
    std::string now;
    auto followed = spawn(follow_settings(now), "follows");
    co_await submit_to(1, [] { return change_settings(); });
    co_await followed;
    EXPECT_EQ(now, std::to_string(settings_last));
  });
  EXPECT_EQ(ended.violation, "") << "seed " << seed;
  return ended.trace_hash;
}

TEST(sim_watches, whoever_follows_settings_has_the_last_whichever_shard_changes_them) {
  std::set<std::uint64_t> ways;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) ways.insert(settings_are_followed(seed));
  EXPECT_EQ(ways.size(), 200u);
  EXPECT_TRUE(ways.contains(settings_are_followed(7))) << "a seed repeats";
}

}  // namespace
