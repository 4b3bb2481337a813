// SPDX-License-Identifier: Apache-2.0
/// Every awaitable of Skerry is cancelled at each point where it can be suspended, and in the turn in which what it
/// waits for comes. Afterwards all frames are back, and what came is there for the next one who waits.
///
/// Everything that suspends a task says what it is, to be shown to people (`leaf::describe`). The matrix notes what the
/// tasks that it cancels wait for, and fails when the sources have a wait that was not among them.

#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/skerry.hpp>

#include <array>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <regex>
#include <set>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>
#include <support/sync_cases.hpp>
#include <support/task_steps.hpp>
#include <unistd.h>

namespace skerry {
namespace {

using namespace test_support;
using namespace std::chrono_literals;

// A case is something to wait for that is not there yet: `wait()` is the awaitable, `serve()` lets it come. It may also
// say how it differs from others:

/// What every case has unless it says otherwise.
struct usual {
  static constexpr unsigned shards = 1;
  static constexpr bool by_itself = false;       ///< it may come without serve()
  static constexpr bool must_be_served = false;  ///< ends after a cancel only when what it waits for has come
  static constexpr bool forgets = false;         ///< what comes while nobody waits is gone
  task<> prepare() { co_return; }
};

/// Time that passes when a case says so.
manual_clock* hours = nullptr;

struct in_time : usual {
  clock::time_point when = clock::now() + 1h;
  void serve() { hours->pass(2h); }
};

/// An event on which something else waits in turn. It stays set: whoever waits in several steps may be cancelled after
/// the one that took what came.
struct inner : usual {
  skerry::event event;
  void serve() { event.set(); }
  task<> ready() { co_await event.wait(); }
  task<int> number() {
    co_await event.wait();
    co_return 1;
  }
};

struct awaited_task : inner {
  task<int> wait() { return number(); }
};

struct join : inner {
  join_handle<int> handle = spawn(number());
  auto wait() { return handle.operator co_await(); }
};

struct yielding : usual {
  static constexpr bool by_itself = true;  // it is always about to go on
  bool served = false;
  void serve() { served = true; }
  task<> wait() {
    while (!served) {
      co_await maybe_yield();
      co_await yield();
    }
  }
};

struct in_group : inner {
  task<> wait() {
    auto body = [this](group& g) -> task<> {
      g.spawn(ready());
      co_await g.until_empty();
    };
    co_await with_group(body);
  }
};

struct in_group_after_its_body : inner {
  task<> wait() {
    auto body = [this](group& g) -> task<> {
      g.spawn(ready());
      co_return;
    };
    co_await with_group(body);
  }
};

struct all : inner {
  skerry::event second;
  task<int> later() {
    co_await second.wait();
    co_return 2;
  }
  auto wait() { return when_all(number(), later()); }
  void serve() {
    event.set();
    second.set();
  }
};

struct all_of_many : all {
  auto wait() {
    std::vector<task<int>> tasks;
    tasks.push_back(number());
    tasks.push_back(later());
    return when_all(std::move(tasks));
  }
};

struct any : inner {
  skerry::event second;
  task<int> later() {
    co_await second.wait();
    co_return 2;
  }
  auto wait() { return when_any(later(), number()); }
};

struct any_of_many : any {
  auto wait() {
    std::vector<task<int>> tasks;
    tasks.push_back(later());
    tasks.push_back(number());
    return when_any(std::move(tasks));
  }
};

/// Two waits as they are; what came for the second is not lost with whoever waited for both.
struct selected : usual {
  auto_reset_event a, b;
  task<> wait() {
    co_await select(on(a.wait(), [] {}), on(b.wait(), [] {}));
  }
  void serve() { b.set(); }
};

struct timeout_of_a_wait : selected {
  task<> wait() { co_await with_timeout(1h, b.wait()); }
};

struct select_handler : any {
  auto wait() {
    return select(on(later(), [](int) {}), on(yield(), [this]() -> task<> { co_await event.wait(); }));
  }
};

struct cancel_token_of_another : inner {
  cancel_source source;
  auto wait() { return with_cancel(source.token(), ready()); }
};

struct cancel_token_fires : inner {
  cancel_source source;
  task<> wait() {
    try {
      co_await with_cancel(source.token(), ready());
    } catch (const std::system_error&) {
    }
  }
  void serve() { source.cancel(); }
};

struct shield : inner {
  static constexpr bool must_be_served = true, forgets = true;
  auto wait() { return shielded(ready()); }
};

struct with_cleanup : inner {
  auto wait() { return finally(ready(), let_others_run()); }
};

struct done_once : inner {
  once first_call;
  task<> wait() {
    return first_call.call([this] { return ready(); });
  }
};

struct at_a_barrier : usual {
  barrier b{2};
  auto wait() { return b.arrive_and_wait(); }
  void serve() {
    spawn([this]() -> task<> { co_await b.arrive_and_wait(); });
  }
};

/// The local primitives' cases, which have a suite of their own as well.
template <class Case>
struct of_sync : usual, Case {};
struct of_condition : of_sync<condition_case> {
  static constexpr bool forgets = true;
};
struct of_mutex : of_sync<mutex_case> {};
struct of_shared_mutex_writer : of_sync<shared_mutex_writer_case> {};
struct of_shared_mutex_reader : of_sync<shared_mutex_reader_case> {};
struct of_semaphore : of_sync<semaphore_case> {};
struct of_event : of_sync<event_case> {};
struct of_auto_reset_event : of_sync<auto_reset_event_case> {};
struct of_latch : of_sync<latch_case> {};
struct of_gate : of_sync<gate_case> {};

struct sleeping : in_time {
  auto wait() { return sleep_until(when); }
};

struct timeout_of_another : inner {
  auto wait() { return with_timeout(1h, ready()); }
};

struct timeout_fires : in_time {
  auto_reset_event never;
  task<> wait() {
    try {
      co_await with_deadline(when, never.wait());
    } catch (const timeout_error&) {
    }
  }
};

struct pipe_of_bytes : usual {
  void serve() { EXPECT_EQ(::write(to.get(), "x", 1), 1); }
  std::array<int, 2> ends = open_ends();
  net::unique_fd from{ends[0]}, to{ends[1]};
  static std::array<int, 2> open_ends() {
    std::array<int, 2> ends;
    EXPECT_EQ(::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC), 0);
    return ends;
  }
};

struct readable_pipe : pipe_of_bytes {
  auto wait() { return readable(from.get()); }
};

struct writable_pipe : pipe_of_bytes {
  writable_pipe() {
    const std::string block(4096, 'x');
    while (::write(to.get(), block.data(), block.size()) > 0) {
    }
  }
  auto wait() { return writable(to.get()); }
  void serve() {
    std::string bytes(1 << 20, '\0');
    EXPECT_GT(::read(from.get(), bytes.data(), bytes.size()), 0);
  }
};

struct events_of_a_pipe : pipe_of_bytes {
  readiness_events events{from.get(), POLLIN};
  auto wait() { return events.next(); }
};

struct with_peer : usual {
  std::optional<connected> pair;
  const std::string block = std::string(1'000'000, 'b');
  task<> prepare() {
    pair.emplace(co_await connect_pair(1));
    const int tiny = 1;
    ::setsockopt(pair->ours.fd(), SOL_SOCKET, SO_SNDBUF, &tiny, sizeof tiny);
  }
  void serve() { pair->theirs.try_send("x"); }
};

struct read : with_peer {
  auto wait() { return pair->ours.read(); }
};

struct read_readiness : with_peer {
  auto wait() { return pair->ours.readable(); }
};

struct flush : with_peer {
  task<> prepare() {
    co_await with_peer::prepare();
    pair->ours.try_write(std::as_bytes(std::span(block)));
  }
  auto wait() { return pair->ours.flush(); }
  void serve() {
    spawn([this]() -> task<> {
      while (!pair->ours.output_empty()) co_await pair->theirs.receive();
    });
  }
};

struct write : with_peer {
  task<> wait() {
    try {
      co_await pair->ours.write(block);
    } catch (const std::system_error&) {
      // The peer has gone.
    }
  }
  void serve() { pair->theirs.reset(); }
};

struct accept : usual {
  net::listener listening{loopback()};
  std::optional<raw_peer> peer;
  auto wait() { return listening.accept(); }
  void serve() { peer.emplace(listening.where()); }
};

struct connect : usual {
  static constexpr bool by_itself = true;
  net::listener listening{loopback()};
  auto wait() { return net::connect(listening.where()); }
  void serve() {}
};

/// An event on shard 1.
struct remote : usual {
  static constexpr unsigned shards = 2;
  task<> prepare() {
    co_await submit_to(1, [] { resources().emplace<skerry::event>(); });
  }
  static task<> ring() {
    co_await submit_to(1, [] { resource<skerry::event>().set(); });
  }
  void serve() { spawn(ring()); }
};

constexpr auto wait_there = []() -> task<int> {
  co_await resource<skerry::event>().wait();
  co_return 1;
};

struct submitted_task : remote {
  auto wait() { return submit_to(1, wait_there); }
};

struct submitted_function : remote {
  static constexpr bool by_itself = true;
  auto wait() {
    return submit_to(1, [] { return 1; });
  }
};

struct submitted_batch : remote {
  task<> prepare() {
    co_await remote::prepare();
    resources().emplace<skerry::event>();
  }
  void serve() {
    remote::serve();
    resource<skerry::event>().set();
  }
  task<> wait() {
    call_batch<std::remove_const_t<decltype(wait_there)>> calls(2);
    calls.add(1, wait_there);
    calls.add(0, wait_there);
    co_await calls.all();
  }
};

/// Returns when the message is home again.
struct message_home : remote {
  task<> prepare() {
    co_await remote::prepare();
    spawn([]() -> task<> { co_await submit_to(1, wait_there); });
    co_await let_others_run();
  }
  auto wait() { return detail::this_mailboxes().until_home(); }
};

struct service {
  int number = 1;
};
constexpr auto wait_in_service = [](service& s) -> task<int> {
  co_await resource<skerry::event>().wait();
  co_return s.number;
};

struct on_a_service : remote {
  static constexpr unsigned shards = 2;
  sharded<service> services;
  task<> prepare() {
    co_await remote::prepare();
    resources().emplace<skerry::event>();
    co_await services.start();
  }
  void serve() {
    remote::serve();
    resource<skerry::event>().set();
  }
};

struct called_on_all : on_a_service {
  task<> wait() { return services.invoke_on_all(wait_in_service); }
};

struct mapped_and_reduced : on_a_service {
  auto wait() { return services.map_reduce(wait_in_service, 0, std::plus<>()); }
};

/// A case without its type, so that the tests below are compiled once.
class any_case {
 public:
  virtual ~any_case() = default;
  virtual task<> prepare() = 0;
  virtual task<> pass() = 0;
  virtual void serve() = 0;
};

template <class Case>
class erased final : public any_case {
 public:
  task<> prepare() override { return case_.prepare(); }
  task<> pass() override { (void)co_await case_.wait(); }
  void serve() override { case_.serve(); }

