// SPDX-License-Identifier: Apache-2.0
/// with_group, cancel_source, shielded and finally: who ends when, and who hears of what was thrown.

#include <skerry/framework/task/cancel.hpp>
#include <skerry/framework/task/group.hpp>
#include <skerry/shards/block_on.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include <support/heap_count.hpp>
#include <support/waiting.hpp>

namespace skerry {
namespace {

using namespace test_support;

/// Writes a letter when it is destroyed.
struct epitaph {
  epitaph(std::string& to, char letter) noexcept : out(to), name(letter) {}
  epitaph(const epitaph&) = delete;
  epitaph& operator=(const epitaph&) = delete;
  ~epitaph() { out += name; }
  std::string& out;
  char name;
};

task<> lie_at(door& d, std::string& out, char name) {
  epitaph here(out, name);
  co_await d.wait();
}

TEST(with_group, gives_the_bodys_result_after_all_children_have_ended) {
  run_with_all_frames_back([]() -> task<> {
    door first, second;
    tally seen;
    auto handle = spawn([&]() -> task<int> {
      auto body = [&](group& g) -> task<int> {
        g.spawn(pass(first, 1, seen));
        g.spawn([&, held = std::make_unique<guard>(seen.destroyed)] { return pass(second, 2, seen); });
        co_return 7;
      };
      co_return co_await with_group(body);
    });
    co_await let_others_run();
    EXPECT_EQ(seen.started, 2);
    first.open();
    co_await let_others_run();
    EXPECT_FALSE(handle.is_finished());
    second.open();
    EXPECT_EQ(co_await handle, 7);
    EXPECT_EQ(seen.destroyed, 3) << "two children and what one of them held";
  });
}

TEST(with_group, the_callable_lives_until_the_end_and_is_destroyed_once) {
  run_with_all_frames_back([]() -> task<> {
    int destroyed = 0;
    {
      auto body = [held = std::make_unique<guard>(destroyed), &destroyed](group& g) -> task<> {
        g.spawn([&held, &destroyed]() -> task<> {
          co_await yield();
          EXPECT_NE(held, nullptr);
          EXPECT_EQ(destroyed, 0);
        });
        co_return;
      };
      co_await with_group(body);
    }
    EXPECT_EQ(destroyed, 1);
  });
}

TEST(with_group, a_child_may_spawn_siblings_and_the_body_may_wait_for_all) {
  run_with_all_frames_back([]() -> task<> {
    co_await with_group([](group& g) -> task<> {
      int left = 50;  // a local that children refer to while the body waits
      auto next = [&](auto& self) -> task<> {
        co_await yield();
        if (--left > 0) g.spawn(self(self));
      };
      g.spawn(next(next));
      co_await g.until_empty();
      EXPECT_EQ(left, 0);
    });
  });
}

TEST(with_group, a_childs_exception_ends_the_others_and_is_rethrown_after_them) {
  run_with_all_frames_back([]() -> task<> {
    door failing, waiting, in_body;
    waiting.late = true;
    tally seen;
    auto handle = spawn(failure_of([](door& f, door& w, door& b, tally& s) -> task<> {
      co_await with_group([&](group& g) -> task<> {
        g.spawn(fail_after(f, 3, s));
        g.spawn(pass(w, 1, s));
        co_await pass(b, 1, s);
        ADD_FAILURE() << "the body went on after a child failed";
      });
    }(failing, waiting, in_body, seen)));
    co_await let_others_run();
    failing.open();
    co_await let_others_run();
    EXPECT_EQ(in_body.let_go_calls, 1);
    EXPECT_EQ(waiting.let_go_calls, 1);
    EXPECT_FALSE(handle.is_finished());
    EXPECT_EQ(seen.destroyed, 1) << "the body's frames stay while a child may refer to them";
    waiting.open();
    EXPECT_EQ(co_await handle, 3);
    EXPECT_EQ(seen.running(), 0);
    EXPECT_EQ(unseen_errors(), 0u);
  });
}

TEST(with_group, the_bodys_exception_ends_the_children_and_later_failures_are_counted) {
  run_with_all_frames_back([]() -> task<> {
    door waiting, ready_to_fail;
    tally seen;
    auto fails = [&]() -> task<> {
      co_await with_group([&](group& g) -> task<> {
        g.spawn(pass(waiting, 1, seen));
        g.spawn(fail_after(ready_to_fail, 5, seen));
        while (!ready_to_fail.waited_for()) co_await yield();
        ready_to_fail.open();
        throw failure(4);
      });
    };
    EXPECT_EQ(co_await failure_of(fails()), 4);
    EXPECT_EQ(waiting.let_go_calls, 1);
    EXPECT_EQ(unseen_errors(), 1u);
    EXPECT_EQ(seen.running(), 0);
  });
}

TEST(with_group, cancelled_children_go_first_then_the_body_then_the_caller) {
  run_with_all_frames_back([]() -> task<> {
    door of_child, of_other, of_body;
    of_child.late = true;
    std::string out;
    auto handle = spawn([&]() -> task<> {
      epitaph caller(out, 'c');
      co_await with_group([&](group& g) -> task<> {
        g.spawn(lie_at(of_child, out, '1'));
        g.spawn(lie_at(of_other, out, '2'));
        co_await lie_at(of_body, out, 'b');
      });
    });
    co_await let_others_run();
    handle.abort();
    co_await let_others_run();
    EXPECT_EQ(out, "2");
    EXPECT_EQ(of_body.let_go_calls, 1) << "the body is asked with the children";
    of_child.open();
    EXPECT_TRUE(co_await ends_cancelled(handle));
    EXPECT_EQ(out, "21bc");
  });
}

TEST(with_group, a_body_that_is_queued_when_the_cancel_comes_waits_for_the_children_too) {
  run_with_all_frames_back([]() -> task<> {
    door of_child, of_body;
    of_child.late = true;
    std::string out;
    auto handle = spawn([&]() -> task<> {
      co_await with_group([&](group& g) -> task<> {
        epitaph body(out, 'b');
        g.spawn(lie_at(of_child, out, '1'));
        co_await of_body.wait();
        g.spawn(lie_at(of_body, out, '?'));
        co_await yield();
        ADD_FAILURE() << "went on after a cancelled wait";
      });
    });
    co_await let_others_run();
    of_body.open();
    handle.abort();
    co_await let_others_run();
    EXPECT_EQ(out, "");
    of_child.open();
    EXPECT_TRUE(co_await ends_cancelled(handle));
    EXPECT_EQ(out, "1b");
  });
}

TEST(with_group, cancelled_before_the_body_or_a_child_starts_neither_runs) {
  for (int steps = 0; steps < 4; ++steps) {
    run_with_all_frames_back([steps]() -> task<> {
      door d, other;
      tally seen;
      auto handle = spawn([&]() -> task<> {
        co_await with_group([&](group& g) -> task<> {
          g.spawn(pass(d, 1, seen));
          co_await pass(other, 1, seen);
        });
      });
      for (int i = 0; i < steps; ++i) co_await yield();
      handle.abort();
      EXPECT_TRUE(co_await ends_cancelled(handle));
      EXPECT_EQ(seen.finished, 0);
      EXPECT_EQ(seen.running(), 0);
      EXPECT_EQ(seen.started, steps < 2 ? 0 : steps < 3 ? 1 : 2);
    });
  }
}

TEST(with_group, a_cancel_in_the_turn_in_which_all_complete_wins_over_the_result) {
  run_with_all_frames_back([]() -> task<> {
    door of_child, of_body;
    tally seen;
    auto handle = spawn([&]() -> task<> {
      co_await with_group([&](group& g) -> task<> {
        g.spawn(pass(of_child, 1, seen));
        co_await pass(of_body, 1, seen);
      });
    });
    co_await let_others_run();
    of_child.open();
    of_body.open();
    handle.abort();
    EXPECT_TRUE(co_await ends_cancelled(handle));
    EXPECT_EQ(seen.finished, 2) << "both waits were over";
  });
}

TEST(with_group, children_take_nothing_from_the_heap) {
  run_with_all_frames_back([]() -> task<> {
    std::uint64_t before = 0;
    for (int i = 0; i < 100; ++i) {
      if (i == 1) before = heap_allocations();
      co_await with_group([](group& g) -> task<> {
        for (int n = 0; n < 10; ++n) g.spawn(ready(n));
        co_return;
      });
    }
    EXPECT_EQ(heap_allocations(), before);
  });
}

/// Whether `body` was ended by its token.
task<bool> says_cancelled(task<> body) {
  auto handle = spawn(std::move(body));
  co_return co_await ends_cancelled(handle);
}

TEST(with_cancel, a_result_in_time_is_given_and_an_exception_passes) {
  run_with_all_frames_back([]() -> task<> {
    cancel_source source;
    EXPECT_EQ(co_await with_cancel(source.token(), ready(3)), 3);
    EXPECT_EQ(co_await with_cancel(cancel_token(), ready(4)), 4);
    auto fails = [&]() -> task<> { co_await with_cancel(source.token(), fail_now(5)); };
    EXPECT_EQ(co_await failure_of(fails()), 5);
    source.cancel();  // nobody listens any more
  });
}

TEST(with_cancel, the_cancel_of_a_grandparent_ends_what_waits_and_then_throws) {
  run_with_all_frames_back([]() -> task<> {
    door d;
    d.late = true;
    tally seen;
    cancel_source source;
    cancel_source child(source.token());
    cancel_source grandchild(child.token());
    cancel_source sibling(source.token());
    auto handle = spawn([&]() -> task<> { co_await with_cancel(grandchild.token(), pass(d, 1, seen)); });
    co_await let_others_run();
    sibling.cancel();
    co_await let_others_run();
    EXPECT_EQ(d.let_go_calls, 0);
    EXPECT_FALSE(source.cancelled());
    const std::uint64_t before = heap_allocations();
    source.cancel();
    source.cancel();
    EXPECT_EQ(heap_allocations(), before);
    EXPECT_TRUE(grandchild.cancelled());
    EXPECT_EQ(d.let_go_calls, 1);
    co_await let_others_run();
    EXPECT_FALSE(handle.is_finished()) << "the wait has not acknowledged yet";
    d.open();
    EXPECT_TRUE(co_await ends_cancelled(handle));
    EXPECT_EQ(seen.running(), 0);
  });
}

TEST(with_cancel, under_a_cancelled_token_nothing_starts) {
  run_with_all_frames_back([]() -> task<> {
    door d;
    tally seen;
    cancel_source source;
    source.cancel();
    cancel_source late_child(source.token());
    EXPECT_TRUE(late_child.cancelled());
    auto waits = [&]() -> task<> { co_await with_cancel(late_child.token(), pass(d, 1, seen)); };
    EXPECT_TRUE(co_await says_cancelled(waits()));
    EXPECT_EQ(seen.started, 0);
  });
}

TEST(with_cancel, completion_in_the_turn_of_the_cancel_wins) {
  run_with_all_frames_back([]() -> task<> {
    door d;
    tally seen;
    cancel_source source;
    auto handle = spawn([&]() -> task<int> { co_return co_await with_cancel(source.token(), pass(d, 8, seen)); });
    co_await let_others_run();
    d.open();
    source.cancel();
    EXPECT_EQ(co_await handle, 8);
  });
}

TEST(with_cancel, the_cancel_of_the_caller_comes_through_at_every_point) {
  for (int steps = 0; steps < 4; ++steps) {
    for (bool also_by_token : {false, true}) {
      run_with_all_frames_back([=]() -> task<> {
        door d;
        tally seen;
        cancel_source source;
        auto handle = spawn([&]() -> task<> {
          try {
            co_await with_cancel(source.token(), pass(d, 1, seen));
          } catch (...) {
            ADD_FAILURE() << "a caller that is cancelled sees nothing";
          }
        });
        for (int i = 0; i < steps; ++i) co_await yield();
        handle.abort();
        if (also_by_token) source.cancel();
        EXPECT_TRUE(co_await ends_cancelled(handle));
        EXPECT_EQ(seen.finished, 0);
        EXPECT_EQ(seen.running(), 0);
      });
    }
  }
}

TEST(cancel_source, a_task_may_cancel_the_source_it_runs_under) {
  run_with_all_frames_back([]() -> task<> {
    cancel_source source;
    auto ends_itself = [&]() -> task<> {
      auto inner = [&]() -> task<> {
        source.cancel();
        co_await yield();
        ADD_FAILURE() << "went on after a cancelled wait";
      };
      co_await with_cancel(source.token(), inner());
    };
    EXPECT_TRUE(co_await says_cancelled(ends_itself()));
  });
}

TEST(cancel_source, tokens_are_counted_references) {
  cancel_source source;
  cancel_token a = source.token();
  cancel_token b = a;
  cancel_token c = std::move(a);
  b = c;
  c = cancel_token();
  EXPECT_FALSE(b.cancelled());
  source.cancel();
  EXPECT_TRUE(b.cancelled());
  EXPECT_FALSE(c.cancelled());
}

TEST(cancel_sourceDeathTest, a_token_that_outlives_its_source_is_named) {
  EXPECT_DEATH(
      {
        cancel_token left;
        cancel_source source;
        left = source.token();
      },
      "a cancel_source outlives its tokens");
}

TEST(shielded, a_cancel_passes_only_after_it_has_ended) {
  for (int steps = 0; steps < 4; ++steps) {
    run_with_all_frames_back([steps]() -> task<> {
      door d;
      tally seen;
      auto handle = spawn([&]() -> task<> {
        co_await shielded(pass(d, 1, seen));
        ADD_FAILURE() << "went on after a cancelled wait";
      });
      for (int i = 0; i < steps; ++i) co_await yield();
      handle.abort();
      co_await let_others_run();
      EXPECT_EQ(d.let_go_calls, 0);
      if (steps > 0) {
        EXPECT_FALSE(handle.is_finished());
        d.open();
      }
      EXPECT_TRUE(co_await ends_cancelled(handle));
      EXPECT_EQ(seen.finished, steps > 0 ? 1 : 0);
    });
  }
}

TEST(shielded, results_and_exceptions_pass_and_those_of_a_cancelled_caller_are_counted) {
  run_with_all_frames_back([]() -> task<> {
    EXPECT_EQ(co_await shielded(ready(3)), 3);
    auto fails = []() -> task<> { co_await shielded(fail_now(5)); };
    EXPECT_EQ(co_await failure_of(fails()), 5);
    door d;
    tally seen;
    auto handle = spawn([&]() -> task<> { co_await shielded(fail_after(d, 6, seen)); });
    co_await let_others_run();
    handle.abort();
    d.open();
    EXPECT_TRUE(co_await ends_cancelled(handle));
    EXPECT_EQ(unseen_errors(), 1u);
  });
}

TEST(finally, the_cleanup_runs_after_a_return_and_after_a_throw) {
  run_with_all_frames_back([]() -> task<> {
    std::string out;
    auto say = [&](char name) -> task<> {
      co_await yield();
      out += name;
    };
    auto body = [&]() -> task<int> {
      co_await say('b');
      co_return 4;
    };
    EXPECT_EQ(co_await finally(body(), say('c')), 4);
    EXPECT_EQ(out, "bc");
    auto fails = [&]() -> task<> { co_await finally(fail_now(5), [&] { return say('d'); }); };
    EXPECT_EQ(co_await failure_of(fails()), 5);
    EXPECT_EQ(out, "bcd");
  });
}

TEST(finally, a_cleanup_that_throws_is_heard_if_the_body_did_not) {
  run_with_all_frames_back([]() -> task<> {
    auto only_cleanup = []() -> task<> { co_await finally(ready(1), fail_now(6)); };
    EXPECT_EQ(co_await failure_of(only_cleanup()), 6);
    EXPECT_EQ(unseen_errors(), 0u);
    auto both = []() -> task<> { co_await finally(fail_now(5), fail_now(6)); };
    EXPECT_EQ(co_await failure_of(both()), 5);
    EXPECT_EQ(unseen_errors(), 1u);
  });
}

TEST(finally, the_cleanup_runs_to_its_end_whenever_the_caller_is_cancelled) {
  // Before it starts; with the body queued; with the body waiting; with the cleanup queued; with the cleanup waiting.
  for (int moment = 0; moment < 5; ++moment) {
    run_with_all_frames_back([moment]() -> task<> {
      door of_body, of_cleanup;
      tally body, cleanup;
      auto handle = spawn([&]() -> task<> {
        co_await finally(pass(of_body, 1, body), as_void(pass(of_cleanup, 2, cleanup)));
        ADD_FAILURE() << "went on after a cancelled wait";
      });
      for (int i = 0; i < moment && i < 2; ++i) co_await yield();
      if (moment > 2) {
        of_body.open();
        co_await yield();
        if (moment > 3) co_await yield();
      }
      EXPECT_EQ(cleanup.started, moment > 3 ? 1 : 0);
      handle.abort();
      co_await let_others_run();
      EXPECT_EQ(of_cleanup.let_go_calls, 0);
      if (moment > 0) {
        EXPECT_FALSE(handle.is_finished());
        EXPECT_EQ(body.running(), 0);
        EXPECT_EQ(body.finished, moment > 2 ? 1 : 0);
        EXPECT_TRUE(of_cleanup.waited_for());
        of_cleanup.open();
      }
      EXPECT_TRUE(co_await ends_cancelled(handle));
      EXPECT_EQ(cleanup.finished, moment > 0 ? 1 : 0) << "only what was awaited has a cleanup";
    });
  }
}

TEST(finally, a_body_that_completes_in_the_turn_of_the_cancel_is_cleaned_up_after) {
  run_with_all_frames_back([]() -> task<> {
    door of_body, of_cleanup;
    of_cleanup.ajar = true;
    tally body, cleanup;
    auto handle = spawn(
        [&]() -> task<> { co_await finally(fail_after(of_body, 7, body), as_void(pass(of_cleanup, 2, cleanup))); });
    co_await let_others_run();
    of_body.open();
    handle.abort();
    EXPECT_TRUE(co_await ends_cancelled(handle));
    EXPECT_EQ(body.finished, 1);
    EXPECT_EQ(cleanup.finished, 1);
    EXPECT_EQ(unseen_errors(), 1u) << "what a body throws under cancel is counted";
  });
}

TEST(combining, tokens_shields_and_cleanups_take_nothing_from_the_heap) {
  run_with_all_frames_back([]() -> task<> {
    std::uint64_t before = 0;
    for (int i = 0; i < 100; ++i) {
      if (i == 1) before = heap_allocations();
      cancel_source source;
      cancel_source child(source.token());
      co_await with_cancel(child.token(), ready(1));
      co_await shielded(ready(1));
      co_await finally(ready(1), yield());
      source.cancel();
    }
    EXPECT_EQ(heap_allocations(), before);
  });
}

}  // namespace
}  // namespace skerry
