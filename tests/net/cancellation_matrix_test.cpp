// SPDX-License-Identifier: Apache-2.0
/// Every awaitable of Skerry is cancelled at each point where it can be suspended, and in the turn in which what it
/// waits for comes. Afterwards all frames are back, and what came is there for the next one who waits.
///
/// Everything that suspends a task says what it is, to be shown to people (`leaf::describe`). The matrix notes what the
/// tasks that it cancels wait for, and fails when the sources have a wait that was not among them.

#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/skerry.hpp>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <support/file_wait_cases.hpp>
#include <support/pool_wait_cases.hpp>
#include <support/run_shards.hpp>
#include <support/task_steps.hpp>
#include <support/toolkit_wait_cases.hpp>
#include <support/wait_cases.hpp>

namespace skerry {
namespace {

using namespace test_support;
using namespace test_support::waits;

/// A case without its type, so that the tests below are compiled once.
class any_case {
 public:
  virtual ~any_case() = default;
  virtual task<> prepare() = 0;
  virtual task<> pass() = 0;
  virtual void serve() = 0;
  /// The directory that it works in; may be empty.
  virtual std::string place() const = 0;
};

template <class Case>
class erased final : public any_case {
 public:
  task<> prepare() override { return case_.prepare(); }
  task<> pass() override { (void)co_await case_.wait(); }
  void serve() override { case_.serve(); }
  std::string place() const override {
    if constexpr (requires { case_.here.path(); }) return case_.here.path();
    return {};
  }

 private:
  Case case_;
};

struct kind {
  std::string name;
  unsigned shards;
  bool in_manual_time, by_itself, never_rests, must_be_served, forgets, of_the_kernel;
  std::unique_ptr<any_case> (*make)();
};

/// The last part of the name after "Case = " in what the compiler says of a function.
std::string type_name(std::string_view pretty) {
  pretty.remove_prefix(pretty.find("Case = "));
  pretty = pretty.substr(0, pretty.find_first_of(";]"));
  return std::string(pretty.substr(pretty.rfind(':') + 1));
}

template <class Case>
kind kind_of() {
  return {type_name(__PRETTY_FUNCTION__),
          Case::shards,
          std::is_base_of_v<in_time, Case>,
          Case::by_itself || (simulating() && Case::by_itself_simulated),
          Case::never_rests,
          Case::must_be_served,
          Case::forgets,
          Case::of_the_kernel,
          []() -> std::unique_ptr<any_case> { return std::make_unique<erased<Case>>(); }};
}

template <class... Case>
std::vector<kind> kinds_of() {
  return {kind_of<Case>()...};
}

const std::vector<kind>& all_kinds() {
  static const std::vector<kind> kinds = kinds_of<
      awaited_task, join, yielding, in_group, in_group_after_its_body, all, all_of_many, any, any_of_many, selected,
      timeout_of_a_wait, select_handler, cancel_token_of_another, cancel_token_fires, shield, with_cleanup, done_once,
      at_a_barrier, of_condition, of_mutex, of_shared_mutex_writer, of_shared_mutex_reader, of_semaphore, of_event,
      of_auto_reset_event, of_latch, of_gate, sleeping, timeout_of_another, timeout_fires, attempt, back_off,
      readable_pipe, writable_pipe, events_of_a_pipe, read, read_readiness, read_line, move_of_a_stream, flush, write,
      accept, accept_by_name, accept_of_a_descriptor, drain_of_a_server, hand_over_of_a_server, connect, connect_to_any,
      resolved, open_of_a_file, status_of_a_file, sync_of_a_file, close_of_a_file, rename_of_a_file, remove_of_a_file,
      read_of_a_file, read_into_a_buffer, write_of_a_file, vectored_read_of_a_file, vectored_write_of_a_file,
      append_to_a_file, truncate_of_a_file, allocate_of_a_file, alignment_of_a_file, make_of_a_directory,
      remove_of_a_directory, list_of_a_directory, block_of_a_reader, room_of_a_writer, flush_of_a_writer,
      sync_of_a_writer, change_of_a_file, add_of_a_watch, receive_of_a_datagram, send_of_a_datagram,
      receive_of_a_message, send_of_a_message, read_of_a_pipe, flush_of_a_pipe, end_of_a_child, next_signal,
      wish_to_stop, accept_of_messages, cut_off_by_a_drain, drain_of_a_body, submitted_task, submitted_function,
      submitted_batch, message_home, called_on_all, mapped_and_reduced,
      // of toolkit
      of_channel_recv, of_channel_end, of_channel_send, of_channel_refuse, of_unbounded_send, of_oneshot, of_broadcast,
      of_watch, for_each, mapped, reduced, generated, iterated, shard_channel_recv, shard_channel_send, tick,
      every_hour, precisely, call_that_waits, call_under_way, job_that_waits, job_under_way>();
  return kinds;
}

/// What the cancelled tasks were seen to wait for, and in which cases.
std::map<std::string, std::string>& cancelled_waits() {
  static std::map<std::string, std::string> seen;
  return seen;
}

/// Directories that there are on the real disk, on that of a simulated host.
task<> make_directories(std::string path) {
  for (std::size_t end = path.find('/', 1); !path.empty(); end = path.find('/', end + 1)) {
    try {
      co_await net::make_directory(path.substr(0, end));
    } catch (const std::system_error&) {
      // It is there.
    }
    if (end == path.npos) break;
  }
}

class cancelled : public testing::TestWithParam<kind> {
 protected:
  void SetUp() override {
    if (simulation != nullptr && GetParam().of_the_kernel) GTEST_SKIP() << "no simulation has what it waits for";
  }
  /// A turn's millisecond in a simulation would be enough for 200 000 steps of what never rests.
  static auto turn() {
    return GetParam().never_rests ? sleep_until(clock::now() - std::chrono::hours(1)) : test_support::turn();
  }
  /// Runs `body` with a fresh case and holds it against the frames and descriptors it leaves behind.
  void with_fresh(const std::function<task<>(any_case&)>& body) {
    const std::ptrdiff_t descriptors = simulating() ? 0 : open_descriptors();
    manual_clock time;
    hours = &time;
    auto main = [&]() -> task<> {
      const std::size_t before = this_shard().loop->frames().in_use();
      const std::ptrdiff_t simulated_before = simulated() ? open_descriptors() : 0;
      {
        std::unique_ptr<any_case> c = GetParam().make();
        if (simulated()) co_await make_directories(c->place());
        co_await c->prepare();
        const std::size_t tasks = this_shard().root->size();
        co_await body(*c);
        while (this_shard().root->size() > tasks) co_await turn();  // what serve() began ends by itself
      }
      // What a case leaves behind to be closed, closes by itself.
      while (net::open_files() != 0) co_await turn();
      const auto frames = [] { return this_shard().loop->frames().in_use(); };
      const auto simulated_descriptors = [] { return simulated() ? open_descriptors() : 0; };
      for (int i = 0; i < 1000 && (frames() != before || simulated_descriptors() != simulated_before); ++i) {
        co_await turn();
      }
      EXPECT_EQ(frames(), before);
      EXPECT_EQ(simulated_descriptors(), simulated_before);
    };
    clock_source& source = GetParam().in_manual_time ? static_cast<clock_source&>(time) : kernel_clock();
    run_shards(quiet_options(GetParam().shards), main, source);
    EXPECT_EQ(simulating() ? 0 : open_descriptors(), descriptors);
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
      auto pass_and_note = [&c]() -> task<> {  // in the step that suspends: it may come by itself before the next
        co_await when_suspended([&c] { return c.pass().operator co_await(); },
                                [] { note_what_is_waited_for(*this_shard().current); });
      };
      auto first = spawn(pass_and_note, "first");
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
      const bool let_go = co_await was_cancelled(first);
      if (let_go) co_await expect_next_is_served(c, true);
    });
  }
}

