// SPDX-License-Identifier: Apache-2.0
// A server that is stopped under load: pipelined requests, calls to other shards through short queues, connections that
// move between shards, long answers to clients that read slowly. Clients go on until they are told the end.
//
// What must hold: an answer that the server wrote arrives whole, in order and once; a request that it took is answered;
// it ends within the time of a drain, and its clients, too. Where connections are reset, they are left out of that.
#include <skerry/framework/task/group.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/connect.hpp>
#include <skerry/net/server.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/shards/call_batch.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <charconv>
#include <chrono>
#include <cstdint>
#include <deque>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <simulation/scenarios.hpp>

namespace scenarios {

namespace {

using namespace skerry;
using namespace std::chrono_literals;

constexpr std::uint16_t port = 7000;
constexpr unsigned client_hosts = 2;
constexpr unsigned requests_max = 300;  // of one client: where it is never stopped, it ends all the same

struct load {
  unsigned shards;
  unsigned clients;  // of one host
  unsigned pipeline_max;
  unsigned answer_bytes_max;
  bool slow;  // clients pause before they read
};

struct drain_book {
  load of;
  std::uint64_t requests = 0;
  std::set<std::uint64_t> written;  // answers
  std::uint64_t received = 0;
  std::uint64_t handlers = 0;
  bool up = false, open = false;
  bool stopping = false;
  bool stopped_early = false;  // a start that is cancelled ends what it began at once
};

drain_book* watched = nullptr;

/// What answers `id`: its number, its length and bytes that name both.
std::string answer_to(std::uint64_t id, std::size_t bytes) {
  std::string text = std::to_string(id) + ' ' + std::to_string(bytes) + '\n';
  for (std::size_t i = 0; i < bytes; ++i) text += static_cast<char>('a' + (id + i / 7) % 26);
  return text;
}

std::uint64_t number_in(std::string_view text) {
  std::uint64_t read = 0;
  const auto done = std::from_chars(text.data(), text.data() + text.size(), read);
  if (done.ec != std::errc() || done.ptr != text.data() + text.size()) sim::fail("no number: " + std::string(text));
  return read;
}

// --- the server ---

/// A request between its taking and its answer.
struct taken_request {
  bool answered = false;
  bool broken = false;  // its connection
  ~taken_request() {
    if (!answered && !broken && !watched->stopped_early) sim::fail("a request was taken and given up");
  }
};

struct counted_handler {
  counted_handler() { ++watched->handlers; }
  ~counted_handler() { --watched->handlers; }
};

constexpr auto add_one = [](std::uint64_t n) { return n + 1; };

task<> ask_around() {
  call_batch<decltype(add_one), std::uint64_t> calls(6);
  for (std::uint64_t n = 0; n < 6; ++n) calls.add(static_cast<shard_id>(sim::draw(shard_count())), add_one, n);
  co_await calls.all();
  for (std::uint64_t n = 0; n < 6; ++n) {
    if (calls.take(n) != n + 1) sim::fail("another call's result came back");
  }
}

/// "kind id bytes\n"; of kind m: the connection moves on to another shard first.
task<> serve(net::stream client, bool arrived) {
  const counted_handler here;
  std::string unread;
  while (true) {
    const std::size_t end = unread.find('\n');
    if (end == std::string::npos) {
      const buffer got = co_await client.read();
      if (got.empty()) co_return;
      unread.append(reinterpret_cast<const char*>(got.data()), got.size());
      continue;
    }
    if (unread[0] == 'm' && !arrived) {
      client.put_back(std::as_bytes(std::span(unread)));
      const auto there = [](net::stream moved) { return serve(std::move(moved), true); };
      co_await std::move(client).move_to(static_cast<shard_id>(sim::draw(shard_count())), there);
      co_return;
    }
    arrived = false;
    const std::size_t space = unread.find(' ', 2);
    const std::uint64_t id = number_in(std::string_view(unread).substr(2, space - 2));
    const std::uint64_t bytes = number_in(std::string_view(unread).substr(space + 1, end - space - 1));
    unread.erase(0, end + 1);
    taken_request now;
    try {
      if (id % 3 == 0) co_await ask_around();
      const std::string answer = answer_to(id, bytes);
      co_await client.write(answer);
    } catch (const std::system_error&) {
      now.broken = true;
      throw;
    }
    now.answered = true;
    watched->written.insert(id);
  }
}

task<> serve_all() {
  watched->up = true;
  const auto handler = [](net::stream client) { return serve(std::move(client), false); };
  net::server_options limits;
  limits.accept = static_cast<net::accept_policy>(sim::draw(4));
  if (limits.accept == net::accept_policy::steered) limits.accept = net::accept_policy::reuseport;
  co_await net::listen_on_all_shards(*net::address::parse("0.0.0.0", port), handler, limits);
  watched->open = true;
}

// --- clients ---

/// Answers as they come, compared with what is due.
class answers {
 public:
  void ask(std::uint64_t id, std::size_t bytes) { due_.emplace_back(id, answer_to(id, bytes)); }
  void come(std::string_view bytes) {
    while (!bytes.empty()) {
      if (due_.empty()) return sim::fail("an answer that nobody asked for");
      const std::string& next = due_.front().second;
      const std::size_t count = std::min(bytes.size(), next.size() - at_);
      if (next.compare(at_, count, bytes.substr(0, count)) != 0) return sim::fail("an answer with other bytes");
      bytes.remove_prefix(count);
      at_ += count;
      if (at_ != next.size()) continue;
      due_.pop_front();
      at_ = 0;
      ++watched->received;
    }
  }
  bool complete() const { return due_.empty(); }
  /// The server has said its last word.
  void ended() const {
    if (at_ != 0) sim::fail("an answer was cut");
    for (const auto& [id, text] : due_) {
      if (watched->written.contains(id)) sim::fail("an answer was lost");
    }
  }

