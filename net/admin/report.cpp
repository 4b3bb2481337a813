// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/reactor/run_queue.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/net/admin/report.hpp>
#include <skerry/net/endpoint.hpp>
#include <skerry/net/http/connection.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/toolkit/observe/symbols.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <iterator>
#include <numeric>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include <fmt/core.h>

namespace skerry::net::admin {

namespace {

using skerry::detail::chain;
using skerry::detail::chain_state;

std::int64_t micros(std::chrono::nanoseconds time) { return time.count() / 1000; }

/// How many of this shard's tasks are ready, and how many are on their way out.
struct task_states {
  std::size_t ready = 0, ending = 0;
};
task_states count_states() {
  task_states all;
  std::size_t seen = 0;
  this_shard().root->for_each([&](const chain& task) {
    if (++seen > tasks_counted_max) return;
    const chain_state state = task.state();
    if (state == chain_state::unstarted || state == chain_state::queued) ++all.ready;
    if (state == chain_state::cancelling || state == chain_state::destroying) ++all.ending;
  });
  return all;
}

/// The names of coroutines, as JSON strings, that a shard was asked for before: the same few all the time. Only a new
/// one makes it read the program's symbols, which it keeps for one answer.
class coroutine_names {
 public:
  const std::string& of(const void* code) {
    if (const auto known = names_.find(code); known != names_.end()) return known->second;
    if (names_.size() == names_max) names_.clear();
    if (!symbols_) symbols_.emplace();
    std::string name = symbols_->name_of(code);
    if (name.size() > name_bytes_max) name.replace(name_bytes_max, name.npos, "...");
    return names_[code] = quoted(name);
  }
  void end_answer() noexcept { symbols_.reset(); }

 private:
  static constexpr std::size_t names_max = 4096, name_bytes_max = 300;
  std::unordered_map<const void*, std::string> names_;
  std::optional<observe::symbol_table> symbols_;
};

coroutine_names& names_of_coroutines() {
  auto* here = resources().find<coroutine_names>();
  return here != nullptr ? *here : resources().emplace<coroutine_names>();
}

/// Tasks and, within each, the branches of what it waits for, and theirs.
class task_writer {
 public:
  std::string out;

  void add(chain& task) {
    if (told_ == tasks_told_max) return;
    write(task, ",\n", branches_depth_max, fmt::format(R"("shard":{},"id":{},)", this_shard_id(), task.id()));
  }

 private:
  static constexpr unsigned branches_depth_max = 32;

  void write(chain& task, std::string_view separator, unsigned depth, std::string_view about) {
    const skerry::detail::leaf* wait = task.waits_for();
    fmt::format_to(std::back_inserter(out), R"({}{{{}"name":{},"state":"{}","waits_for":{})",
                   told_ == 0 || out.ends_with('[') ? "" : separator, about, quoted(task.name()),
                   skerry::detail::name_of(task.state()), wait != nullptr ? quoted(wait->describe()) : "null");
    fmt::format_to(std::back_inserter(out), R"(,"group":{},"age_ms":{})",
                   quoted(this_shard().ready->name(task.group())),
                   micros(skerry::detail::time_since(task.started_at())) / 1000);
    if (wait != nullptr) {
      fmt::format_to(std::back_inserter(out), R"(,"waits_ms":{})",
                     micros(skerry::detail::time_since(task.waits_since())) / 1000);
      write_coroutines(task);
    }
    ++told_;
    if (const std::vector<chain*> branches = skerry::detail::live_branches(wait); depth > 0 && !branches.empty()) {
      out += R"(,"branches":[)";
      for (chain* each : branches) {
        if (told_ < tasks_told_max) write(*each, ",", depth - 1, "");
      }
      out += ']';
    }
    out += '}';
  }

  void write_coroutines(const chain& task) {
    const std::vector<const void*> all = skerry::detail::coroutines_of(task);
    if (all.empty() || coroutines_told_ + all.size() > coroutines_of_shard_max) return;
    coroutines_told_ += all.size();
    out += R"(,"coroutines":[)";
    for (const void* each : all) out.append(out.back() == '[' ? "" : ",").append(names_.of(each));
    out += ']';
  }