/// Leaves that are called what whoever makes them says; there the name is found by `names_a_wait` below.
const std::set<std::string> named_by_their_makers = {"framework/sync/wait_list.cpp", "framework/sync/wait_list.hpp",
                                                     "framework/task/chain.hpp", "net/file/detail/file_blocks.hpp",
                                                     "toolkit/pool/executor.hpp"};

/// What tasks can be seen to wait for, as it is called in the sources: the description of a leaf, the name of a list of
/// those who wait, or what is given to a leaf of those above.
std::set<std::string> waits_in_the_sources() {
  std::set<std::string> found;
  for (const char* layer : {"framework", "timers", "shards", "toolkit", "net"}) {
    const std::filesystem::path root = std::filesystem::path(SKERRY_SOURCE_DIR) / layer;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
      std::ifstream lines(entry.path());
      for (std::string line; std::getline(lines, line);) {
        const auto has = [&line](const char* word) { return line.find(word) != line.npos; };
        const bool names_a_wait = has("describe() const noexcept") || has("wait_list") || has(" event ") ||
                                  has(" event(") || has("waiting_") || has(".emplace(\"") || has("do_job<") ||
                                  has("awaiter(*this, \"");
        const bool other_event = has("=>");  // of a page's script
        if (has("describe() const noexcept") && !has("\"")) {
          const std::string file = std::filesystem::relative(entry.path(), SKERRY_SOURCE_DIR);
          EXPECT_TRUE(named_by_their_makers.contains(file))
              << file << " has a leaf whose name cannot be seen: " << line;
        }
        if (!names_a_wait || other_event || has("///") || has("SKERRY_ASSERT") || has("#include")) continue;
        for (std::size_t open = line.find('"'); open != line.npos;) {
          const std::size_t close = line.find('"', open + 1);
          const std::string text = line.substr(open + 1, close - open - 1);
          if (text.find_first_not_of("abcdefghijklmnopqrstuvwxyz_ ") == text.npos) found.insert(text);
          open = line.find('"', close + 1);
        }
      }
    }
  }
  return found;
}

/// Waits of the task that starts and stops the shards, which nobody cancels.
const std::set<std::string> never_cancelled = {"drain", "request to stop"};

/// After the last test: the list of what was cancelled, and where. It must be every wait in the sources.
class every_wait_was_cancelled final : public testing::Environment {
  void TearDown() override {
    if (GTEST_FLAG_GET(filter) != "*" || simulation != nullptr) return;  // a part of the matrix was asked for
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
