// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/cancel.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/net/admin/admin.hpp>
#include <skerry/net/admin/exposition.hpp>
#include <skerry/net/admin/page.hpp>
#include <skerry/net/admin/report.hpp>
#include <skerry/net/admin/timeline.hpp>
#include <skerry/net/http/router.hpp>
#include <skerry/net/http/server.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>
#include <skerry/toolkit/flow/hops.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <iterator>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/core.h>

namespace skerry::net::admin {

namespace {

using http::header;
using http::query;
using http::response;

constexpr std::string_view default_place = "127.0.0.1:9180";
constexpr unsigned recorded_ms_max = 10'000;
constexpr std::size_t events_at_once = 256;

/// On shard 0 once the program wanted to listen.
struct endpoint_state {
  int opening = 0;       // listeners that do not listen yet
  bool listens = false;  // one does
  std::string untold;    // what became of the endpoint, until the log has it
};

/// What `of_shard()` returns on each shard, in order.
template <class OfShard>
task<std::vector<std::invoke_result_t<OfShard>>> from_all_shards(OfShard of_shard) {
  std::vector<std::invoke_result_t<OfShard>> all;
  for (shard_id s = 0; s < shard_count(); ++s) all.push_back(co_await submit_to(s, of_shard));
  co_return all;
}

task<response> metrics(header<"Accept", std::optional<std::string_view>> accept) {
  const auto snapshots = co_await from_all_shards([] { return snapshot_of_shard(); });
  if (!prefers_openmetrics(accept->value_or(""))) {
    co_return response().body(prometheus_type, prometheus_text(snapshots)).header("Vary", "Accept");
  }
  std::vector<std::vector<exemplar>> by_shard = co_await from_all_shards([] { return exemplars_of_shard(); });
  std::vector<exemplar> exemplars;
  for (std::vector<exemplar>& some : by_shard) std::ranges::move(some, std::back_inserter(exemplars));
  co_return response().body(openmetrics_type, openmetrics_text(snapshots, exemplars)).header("Vary", "Accept");
}

task<response> histograms() {
  const auto snapshots = co_await from_all_shards([] { return this_shard().metrics->take_snapshot(); });
  co_return response::json(histograms_as_json(snapshots));
}

/// Whether the other shards' loops turn, as this one sees it. A call to a shard that stands still cannot be taken back
/// before it turns again, so nobody who has to answer in time awaits it: a task per shard does, one at most, and the
/// answer looks at who has not come back.
class pulse {
 public:
  pulse() : asked_(shard_count()), answers_(shard_count()) {}

  /// The shards that do not answer for a second.
  task<std::vector<shard_id>> silent() {
    const std::vector<std::uint64_t> before = answers_;
    for (shard_id s = 0; s < shard_count(); ++s) {
      if (asked_[s] != answers_[s]) continue;
      ++asked_[s];
      skerry::detail::spawn_in(net::detail::scope_of(in_drain::goes_on), ask(s), "admin pulse", scheduling_group::main);
    }
    try {
      co_await with_timeout(std::chrono::seconds(1), until_all_answered(before));
    } catch (const timeout_error&) {
      // Told below.
    }
    std::vector<shard_id> some;
    for (shard_id s = 0; s < shard_count(); ++s) {
      if (answers_[s] == before[s]) some.push_back(s);
    }
    co_return some;
  }

 private:
  /// The scope in which this runs ends before the shard's resources do, and behind the root scope.
  task<> ask(shard_id s) {
    co_await submit_to(s, [] {});
    ++answers_[s];
    answered_.set();
  }
  task<> until_all_answered(const std::vector<std::uint64_t>& before) {
    const auto missing = [&] { return !std::ranges::equal(answers_, before, std::ranges::greater()); };
    while (missing()) {
      answered_.reset();
      co_await answered_.wait();
    }
  }

