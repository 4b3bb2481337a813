// SPDX-License-Identifier: Apache-2.0
#pragma once

/// wait_cases: something to wait for of every kind there is, for the matrix that cancels it.

#include <skerry/net/detail/server_part.hpp>
#include <skerry/net/dns/resolver.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/net/hand_over.hpp>
#include <skerry/net/http/response.hpp>
#include <skerry/skerry.hpp>

#include <array>
#include <chrono>
#include <csignal>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>
#include <support/scratch_directory.hpp>
#include <support/sync_cases.hpp>
#include <support/task_steps.hpp>
#include <sys/stat.h>
#include <unistd.h>

namespace skerry::test_support::waits {

using namespace std::chrono_literals;

// A case is something to wait for that is not there yet: `wait()` is the awaitable, `serve()` lets it come. It may also
// say how it differs from others:

/// What every case has unless it says otherwise.
struct usual {
  static constexpr unsigned shards = 1;
  static constexpr bool by_itself = false;  ///< it may come without serve()
  static constexpr bool by_itself_simulated = false;
  static constexpr bool never_rests = false;     ///< it is always about to go on
  static constexpr bool must_be_served = false;  ///< ends after a cancel only when what it waits for has come
  static constexpr bool forgets = false;         ///< what comes while nobody waits is gone
  static constexpr bool of_the_kernel = false;   ///< no simulation has what it uses
  task<> prepare() { co_return; }
};

inline scratch_directory directory_of_a_case() {
  return simulated() ? scratch_directory("/case") : scratch_directory();
}

/// Time that passes when a case says so.
inline manual_clock* hours = nullptr;

struct in_time : usual {
  clock::time_point when = clock::now() + 1h;
  void serve() { hours->pass(2h); }
};

/// An event on which something else waits in turn. It stays set: whoever waits in several steps may be cancelled after
/// the one that took what came.
struct inner : usual {
  skerry::event event;
  void serve() { event.set(); }
  task<> ready() { co_await event.wait(); }
  task<int> number() {
    co_await event.wait();
    co_return 1;
  }
};

struct awaited_task : inner {
  task<int> wait() { return number(); }
};

struct join : inner {
  join_handle<int> handle = spawn(number());
  auto wait() { return handle.operator co_await(); }
};

struct yielding : usual {
  static constexpr bool by_itself = true, never_rests = true;
  bool served = false;
  void serve() { served = true; }
  task<> wait() {
    while (!served) {
      co_await maybe_yield();
      co_await yield();
    }
  }
};

struct in_group : inner {
  task<> wait() {
    auto body = [this](group& g) -> task<> {
      g.spawn(ready());
      co_await g.until_empty();
    };
    co_await with_group(body);
  }
};

struct in_group_after_its_body : inner {
  task<> wait() {
    auto body = [this](group& g) -> task<> {
      g.spawn(ready());
      co_return;
    };
    co_await with_group(body);
  }
};

struct all : inner {
  skerry::event second;
  task<int> later() {
    co_await second.wait();
    co_return 2;
  }
  auto wait() { return when_all(number(), later()); }
  void serve() {
    event.set();
    second.set();
  }
};

struct all_of_many : all {
  auto wait() {
    std::vector<task<int>> tasks;
    tasks.push_back(number());
    tasks.push_back(later());
    return when_all(std::move(tasks));
  }
};

struct any : inner {
  skerry::event second;
  task<int> later() {
    co_await second.wait();
    co_return 2;
  }
  auto wait() { return when_any(later(), number()); }
};

struct any_of_many : any {
  auto wait() {
    std::vector<task<int>> tasks;
    tasks.push_back(later());
    tasks.push_back(number());
    return when_any(std::move(tasks));
  }
};

/// Two waits as they are; what came for the second is not lost with whoever waited for both.
struct selected : usual {
  auto_reset_event a, b;
  task<> wait() {
    co_await select(on(a.wait(), [] {}), on(b.wait(), [] {}));
  }
  void serve() { b.set(); }
};

struct timeout_of_a_wait : selected {
  task<> wait() { co_await with_timeout(1h, b.wait()); }
};

struct select_handler : any {
  auto wait() {
    return select(on(later(), [](int) {}), on(yield(), [this]() -> task<> { co_await event.wait(); }));
  }
};

struct cancel_token_of_another : inner {
  cancel_source source;
  auto wait() { return with_cancel(source.token(), ready()); }
};

struct cancel_token_fires : inner {
  cancel_source source;
  task<> wait() {
    try {
      co_await with_cancel(source.token(), ready());
    } catch (const std::system_error&) {
    }
  }
  void serve() { source.cancel(); }
};

struct shield : inner {
  static constexpr bool must_be_served = true, forgets = true;
  auto wait() { return shielded(ready()); }
};

struct with_cleanup : inner {
  auto wait() { return finally(ready(), let_others_run()); }
};

struct done_once : inner {
  once first_call;
  task<> wait() {
    return first_call.call([this] { return ready(); });
  }
};

struct at_a_barrier : usual {
  barrier b{2};
  auto wait() { return b.arrive_and_wait(); }
  void serve() {
    spawn([this]() -> task<> { co_await b.arrive_and_wait(); });
  }
};

/// The local primitives' cases, which have a suite of their own as well.
template <class Case>
struct of_sync : usual, Case {};
struct of_condition : of_sync<condition_case> {
  static constexpr bool forgets = true;
};
struct of_mutex : of_sync<mutex_case> {};
struct of_shared_mutex_writer : of_sync<shared_mutex_writer_case> {};
struct of_shared_mutex_reader : of_sync<shared_mutex_reader_case> {};
struct of_semaphore : of_sync<semaphore_case> {};
struct of_event : of_sync<event_case> {};
struct of_auto_reset_event : of_sync<auto_reset_event_case> {};
struct of_latch : of_sync<latch_case> {};
struct of_gate : of_sync<gate_case> {};

struct sleeping : in_time {
  auto wait() { return sleep_until(when); }
};

struct timeout_of_another : inner {
  auto wait() { return with_timeout(1h, ready()); }
};

struct timeout_fires : in_time {
  auto_reset_event never;
  task<> wait() {
    try {
      co_await with_deadline(when, never.wait());
    } catch (const timeout_error&) {
    }
  }
};

struct attempt : inner {
  task<> wait() {
    auto fn = [this] { return ready(); };
    co_await retry(retry_policy(), fn);
  }
};

struct back_off : in_time {
  static constexpr bool forgets = true;
  task<> wait() {
    retry_policy patient;
    patient.first_delay = patient.delay_max = 1h;
    int calls = 0;
    auto fn = [&calls]() -> task<> {
      if (++calls == 1) throw std::system_error(std::make_error_code(std::errc::timed_out));
      co_return;
    };
    co_await retry(patient, fn);
  }
};

struct pipe_of_bytes : usual {
  void serve() { EXPECT_EQ(::write(to.get(), "x", 1), 1); }
  std::array<int, 2> ends = open_ends();
  net::unique_fd from{ends[0]}, to{ends[1]};
  static std::array<int, 2> open_ends() {
    std::array<int, 2> ends;
    EXPECT_EQ(::pipe2(ends.data(), O_NONBLOCK | O_CLOEXEC), 0);
    return ends;
  }
};

struct readable_pipe : pipe_of_bytes {
  auto wait() { return readable(from.get()); }
};

struct writable_pipe : pipe_of_bytes {
  writable_pipe() {
    const std::string block(4096, 'x');
    while (::write(to.get(), block.data(), block.size()) > 0) {
    }
  }
  auto wait() { return writable(to.get()); }
  void serve() {
    std::string bytes(1 << 20, '\0');
    EXPECT_GT(::read(from.get(), bytes.data(), bytes.size()), 0);
  }
};

struct events_of_a_pipe : pipe_of_bytes {
  readiness_events events{from.get(), POLLIN};
  auto wait() { return events.next(); }
};

struct with_peer : usual {
  std::optional<connected> pair;
  const std::string block = std::string(1'000'000, 'b');
  task<> prepare() {
    pair.emplace(co_await connect_pair(1));
    const int tiny = 1;
    ::setsockopt(pair->ours.fd(), SOL_SOCKET, SO_SNDBUF, &tiny, sizeof tiny);
  }
  void serve() { pair->theirs.try_send("x"); }
};

struct read : with_peer {
  auto wait() { return pair->ours.read(); }
};

struct read_readiness : with_peer {
  auto wait() { return pair->ours.readable(); }
};

struct read_line : with_peer {
  std::optional<net::buffered_reader<net::stream>> lines;
  task<> prepare() {
    co_await with_peer::prepare();
    lines.emplace(pair->ours);
    pair->theirs.try_send("half of ");
    co_await lines->peek(4);
  }
  task<> wait() {
    const auto line = co_await lines->read_line(100);
    EXPECT_EQ(line, "half of a line");
  }
  void serve() { pair->theirs.try_send("a line\nhalf of "); }
};

/// Each wait moves a connection of its own.
struct move_of_a_stream : usual {
  static constexpr unsigned shards = 2;
  static constexpr bool by_itself = true;
  std::vector<connected> pairs;
  task<> prepare() {
    for (int i = 0; i < 3; ++i) pairs.push_back(co_await connect_pair());
  }
  task<> wait() {
    connected pair = std::move(pairs.back());
    pairs.pop_back();
    const auto drop = [](net::stream) -> task<> { co_return; };
    co_await std::move(pair.ours).move_to(1, drop);
  }
  void serve() {}
};

struct flush : with_peer {
  std::size_t unread = 0;
  bool read_by_somebody = false;
  task<> prepare() {
    co_await with_peer::prepare();
    unread = pair->ours.try_write(std::as_bytes(std::span(block)));
  }
  auto wait() { return pair->ours.flush(); }
  /// The peer counts what it reads: it may have everything before we hear that all is sent.
  void serve() {
    if (std::exchange(read_by_somebody, true)) return;
    spawn([this]() -> task<> {
      while (unread != 0) unread -= (co_await pair->theirs.receive()).size();
    });
  }
};

struct write : with_peer {
  task<> wait() {
    try {
      co_await pair->ours.write(block);
    } catch (const std::system_error&) {
      // The peer has gone.
    }
  }
  void serve() { pair->theirs.reset(); }
};

struct accept : usual {
  net::listener listening{loopback()};
  std::optional<raw_peer> peer;
  auto wait() { return listening.accept(); }
  void serve() { peer.emplace(listening.where()); }
};

/// What accepts from a Unix socket's name, which goes with it.
struct accept_by_name : usual {
  net::listener listening{*net::address::parse("unix:@skerry test " + std::to_string(::getpid()))};
  std::optional<raw_peer> peer;
  auto wait() { return listening.accept(); }
  void serve() { peer.emplace(listening.where()); }
};

struct accept_of_a_descriptor : accept {
  auto wait() { return listening.accept_fd(); }
};

/// A connection that stays until it is served keeps the drain waiting. Of the part, as a handle drains once.
struct drain_of_a_server : inner {
  static inline skerry::event* gate = nullptr;
  std::optional<net::server> server;
  std::optional<raw_peer> peer;
  task<> prepare() {
    gate = &event;
    const auto stays = [](net::stream) -> task<> { co_await gate->wait(); };
    server.emplace(co_await net::start_server(loopback(), stays));
    peer.emplace(server->where());
    while (part().stats().connections == 0) co_await turn();
  }
  net::detail::server_part& part() { return *net::detail::this_server_parts().find(server->id()); }
  auto wait() { return part().drain(1h); }
};

struct hand_over_of_a_server : usual {
  std::shared_ptr<net::detail::hand_over_outcome> outcome = std::make_shared<net::detail::hand_over_outcome>();
  net::server server{0, loopback(), outcome};
  auto wait() { return server.handed_over(); }
  void serve() { outcome->over.set(); }
};

struct connect : usual {
  static constexpr bool by_itself = true;
  net::listener listening{loopback()};
  auto wait() { return net::connect(listening.where()); }
  void serve() {}
};

struct connect_to_any : connect {
  task<> wait() {
    const std::vector<net::address> both(2, listening.where());
    co_await net::connect(both);
  }
};

/// In a directory of the case's own.
struct with_files : usual {
  static constexpr bool by_itself = true;
  scratch_directory here = directory_of_a_case();
  void serve() {}
};

/// A name whose server answers when it is told to: the question itself, marked as an answer, and one address. That of a
/// simulation answers by itself.
struct resolved : usual {
  static constexpr bool by_itself_simulated = true;
  resolved() : fd(simulated() ? -1 : ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    if (simulated()) {
      names.emplace();
      return;
    }
    const net::address any = loopback();
    EXPECT_EQ(::bind(fd.get(), any.data(), any.size()), 0);
    net::dns::resolver_options options;
    options.servers = {net::local_address(fd.get()).text()};
    options.hosts_file = options.services_file = "";
    options.resolv_conf = "/dev/null";
    names.emplace(options);
  }
  task<> wait() {
    const char* const name = simulated() ? "test" : "a.example";
    (void)co_await names->resolve(name, 80, net::dns::family::v4);
    passed.set();
  }
  void answer() {
    char bytes[600];
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    const ssize_t got = ::recvfrom(fd.get(), bytes, 512, 0, reinterpret_cast<sockaddr*>(&from), &size);
    if (got < 12) return;
    std::string text(bytes, static_cast<std::size_t>(got));
    text[2] = static_cast<char>(text[2] | 0x80);
    text[7] = 1;
    text += std::string("\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1", 16);
    ::sendto(fd.get(), text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&from), size);
  }
  task<> answer_all() {
    while (!passed.is_set()) {
      answer();
      co_await select(on(readable(fd.get()), [](std::uint32_t) {}), on(passed.wait(), [] {}));
    }
  }
  void serve() {
    if (!simulated()) spawn(answer_all(), "answers");
  }