 private:
  std::deque<std::pair<std::uint64_t, std::string>> due_;
  std::size_t at_ = 0;  // in the first
};

task<> converse(net::stream server) {
  const load& of = watched->of;
  answers due;
  for (unsigned asked = 0; asked < requests_max;) {
    std::string text;
    for (std::uint64_t n = 1 + sim::draw(of.pipeline_max); n > 0; --n, ++asked) {
      const std::uint64_t id = ++watched->requests;
      const std::uint64_t bytes = sim::draw(sim::draw(4) == 0 ? of.answer_bytes_max : 100);
      due.ask(id, bytes);
      text += sim::draw(8) == 0 ? "m " : "a ";
      text += std::to_string(id) + ' ' + std::to_string(bytes) + '\n';
    }
    co_await server.write(text);
    while (!due.complete()) {
      if (of.slow && sim::draw(3) == 0) co_await sleep_for(std::chrono::milliseconds(sim::draw(20)));
      const buffer got = co_await server.read();
      if (got.empty()) {
        due.ended();
        co_return;
      }
      due.come({reinterpret_cast<const char*>(got.data()), got.size()});
    }
    if (sim::draw(3) == 0) co_await sleep_for(std::chrono::milliseconds(sim::draw(5)));
    if (sim::draw(64) == 0) co_return;
    if (sim::draw(16) == 0) {  // says nothing more, and waits for the server's end
      const buffer got = co_await server.read();
      if (!got.empty()) sim::fail("an answer that nobody asked for");
      co_return;
    }
  }
}

task<> be_client(std::string server) {
  while (true) {
    try {
      co_await converse(co_await net::connect(*net::address::parse(server, port)));
    } catch (const std::system_error&) {
      // Refused or reset.
    }
    if (watched->stopping) co_return;
    co_await sleep_for(std::chrono::milliseconds(1 + sim::draw(5)));
  }
}

task<> run_clients(std::string server) {
  const auto all = [&](group& clients) -> task<> {
    for (unsigned n = 0; n < watched->of.clients; ++n) clients.spawn(be_client(server), "client");
    co_return;
  };
  co_await with_group(all);
}

task<> end_of(sim::host_handle host, std::chrono::nanoseconds limit, const char* otherwise) {
  try {
    co_await with_timeout(limit, host.ended());
  } catch (const timeout_error&) {
    sim::fail(otherwise);
  }
}

/// Stops the server before that step, or if that is 0, at a drawn moment.
task<> stop_under_load(load of, std::uint64_t before_step) {
  drain_book all;
  all.of = of;
  watched = &all;
  sim::host_handle server = sim::host("server", of.shards);
  server.settings().mailbox_capacity = static_cast<unsigned>(1 + sim::draw(4));
  server.start(serve_all);
  auto stop = [server, &all]() mutable {
    all.stopping = true;
    all.stopped_early = !all.open;
    server.stop();
  };
  if (before_step != 0) {
    auto look = [stop, before_step, &all]() mutable {
      if (all.up && !all.stopping && sim::step() >= before_step) stop();
      return true;
    };
    sim::always("a stop, not a condition", look);
  }
  std::vector<sim::host_handle> clients;
  for (unsigned n = 0; n < client_hosts; ++n) {
    clients.push_back(sim::host("clients" + std::to_string(n)));
    clients.back().start([ip = server.ip()] { return run_clients(ip); }, true);
  }
  if (before_step == 0) {
    co_await sleep_for(std::chrono::microseconds(sim::draw(60'000)));
    stop();
    co_await end_of(server, 60s, "the server did not end");
  } else {
    co_await end_of(server, 1h, "the server did not end");
  }
  // To a host that is off it takes two minutes to find that nobody answers, and fourteen in the midst of a connection.
  for (sim::host_handle& each : clients) co_await end_of(each, 30min, "a client waits for a server that has ended");
  if (all.handlers != 0) sim::fail("a handler was left");
  watched = nullptr;
}

}  // namespace

sim::test_case drain() {
  const auto seed = std::make_shared<std::uint64_t>(0);
  const auto configure = [seed](sim::options& o) {
    *seed = o.seed;
    o.all_faults();
    o.system.out_of_memory = 0;
    if (o.seed % 4 != 0) o.network.reset_per_segment = o.network.reset_accept = 0;
    if (o.seed % 2 == 0) o.network.socket_buffer_bytes = 8 * 1024;
    o.steps_max = 5'000'000;
    o.time_max = 3h;
  };
  const auto body = [seed]() -> task<> {
    load of;
    of.shards = static_cast<unsigned>(1 + *seed % 4);
    of.clients = static_cast<unsigned>(1 + sim::draw(12));
    of.pipeline_max = static_cast<unsigned>(1 + sim::draw(8));
    of.answer_bytes_max = *seed % 3 == 0 ? 40'000 : 2'000;
    of.slow = sim::draw(2) == 0;
    return stop_under_load(of, 0);
  };
  return {"drain", configure, body};
}

sim::test_case shutdown() {
  const auto step = std::make_shared<std::uint64_t>(0);
  const auto configure = [step](sim::options& o) {
    *step = std::exchange(o.seed, 1);
    o.system.late_completion = 0.05;
    o.system.short_transfer = 0.1;
    o.network.small_segment = 0.05;
    o.network.socket_buffer_bytes = 8 * 1024;
    o.steps_max = 5'000'000;
    o.time_max = 3h;
  };
  const auto body = [step]() -> task<> {
    load of;
    of.shards = 2;
    of.clients = 3;
    of.pipeline_max = 6;
    of.answer_bytes_max = 12'000;
    of.slow = true;
    return stop_under_load(of, *step);
  };
  return {"shutdown", configure, body};
}

}  // namespace scenarios
