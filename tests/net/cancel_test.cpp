// SPDX-License-Identifier: Apache-2.0
/// Reads, writes, connects and accepts that are cancelled while they wait: by abort, by a deadline, with the shard's
/// root scope. Afterwards every buffer, frame and endpoint is back (the shard asserts it) and no descriptor is left.

#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <support/raw_peer.hpp>

namespace skerry {
namespace {

using test_support::connect_pair;
using test_support::connected;
using test_support::loopback;
using test_support::numbered_bytes;
using test_support::raw_peer;
using test_support::run_and_count;
using test_support::text_of;
using test_support::turn;

/// A port whose queue of connections is full, so that a further connect waits.
class full_port {
 public:
  full_port() : listening_(net::make_listening_socket(loopback(), 0)), filler_(net::local_address(listening_.get())) {}
  net::address where() const { return net::local_address(listening_.get()); }

 private:
  net::unique_fd listening_;
  raw_peer filler_;
};

/// What waits, with all it waits for.
struct waits {
  net::listener listening{loopback()};
  full_port full;
  connected pair;
  std::string block = std::string(1'000'000, 'b');
  explicit waits(connected made) : pair(std::move(made)) {
    int tiny = 1;
    ::setsockopt(pair.ours.fd(), SOL_SOCKET, SO_SNDBUF, &tiny, sizeof tiny);
  }

  task<> read() { co_await pair.ours.read(); }
  task<> write() { co_await pair.ours.write(block); }
  task<> flush() { co_await pair.ours.flush(); }
  task<> accept() { co_await listening.accept(); }
  task<> connect() { co_await net::connect(full.where()); }
};

task<std::unique_ptr<waits>> make_waits() {
  connected pair = co_await connect_pair(1);
  co_return std::make_unique<waits>(std::move(pair));
}

using wait_function = task<> (waits::*)();
constexpr wait_function all_waits[] = {&waits::read, &waits::write, &waits::flush, &waits::accept, &waits::connect};

template <class T>
task<bool> join_says_cancelled(join_handle<T>& handle) {
  try {
    co_await handle;
  } catch (const std::system_error& error) {
    co_return error.code() == std::errc::operation_canceled;
  }
  co_return false;
}

TEST(cancel, abort_ends_every_kind_of_wait_after_any_number_of_turns) {
  run_and_count([]() -> task<> {
    for (wait_function wait : all_waits) {
      for (int turns = 0; turns < 4; ++turns) {
        std::unique_ptr<waits> made = co_await make_waits();
        if (wait == &waits::flush) made->pair.ours.try_write(std::as_bytes(std::span(made->block)));
        auto waiting = spawn(((*made).*wait)(), "waiting");
        for (int i = 0; i < turns; ++i) co_await turn();
        EXPECT_FALSE(waiting.is_finished());
        waiting.abort();
        EXPECT_TRUE(co_await join_says_cancelled(waiting));
        made->pair.theirs.reset();
      }
    }
  });
}

TEST(cancel, a_deadline_ends_every_kind_of_wait) {
  run_and_count([]() -> task<> {
    for (wait_function wait : all_waits) {
      std::unique_ptr<waits> made = co_await make_waits();
      if (wait == &waits::flush) made->pair.ours.try_write(std::as_bytes(std::span(made->block)));
      bool timed_out = false;
      try {
        co_await with_timeout(std::chrono::milliseconds(2), ((*made).*wait)());
      } catch (const timeout_error&) {
        timed_out = true;
      }
      EXPECT_TRUE(timed_out);
      made->pair.theirs.reset();
    }
  });
}

TEST(cancel, the_end_of_the_shard_ends_every_kind_of_wait) {
  for (bool waiting_in_the_kernel : {false, true}) {
    run_and_count([waiting_in_the_kernel]() -> task<> {
      for (wait_function wait : all_waits) {
        std::unique_ptr<waits> unique = co_await make_waits();
        std::shared_ptr<waits> made = std::move(unique);
        if (wait == &waits::flush) made->pair.ours.try_write(std::as_bytes(std::span(made->block)));
        spawn([made, wait]() -> task<> { co_await ((*made).*wait)(); }, "waiting");
        if (waiting_in_the_kernel) co_await turn();
      }
    });
  }
}

TEST(cancel, a_cancelled_read_takes_nothing) {
  run_and_count([]() -> task<> {
    connected pair = co_await connect_pair();
    const std::string sent = numbered_bytes(3000);
    std::string got;
    for (std::size_t i = 0; i < sent.size(); ++i) {
      auto reader = spawn([&]() -> task<> {
        buffer bytes = co_await pair.ours.read();
        got += text_of(bytes);
      });
      co_await pair.theirs.send(std::string_view(sent).substr(i, 1));
      // Before the bytes are here, while they come in, and when the reader has been woken for them.
      if (i % 3 != 0) co_await turn();
      if (i % 3 == 2) co_await yield();
      reader.abort();
      co_await join_says_cancelled(reader);
    }
    pair.theirs.shut_down_output();
    got += co_await test_support::read_all(pair.ours);
    EXPECT_EQ(got, sent);
  });
}

TEST(cancel, a_cancelled_write_sends_what_it_has_taken_and_the_stream_goes_on) {
  run_and_count([]() -> task<> {
    connected pair = co_await connect_pair(1);
    const std::string first = numbered_bytes(1'000'000);
    auto writer = spawn([&]() -> task<> { co_await pair.ours.write(first); });
    co_await turn();
    writer.abort();
    EXPECT_TRUE(co_await join_says_cancelled(writer));
    auto last = spawn([&]() -> task<> {
      co_await pair.ours.write("and the end");
      pair.ours.shutdown_output();
    });
    std::string got = co_await pair.theirs.receive_all();
    co_await last;
    const std::string_view end = "and the end";
    EXPECT_TRUE(got.ends_with(end));
    got.resize(got.size() - std::min(got.size(), end.size()));
    EXPECT_GE(got.size(), net::endpoint::high_water);
    EXPECT_TRUE(first.starts_with(got));
  });
}

TEST(cancel, a_cancelled_accept_loses_no_connection) {
  run_and_count([]() -> task<> {
    net::listener listening(loopback());
    int accepted = 0;
    std::vector<raw_peer> peers;
    for (int i = 0; i < 300; ++i) {
      auto acceptor = spawn([&]() -> task<> {
        std::optional<net::stream> s = co_await listening.accept();
        if (s) ++accepted;
      });
      peers.emplace_back(listening.where());
      if (i % 3 != 0) co_await turn();
      if (i % 3 == 2) co_await yield();
      acceptor.abort();
      co_await join_says_cancelled(acceptor);
    }
    while (accepted < 300) {
      std::optional<net::stream> s = co_await listening.accept();
      ++accepted;
    }
    EXPECT_EQ(accepted, 300);
  });
}

TEST(cancel, a_connect_cancelled_at_any_moment_leaves_no_descriptor) {
  run_and_count([]() -> task<> {
    net::listener listening(loopback());
    for (int i = 0; i < 300; ++i) {
      auto connecting = spawn([&]() -> task<net::stream> { return net::connect(listening.where()); });
      if (i % 3 != 0) co_await turn();
      if (i % 3 == 2) co_await yield();
      connecting.abort();
      co_await join_says_cancelled(connecting);
    }
  });
}

}  // namespace
}  // namespace skerry
