// SPDX-License-Identifier: Apache-2.0
/// Names, asked of unbound on an unprivileged port of loopback. Where a name must be slow or silent, unbound is told to
/// drop the question, or a plain socket of the test's own stands for a server.

#include <skerry/framework/task/combine.hpp>
#include <skerry/framework/task/group.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/connect.hpp>
#include <skerry/net/dns/host_tables.hpp>
#include <skerry/net/dns/resolver.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>
#include <support/scratch_directory.hpp>
#include <sys/wait.h>
#include <unistd.h>

namespace skerry {
namespace {

using namespace test_support;
using namespace std::chrono_literals;
using net::dns::family;
using net::dns::resolve_errc;
using net::dns::resolver;
using net::dns::resolver_options;

constexpr const char* unbound = "/usr/sbin/unbound";

/// A datagram socket of loopback with a port of its own, on which nobody answers.
class silent_server {
 public:
  silent_server() : fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    const net::address any = loopback();
    EXPECT_EQ(::bind(fd_.get(), any.data(), any.size()), 0);
  }
  std::string where() const { return net::local_address(fd_.get()).text(); }
  std::size_t questions() const {
    std::size_t count = 0;
    for (char byte; ::recv(fd_.get(), &byte, 1, 0) >= 0;) ++count;
    return count;
  }
  int fd() const { return fd_.get(); }

 private:
  net::unique_fd fd_;
};

/// unbound with a zone of its own, in a process that ends with the object.
class name_server {
 public:
  /// On a port that was free a moment ago; on another one if somebody else was quicker.
  name_server() {
    std::string said;
    for (int attempt = 0; attempt < 20; ++attempt) {
      said = start();
      if (said.contains("start of service")) return;
      end();
      if (!said.contains("Address already in use")) break;
    }
    ADD_FAILURE() << said;
  }
  ~name_server() { end(); }
  name_server(const name_server&) = delete;
  name_server& operator=(const name_server&) = delete;

  resolver_options options() const {
    resolver_options o;
    o.servers = {where_};
    o.hosts_file = "";
    o.resolv_conf = "/dev/null";
    o.timeout = 500ms;
    o.tries = 1;
    return o;
  }

 private:
  /// What it says until it serves, or ends.
  std::string start() {
    {
      silent_server taken;
      where_ = taken.where();
    }
    const std::string port = where_.substr(where_.rfind(':') + 1);
    std::string records;
    for (int i = 1; i <= 100; ++i) records += "  local-data: 'many.test. 60 IN A 192.0.2." + std::to_string(i) + "'\n";
    const std::string config =
        files_.put("unbound.conf", "server:\n  interface: 127.0.0.1\n  port: " + port +
                                       "\n  username: ''\n  chroot: ''\n  pidfile: ''\n  directory: '" + files_.path() +
                                       "'\n  use-syslog: no\n  do-daemonize: no\n  num-threads: 1\n"
                                       "  verbosity: 0\n  do-not-query-localhost: no\n  do-ip6: no\n"
                                       "  module-config: 'iterator'\n"
                                       "  local-zone: 'test.' static\n"
                                       "  local-data: 'one.test. 60 IN A 192.0.2.1'\n"
                                       "  local-data: 'both.test. 60 IN A 192.0.2.1'\n"
                                       "  local-data: 'both.test. 60 IN AAAA 2001:db8::1'\n"
                                       "  local-data: 'here.test. 60 IN A 127.0.0.1'\n"
                                       "  local-data: 'never.test. 0 IN A 192.0.2.1'\n"
                                       "  local-data: 'short.test. 5 IN A 192.0.2.1'\n"
                                       "  local-zone: 'silent.' deny\n  local-zone: 'broken.' refuse\n" +
                                       records + "remote-control:\n  control-enable: no\n");
    int log[2];
    EXPECT_EQ(::pipe2(log, O_CLOEXEC), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, log[1], 2);
    std::string name = unbound, how = "-c", which = config;
    char* arguments[] = {name.data(), how.data(), which.data(), nullptr};
    char* environment[] = {nullptr};
    EXPECT_EQ(::posix_spawn(&pid_, unbound, &actions, nullptr, arguments, environment), 0);
    posix_spawn_file_actions_destroy(&actions);
    ::close(log[1]);
    std::string said;
    for (char piece[512]; !said.contains("start of service");) {
      const ssize_t got = ::read(log[0], piece, sizeof piece);
      if (got <= 0) break;
      said.append(piece, static_cast<std::size_t>(got));
    }
    log_ = log[0];
    return said;
  }

