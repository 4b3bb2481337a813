// SPDX-License-Identifier: Apache-2.0
/// Connecting to several addresses, some of which lead nowhere. Time passes when the tests say so.

#include <skerry/framework/task/branch.hpp>
#include <skerry/framework/task/scope.hpp>
#include <skerry/net/connect.hpp>
#include <skerry/net/listener.hpp>

#include <cerrno>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>
#include <support/task_steps.hpp>

namespace skerry {
namespace {

using namespace test_support;
using namespace std::chrono_literals;

/// Its queue of connections is full: a further connect gets no answer.
class full_port {
 public:
  full_port() : listening_(net::make_listening_socket(loopback(), 0)), filler_(where()) {}
  net::address where() const { return net::local_address(listening_.get()); }

 private:
  net::unique_fd listening_;
  raw_peer filler_;
};

/// Nobody listens there, and nobody else gets the port meanwhile.
class closed_port {
 public:
  explicit closed_port(const char* ip = "127.0.0.1") : taken_(net::make_stream_socket(loopback(0, ip).family())) {
    const net::address any = loopback(0, ip);
    EXPECT_EQ(::bind(taken_.get(), any.data(), any.size()), 0);
  }
  net::address where() const { return net::local_address(taken_.get()); }

 private:
  net::unique_fd taken_;
};

manual_clock* hours = nullptr;

/// In time that stands still, and with all descriptors back at the end.
void run_in_time(const std::function<task<>()>& body) {
  const std::ptrdiff_t before = open_descriptors();
  manual_clock time;
  hours = &time;
  run_shards(quiet_options(1), body, time);
  EXPECT_EQ(open_descriptors(), before);
}

template <class... Address>
std::vector<net::address> list(const Address&... each) {
  return {each...};
}

std::size_t counted = 0;
void count_attempts(detail::chain& task) noexcept {
  const detail::leaf* wait = task.waits_for();
  if (wait == nullptr) return;
  if (std::string_view(wait->describe()) == "connect") ++counted;
  if (auto* fork = dynamic_cast<const detail::fork*>(wait)) {
    const_cast<detail::fork*>(fork)->for_each_branch(count_attempts);
  }
}
/// Addresses that are being tried.
std::size_t attempts_in_flight() {
  counted = 0;
  this_shard().root->for_each(count_attempts);
  return counted;
}

TEST(connect, takes_the_next_address_at_once_when_one_refuses) {
  run_in_time([]() -> task<> {
    closed_port nobody;
    net::listener listening(loopback());
    net::stream ours = co_await net::connect(list(nobody.where(), listening.where()));
    EXPECT_EQ(net::peer_address(ours.fd()).text(), listening.where().text());
  });
}

TEST(connect, tries_the_next_address_beside_a_silent_one_when_the_stagger_has_passed_and_not_before) {
  if (test_support::simulating()) GTEST_SKIP() << "it moves time itself";
  run_in_time([]() -> task<> {
    full_port silent;
    full_port silent_too;
    net::listener listening(loopback());
    auto connecting = spawn(net::connect(list(silent.where(), silent_too.where(), listening.where())), "connecting");
    for (std::size_t tried : {1u, 2u}) {
      while (attempts_in_flight() < tried) co_await turn();
      hours->pass(249ms);
      for (int i = 0; i < 100; ++i) co_await turn();
      EXPECT_EQ(attempts_in_flight(), tried);
      hours->pass(2ms);
    }
    net::stream ours = co_await connecting;
    EXPECT_EQ(net::peer_address(ours.fd()).text(), listening.where().text());
    EXPECT_EQ(attempts_in_flight(), 0u);
  });
}

TEST(connect, waits_as_long_as_it_is_told_between_attempts) {
  run_in_time([]() -> task<> {
    full_port silent;
    net::listener listening(loopback());
    net::connect_options options;
    options.stagger = 1h;
    auto connecting = spawn(net::connect(list(silent.where(), listening.where()), options), "connecting");
    while (attempts_in_flight() < 1) co_await turn();
    hours->pass(59min);
    for (int i = 0; i < 100; ++i) co_await turn();
    EXPECT_FALSE(connecting.is_finished());
    hours->pass(2min);
    co_await connecting;
  });
}

TEST(connect, says_what_became_of_every_address_when_none_answers) {
  run_in_time([]() -> task<> {
    closed_port four;
    closed_port six("::1");
    std::string told;
    std::vector<net::connect_error::failure> failures;
    int code = 0;
    try {
      co_await net::connect(list(four.where(), six.where()));
    } catch (const net::connect_error& error) {
      told = error.what();
      failures = error.failures();
      code = error.code().value();
    }
    EXPECT_EQ(told, "connect to " + four.where().text() + " (Connection refused), " + six.where().text() +
                        ": Connection refused");
    EXPECT_EQ(failures.size(), 2u);
    EXPECT_EQ(code, ECONNREFUSED);
  });
}

TEST(connect, refuses_an_empty_list) {
  run_in_time([]() -> task<> {
    int code = 0;
    try {
      co_await net::connect(list());
    } catch (const net::connect_error& error) {
      code = error.code().value();
    }
    EXPECT_EQ(code, EDESTADDRREQ);
  });
}

TEST(connect, lets_go_of_every_attempt_when_it_is_cancelled) {
  run_in_time([]() -> task<> {
    full_port one, two, three;
    auto connecting = spawn(net::connect(list(one.where(), two.where(), three.where())), "connecting");
    for (std::size_t tried : {1u, 2u, 3u}) {
      while (attempts_in_flight() < tried) co_await turn();
      hours->pass(251ms);
    }
    connecting.abort();
    EXPECT_TRUE(co_await was_cancelled(connecting));
    EXPECT_EQ(attempts_in_flight(), 0u);
  });
}

TEST(connect, goes_out_from_the_address_it_is_given) {
  run_in_time([]() -> task<> {
    net::listener listening(loopback());
    net::connect_options options;
    options.from = loopback(0, "127.0.0.2");
    net::stream ours = co_await net::connect(list(listening.where()), options);
    std::optional<net::stream> theirs = co_await listening.accept();
    const std::string seen = net::peer_address(theirs->fd()).text();
    EXPECT_TRUE(seen.starts_with("127.0.0.2:")) << seen;
  });
}

TEST(connect, does_not_go_out_from_an_address_that_is_not_ours_or_of_another_family) {
  run_in_time([]() -> task<> {
    net::listener listening(loopback());
    for (const char* ip : {"192.0.2.1", "::1"}) {
      net::connect_options options;
      options.from = loopback(0, ip);
      std::vector<net::connect_error::failure> failures;
      try {
        co_await net::connect(list(listening.where()), options);
      } catch (const net::connect_error& error) {
        failures = error.failures();
      }
      EXPECT_EQ(failures.size(), 1u) << ip;
    }
  });
}

TEST(connect, lets_the_families_take_turns_and_keeps_the_order_within_each) {
  const auto of = [](std::initializer_list<const char*> texts) {
    std::vector<net::address> made;
    for (const char* text : texts) made.push_back(*net::address::parse(text));
    return made;
  };
  const auto texts = [](const std::vector<net::address>& addresses) {
    std::string all;
    for (const net::address& each : addresses) all += each.text() + ' ';
    return all;
  };
  EXPECT_EQ(texts(net::detail::in_turns(of({"[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1"}))),
            "[::1]:1 1.1.1.1:1 [::2]:1 2.2.2.2:1 [::3]:1 ");
  EXPECT_EQ(texts(net::detail::in_turns(of({"1.1.1.1:1", "[::1]:1", "[::2]:1", "[::3]:1"}))),
            "1.1.1.1:1 [::1]:1 [::2]:1 [::3]:1 ");
  EXPECT_EQ(texts(net::detail::in_turns({})), "");
}

}  // namespace
}  // namespace skerry