 private:
  Case case_;
};

struct kind {
  std::string name;
  unsigned shards;
  bool in_manual_time, by_itself, must_be_served, forgets;
  std::unique_ptr<any_case> (*make)();
};

std::string type_name(const char* pretty) {
  std::smatch found;
  const std::string whole = pretty;
  return std::regex_search(whole, found,
                           std::regex("Case = (?:\\w+::|\\{anonymous\\}::|\\(anonymous namespace\\)::)*(\\w+)"))
             ? found[1].str()
             : whole;
}

template <class Case>
kind kind_of() {
  return {type_name(__PRETTY_FUNCTION__),
          Case::shards,
          std::is_base_of_v<in_time, Case>,
          Case::by_itself,
          Case::must_be_served,
          Case::forgets,
          []() -> std::unique_ptr<any_case> { return std::make_unique<erased<Case>>(); }};
}

template <class... Case>
std::vector<kind> kinds_of() {
  return {kind_of<Case>()...};
}

const std::vector<kind>& all_kinds() {
  static const std::vector<kind> kinds =
      kinds_of<awaited_task, join, yielding, in_group, in_group_after_its_body, all, all_of_many, any, any_of_many,
               selected, timeout_of_a_wait, select_handler, cancel_token_of_another, cancel_token_fires, shield,
               with_cleanup, done_once, at_a_barrier, of_condition, of_mutex, of_shared_mutex_writer,
               of_shared_mutex_reader, of_semaphore, of_event, of_auto_reset_event, of_latch, of_gate, sleeping,
               timeout_of_another, timeout_fires, readable_pipe, writable_pipe, events_of_a_pipe, read, read_readiness,
               flush, write, accept, connect, submitted_task, submitted_function, submitted_batch, message_home,
               called_on_all, mapped_and_reduced>();
  return kinds;
}

/// What the cancelled tasks were seen to wait for, and in which cases.
std::map<std::string, std::string>& cancelled_waits() {
  static std::map<std::string, std::string> seen;
  return seen;
}

class cancelled : public testing::TestWithParam<kind> {
 protected:
  /// Runs `body` with a fresh case and holds it against the frames and descriptors it leaves behind.
  void with_fresh(const std::function<task<>(any_case&)>& body) {
    const std::ptrdiff_t descriptors = open_descriptors();
    manual_clock time;
    hours = &time;
    auto main = [&]() -> task<> {
      const std::size_t before = this_shard().loop->frames().in_use();
      {
        std::unique_ptr<any_case> c = GetParam().make();
        co_await c->prepare();
        const std::size_t tasks = this_shard().root->size();
        co_await body(*c);
        while (this_shard().root->size() > tasks) co_await turn();  // what serve() began ends by itself
      }
      // What a case leaves behind to be closed, closes by itself.
      for (int i = 0; i < 1000 && this_shard().loop->frames().in_use() != before; ++i) co_await turn();
      EXPECT_EQ(this_shard().loop->frames().in_use(), before);
    };
    clock_source& source = GetParam().in_manual_time ? static_cast<clock_source&>(time) : kernel_clock();
    run_shards(quiet_options(GetParam().shards), main, source);
    EXPECT_EQ(open_descriptors(), descriptors);
  }
  /// What `each` waits for, and the branches of what it waits for in turn.
  static void note_what_is_waited_for(detail::chain& each) noexcept {
    const detail::leaf* wait = each.waits_for();
    if (wait == nullptr) return;
    std::string& cases = cancelled_waits()[wait->describe()];
    if (cases.find(' ' + GetParam().name) == cases.npos) cases += ' ' + GetParam().name;
    if (auto* fork = dynamic_cast<const detail::fork*>(wait)) {
      const_cast<detail::fork*>(fork)->for_each_branch(note_what_is_waited_for);
    }
  }
  static void note_what_tasks_wait_for() {
    this_shard().root->for_each([](detail::chain& each) {
      if (std::string_view(each.name()) == "first") note_what_is_waited_for(each);
    });
  }
  /// After a cancelled wait: the next one gets what came, or comes, for it.
  task<> expect_next_is_served(any_case& c, bool served) {
    auto next = spawn(c.pass());
    co_await turn();
    if (!served || GetParam().forgets) c.serve();
    co_await next;
  }
};

TEST_P(cancelled, before_it_begins) {
  with_fresh([this](any_case& c) -> task<> {
    auto first = spawn(c.pass());
    first.abort();
    EXPECT_TRUE(co_await was_cancelled(first));
    co_await expect_next_is_served(c, false);
  });
}

TEST_P(cancelled, in_the_step_in_which_it_suspends) {
  with_fresh([this](any_case& c) -> task<> {
    join_handle<> first;
    first = spawn([&]() -> task<> {
      first.abort();
      co_await c.pass();
    });
    co_await turn();
    if (GetParam().must_be_served) c.serve();
    EXPECT_TRUE(co_await was_cancelled(first));
    co_await expect_next_is_served(c, false);
  });
}

TEST_P(cancelled, while_it_waits) {
  for (int turns = 0; turns < 4; ++turns) {
    with_fresh([this, turns](any_case& c) -> task<> {
      auto first = spawn(c.pass(), "first");
      co_await yield();
      for (int i = 0; i < turns; ++i) co_await turn();
      EXPECT_TRUE(GetParam().by_itself || !first.is_finished());
      note_what_tasks_wait_for();
      first.abort();
      if (GetParam().must_be_served) c.serve();
      const bool ended = co_await was_cancelled(first);
      EXPECT_TRUE(ended || GetParam().by_itself);
      if (ended) co_await expect_next_is_served(c, false);
    });
  }
}

TEST_P(cancelled, and_what_it_waits_for_comes_in_the_same_turn) {
  for (int turns = 0; turns < 4; ++turns) {
    with_fresh([this, turns](any_case& c) -> task<> {
      auto first = spawn(c.pass());
      co_await yield();
      for (int i = 0; i < turns; ++i) co_await turn();
      first.abort();
      c.serve();
      const bool ended = co_await was_cancelled(first);
      EXPECT_TRUE(ended || GetParam().by_itself);
      if (ended) co_await expect_next_is_served(c, true);
    });
  }
}

TEST_P(cancelled, some_steps_after_what_it_waits_for_has_come) {
  for (int steps = 0; steps < 12; ++steps) {
    with_fresh([this, steps](any_case& c) -> task<> {
      auto first = spawn(c.pass());
      co_await turn();
      c.serve();
      for (int i = 0; i < steps; ++i) {
        co_await yield();
        if (i >= 6) co_await turn();
      }
      first.abort();
      if (co_await was_cancelled(first)) co_await expect_next_is_served(c, true);
    });
  }
}

/// What tasks can be seen to wait for, as it is called in the sources: the description of a leaf, or the name of a list
/// of those who wait.
std::set<std::string> waits_in_the_sources() {
  static const std::regex leaf(R"(describe\(\) const noexcept \w+ \{ return (.*); \})");
  static const std::regex list(
      R"((?:wait_list|event|wait(?:ing|ers)_|\w*room_|places_|publication)\b[^;"]*("[a-z_ ]+"))");
  static const std::regex text(R"re("([^"]+)")re");
  std::set<std::string> found;
  for (const char* layer : {"framework", "timers", "shards", "net"}) {
    const std::filesystem::path root = std::filesystem::path(SKERRY_SOURCE_DIR) / layer;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
      std::ifstream lines(entry.path());
      for (std::string line; std::getline(lines, line);) {
        std::smatch match;
        if (line.find("///") != line.npos || line.find("SKERRY_ASSERT") != line.npos) continue;
        if (!std::regex_search(line, match, leaf) && !std::regex_search(line, match, list)) continue;
        const std::string texts = match[1];
        for (std::sregex_iterator each(texts.begin(), texts.end(), text), end; each != end; ++each) {
          found.insert((*each)[1]);
        }
      }
    }
  }
  return found;
}

/// Waits of the task that starts and stops the shards, which nobody cancels.
const std::set<std::string> never_cancelled = {"drain", "end of main or stop"};

/// After the last test: the list of what was cancelled, and where. It must be every wait in the sources.
class every_wait_was_cancelled final : public testing::Environment {
  void TearDown() override {
    if (GTEST_FLAG_GET(filter) != "*") return;  // a part of the matrix was asked for
    const std::set<std::string> in_sources = waits_in_the_sources();
    EXPECT_TRUE(in_sources.contains("sleep")) << "the sources are not where the test looks";
    for (const auto& [wait, cases] : cancelled_waits()) std::printf("%-24s%s\n", wait.c_str(), cases.c_str());
    for (const std::string& wait : in_sources) {
      EXPECT_NE(cancelled_waits().contains(wait), never_cancelled.contains(wait))
          << "nothing here waits for \"" << wait << "\": give it a case";
    }
  }
};
[[maybe_unused]] testing::Environment* const matrix = testing::AddGlobalTestEnvironment(new every_wait_was_cancelled);

INSTANTIATE_TEST_SUITE_P(awaitables, cancelled, testing::ValuesIn(all_kinds()),
                         [](const testing::TestParamInfo<kind>& each) { return each.param.name; });

}  // namespace
}  // namespace skerry