  void end() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(log_);
  }

  scratch_directory files_;
  std::string where_;
  pid_t pid_ = -1;
  int log_ = -1;
};

resolver_options asking(const silent_server& server) {
  resolver_options o;
  o.servers = {server.where()};
  o.hosts_file = "";
  o.resolv_conf = "/dev/null";
  return o;
}

std::string texts(const std::vector<net::address>& all) {
  std::string text;
  for (const net::address& each : all) text += (text.empty() ? "" : " ") + each.text();
  return text;
}

/// What a question failed with.
task<std::string> failure_of(task<std::vector<net::address>> question, std::error_code expected) {
  try {
    (void)co_await std::move(question);
  } catch (const net::dns::resolve_error& failed) {
    EXPECT_EQ(failed.code(), expected) << failed.what();
    co_return failed.what();
  }
  ADD_FAILURE() << "it was answered";
  co_return "";
}

/// Against unbound, with all descriptors back at the end.
class names : public testing::Test {
 protected:
  void SetUp() override {
    if (::access(unbound, X_OK) != 0) GTEST_SKIP() << "there is no unbound here: scripts/setup clients";
  }
};

TEST_F(names, come_from_the_server_with_the_port_and_are_kept_for_their_ttl) {
  const name_server server;
  run_and_count([&]() -> task<> {
    resolver r(server.options());
    EXPECT_EQ(texts(co_await r.resolve("one.test", 80)), "192.0.2.1:80");
    EXPECT_EQ(net::dns::stats().queries, 1u);
    EXPECT_EQ(texts(co_await r.resolve("ONE.test", 81)), "192.0.2.1:81");
    EXPECT_EQ(net::dns::stats().queries, 1u);
    EXPECT_EQ(net::dns::stats().cache_hits, 1u);
    EXPECT_EQ(texts(co_await r.resolve("both.test", 80, family::v6)), "[2001:db8::1]:80");
    const auto both = co_await r.resolve("both.test", 80);
    EXPECT_EQ(both.size(), 2u);
    (void)co_await r.resolve("never.test", 80);
    (void)co_await r.resolve("never.test", 80);
    EXPECT_EQ(net::dns::stats().queries, 5u) << "a TTL of 0 is not kept";
  });
}

TEST_F(names, are_asked_for_again_when_their_ttl_has_passed) {
  const name_server server;
  manual_clock time;
  const auto body = [&]() -> task<> {
    resolver r(server.options());
    (void)co_await r.resolve("short.test", 80);
    time.pass(4s);
    (void)co_await r.resolve("short.test", 80);
    EXPECT_EQ(net::dns::stats().queries, 1u);
    time.pass(2s);
    (void)co_await r.resolve("short.test", 80);
    EXPECT_EQ(net::dns::stats().queries, 2u);
  };
  run_shards(quiet_options(1), body, time);
}

TEST_F(names, that_are_not_there_say_so_and_are_remembered) {
  const name_server server;
  run_and_count([&]() -> task<> {
    resolver r(server.options());
    const std::string why = co_await failure_of(r.resolve("none.test", 80), resolve_errc::not_found);
    EXPECT_EQ(why, "resolve none.test: there is no such name (NXDOMAIN)");
    (void)co_await failure_of(r.resolve("none.test", 80), resolve_errc::not_found);
    EXPECT_EQ(net::dns::stats().queries, 1u);
    (void)co_await failure_of(r.resolve("one.test", 80, family::v6), resolve_errc::no_address);
    (void)co_await failure_of(r.resolve("a.broken", 80), resolve_errc::server_failure);
    const std::string silence = co_await failure_of(r.resolve("a.silent", 80), resolve_errc::timed_out);
    EXPECT_TRUE(silence.starts_with("resolve a.silent: no answer within ")) << silence;
    while (net::dns::stats().sockets != 0) co_await turn();  // none stays; the last one may close late
  });
}

TEST_F(names, with_a_truncated_answer_are_asked_for_by_tcp) {
  const name_server server;
  run_and_count([&]() -> task<> {
    resolver r(server.options());
    const auto all = co_await r.resolve("many.test", 80, family::v4);
    EXPECT_EQ(all.size(), 100u);
  });
}