  net::unique_fd fd;
  skerry::event passed;
  std::optional<net::dns::resolver> names;
};

struct open_of_a_file : with_files {
  auto wait() { return net::open_file(here.file("made"), net::open_options(O_RDWR | O_CREAT)); }
};

struct with_open_file : with_files {
  std::optional<net::file> file;
  task<> prepare() { file.emplace(co_await net::open_file(here.file("made"), net::open_options(O_RDWR | O_CREAT))); }
};

struct status_of_a_file : with_open_file {
  auto wait() { return file->status(); }
};

struct sync_of_a_file : with_open_file {
  auto wait() { return file->sync(); }
};

struct close_of_a_file : with_open_file {
  std::optional<net::file> second;
  task<> prepare() {
    co_await with_open_file::prepare();
    second.emplace(co_await net::open_file(here.file("made")));
  }
  auto wait() {
    if (!file) file.swap(second);
    net::file closed = std::move(*file);
    file.reset();
    return close(std::move(closed));
  }
  static task<> close(net::file closed) { co_await closed.close(); }
};

struct rename_of_a_file : with_open_file {
  task<> wait() {
    try {
      co_await net::rename_file(here.file("made"), here.file("renamed"));
    } catch (const std::system_error&) {
      // A wait that was cancelled has done it.
    }
  }
};