  coroutine_names& names_ = names_of_coroutines();
  std::size_t told_ = 0, coroutines_told_ = 0;
};

template <class Visit>
void for_each_group(Visit visit) {
  const run_queue& ready = *this_shard().ready;
  for (unsigned i = 0; i < run_queue::groups_max; ++i) {
    const auto group = static_cast<scheduling_group>(i);
    if (*ready.name(group) != '\0') visit(ready.name(group), ready.cpu_time(group));
  }
}

}  // namespace

loop_meter::loop_meter() : last_(clock::now()) {
  shown_ = this_shard().metrics->add(seconds, {.name = "skerry_reactor_turn_seconds",
                                               .help = "Turns of the loop, without the time asleep.",
                                               .unit = observe::unit::nanoseconds});
  this_shard().loop->add(*this);  // last: the loop must not find it gone
}

loop_meter::~loop_meter() { this_shard().loop->remove(*this); }

void loop_meter::flush() noexcept {
  const clock::time_point now = clock::now();
  const clock::duration idle = this_shard().loop->stats().idle;
  const clock::duration took = now - std::exchange(last_, now) - (idle - std::exchange(idle_, idle));
  seconds.record(static_cast<std::uint64_t>(std::max(took, clock::duration::zero()).count()));
}

std::string shard_as_json() {
  const shard_stats s = stats();
  const task_states states = count_states();
  std::string out;
  const auto put = [&]<class... Args>(fmt::format_string<Args...> text, Args&&... args) {
    fmt::format_to(std::back_inserter(out), text, std::forward<Args>(args)...);
  };
  put(R"({{"shard":{},"uptime_us":{},"idle_us":{},"turns":{},"tasks_run":{},"tasks":{},"tasks_started":{},)", s.id,
      micros(s.loop.uptime), micros(s.loop.idle), s.loop.turns, s.loop.tasks_run, s.tasks, s.tasks_started);
  put(R"("ready":{},"ending":{},"timers":{},"kernel_entries":{},"submissions":{},"completions":{},"sleeps":{},)",
      states.ready, states.ending, s.timers, s.kernel.kernel_entries, s.kernel.submissions, s.kernel.completions,
      s.loop.sleeps);
  put(R"("wakes_sent":{},"wakes_received":{},"frames":{},"frame_bytes":{},"buffers":{},"buffers_taken":{},)",
      s.kernel.wakes_sent, s.loop.wakes_received, s.frames_in_use, s.frame_bytes_reserved, s.buffers.buffers,
      s.buffers.taken);
  put(R"("messages_sent":{},"messages_outstanding":{},"unseen_errors":{},"log_lines_dropped":{},"connections":{})",
      s.messages_sent, s.messages_outstanding, s.loop.unseen_errors, s.log_lines_dropped, this_endpoints().size());
  if (const auto* meter = resources().find<loop_meter>()) {
    put(R"(,"turn_ns_p99":{},"turn_ns_max":{})", meter->seconds.quantile(0.99), meter->seconds.max());
  }
  put(R"(,"groups":[)");
  for_each_group([&](const char* name, std::chrono::nanoseconds used) {
    put(R"({}{{"name":{},"cpu_us":{}}})", out.back() == '[' ? "" : ",", quoted(name), micros(used));
  });
  put(R"(],"http":[)");
  http::detail::for_each_server([&](const http::detail::connection_counters& server) {
    put(R"({}{{"server":{},"connections":{},"handling":{},"timeouts":{},"refused":{},"responses":[{}]}})",
        out.back() == '[' ? "" : ",", quoted(server.name), server.connections, server.handling, server.timeouts,
        server.refused,
        fmt::format("{},{},{},{},{}", server.responses[1], server.responses[2], server.responses[3],
                    server.responses[4], server.responses[5]));
  });
  return out + "]}";
}

std::string tasks_as_json() {
  task_writer writer;
  this_shard().root->for_each([&](chain& task) { writer.add(task); });
  names_of_coroutines().end_answer();
  return std::move(writer.out);
}

shard_figures figures_of_shard() {
  shard_figures all;
  all.stats = stats();
  all.ready = count_states().ready;
  all.connections = this_endpoints().size();
  if (const auto* meter = resources().find<loop_meter>()) all.turn_p99_ns = meter->seconds.quantile(0.99);
  http::detail::for_each_server([&](const http::detail::connection_counters& server) {
    const auto& answers = server.responses;
    all.servers.push_back({.name = server.name,
                           .connections = server.connections,
                           .handling = server.handling,
                           .answers = std::accumulate(answers.begin(), answers.end(), std::uint64_t{0})});
  });
  return all;
}

observe::snapshot snapshot_of_shard() {
  using observe::metric_info;
  observe::snapshot all = this_shard().metrics->take_snapshot();
  const auto add = [&](metric_info info, auto value) {
    observe::sample& added = all.emplace_back(std::move(info));
    added.value = value;
  };
  add({.name = "skerry_tasks_ready", .help = "Tasks in the run queue."},
      static_cast<std::int64_t>(count_states().ready));
  for_each_group([&](const char* name, std::chrono::nanoseconds used) {
    add({.name = "skerry_group_cpu_seconds_total",
         .help = "CPU time charged to a scheduling group, where groups compete.",
         .unit = observe::unit::nanoseconds,
         .labels = {{"group", name}}},
        static_cast<std::uint64_t>(used.count()));
  });
  // Pairs that never spoke are left out: of 64 shards there are 4096.
  const std::vector<pair_stats> pairs = stats().received_from;
  for (std::size_t from = 0; from < pairs.size(); ++from) {
    if (pairs[from].requests == 0) continue;
    const std::vector<observe::label> sender{{"from", std::to_string(from)}};
    add({.name = "skerry_hop_messages_total", .help = "Messages here, by sender.", .labels = sender},
        pairs[from].requests);
    add({.name = "skerry_hop_wait_seconds_total",
         .help = "Time of messages in the queue to here, by sender.",
         .unit = observe::unit::nanoseconds,
         .labels = sender},
        static_cast<std::uint64_t>(pairs[from].queue_wait.count()));
    add({.name = "skerry_hop_service_seconds_total",
         .help = "Time from the look at a message to its answer, by sender; none for what runs in one go.",
         .unit = observe::unit::nanoseconds,
         .labels = sender},
        static_cast<std::uint64_t>(pairs[from].service_time.count()));
  }
  return all;
}

std::vector<exemplar> exemplars_of_shard() {
  std::vector<exemplar> all;
  http::detail::for_each_server([&](http::detail::connection_counters& server) {
    for (const http::detail::request_example& each : server.examples.take()) {
      all.push_back({.metric = "skerry_http_handler_seconds",
                     .labels = {{"server", server.name}},
                     .is = {each.kind, each.id},
                     .value = each.took_ns,
                     .at = each.at});
    }
  });
  return all;
}

}  // namespace skerry::net::admin