TEST_F(names, beyond_the_bound_of_the_cache_push_out_what_was_not_used) {
  const name_server server;
  run_and_count([&]() -> task<> {
    resolver_options options = server.options();
    options.cache_entries_max = 2;
    resolver r(options);
    for (const char* name : {"one.test", "both.test", "one.test", "here.test", "one.test"}) {
      (void)co_await r.resolve(name, 80, family::v4);
    }
    EXPECT_EQ(r.cached(), 2u);
    EXPECT_EQ(net::dns::stats().queries, 3u);
    (void)co_await r.resolve("both.test", 80, family::v4);
    EXPECT_EQ(net::dns::stats().queries, 4u);
  });
}

TEST_F(names, asked_for_at_once_share_a_question_and_the_rest_wait_in_turn) {
  const name_server server;
  run_and_count([&]() -> task<> {
    resolver_options options = server.options();
    options.questions_max = 2;
    resolver r(options);
    std::vector<task<std::vector<net::address>>> all;
    for (int i = 0; i < 100; ++i) {
      for (const char* name : {"one.test", "both.test", "here.test", "many.test"}) {
        all.push_back(r.resolve(name, 80, family::v4));
      }
    }
    const auto answers = co_await when_all(std::move(all));
    for (const auto& each : answers) EXPECT_FALSE(each.empty());
    EXPECT_EQ(net::dns::stats().queries, 4u);
    // Under a sanitizer some begin only when the answer has come.
    EXPECT_EQ(net::dns::stats().shared + net::dns::stats().cache_hits, 396u);
    EXPECT_GT(net::dns::stats().shared, 0u);
  });
}

TEST_F(names, lead_to_a_connection) {
  const name_server server;
  run_and_count([&]() -> task<> {
    resources().emplace<resolver>(server.options());
    net::listener listening(loopback());
    net::stream ours = co_await net::connect("here.test", listening.where().port());
    EXPECT_EQ(net::peer_address(ours.fd()).text(), listening.where().text());
  });
}

TEST(resolving, what_needs_no_server_asks_none) {
  run_and_count([]() -> task<> {
    silent_server server;
    const scratch_directory files;
    resolver_options options = asking(server);
    options.hosts_file = files.put("hosts", "192.0.2.9 db DB.example. # one\nrubbish\n2001:db8::9 db\n");
    options.services_file = files.put("services", "web 8080/tcp alias\nweb 9/udp\n");
    resolver r(options);
    EXPECT_EQ(texts(co_await r.resolve("127.0.0.1", 1)), "127.0.0.1:1");
    EXPECT_EQ(texts(co_await r.resolve("::1", "alias")), "[::1]:8080");
    EXPECT_EQ(texts(co_await r.resolve("a.LocalHost", "7")), "[::1]:7 127.0.0.1:7");
    EXPECT_EQ(texts(co_await r.resolve("DB", 2)), "192.0.2.9:2 [2001:db8::9]:2");
    EXPECT_EQ(texts(co_await r.resolve("db.example", 2)), "192.0.2.9:2");
    (void)co_await failure_of(r.resolve("127.0.0.1", 1, family::v6), resolve_errc::no_address);
    (void)co_await failure_of(r.resolve("a b", 1), resolve_errc::bad_name);
    EXPECT_EQ(server.questions(), 0u);
  });
}

TEST(resolving, a_cancel_at_any_turn_leaves_no_socket_and_others_undisturbed) {
  for (int turns = 0; turns < 6; ++turns) {
    run_and_count([turns]() -> task<> {
      silent_server server;
      resolver r(asking(server));
      auto first = spawn(r.resolve("a.example", 80), "first");
      auto second = spawn(r.resolve("a.example", 80), "second");
      for (int i = 0; i < turns; ++i) co_await turn();
      first.abort();
      for (int i = 0; i < 3; ++i) co_await turn();
      EXPECT_TRUE(first.is_finished());
      EXPECT_FALSE(second.is_finished());
      EXPECT_NE(net::dns::stats().sockets, 0u);
      second.abort();
      while (!second.is_finished() || net::dns::stats().sockets != 0) co_await turn();
    });
  }
}

}  // namespace
}  // namespace skerry