struct remove_of_a_file : with_open_file {
  task<> wait() {
    try {
      co_await net::remove_file(here.file("made"));
    } catch (const std::system_error&) {
      // As above.
    }
  }
};

/// A named pipe, which lets a file's reads and writes wait as long as a case likes. On a simulated disk a file, which
/// keeps everybody waiting for some time.
struct with_fifo : usual {
  static constexpr bool by_itself_simulated = true;
  static constexpr bool forgets = true;  // what a cancelled read or write has moved is moved
  scratch_directory here = directory_of_a_case();
  std::optional<net::file> file;
  std::array<char, 1> byte{};
  net::unique_fd other_end{simulated() ? -1 : make_fifo(here.file("fifo"))};
  static int make_fifo(const std::string& path) {
    EXPECT_EQ(::mkfifo(path.c_str(), 0600), 0);
    return ::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
  }
  task<> prepare() {
    file.emplace(co_await net::open_file(here.file("fifo"), net::open_options(O_RDWR | O_CREAT)));
    if (simulated()) co_await file->write(std::string(65536, 'x'), 0);
  }
  void serve() {
    if (!simulated()) {
      EXPECT_EQ(::write(other_end.get(), "x", 1), 1);
    }
  }
};

struct read_of_a_file : with_fifo {
  auto wait() { return file->read(std::as_writable_bytes(std::span(byte)), 0); }
};

