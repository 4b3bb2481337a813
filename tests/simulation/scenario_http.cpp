// SPDX-License-Identifier: Apache-2.0
// The HTTP example under simulation: its service whose items live on their shards, with a directory of files on a disk
// that fails at times, asked by clients with pools of connections, over a network that breaks; drained, crashed and
// started again. Requests are given up at any moment. What is linked is the server's own object files, all but its
// main.
//
// What must hold: item_history says it of the items. Beside that, a file arrives as it is, or the client is told that
// it did not; answers to pipelined requests come in their order, each once; when the clients have gone, the server
// counts no connection and no request any more.
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/group.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/connect.hpp>
#include <skerry/net/file/directory.hpp>
#include <skerry/net/file/whole_file.hpp>
#include <skerry/net/http/client.hpp>
#include <skerry/net/http/connection.hpp>
#include <skerry/net/http/date.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/simulation/campaign.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <http_server/service.hpp>
#include <simulation/item_history.hpp>
#include <simulation/scenarios.hpp>

namespace scenarios {

namespace {

using namespace skerry;
using namespace skerry::net::http;
using namespace std::chrono_literals;
using verb = item_history::verb;

constexpr unsigned server_shards = 3;
constexpr unsigned client_hosts = 2;
constexpr unsigned askers_per_host = 3;
constexpr unsigned requests_per_asker = 24;
constexpr std::size_t file_bytes = 60'000;
constexpr std::string_view site = "/site";
/// The server's wall clock jumps so far between two of its lives, so the date of an answer tells which one gave it.
constexpr std::chrono::hours life_apart{240};

/// What all have seen together: one thread runs them.
struct http_book {
  item_history items{server_shards};
  std::chrono::seconds first_life{};
  std::vector<const net::http::detail::connection_counters*> counters;  ///< of the server's shards
  unsigned lives = 0;
  std::uint64_t asked_of_none = 0;  ///< pipelined requests about items that there are not
  bool over = false;                ///< the clients have gone: fate ends, too
  bool calm = true;                 ///< nothing breaks connections in this run
};

http_book* book = nullptr;

char file_byte(std::size_t at) { return static_cast<char>('a' + at * 7 % 23 + at / 1000 % 3); }

// --- the server ---

/// The files, on a disk that may refuse at any time.
task<> put_files() {
  std::string bytes(file_bytes, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = file_byte(i);
  while (true) {
    try {
      co_await net::make_directory(std::string(site));
    } catch (const std::system_error&) {
      // It is there from an earlier life, or will be made in the next round.
    }
    try {
      co_await net::write_file_atomically(std::string(site) + "/large.txt", std::as_bytes(std::span(bytes)));
      co_return;
    } catch (const std::system_error&) {
      // Once more.
    }
    co_await sleep_for(1ms);
  }
}

task<> serve() {
  ++book->lives;
  co_await put_files();
  co_await http_server::serve_all(std::string(site), {});
  const auto note = [] {
    const auto keep = [](const net::http::detail::connection_counters& each) { book->counters.push_back(&each); };
    net::http::detail::for_each_server(keep);
  };
  for (shard_id s = 0; s < shard_count(); ++s) co_await submit_to(s, note);
}

// --- clients ---

/// Which life of the server has given this answer.
unsigned life_of(std::optional<std::string_view> date) {
  const auto when = parse_date(date.value_or(""), std::chrono::sys_seconds(book->first_life));
  if (!when) {
    sim::fail("an answer without a date");
    return 0;
  }
  return 1 + static_cast<unsigned>((when->time_since_epoch() - book->first_life) / life_apart);
}

/// The server's limits may end what a broken network makes too slow, and its stop what has not come.
bool is_refusal(unsigned status) { return status == 408 || status == 503; }

std::string url_of(const std::string& ip, std::string_view path) {
  const bool by_name = sim::draw(8) == 0;
  return fmt::format("http://{}:{}{}", by_name ? "server" : ip, http_server::default_port, path);
}

/// Streamed, it is sent once at most.
outgoing with_json(method how, std::string url, std::string json, bool streamed) {
  outgoing made(how, std::move(url));
  if (!streamed) return std::move(made.body("application/json", std::move(json)));
  const std::size_t cut = sim::draw(json.size());
  auto in_parts = [text = std::move(json), cut](body_writer& out) -> task<> {
    co_await out.write(std::string_view(text).substr(0, cut));
    if (sim::draw(2) == 0) co_await sleep_for(std::chrono::milliseconds(sim::draw(30)));
    co_await out.write(std::string_view(text).substr(cut));
  };
  return std::move(made.stream("application/json", std::move(in_parts)));
}

task<> ask_about_an_item(client& with, std::string ip, std::uint32_t who) {
  const auto& known = book->items.known();
  const std::uint64_t kind = sim::draw(10);
  const std::size_t chosen = known.empty() ? 0 : sim::draw(known.size());
  verb what = verb::show;
  if (known.empty() || kind < 3) {
    what = verb::make;
  } else if (kind < 6) {
    what = verb::change;
  } else if (kind == 6) {
    what = verb::remove;
  }
  const std::uint64_t id = what == verb::make ? 0 : known[chosen];
  const bool sends = what == verb::make || what == verb::change;
  const std::uint64_t value = sends ? book->items.new_value() : 0;
  const std::string url = url_of(ip, what == verb::make ? "/items" : fmt::format("/items/{}", id));
  const bool streamed = sends && sim::draw(3) == 0;
  std::optional<outgoing> request;
  if (sends) {
    const method how = what == verb::make ? method::post : method::put;
    request = with_json(how, url, item_history::json_of(value), streamed);
  } else {
    request.emplace(what == verb::show ? method::get : method::delete_, url);
  }
  const std::size_t number = book->items.ask(who, what, id, value, streamed);
  client_response answer = co_await with.send(std::move(*request));
  const std::string body = co_await answer.read_all();
  if (!is_refusal(answer.status())) {
    book->items.answered(number, life_of(answer.header("Date")), answer.status(), body);
  }
}

task<> ask_for_a_list(client& with, std::string ip) {
  client_response answer = co_await with.get(url_of(ip, "/items?limit=1000"));
  const std::string body = co_await answer.read_all();
  if (is_refusal(answer.status())) co_return;
  if (answer.status() != 200) sim::fail(fmt::format("a list was answered with {}: {}", answer.status(), body));
  book->items.listed(life_of(answer.header("Date")), body);
}

/// The whole file or a part of it. What comes is compared as it comes.
task<> ask_for_a_file(client& with, std::string ip) {
  outgoing request(method::get, url_of(ip, "/static/large.txt"));
  std::size_t at = 0, end = file_bytes;
  const bool part = sim::draw(2) == 0;
  if (part) {
    at = sim::draw(file_bytes);
    end = at + 1 + sim::draw(file_bytes - at);
    request.header("Range", fmt::format("bytes={}-{}", at, end - 1));
  }
  client_response answer = co_await with.send(std::move(request));
  if (answer.status() != (part ? 206 : 200)) {
    const std::string body = co_await answer.read_all();
    const bool disk_failed = answer.status() == 500 || answer.status() == 503;
    if (!disk_failed && !is_refusal(answer.status())) {
      sim::fail(fmt::format("a file was answered with {}: {}", answer.status(), body));
    }
    co_return;
  }
  while (true) {
    const buffer piece = co_await answer.read();
    if (piece.empty()) break;
    for (const std::byte each : piece) {
      if (static_cast<char>(each) == file_byte(at++)) continue;
      sim::fail(fmt::format("a file with another byte at {}", at - 1));
      co_return;
    }
    if (sim::draw(8) == 0) co_return;  // enough
  }
  if (at != end) sim::fail(fmt::format("a file ends at byte {} of {}, and nobody is told", at, end));
}

/// What one client does, and gives up at any moment.
task<> ask_something(client& with, std::string ip, std::uint32_t who) {
  const std::uint64_t what = sim::draw(12);
  try {
    if (what == 0) {
      co_await ask_for_a_list(with, ip);
    } else if (what == 1) {
      co_await ask_for_a_file(with, ip);
    } else {
      co_await ask_about_an_item(with, ip, who);
    }
  } catch (const protocol_error& broken) {
    // Cut, and the client says so; but never nonsense.
    if (!std::string_view(broken.what()).contains("ended early")) sim::fail(broken.what());
  } catch (const std::system_error&) {
    // Refused, reset, timed out, or no such name today.
  }
}

task<> be_asker(client& with, std::string ip, std::uint32_t who) {
  for (unsigned n = 0; n < requests_per_asker; ++n) {
    if (sim::draw(6) == 0) {
      const auto patience = std::chrono::microseconds(sim::draw(40'000));
      try {
        co_await with_timeout(patience, ask_something(with, ip, who));
      } catch (const timeout_error&) {
        // Given up.
      }
    } else {
      co_await ask_something(with, ip, who);
    }
    if (sim::draw(4) == 0) co_await sleep_for(std::chrono::milliseconds(sim::draw(100)));
  }
}

/// Answers as they come, each to the next of what was asked.
class refusals {
 public:
  void ask(std::uint64_t id) { due_.push_back(id); }
  bool complete() const noexcept { return due_.size() == got_; }
  /// False when the server says that it was the last.
  bool come(std::string_view bytes) {
    text_ += bytes;
    while (true) {
      const std::size_t head = text_.find("\r\n\r\n");
      if (head == text_.npos) return true;
      constexpr std::string_view field = "Content-Length: ";
      const std::size_t at = text_.find(field);
      std::size_t size = 0;
      if (at < head) std::from_chars(text_.data() + at + field.size(), text_.data() + head, size);
      if (text_.size() < head + 4 + size) return true;
      const std::string_view answer = std::string_view(text_).substr(0, head + 4 + size);
      const bool is_last = answer.substr(0, head + 2).contains("\r\nConnection: close\r\n");
      if (!is_last || !answer.starts_with("HTTP/1.1 408 ")) {
        if (complete()) sim::fail("an answer that nobody asked for");
        if (!complete() && !answer.starts_with("HTTP/1.1 503 ") && !item_history::denies(answer, due_[got_])) {
          sim::fail(fmt::format("about item {} the answer is: {}", due_[got_], answer));
        }
        ++got_;
      }
      text_.erase(0, answer.size());
      if (is_last) return false;
    }
  }
  /// The end of the connection has come.
  void ended() const {
    if (book->calm && !text_.empty()) sim::fail("the server has ended in the middle of an answer: " + text_);
  }

 private:
  std::vector<std::uint64_t> due_;
  std::size_t got_ = 0;
  std::string text_;
};

/// Asks for many items that there are not, without waiting for the answers.
task<> pipeline(std::string ip) {
  net::stream server = co_await net::connect(*net::address::parse(ip, http_server::default_port));
  refusals due;
  std::string text;
  for (std::uint64_t n = 1 + sim::draw(20); n > 0; --n) {
    const std::uint64_t id = (std::uint64_t{1} << 40) + ++book->asked_of_none;
    due.ask(id);
    text += fmt::format("GET /items/{} HTTP/1.1\r\nHost: {}\r\n\r\n", id, ip);
  }
  co_await server.write(text);
  while (!due.complete()) {
    const buffer got = co_await with_timeout(90s, server.read());
    if (got.empty()) {
      due.ended();
      co_return;
    }
    if (!due.come({reinterpret_cast<const char*>(got.data()), got.size()})) co_return;
  }
}

task<> be_pipeliner(std::string ip) {
  for (unsigned n = 0; n < requests_per_asker / 4; ++n) {
    try {
      co_await pipeline(ip);
    } catch (const std::system_error&) {
      // Refused or reset.
    }
    co_await sleep_for(std::chrono::milliseconds(1 + sim::draw(100)));
  }
}

task<> run_clients(std::string ip, unsigned host) {
  client_options few;
  few.connections_per_host_max = 2;  // of which one is for who asks by name
  few.idle_timeout = 50ms;
  client with(few);
  const auto all = [&](group& tasks) -> task<> {
    for (unsigned n = 0; n < askers_per_host; ++n) tasks.spawn(be_asker(with, ip, host * 100 + n), "asker");
    tasks.spawn(be_pipeliner(ip), "pipeliner");
    co_return;
  };
  co_await with_group(all);
}

// --- fate ---

task<> start_again(sim::host_handle server, bool crash) {
  crash ? server.crash() : server.stop();
  co_await server.ended();
  book->items.forget();
  book->counters.clear();
  server.shift_wall(life_apart);
  co_await sleep_for(std::chrono::milliseconds(sim::draw(100)));
  server.start(serve);
}

task<> be_fate(sim::host_handle server) {
  static constexpr std::string_view names[] = {"clients0", "clients1"};
  while (!book->over) {
    co_await sleep_for(std::chrono::milliseconds(10 + sim::draw(200)));
    switch (sim::draw(8)) {
      case 0: {
        const std::string_view cut = names[sim::draw(std::size(names))];
        sim::partition({cut}, {"server"}, sim::draw(2) == 0);
        co_await sleep_for(std::chrono::milliseconds(sim::draw(1500)));
        sim::heal();
        break;
      }
      case 1: {
        const auto shard = static_cast<unsigned>(sim::draw(server_shards));
        server.stall(shard, std::chrono::milliseconds(sim::draw(40)));
        break;
      }
      case 2:
        if (book->lives < 4) co_await start_again(server, sim::draw(2) == 0);
        break;
      default: break;
    }
  }
}

/// What was acknowledged in this life is there.
task<> look_at_all(std::string ip) {
  client with;
  const std::vector<std::uint64_t> all = book->items.known();
  for (const std::uint64_t id : all) {
    for (bool told = false; !told;) {
      try {
        const std::string url = fmt::format("http://{}:{}/items/{}", ip, http_server::default_port, id);
        const std::size_t number = book->items.ask(0, verb::show, id, 0, false);
        client_response answer = co_await with.get(url);
        const std::string body = co_await answer.read_all();
        book->items.answered(number, life_of(answer.header("Date")), answer.status(), body);
        told = true;
      } catch (const std::system_error&) {
        // Once more.
      }
    }
  }
}

task<> until_nothing_is_counted() {
  const auto busy = [] {
    return std::ranges::any_of(book->counters,
                               [](const auto* each) { return each->connections + each->handling != 0; });
  };
  const clock::time_point last = clock::now() + 20min;  // what a lost reset left ends by the server's limits
  while (busy() && clock::now() < last) co_await sleep_for(100ms);
  if (busy()) sim::fail("the server counts a connection or a request, and all clients are gone");
}

task<> test_http(bool calm) {
  http_book all;
  all.calm = calm;
  book = &all;
  sim::host_handle server = sim::host("server", server_shards);
  all.first_life = std::chrono::floor<std::chrono::seconds>(clock::wall()) - 1h;
  server.start(serve);
  co_await sleep_for(5ms);
  std::vector<sim::host_handle> clients;
  for (unsigned h = 0; h < client_hosts; ++h) {
    clients.push_back(sim::host("clients" + std::to_string(h)));
    clients.back().start([ip = server.ip(), h] { return run_clients(ip, h); }, true);
  }
  join_handle<void> fate = spawn(be_fate(server), "fate");
  for (sim::host_handle& each : clients) co_await each.ended();
  all.over = true;
  co_await fate;
  co_await look_at_all(server.ip());
  co_await until_nothing_is_counted();
  server.stop();
  co_await server.ended();
  all.items.check();
  if (all.items.answers() == 0) sim::fail("nothing was answered at all");
  book = nullptr;
}

}  // namespace

sim::test_case http() {
  const auto calm = std::make_shared<bool>(false);
  const auto configure = [calm](sim::options& o) {
    o.all_faults();
    *calm = o.seed % 3 == 0;
    if (*calm) o.network.reset_per_segment = o.network.reset_accept = o.system.out_of_memory = 0;
    o.network.socket_buffer_bytes = o.seed % 2 == 0 ? 8 * 1024 : 256 * 1024;
    o.disk.io_error = 0.01;
    o.time_max = 24h;
  };
  return {"http", configure, [calm] { return test_http(*calm); }};
}

}  // namespace scenarios
