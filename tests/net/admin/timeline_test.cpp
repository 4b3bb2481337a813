// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/admin/timeline.hpp>

#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace skerry::net::admin {
namespace {

using nlohmann::json;
using observe::trace_event;
using observe::trace_kind;

json drawn(shard_id shard, const std::vector<trace_event>& events) {
  std::string text = "[";
  timeline row(shard);
  row.append_name(text);
  row.append(text, events);
  text.replace(text.size() - 2, 2, "]");
  return json::parse(text);
}

TEST(timeline, names_its_shard_and_boxes_the_steps_of_tasks) {
  const json events = drawn(3, {{.time_ns = 1'002'003, .kind = trace_kind::task_begin, .arg = 0, .a = 7, .b = 0},
                                {.time_ns = 1'002'003, .kind = trace_kind::task_end, .arg = 0, .a = 7, .b = 0}});
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0]["args"]["name"], "shard 3");
  EXPECT_EQ(events[1]["ph"], "B");
  EXPECT_EQ(events[1]["name"], "task 7");
  EXPECT_EQ(events[1]["tid"], 3);
  EXPECT_DOUBLE_EQ(events[1]["ts"], 1002.003);
  EXPECT_EQ(events[2]["ph"], "E");
  EXPECT_DOUBLE_EQ(events[2]["ts"], 1002.004) << "what shares a stamp is shown in its order";
}

TEST(timeline, an_end_whose_begin_was_overwritten_is_not_shown) {
  EXPECT_EQ(drawn(0, {{.time_ns = 1, .kind = trace_kind::task_end, .arg = 0, .a = 7, .b = 0}}).size(), 1u);
}

TEST(timeline, an_arrow_has_the_same_name_at_both_ends) {
  const auto arrow = [](const json& events, const char* phase) -> std::string {
    for (const json& each : events) {
      if (each["ph"] == phase) return each["id"];
    }
    return "none";
  };
  const json sent = drawn(0, {{.time_ns = 1, .kind = trace_kind::message_sent, .arg = 2, .a = 9, .b = 5}});
  const json begun = drawn(2, {{.time_ns = 2, .kind = trace_kind::message_begin, .arg = 0, .a = 9, .b = 0}});
  EXPECT_EQ(arrow(sent, "s"), arrow(begun, "f"));
  const json answered = drawn(2, {{.time_ns = 3, .kind = trace_kind::message_end, .arg = 0, .a = 9, .b = 0}});
  const json home = drawn(0, {{.time_ns = 4, .kind = trace_kind::message_reply, .arg = 2, .a = 9, .b = 0}});
  EXPECT_EQ(arrow(answered, "s"), arrow(home, "f"));
  EXPECT_NE(arrow(sent, "s"), arrow(answered, "s"));
}

TEST(timeline, every_kind_is_shown) {
  for (const auto kind : {trace_kind::completion, trace_kind::timer, trace_kind::first_custom}) {
    EXPECT_EQ(drawn(0, {{.time_ns = 1, .kind = kind, .arg = 1, .a = 2, .b = ~0ull}}).size(), 2u);
  }
}

}  // namespace
}  // namespace skerry::net::admin