struct read_into_a_buffer : with_fifo {
  auto wait() { return file->read(0); }
};

struct write_of_a_file : with_fifo {
  write_of_a_file() {
    const std::string block(4096, 'x');
    while (!simulated() && ::write(other_end.get(), block.data(), block.size()) > 0) {
    }
  }
  auto wait() { return file->write("x", 0); }
  void serve() {
    std::string bytes(1 << 20, '\0');
    if (!simulated()) (void)::read(other_end.get(), bytes.data(), bytes.size());
  }
};

struct receive_of_a_datagram : usual {
  net::datagram_socket socket{loopback()};
  net::datagram_socket peer{loopback()};
  auto wait() { return socket.receive(); }
  void serve() {
    spawn([this]() -> task<> { co_await peer.send(socket.where(), "x"); });
  }
};

struct send_of_a_datagram : usual {
  static constexpr bool by_itself = true;
  net::datagram_socket socket{loopback()};
  auto wait() { return socket.send(socket.where(), "x"); }
  void serve() {}
};

struct receive_of_a_message : usual {
  std::pair<net::unique_fd, net::unique_fd> ends = net::message_socket::pair_of_descriptors();
  net::message_socket socket = net::message_socket::adopt(std::move(ends.first));
  auto wait() { return socket.receive(); }
  void serve() { EXPECT_EQ(::send(ends.second.get(), "x", 1, MSG_NOSIGNAL), 1); }
};

