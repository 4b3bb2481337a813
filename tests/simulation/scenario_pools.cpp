// SPDX-License-Identifier: Apache-2.0
// Pools of connections, of threads that block and of threads that compute (the latter two as events, timed_executor),
// used by more tasks than they have room for, which give up at any moment, on hosts that are drained or crash.
//
// What must hold: a connection has one user at a time, and no more are in use or idle than the pool allows; what comes
// back over one is its user's; whoever waits long enough is served. A job runs once if somebody had its result, never
// twice, and never when the task that wanted it has gone, for its arguments lie there.
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/group.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/connect.hpp>
#include <skerry/net/pool.hpp>
#include <skerry/net/server.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>
#include <skerry/toolkit/pool/blocking.hpp>
#include <skerry/toolkit/pool/compute.hpp>
#include <skerry/toolkit/pool/parallel.hpp>
#include <skerry/toolkit/pool/timed_executor.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <simulation/scenarios.hpp>

namespace scenarios {

namespace {

using namespace skerry;
using namespace std::chrono_literals;

constexpr std::uint16_t port = 7000;
constexpr unsigned users_per_shard = 6;
constexpr unsigned turns_per_user = 12;
/// Nobody holds anything so long, however slow the network is.
constexpr std::chrono::nanoseconds too_long = 1h;

struct job_note {
  int runs = 0;
  bool gone = false;  // the task that wanted it
};

struct pool_book {
  std::string server;
  std::size_t links_max = 1;
  std::uint64_t jobs_max = 1;
  std::uint64_t words = 0, made = 0, served = 0;
  std::set<std::uint64_t> in_use;         // links
  std::map<shard_id, std::size_t> links;  // that there are
  std::map<std::uint64_t, job_note> jobs;
};

pool_book* pools_seen = nullptr;

// --- connections ---

/// Counts those that there are, shard by shard.
struct link {
  explicit link(net::stream to) : number(++pools_seen->made), s(std::move(to)) { ++pools_seen->links[this_shard_id()]; }
  link(link&& other) noexcept
      : number(other.number), s(std::move(other.s)), counted_(std::exchange(other.counted_, false)) {}
  link& operator=(link&& other) noexcept {
    std::swap(number, other.number);
    std::swap(s, other.s);
    std::swap(counted_, other.counted_);
    return *this;
  }
  ~link() { pools_seen->links[this_shard_id()] -= counted_; }
  std::uint64_t number;
  net::stream s;

 private:
  bool counted_ = true;
};

task<> echo(net::stream user) {
  while (true) {
    const buffer got = co_await user.read();
    if (got.empty()) co_return;
    co_await user.write(got);
  }
}

task<> serve_echo() {
  const auto handler = [](net::stream user) { return echo(std::move(user)); };
  co_await net::listen_on_all_shards(*net::address::parse("0.0.0.0", port), handler);
}

/// While a user has it. What he leaves in the middle is not for the next one.
class using_link {
 public:
  explicit using_link(net::pooled<link>& of) : of_(of) {
    if (!pools_seen->in_use.insert(of->number).second) sim::fail("a connection has two users");
  }
  using_link(const using_link&) = delete;
  using_link& operator=(const using_link&) = delete;
  ~using_link() {
    pools_seen->in_use.erase(of_->number);
    if (!complete) of_.discard();
  }
  bool complete = false;

