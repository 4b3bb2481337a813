// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/startup_error.hpp>
#include <skerry/framework/task/cancel.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/net/admin/admin.hpp>
#include <skerry/net/admin/exposition.hpp>
#include <skerry/net/admin/page.hpp>
#include <skerry/net/admin/timeline.hpp>
#include <skerry/net/http/router.hpp>
#include <skerry/net/http/server.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <algorithm>
#include <chrono>
#include <iterator>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace skerry::net::admin {

namespace {

using http::query;
using http::response;

constexpr std::string_view default_place = "127.0.0.1:9180";
constexpr std::size_t tasks_max = 1000;
constexpr unsigned recorded_ms_max = 10'000;
constexpr std::size_t events_at_once = 256;

/// On shard 0 once the endpoint was asked for.
struct started {};

/// What `of_shard()` returns on each shard, in order.
template <class OfShard>
task<std::vector<std::invoke_result_t<OfShard>>> from_all_shards(OfShard of_shard) {
  std::vector<std::invoke_result_t<OfShard>> all;
  for (shard_id s = 0; s < shard_count(); ++s) all.push_back(co_await submit_to(s, of_shard));
  co_return all;
}

/// As a JSON string.
std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= ' ') out += c;
  }
  return out + '"';
}

std::int64_t micros(std::chrono::nanoseconds time) { return time.count() / 1000; }

task<response> metrics() {
  const auto snapshots = co_await from_all_shards([] { return this_shard().metrics->take_snapshot(); });
  co_return response().body("text/plain; version=0.0.4; charset=utf-8", prometheus_text(snapshots));
}

task<response> health() {
  auto every_loop_turns = []() -> task<> { co_await from_all_shards([] { return this_shard_id(); }); };
  try {
    co_await with_timeout(std::chrono::seconds(1), every_loop_turns());
  } catch (const timeout_error&) {
    co_return http::problem(503, "a shard has not answered for a second");
  }
  co_return response::text("ok\n");
}

task<response> ready() {
  if (this_assembled_shard().draining()) co_return http::problem(503, "the program is stopping");
  co_return response::text("ready\n");
}

task<response> shards() {
  std::string out = "[";
  for (const shard_stats& s : co_await from_all_shards([] { return stats(); })) {
    fmt::format_to(
        std::back_inserter(out),
        R"({}{{"shard":{},"uptime_us":{},"idle_us":{},"turns":{},"tasks_run":{},"tasks":{},"tasks_started":{},)"
        R"("timers":{},"kernel_entries":{},"submissions":{},"completions":{},"sleeps":{},"wakes_sent":{},)"
        R"("wakes_received":{},"frames":{},"frame_bytes":{},"buffers":{},"buffers_taken":{},"messages_sent":{},)"
        R"("messages_outstanding":{},"unseen_errors":{},"log_lines_dropped":{}}})",
        s.id == 0 ? "" : ",\n", s.id, micros(s.loop.uptime), micros(s.loop.idle), s.loop.turns, s.loop.tasks_run,
        s.tasks, s.tasks_started, s.timers, s.kernel.kernel_entries, s.kernel.submissions, s.kernel.completions,
        s.loop.sleeps, s.kernel.wakes_sent, s.loop.wakes_received, s.frames_in_use, s.frame_bytes_reserved,
        s.buffers.buffers, s.buffers.taken, s.messages_sent, s.messages_outstanding, s.loop.unseen_errors,
        s.log_lines_dropped);
  }
  co_return response::json(out + "]\n");
}

task<response> hops() {
  std::string out = "[";
  for (const shard_stats& to : co_await from_all_shards([] { return stats(); })) {
    for (std::size_t from = 0; from < to.received_from.size(); ++from) {
      const pair_stats& pair = to.received_from[from];
      fmt::format_to(std::back_inserter(out), R"({}{{"from":{},"to":{},"messages":{},"batches":{},"wait_us":{}}})",
                     out.size() == 1 ? "" : ",\n", from, to.id, pair.requests, pair.batches, micros(pair.queue_wait));
    }
  }
  co_return response::json(out + "]\n");
}

/// This shard's tasks, as the inside of a JSON array.
std::string tasks_here() {
  std::string out;
  std::size_t told = 0;
  this_shard().root->for_each([&](const skerry::detail::chain& task) {
    if (++told > tasks_max) return;
    const skerry::detail::leaf* wait = task.waits_for();
    fmt::format_to(std::back_inserter(out), R"({}{{"shard":{},"id":{},"name":{},"waits_for":{}}})",
                   told == 1 ? "" : ",\n", this_shard_id(), task.id(), quoted(task.name()),
                   wait != nullptr ? quoted(wait->describe()) : "null");
  });
  return out;
}