/// The kernel has no room for one more until the peer reads.
struct send_of_a_message : usual {
  std::pair<net::unique_fd, net::unique_fd> ends = net::message_socket::pair_of_descriptors();
  net::message_socket socket = net::message_socket::adopt(std::move(ends.first));
  task<> prepare() {
    for (std::size_t size : {4096, 1}) {  // first in steps that are soon made, then to the last byte
      const std::string message(size, 'x');
      while (::send(socket.fd(), message.data(), size, MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
      }
    }
    co_return;
  }
  auto wait() { return socket.send("x"); }
  void serve() {
    char message[4096];
    while (::recv(ends.second.get(), message, sizeof message, MSG_DONTWAIT) > 0) {
    }
  }
};

/// What a cancelled read has moved stays with the stream, so it may come in the end.
struct read_of_a_pipe : usual {
  net::pipe_ends ends = net::make_pipe();
  net::pipe_stream reader{std::move(ends.out)};
  auto wait() { return reader.read(); }
  void serve() { EXPECT_EQ(::write(ends.in.get(), "x", 1), 1); }
};

/// The kernel has no room for one more until somebody reads.
struct flush_of_a_pipe : usual {
  net::pipe_ends ends = net::make_pipe();
  net::pipe_stream writer{net::unique_fd(), std::move(ends.in)};
  const std::string block = std::string(100'000, 'x');
  task<> prepare() {
    writer.try_write(std::as_bytes(std::span(block)));
    co_await turn();
    writer.try_write(std::as_bytes(std::span(block)));
  }
  auto wait() { return writer.flush(); }
  void serve() {
    spawn([this]() -> task<> {
      net::pipe_stream reader = net::pipe_stream::shared(ends.out.get(), -1);
      for (std::size_t got = 0; got < net::pipe_stream::high_water * 2;) {
        buffer bytes = co_await reader.read();
        got += bytes.size();
      }
    });
  }
};

struct end_of_a_child : usual {
  static constexpr bool of_the_kernel = true;
  std::optional<net::child> cat;
  task<> prepare() {
    net::child_options options;
    options.input = net::redirect::pipe();
    options.output = net::redirect::null();
    cat.emplace(net::start_child("cat", {}, options));
    co_return;
  }
  auto wait() { return cat->wait(); }
  void serve() { cat->streams().shutdown_output(); }
};

struct next_signal : usual {
  net::signal_stream wishes = net::signals({SIGUSR1});
  auto wait() { return wishes.next(); }
  void serve() { EXPECT_EQ(::kill(::getpid(), SIGUSR1), 0); }
};

struct wish_to_stop : usual {
  auto wait() { return net::shutdown_signal(); }
  void serve() { this_assembled_shard().begin_drain(); }
};

/// With bytes that nobody has read, so that the drain waits for no more of them.
struct cut_off_by_a_drain : with_peer {
  task<> prepare() {
    co_await with_peer::prepare();
    pair->theirs.try_send("x");
    co_await pair->ours.readable();
  }
  auto wait() { return pair->ours.cut_off(); }
  void serve() { this_assembled_shard().begin_drain(); }
};

/// Where nothing drains; whoever waits for it as well as for something else goes on with that.
struct drain_of_a_body : inner {
  struct writer final : net::http::body_writer {
    using body_writer::write;
    task<> write(std::span<const std::byte>) override { co_return; }
    task<> flush() override { co_return; }
  } body;
  task<> wait() {
    co_await select(on(body.draining(), [] {}), on(event.wait(), [] {}));
  }
};

struct accept_of_messages : usual {
  const net::address at = *net::address::parse("unix:@skerry messages " + std::to_string(::getpid()));
  net::message_listener listening{at};
  std::vector<net::unique_fd> peers;
  auto wait() { return listening.accept(); }
  void serve() {
    peers.emplace_back(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(peers.back().get(), at.data(), at.size()), 0);
  }
};

/// An event on shard 1.
struct remote : usual {
  static constexpr unsigned shards = 2;
  task<> prepare() {
    co_await submit_to(1, [] { resources().emplace<skerry::event>(); });
  }
  static task<> ring() {
    co_await submit_to(1, [] { resource<skerry::event>().set(); });
  }
  void serve() { spawn(ring()); }
};

inline constexpr auto wait_there = []() -> task<int> {
  co_await resource<skerry::event>().wait();
  co_return 1;
};

struct submitted_task : remote {
  auto wait() { return submit_to(1, wait_there); }
};

struct submitted_function : remote {
  static constexpr bool by_itself = true;
  auto wait() {
    return submit_to(1, [] { return 1; });
  }
};

struct submitted_batch : remote {
  task<> prepare() {
    co_await remote::prepare();
    resources().emplace<skerry::event>();
  }
  void serve() {
    remote::serve();
    resource<skerry::event>().set();
  }
  task<> wait() {
    call_batch<std::remove_const_t<decltype(wait_there)>> calls(2);
    calls.add(1, wait_there);
    calls.add(0, wait_there);
    co_await calls.all();
  }
};

/// Returns when the message is home again.
struct message_home : remote {
  task<> prepare() {
    co_await remote::prepare();
    spawn([]() -> task<> { co_await submit_to(1, wait_there); });
    co_await let_others_run();
  }
  auto wait() { return detail::this_mailboxes().until_home(); }
};

struct service {
  int number = 1;
};
inline constexpr auto wait_in_service = [](service& s) -> task<int> {
  co_await resource<skerry::event>().wait();
  co_return s.number;
};

struct on_a_service : remote {
  static constexpr unsigned shards = 2;
  sharded<service> services;
  task<> prepare() {
    co_await remote::prepare();
    resources().emplace<skerry::event>();
    co_await services.start();
  }
  void serve() {
    remote::serve();
    resource<skerry::event>().set();
  }
};

struct called_on_all : on_a_service {
  task<> wait() { return services.invoke_on_all(wait_in_service); }
};

struct mapped_and_reduced : on_a_service {
  auto wait() { return services.map_reduce(wait_in_service, 0, std::plus<>()); }
};

}  // namespace skerry::test_support::waits