 private:
  net::pooled<link>& of_;
};

/// Who has sent everything hears nothing of a crash.
task<buffer> read_within(net::stream& from, std::chrono::nanoseconds limit) {
  try {
    co_return co_await with_timeout(limit, from.read());
  } catch (const timeout_error&) {
    co_return buffer();
  }
}

task<> use_a_link(net::pool<link>& links) {
  net::pooled<link> mine = co_await links.acquire();
  if (pools_seen->links[this_shard_id()] > pools_seen->links_max) sim::fail("more connections than the pool may have");
  using_link now(mine);
  const std::string word = fmt::format("{} {}\n", ++pools_seen->words, std::string(sim::draw(2000), 'w'));
  co_await mine->s.write(word);
  std::string back;
  while (back.size() < word.size()) {
    const buffer got = co_await read_within(mine->s, 5s);
    if (got.empty()) co_return;
    back.append(reinterpret_cast<const char*>(got.data()), got.size());
  }
  if (back != word) sim::fail("another's word came back");
  if (sim::draw(3) == 0) co_await sleep_for(std::chrono::milliseconds(sim::draw(20)));
  now.complete = sim::draw(16) != 0;
  ++pools_seen->served;
}

// --- jobs ---

constexpr auto triple = [](borrowed<job_note> note, std::uint64_t n) {
  if (note->gone) sim::fail("a job runs, and the task that wanted it has gone");
  ++note->runs;
  if (n % 7 == 0) throw std::domain_error("as it should");
  return n * 3;
};

constexpr auto triple_in_parts = [](compute_worker& here, borrowed<job_note> note, std::uint64_t n) {
  const auto both = here.join([n] { return n; }, [n] { return 2 * n; });
  if (both.first + both.second != 3 * n) sim::fail("a join gives another sum");
  return triple(note, n);
};

task<> use_a_thread(bool computes) {
  const std::uint64_t n = pools_seen->jobs.size() + 1;
  job_note& note = pools_seen->jobs[n];
  const struct leaves {
    ~leaves() { of.gone = true; }
    job_note& of;
  } at_the_end{note};
  std::uint64_t got = 0;
  try {
    if (computes) {
      const auto priority = static_cast<job_priority>(sim::draw(3));
      got = co_await compute(priority, triple_in_parts, borrowed(note), n);
    } else {
      got = co_await blocking(triple, borrowed(note), n);
    }
  } catch (const std::domain_error&) {
    if (n % 7 == 0) got = n * 3;
  }
  if (got != n * 3) sim::fail("a job has another's result");
  if (note.runs != 1) sim::fail(fmt::format("a job ran {} times, and its result is there", note.runs));
  const bool too_many = blocking_calls::here().slots().jobs() > pools_seen->jobs_max ||
                        compute_jobs::here().slots().jobs() > pools_seen->jobs_max;
  if (too_many) sim::fail("more jobs are under way than may be");
  ++pools_seen->served;
}

// --- users ---

task<> use_something(net::pool<link>& links) {
  try {
    if (sim::draw(2) == 0) {
      co_await use_a_link(links);
    } else {
      co_await use_a_thread(sim::draw(2) == 0);
    }
  } catch (const timeout_error&) {
    throw;
  } catch (const std::system_error&) {
    // The connection could not be had, or broke.
  }
}

task<> be_user(net::pool<link>& links) {
  for (unsigned n = 0; n < turns_per_user; ++n) {
    const bool gives_up = sim::draw(4) == 0;
    const std::chrono::nanoseconds drawn = std::chrono::microseconds(sim::draw(30'000));
    const std::chrono::nanoseconds patience = gives_up ? drawn : too_long;
    try {
      co_await with_timeout(patience, use_something(links));
    } catch (const timeout_error&) {
      if (!gives_up) sim::fail("somebody who waited was never served");
    }
    if (sim::draw(4) == 0) co_await sleep_for(std::chrono::milliseconds(sim::draw(40)));
  }
}

task<bool> is_silent(link& of) { co_return !of.s.readable().await_ready(); }

task<> run_users_here() {
  const auto threads = [] { return std::make_shared<timed_executor>(10us, 5ms); };
  resources().emplace<blocking_calls>(threads(), pools_seen->jobs_max);
  resources().emplace<compute_jobs>(threads(), pools_seen->jobs_max);
  net::pool_options few;
  few.items_max = pools_seen->links_max;
  few.idle_max = 1 + few.items_max / 2;
  few.idle_timeout = 30ms;
  const auto make = []() -> task<link> {
    co_return link(co_await net::connect(*net::address::parse(pools_seen->server, port)));
  };
  net::pool<link> links(make, is_silent, few);
  const auto all = [&](group& users) -> task<> {
    for (unsigned n = 0; n < users_per_shard; ++n) users.spawn(be_user(links), "user");
    co_return;
  };
  co_await with_group(all);
  const net::pool_stats now = links.stats();
  if (now.in_use != 0) sim::fail("a place is lost");
  const bool lost = blocking_calls::here().slots().jobs() + compute_jobs::here().slots().jobs() != 0;
  if (lost) sim::fail("a place for a job is lost");
  co_await sleep_for(1s);
  if (links.stats().idle != 0) sim::fail("what is idle for long is not dropped");
}

task<> run_users_on(shard_id shard) {
  co_await submit_to(shard, [] { return run_users_here(); });
}

task<> run_users() {
  const auto on_all = [](group& shards) -> task<> {
    for (shard_id s = 0; s < shard_count(); ++s) shards.spawn(run_users_on(s), "shard");
    co_return;
  };
  co_await with_group(on_all);
}

task<> test_pools(std::uint64_t seed) {
  pool_book all;
  pools_seen = &all;
  all.links_max = 1 + sim::draw(4);
  all.jobs_max = 1 + sim::draw(5);
  sim::host_handle server = sim::host("server", 2);
  all.server = server.ip();
  server.start(serve_echo);
  co_await sleep_for(5ms);
  sim::host_handle users = sim::host("users", 1 + static_cast<unsigned>(seed % 3));
  users.start(run_users, true);
  const std::uint64_t end = seed % 4;  // by itself; by a stop; by a crash; or its server crashes meanwhile
  if (end != 0) co_await sleep_for(std::chrono::milliseconds(sim::draw(300)));
  if (end == 1) users.stop();
  if (end == 2) users.crash();
  if (end == 3) {
    server.crash();
    co_await server.ended();
    co_await sleep_for(std::chrono::milliseconds(sim::draw(100)));
    server.start(serve_echo);
  }
  co_await users.ended();
  const bool left = std::ranges::any_of(all.links, [](const auto& each) { return each.second != 0; });
  if (!all.in_use.empty() || left) sim::fail("a connection is left");
  for (const auto& [n, note] : all.jobs) {
    if (note.runs > 1) sim::fail("a job ran twice");
    if (!note.gone) sim::fail("a task that wanted a job is left");
  }
  if (end == 0 && all.served == 0) sim::fail("nobody was ever served");
  server.stop();
  co_await server.ended();
  pools_seen = nullptr;
}

}  // namespace

sim::test_case pools() {
  const auto seed = std::make_shared<std::uint64_t>(0);
  const auto configure = [seed](sim::options& o) {
    *seed = o.seed;
    if (o.seed % 2 == 0) o.all_faults();
    o.steps_max = 5'000'000;
    o.time_max = 24h;
  };
  return {"pools", configure, [seed] { return test_pools(*seed); }};
}

}  // namespace scenarios