task<response> tasks() {
  std::string out = "[";
  for (const std::string& some : co_await from_all_shards([] { return tasks_here(); })) {
    if (!some.empty()) out.append(out.size() == 1 ? "" : ",\n").append(some);
  }
  co_return response::json(out + "]\n");
}

/// What crosses of a shard's recording.
struct recording {
  using crosses_shards = recording;
  std::vector<observe::trace_event> events;
};

/// A shard's latest recording that this endpoint asked for.
struct recorder {
  const observe::trace_buffer* buffer = nullptr;
  bool records = false;
};

task<> stop_recording() {
  auto stop = [] {
    auto* here = resources().find<recorder>();
    if (here != nullptr && std::exchange(here->records, false)) this_assembled_shard().stop_trace();
  };
  for (shard_id s = 0; s < shard_count(); ++s) co_await submit_to(s, stop);
}

/// Records on all shards for a while. False when somebody else does that already.
task<bool> record(std::chrono::milliseconds time) {
  auto begin = [] {
    if (this_shard().trace != nullptr) return false;
    auto* here = resources().find<recorder>();
    if (here == nullptr) here = &resources().emplace<recorder>();
    here->buffer = &this_assembled_shard().start_trace();
    return here->records = true;
  };
  // Whoever has shard 0 has them all, so that two who come at once do not stop each other.
  const bool free = co_await submit_to(0, begin);
  if (!free) co_return false;
  auto wait = [begin, time]() -> task<> {
    for (shard_id s = 1; s < shard_count(); ++s) co_await submit_to(s, begin);
    co_await sleep_for(time);
  };
  co_await finally(wait, stop_recording());
  co_return true;
}

task<response> trace(query<"ms", std::optional<unsigned>> ms) {
  if (ms->value_or(0) > recorded_ms_max) {
    throw http::http_error(400, fmt::format("query parameter ms: at most {}", recorded_ms_max));
  }
  const bool recorded = co_await record(std::chrono::milliseconds(ms->value_or(100)));
  if (!recorded) throw http::http_error(409, "another recording is under way");
  auto write = [](http::body_writer& out) -> task<> {
    std::string text = "[";
    for (shard_id s = 0; s < shard_count(); ++s) {
      auto fetch = [] {
        const auto* here = resources().find<recorder>();
        return recording{here != nullptr ? here->buffer->events() : std::vector<observe::trace_event>()};
      };
      const recording of_shard = co_await submit_to(s, fetch);
      timeline row(s);
      row.append_name(text);
      const std::span<const observe::trace_event> events(of_shard.events);
      for (std::size_t at = 0; at < events.size(); at += events_at_once) {
        row.append(text, events.subspan(at, std::min(events_at_once, events.size() - at)));
        co_await out.write(text);
        text.clear();
        co_await maybe_yield();
      }
    }
    co_await out.write(text + R"({"ph":"M","pid":1,"name":"process_name","args":{"name":"skerry"}}])");
  };
  co_return response::stream("application/json", write)
      .header("Content-Disposition", "attachment; filename=trace.json");
}

task<response> page() { co_return response::literal("text/html; charset=utf-8", page_html); }

http::router make_router() {
  http::router r;
  r.get("/", page).get("/metrics", metrics).get("/health", health).get("/ready", ready);
  r.get("/shards", shards).get("/hops", hops).get("/tasks", tasks).get("/trace", trace);
  return r;
}

}  // namespace

task<> serve_if_wanted() {
  const std::string& wanted = app::running_options().admin;
  if (wanted == "off") co_return;
  // Its own listener comes by here, too.
  auto is_first = [] {
    if (resources().find<started>() != nullptr) return false;
    resources().emplace<started>();
    return true;
  };
  const bool first = co_await submit_to(0, is_first);
  if (!first) co_return;
  const bool by_default = wanted == "auto";
  const std::optional<address> at = address::parse(by_default ? default_place : wanted);
  if (by_default && port_in_use(*at)) {
    log::info("{} is taken, so this program has no admin endpoint; --admin ADDR:PORT gives it one", default_place);
    co_return;
  }
  if (!at) throw startup_error("--admin takes ADDR:PORT, such as 127.0.0.1:9180 or [::1]:9180, or off");
  http::server_options options;
  options.name = "admin";
  options.head.head_bytes_max = 8192;
  options.requests_max = 16;
  try {
    co_await http::serve(*at, [] { return http::handler(make_router()); }, options);
  } catch (const startup_error& taken) {
    if (!by_default) throw;
    log::info("no admin endpoint: {}", taken.what());  // somebody was faster
  }
}

}  // namespace skerry::net::admin