  std::vector<std::uint64_t> asked_, answers_;  // times; one question at most is out
  event answered_;
};

task<response> health() {
  auto* here = resources().find<pulse>();
  if (here == nullptr) here = &resources().emplace<pulse>();
  const std::vector<shard_id> silent = co_await here->silent();
  if (silent.empty()) co_return response::text("ok\n");
  std::string which = "no answer for a second from shard";
  for (const shard_id s : silent) which.append(s == silent.front() ? " " : ", ").append(std::to_string(s));
  co_return http::problem(503, which);
}

task<response> ready() {
  if (this_assembled_shard().draining()) co_return http::problem(503, "the program is stopping");
  const bool listens = co_await submit_to(0, [] {
    const auto& state = resource<endpoint_state>();
    return state.opening == 0 && (state.listens || !app::running_options().port);
  });
  if (!listens) co_return http::problem(503, "the program is starting: a port of its own is not open yet");
  co_return response::text("ready\n");
}

/// What each shard gives, as a JSON array.
template <class OfShard>
task<response> array_of(OfShard of_shard) {
  const std::vector<std::string> by_shard = co_await from_all_shards(of_shard);
  std::string out = "[";
  for (const std::string& some : by_shard) {
    if (!some.empty()) out.append(out.size() == 1 ? "" : ",\n").append(some);
  }
  co_return response::json(out + "]\n");
}

task<response> shards() {
  return array_of([] { return shard_as_json(); });
}
task<response> tasks() {
  return array_of([] { return tasks_as_json(); });
}

task<response> text() {
  co_return response::text(figures_as_text(co_await from_all_shards([] { return figures_of_shard(); })));
}

/// Up to the longest that occurred.
void append_digits(std::string& out, const std::array<std::uint64_t, 32>& by_digits) {
  const auto end = std::ranges::find_if(by_digits | std::views::reverse, std::identity()).base();
  out += '[';
  for (auto each = by_digits.begin(); each != end; ++each) {
    fmt::format_to(std::back_inserter(out), "{}{}", each == by_digits.begin() ? "" : ",", *each);
  }
  out += ']';
}

task<response> hops() {
  std::string out = "[";
  const hop_matrix all = co_await skerry::hops();
  for (std::size_t to = 0; to < all.size(); ++to) {
    for (std::size_t from = 0; from < all.size(); ++from) {
      const pair_stats& pair = all[to][from];
      fmt::format_to(std::back_inserter(out),
                     R"({}{{"from":{},"to":{},"messages":{},"batches":{},"wait_us":{},"service_us":{},"waits":)",
                     out.size() == 1 ? "" : ",\n", from, to, pair.requests, pair.batches,
                     pair.queue_wait.count() / 1000, pair.service_time.count() / 1000);
      append_digits(out, pair.waits);
      out += ",\"services\":";
      append_digits(out, pair.services);
      out += '}';
    }
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

task<response> page() {
  co_return response().body("text/html; charset=utf-8", std::string(page_html).append(page_script));
}

http::router make_router() {
  http::router r;
  r.get("/", page).get("/text", text).get("/metrics", metrics).get("/health", health).get("/ready", ready);
  r.get("/histograms", histograms).get("/shards", shards).get("/hops", hops).get("/tasks", tasks).get("/trace", trace);
  return r;
}

}  // namespace

namespace {

/// Opens the endpoint on all shards. Throws startup_error.
task<address> open_at(const address& at) {
  http::server_options options;
  options.name = "admin";
  options.head.head_bytes_max = 8192;
  options.requests_max = 16;
  auto make = [] { return http::handler(make_router()); };
  co_await http::detail::prepare_sites<decltype(make)>(options);
  for (shard_id s = 0; s < shard_count(); ++s) co_await submit_to(s, [] { resources().emplace<loop_meter>(); });
  net::detail::end_tasks_aside_with_app();
  co_return co_await net::detail::open_on_all_shards<http::detail::serve_with<decltype(make)>>(at, in_drain::goes_on);
}

std::string line_about(const address& real) { return "the admin endpoint is at " + real.text(); }

/// At the default place, if no other program is there: what became of it, in a line.
task<std::string> open_by_default() {
  const address at = *address::parse(default_place);
  if (port_in_use(at)) {
    co_return fmt::format("{} is taken, so this program has no admin endpoint; --admin ADDR:PORT gives it one",
                          default_place);
  }
  try {
    const address real = co_await open_at(at);
    co_return line_about(real);
  } catch (const startup_error& taken) {  // somebody was faster
    co_return std::string("no admin endpoint: ") + taken.what();
  }
}

}  // namespace

task<> begin_listening() {
  if (app::running_options().admin == "off") co_return;
  auto is_first = [] {
    auto* here = resources().find<endpoint_state>();
    const bool none_yet = here == nullptr;
    if (none_yet) here = &resources().emplace<endpoint_state>();
    ++here->opening;
    return none_yet;
  };
  const bool first = co_await submit_to(0, is_first);
  if (!first) co_return;
  // Kept for the log until the program's own line is there: people look for that first, and a program that cannot start
  // says nothing but why.
  auto keep = [](std::string line) { resource<endpoint_state>().untold = std::move(line); };
  std::string line = co_await open_by_default();
  co_await submit_to(0, keep, std::move(line));
}

task<> end_listening() {
  if (app::running_options().admin == "off") co_return;
  auto count = [] {
    auto& here = resource<endpoint_state>();
    --here.opening;
    here.listens = true;
    return std::exchange(here.untold, std::string());
  };
  const std::string untold = co_await submit_to(0, count);
  if (!untold.empty()) log::info("{}", untold);
}

}  // namespace skerry::net::admin

namespace skerry {

task<> open_admin_endpoint() {
  const std::optional<net::address> at = net::address::parse(app::running_options().admin);
  if (!at) throw startup_error("--admin takes ADDR:PORT, such as 127.0.0.1:9180 or [::1]:9180, or off");
  resources().emplace<net::admin::endpoint_state>();
  const net::address real = co_await net::admin::open_at(*at);
  log::info("{}", net::admin::line_about(real));
}

}  // namespace skerry
