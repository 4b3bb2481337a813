// SPDX-License-Identifier: Apache-2.0
// More clients than descriptors, and than a server wants at a time: each is served in the end, once, and no more at a
// time than it was told.
#include <skerry/framework/task/group.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/connect.hpp>
#include <skerry/net/server.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <simulation/scenarios.hpp>

namespace scenarios {

namespace {

using namespace skerry;
using namespace std::chrono_literals;

constexpr std::uint16_t port = 7000;
constexpr unsigned client_hosts = 3;
constexpr unsigned clients_per_host = 5;
constexpr unsigned visits = 3;
constexpr unsigned descriptors = 8;  // fewer than there are clients, more than one client host needs
/// Every conversation ends within a second: nobody waits for a place as long as this.
constexpr std::chrono::nanoseconds too_long = 60s;
constexpr std::string_view greeting = "welcome\n";

struct accept_book {
  std::uint32_t places = net::server_options::unlimited;
  unsigned shards = 1;
  unsigned served_now = 0;
  unsigned served = 0;
  bool open = false;
};

accept_book* guests = nullptr;

struct counted_guest {
  counted_guest() {
    if (++guests->served_now > guests->places) sim::fail("more connections are served than there are places");
  }
  ~counted_guest() { --guests->served_now; }
};

/// Greets, then says everything once more.
task<> welcome(net::stream guest) {
  const counted_guest here;
  co_await guest.write(greeting);
  while (true) {
    const buffer got = co_await guest.read();
    if (got.empty()) co_return;
    co_await guest.write(got);
  }
}

task<> serve_all() {
  net::server_options limits;
  limits.connections_max = guests->places;
  constexpr net::accept_policy policies[] = {net::accept_policy::reuseport, net::accept_policy::round_robin,
                                             net::accept_policy::least_loaded};
  limits.accept = policies[sim::draw(3)];
  if (sim::draw(4) == 0) limits.accepts_per_second = 20;
  const auto handler = [](net::stream guest) { return welcome(std::move(guest)); };
  co_await net::listen_on_all_shards(*net::address::parse("0.0.0.0", port), handler, limits);
  guests->open = true;
}

/// Reads until there is so much, or the end; nothing more may come than that.
task<std::string> read_exactly(net::stream& s, std::size_t bytes) {
  std::string all;
  while (all.size() < bytes) {
    const buffer got = co_await s.read();
    if (got.empty()) break;
    all.append(reinterpret_cast<const char*>(got.data()), got.size());
  }
  if (all.size() > bytes) sim::fail("more came than was sent");
  co_return all;
}

/// False if the connection broke.
task<bool> visit(std::string server) {
  try {
    net::stream s = co_await net::connect(*net::address::parse(server, port));
    const std::string first = co_await read_exactly(s, greeting.size());
    if (first.empty()) co_return false;
    if (first != greeting) sim::fail("a greeting with other bytes");
    const std::string text(1 + sim::draw(3000), static_cast<char>('a' + sim::draw(26)));
    co_await s.write(text);
    if (sim::draw(2) == 0) co_await sleep_for(std::chrono::milliseconds(sim::draw(100)));
    const std::string echo = co_await read_exactly(s, text.size());
    if (echo != text) {
      sim::fail("of " + std::to_string(text.size()) + " bytes " + std::to_string(echo.size()) +
                " came back, or others");
    }
    s.shutdown_output();
    if (!(co_await s.read()).empty()) sim::fail("more came than was sent");
    ++guests->served;
  } catch (const timeout_error&) {
    throw;
  } catch (const std::system_error&) {
    co_return false;  // refused or reset
  }
  co_return true;
}

task<> be_guest(std::string server) {
  for (unsigned n = 0; n < visits;) {
    try {
      const bool served = co_await with_timeout(too_long, visit(server));
      n += served;
    } catch (const timeout_error&) {
      sim::fail("a client was never served");
      co_return;
    }
    co_await sleep_for(std::chrono::milliseconds(1 + sim::draw(30)));
  }
}

task<> run_guests(std::string server) {
  const auto all = [&](group& clients) -> task<> {
    for (unsigned n = 0; n < clients_per_host; ++n) clients.spawn(be_guest(server), "guest");
    co_return;
  };
  co_await with_group(all);
}

task<> test_accept() {
  accept_book all;
  guests = &all;
  all.shards = static_cast<unsigned>(1 + sim::draw(3));
  if (sim::draw(2) == 0) all.places = static_cast<std::uint32_t>(1 + sim::draw(4));
  sim::host_handle server = sim::host("server", all.shards);
  server.start(serve_all);
  while (!all.open) co_await sleep_for(1ms);  // opening on all shards takes descriptors, too
  std::vector<sim::host_handle> clients;
  for (unsigned n = 0; n < client_hosts; ++n) {
    clients.push_back(sim::host("clients" + std::to_string(n)));
    clients.back().start([ip = server.ip()] { return run_guests(ip); }, true);
  }
  for (sim::host_handle& each : clients) co_await each.ended();
  if (all.served != client_hosts * clients_per_host * visits) sim::fail("a visit is missing");
  server.stop();
  co_await server.ended();
  if (all.served_now != 0) sim::fail("a handler was left");
  guests = nullptr;
}

}  // namespace

sim::test_case accept() {
  const auto configure = [](sim::options& o) {
    if (o.seed % 2 == 0) o.all_faults();
    o.system.out_of_memory = 0;
    o.system.descriptors_max = descriptors;
    o.steps_max = 5'000'000;
    o.time_max = 1h;
  };
  return {"accept", configure, test_accept};
}

}  // namespace scenarios
