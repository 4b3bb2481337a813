// SPDX-License-Identifier: Apache-2.0
// The key-value server under simulation: eight shards, three hosts of clients, everything that can go wrong, and an
// order of all operations that a simple map agrees with, key by key. What is linked is the server's own object files,
// all but its main.
#include <skerry/framework/task/group.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/connect.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/simulation/campaign.hpp>
#include <skerry/simulation/linearizability.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <kv_server/server.hpp>
#include <simulation/scenarios.hpp>
#include <support/kv_commands.hpp>
#include <support/kv_model.hpp>
#include <support/resp_reply.hpp>

namespace scenarios {

namespace {

using namespace skerry;
using namespace std::chrono_literals;

constexpr unsigned server_shards = 8;
constexpr unsigned client_hosts = 3;
constexpr unsigned connections_per_host = 2;
constexpr unsigned pipeline_max = 8;
/// How far behind a shard's clock can be: it stands still for up to `stall_max`, and reads its clock once a turn.
constexpr std::uint64_t clock_lag_ms = 50;

/// What clients ask for, and how.
struct workload {
  unsigned commands_per_connection = 60;
  kv_test::kv_command_options commands;
  bool slow = false;  ///< they pause before they read
};

/// What the clients have seen, all together: one thread runs them all.
struct observer {
  workload asked_for;
  kv_test::kv_history seen;
  std::set<std::string> keys;
  std::uint32_t connections = 0;
  unsigned crashes = 0;
  unsigned answered = 0;
};

observer* watching = nullptr;

std::uint64_t now_ms() { return static_cast<std::uint64_t>(sim::virtual_time() / 1ms); }

void append_words(std::string& to, const std::vector<std::string>& words) {
  to += '*' + std::to_string(words.size()) + "\r\n";
  for (const std::string& each : words) to += '$' + std::to_string(each.size()) + "\r\n" + each + "\r\n";
}

/// Sends a pipeline and takes its answers; false when the connection is over.
task<bool> converse(net::stream& s, kv_test::kv_commands& commands, std::uint32_t number, std::size_t depth) {
  observer& all = *watching;
  const std::size_t first = all.seen.size();
  std::string text;
  std::vector<std::size_t> asked;
  for (std::size_t i = 0; i < depth; ++i) {
    kv_test::kv_command next = commands.next(now_ms());
    append_words(text, kv_test::words_of(next));
    all.keys.insert(next.key);
    asked.push_back(first + i);
    all.seen.emplace_back(number, sim::step(), sim::never, std::move(next));
  }
  try {
    co_await s.write(std::as_bytes(std::span(text)));
    kv_test::reply_parser replies;
    for (std::size_t got = 0; got < depth;) {
      if (all.asked_for.slow && sim::draw(4) == 0) co_await sleep_for(std::chrono::milliseconds(sim::draw(8)));
      // Who has sent everything hears nothing of a crash.
      const buffer bytes = co_await with_timeout(5s, s.read());
      if (bytes.empty()) co_return false;
      replies.add({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
      while (auto reply = replies.take()) {
        if (got == depth) {
          sim::fail("an answer that nobody asked for");
          co_return false;
        }
        auto& op = all.seen[asked[got++]];
        op.returned = sim::step();
        op.output.reply = std::move(*reply);
        op.output.received_ms = now_ms();
        ++all.answered;
      }
    }
  } catch (const std::system_error&) {
    co_return false;  // reset or timed out: what was asked may have happened
  } catch (const std::runtime_error& nonsense) {
    sim::fail(std::string("no reply: ") + nonsense.what());
    co_return false;
  }
  co_return true;
}

/// One client: connects again whenever its connection ends, until it has asked for enough.
task<> be_client(std::string server, std::uint64_t seed, std::uint32_t client) {
  kv_test::kv_commands commands(seed, client, watching->asked_for.commands);
  const unsigned commands_per_connection = watching->asked_for.commands_per_connection;
  for (unsigned asked = 0, tries = 0; asked < commands_per_connection && tries < 1000; ++tries) {
    try {
      net::stream s = co_await net::connect(*net::address::parse(server, 6379));
      const std::uint32_t number = ++watching->connections;
      bool goes_on = true;
      while (goes_on && asked < commands_per_connection) {
        const std::size_t depth = 1 + sim::draw(pipeline_max);
        asked += static_cast<unsigned>(depth);
        goes_on = co_await converse(s, commands, number, depth);
        if (sim::draw(4) == 0) co_await sleep_for(std::chrono::milliseconds(sim::draw(100)));
        if (sim::draw(32) == 0) break;  // leaves without a word
      }
    } catch (const std::system_error&) {
      // Refused, reset before it stood, or timed out.
    }
    co_await sleep_for(std::chrono::milliseconds(1 + sim::draw(50)));
  }
}

task<> run_clients(std::string server, std::uint64_t seed, unsigned host) {
  const auto all = [&](group& clients) -> task<> {
    for (unsigned c = 0; c < connections_per_host; ++c) {
      clients.spawn(be_client(server, seed, host * connections_per_host + c), "client");
    }
    co_return;
  };
  co_await with_group(all);
}

task<> serve() { return kv_server::serve_all(std::uint64_t{64} << 20, {}); }

/// A crash takes every key with it: this server keeps nothing over a restart.
task<> crash_and_restart(sim::host_handle server) {
  observer& all = *watching;
  const std::uint64_t before = sim::step();
  server.crash();
  co_await server.ended();
  ++all.crashes;
  const std::uint32_t number = ++all.connections;
  for (const std::string& each : all.keys) {
    kv_test::kv_command flush;
    flush.what = kv_test::kv_command::verb::flush;
    flush.key = each;
    all.seen.emplace_back(number, before, sim::step(), std::move(flush));
    all.seen.back().output.reply = {kv_test::resp_reply::kind::simple, "OK", 0, {}};
    all.seen.back().output.received_ms = now_ms();
  }
  co_await sleep_for(std::chrono::milliseconds(sim::draw(200)));
  server.start(serve);
}

/// What goes wrong at large: ways are cut, cores stand still, the server's host crashes, its clock jumps.
task<> be_fate(sim::host_handle server) {
  static constexpr std::string_view names[] = {"clients0", "clients1", "clients2"};
  for (;;) {
    co_await sleep_for(std::chrono::milliseconds(20 + sim::draw(300)));
    switch (sim::draw(8)) {
      case 0:
      case 1: {
        const std::string_view cut = names[sim::draw(std::size(names))];
        sim::partition({cut}, {"server"}, sim::draw(2) == 0);
        co_await sleep_for(std::chrono::milliseconds(sim::draw(1500)));
        sim::heal();
        break;
      }
      case 2: {  // one after the other: compilers differ in which argument they take first
        const auto shard = static_cast<unsigned>(sim::draw(server_shards));
        server.stall(shard, std::chrono::milliseconds(sim::draw(40)));
        break;
      }
      case 3: server.shift_wall(std::chrono::seconds(sim::draw(7200)) - 1h); break;
      case 4:
        if (watching->crashes < 2) co_await crash_and_restart(server);
        break;
      default: break;
    }
  }
}

task<> test_server(std::uint64_t seed, workload asked_for) {
  observer all;
  all.asked_for = asked_for;
  watching = &all;
  sim::host_handle server = sim::host("server", server_shards);
  server.settings().ring_entries = 64;
  server.start(serve);
  co_await sleep_for(5ms);
  std::vector<sim::host_handle> clients;
  for (unsigned h = 0; h < client_hosts; ++h) {
    clients.push_back(sim::host("clients" + std::to_string(h)));
    clients.back().settings().ring_entries = 64;
    clients.back().start([ip = server.ip(), seed, h] { return run_clients(ip, seed, h); }, true);
  }
  join_handle<void> fate = spawn(be_fate(server), "fate");
  for (sim::host_handle& each : clients) co_await each.ended();
  fate.abort();
  try {
    co_await fate;  // what it refers to goes with this frame
  } catch (const std::system_error&) {
    // It was cancelled, as it should be.
  }
  sim::heal();
  server.stop();
  co_await server.ended();
  watching = nullptr;
  if (const auto lost = kv_test::find_lost_write(all.seen); lost && all.crashes == 0) sim::fail(*lost);
  sim::linearizability_options how;
  how.clients_in_order = true;
  how.states_max = 200'000;
  const auto order = sim::check_linearizability(kv_test::kv_model(clock_lag_ms), all.seen, how);
  if (order.found == sim::linearizability_result::outcome::violated) sim::fail(order.text);
}

}  // namespace

sim::test_case kv() {
  const auto seed = std::make_shared<std::uint64_t>(0);
  const auto configure = [seed](sim::options& o) {
    *seed = o.seed;
    o.all_faults();
  };
  return {"kv", configure, [seed] { return test_server(*seed, workload()); }};
}

sim::test_case kv_bulk() {
  const auto seed = std::make_shared<std::uint64_t>(0);
  const auto configure = [seed](sim::options& o) {
    *seed = o.seed;
    o.all_faults();
    o.network.small_segment = 0.02;
    o.network.segment_bytes_max = 8 * 1024;
    o.network.socket_buffer_bytes = 16 * 1024;
  };
  workload of;
  of.commands_per_connection = 30;
  of.commands.words = 2;  // so that one shard's replies to a pipeline are too many at once
  of.commands.counters = 1;
  of.commands.large_one_in = 8;
  of.commands.medium_one_in = 1;
  of.slow = true;
  return {"kv_bulk", configure, [seed, of] { return test_server(*seed, of); }};
}

}  // namespace scenarios
