// SPDX-License-Identifier: Apache-2.0
/// Unix sockets on the real kernel: by path and by abstract name, and what becomes of the file.

#include <skerry/framework/startup_error.hpp>
#include <skerry/framework/task/combine.hpp>
#include <skerry/net/listener.hpp>

#include <cerrno>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>
#include <sys/stat.h>
#include <unistd.h>

namespace skerry {
namespace {

using namespace test_support;

/// A directory of its own, gone at the end.
class unix_socket : public testing::Test {
 protected:
  unix_socket() {
    std::string name = testing::TempDir() + "skerry.XXXXXX";
    directory_ = ::mkdtemp(name.data());
  }
  ~unix_socket() override { std::filesystem::remove_all(directory_); }

  std::string path(const std::string& name = "socket") const {
    ::mkdir(directory_.c_str(), 0700);  // a simulated host has a disk of its own, without it
    return directory_ / name;
  }
  /// S_IFSOCK and so on; 0 where there is nothing.
  mode_t kind(const std::string& name = "socket") const {
    struct stat found{};
    return ::lstat(path(name).c_str(), &found) == 0 ? found.st_mode & S_IFMT : 0;
  }
  net::address at(const std::string& name = "socket") const { return *net::address::unix_socket(path(name)); }
  /// A socket nobody listens to any more, as a process leaves it that was killed.
  void leave_stale_file() const {
    const net::unique_fd left = net::make_stream_socket(AF_UNIX);
    const net::address here = at();
    ASSERT_EQ(::bind(left.get(), here.data(), here.size()), 0);
  }
  static int refusal(const net::address& at) {
    try {
      net::listener refused(at);
    } catch (const std::system_error& error) {
      return error.code().value();
    }
    return 0;
  }

 private:
  std::filesystem::path directory_;
};

task<> echo(net::stream client) {
  while (true) {
    buffer bytes = co_await client.read();
    if (bytes.empty()) break;
    co_await client.write(bytes);
  }
}

task<> expect_echo(net::address at, std::size_t bytes) {
  net::stream ours = co_await net::connect(at);
  const std::string sent = numbered_bytes(bytes);
  auto sender = spawn([&]() -> task<> {
    co_await ours.write(sent);
    ours.shutdown_output();
  });
  EXPECT_TRUE(co_await read_all(ours) == sent);
  co_await sender;
}

TEST_F(unix_socket, carries_megabytes_both_ways_and_half_closes_by_path_and_by_abstract_name) {
  run_and_count([&]() -> task<> {
    const net::address named = *net::address::unix_socket("@skerry unix_test " + std::to_string(::getpid()));
    for (const net::address& where : {at(), named}) {
      net::listener listening(where);
      EXPECT_EQ(listening.where().text(), where.text());
      auto server = spawn([&]() -> task<> {
        std::optional<net::stream> client = co_await listening.accept();
        co_await echo(std::move(*client));
      });
      co_await expect_echo(where, 3'000'000);
      co_await server;
    }
  });
}

TEST_F(unix_socket, knows_the_credentials_of_its_peer) {
  run_and_count([&]() -> task<> {
    net::listener listening(at());
    net::stream ours = co_await net::connect(at());
    std::optional<net::stream> theirs = co_await listening.accept();
    for (int fd : {ours.fd(), theirs->fd()}) {
      const net::credentials peer = net::peer_credentials(fd);
      EXPECT_EQ(peer.pid, ::getpid());
      EXPECT_EQ(peer.uid, ::getuid());
      EXPECT_EQ(peer.gid, ::getgid());
    }
    EXPECT_EQ(net::peer_address(ours.fd()).text(), at().text());
    EXPECT_EQ(net::peer_address(theirs->fd()).text(), "unix:");
    connected tcp = co_await connect_pair();
    EXPECT_THROW(net::peer_credentials(tcp.ours.fd()), std::system_error);
  });
}

TEST_F(unix_socket, takes_its_file_with_it) {
  run_and_count([&]() -> task<> {
    std::optional<net::listener> listening;
    listening.emplace(at());
    EXPECT_EQ(kind(), S_IFSOCK);
    co_await turn();
    listening.reset();
    while (kind() != 0) co_await turn();
  });
}

TEST_F(unix_socket, leaves_the_file_of_its_successor) {
  run_and_count([&]() -> task<> {
    std::optional<net::listener> old;
    old.emplace(at());
    EXPECT_EQ(::rename(path().c_str(), path("old").c_str()), 0);
    net::listener successor(at());
    old.reset();
    while (net::this_endpoints().stats().listeners != 1) co_await turn();
    EXPECT_EQ(kind(), S_IFSOCK);
    co_await net::connect(at());
  });
}

TEST_F(unix_socket, replaces_a_stale_file) {
  run_and_count([&]() -> task<> {
    leave_stale_file();
    net::listener listening(at());
    net::stream ours = co_await net::connect(at());
    std::optional<net::stream> theirs = co_await listening.accept();
    EXPECT_TRUE(theirs);
  });
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(unix_socket, takes_no_name_from_one_who_listens_nor_from_what_is_no_socket) {
  run_and_count([&]() -> task<> {
    const net::unique_fd file(::open(path("file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    EXPECT_EQ(::write(file.get(), "precious", 8), 8);
    net::listener listening(at());
    EXPECT_EQ(refusal(at()), EADDRINUSE);
    EXPECT_EQ(refusal(at("file")), EADDRINUSE);
    EXPECT_EQ(refusal(at("missing/socket")), ENOENT);
    co_await net::connect(at());
    struct stat kept{};
    EXPECT_EQ(::lstat(path("file").c_str(), &kept), 0);
    EXPECT_EQ(kept.st_size, 8);
  });
}

TEST_F(unix_socket, that_cannot_be_had_is_explained) {
  run_shards(1, [&]() -> task<> {
    net::listener listening(at());
    std::vector<std::string> told;
    for (const char* name : {"socket", "missing/socket"}) {
      try {
        co_await net::listen_on_all_shards(at(name), [](net::stream) -> task<> { co_return; });
      } catch (const startup_error& error) {
        told.emplace_back(error.what());
      }
    }
    EXPECT_EQ(told.size(), 2u);
    EXPECT_NE(told.front().find("cannot listen on unix:" + path() + ": Address already in use\n"), std::string::npos);
    EXPECT_NE(told.front().find("another name"), std::string::npos);
    EXPECT_NE(told.back().find("make it"), std::string::npos);
  });
}

TEST_F(unix_socket, is_served_by_all_shards_from_one_name) {
  run_shards(3, [&]() -> task<> {
    const net::address real =
        co_await net::listen_on_all_shards(at(), [](net::stream client) { return echo(std::move(client)); });
    EXPECT_EQ(real.text(), at().text());
    std::vector<task<>> clients;
    for (int n = 0; n < 100; ++n) clients.push_back(expect_echo(at(), 1000));
    co_await when_all(std::move(clients));
    for (shard_id s = 0; s < shard_count(); ++s) {
      EXPECT_EQ(co_await submit_to(s, [] { return net::this_endpoints().stats().listeners; }), 1u);
    }
    this_shard().host->request_stop();
  });
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST(adopted_listener, is_refused_if_it_does_not_listen) {
  run_and_count([]() -> task<> {
    EXPECT_THROW(net::listener(net::make_stream_socket(AF_INET)), std::system_error);
    EXPECT_THROW(net::listener(net::unique_fd(::dup(0))), std::system_error);
    co_return;
  });
}

}  // namespace
}  // namespace skerry
