// SPDX-License-Identifier: Apache-2.0
// The servers as processes: no heap allocation per echo or per command once everything is warm, and little memory for a
// client that says nothing.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <kv_client.hpp>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

namespace {

using namespace kv_test;

/// Counts malloc and its kin in processes started while it exists (perf/load/allocation_counter.cpp).
class allocation_count {
 public:
  allocation_count() {
    char path[] = "/tmp/skerry-allocations-XXXXXX";
    const int fd = ::mkstemp(path);
    if (fd < 0 || ::ftruncate(fd, 4096) != 0) throw std::runtime_error("mkstemp");
    page_ = static_cast<volatile std::uint64_t*>(::mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0));
    ::close(fd);
    path_ = path;
    ::setenv("LD_PRELOAD", ALLOCATION_COUNTER, 1);
    ::setenv("ALLOCATION_COUNT_FILE", path, 1);
  }
  ~allocation_count() {
    ::unsetenv("LD_PRELOAD");
    ::unsetenv("ALLOCATION_COUNT_FILE");
    std::filesystem::remove(path_);
  }
  std::uint64_t now() const { return *page_; }

 private:
  volatile std::uint64_t* page_;
  std::string path_;
};

/// What the last of at most 20 stretches took: pools grow as long as more is needed at one time than ever before, so
/// the first without allocations ends it.
template <class Stretch>
std::uint64_t allocations_when_warm(const allocation_count& count, Stretch stretch) {
  std::uint64_t taken = 1;
  for (int i = 0; i < 20 && taken != 0; ++i) {
    const std::uint64_t before = count.now();
    stretch();
    taken = count.now() - before;
  }
  return taken;
}

using clients = std::vector<std::unique_ptr<blocking_client>>;

clients connect_clients(const server_process& server, std::size_t count) {
  clients made;
  for (std::size_t i = 0; i < count; ++i) made.push_back(std::make_unique<blocking_client>(server.port()));
  return made;
}

/// All clients ask, then all read: their requests are on their way at the same time.
void ask_all(clients& all, const std::string& request, const std::string& expected) {
  for (auto& client : all) client->send(request);
  for (auto& client : all) ASSERT_EQ(client->receive_exactly(expected.size()), expected);
}

TEST(allocation, an_echo_takes_none) {
  allocation_count count;
  server_process server(ECHO_SERVER, four_shards);
  ASSERT_GT(count.now(), 0u) << "the counter is not in the process";
  clients all = connect_clients(server, 20);
  const std::string small(64, 'e');
  const std::string large(20'000, 'E');
  auto echo = [&] {
    for (int i = 0; i < 200; ++i) {
      ask_all(all, small, small);
      ask_all(all, large, large);
    }
  };
  EXPECT_EQ(allocations_when_warm(count, echo), 0u);
}

TEST(allocation, commands_that_store_nothing_new_take_none) {
  allocation_count count;
  server_process server(KV_SERVER, four_shards);
  clients all = connect_clients(server, 20);
  std::string request;
  std::string expected;
  for (int i = 0; i < 32; ++i) {
    const std::string key = "key" + std::to_string(i);
    const std::string value(static_cast<std::size_t>(10 + i * 7), 'v');
    request += command({"SET", key, value}) + command({"GET", key}) + command({"EXISTS", key, "none"});
    expected += "+OK\r\n" + bulk(value) + ":1\r\n";
  }
  request +=
      command({"SET", "counter", "0"}) + command({"INCR", "counter"}) + command({"MGET", "key1", "none"}) + "PING\r\n";
  expected += "+OK\r\n:1\r\n*2\r\n" + bulk(std::string(17, 'v')) + "$-1\r\n+PONG\r\n";
  // One client for what depends on nobody between SET and INCR; the others do the rest at the same time.
  clients one = connect_clients(server, 1);
  const std::string gets = command({"GET", "key3"}) + command({"SET", "key3", std::string(31, 'v')});
  const std::string got = bulk(std::string(31, 'v')) + "+OK\r\n";
  auto rounds = [&] {
    for (int i = 0; i < 200; ++i) {
      ask_all(one, request, expected);
      ask_all(all, gets, got);
    }
  };
  EXPECT_EQ(allocations_when_warm(count, rounds), 0u);
}

TEST(allocation, a_pipeline_cut_anywhere_takes_none) {
  allocation_count count;
  server_process server(KV_SERVER, four_shards);
  blocking_client client(server.port());
  const std::string request = command({"SET", "key", std::string(100, 'v')}) + command({"GET", "key"});
  const std::string expected = "+OK\r\n" + bulk(std::string(100, 'v'));
  auto cut_everywhere = [&] {
    for (std::size_t at = 1; at < request.size(); ++at) {
      client.send(std::string_view(request).substr(0, at));
      client.send(std::string_view(request).substr(at));
      ASSERT_EQ(client.receive_exactly(expected.size()), expected);
    }
  };
  EXPECT_EQ(allocations_when_warm(count, cut_everywhere), 0u);
}

/// Raises the limit as far as this user may; servers started from here on inherit it.
std::size_t descriptors() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  return limit.rlim_max;
}

/// What a client takes that has asked once and says nothing more. The first half of the clients is not counted: it
/// fills what is taken once, such as the buffers that are in use at the same time.
double bytes_per_idle_client(const server_process& server, const std::string& request, const std::string& expected) {
  const std::size_t half = std::min<std::size_t>(8000, descriptors() - 200) / 2;
  clients idle;
  auto add_half = [&] {
    for (std::size_t i = 0; i < half; ++i) {
      idle.push_back(std::make_unique<blocking_client>(server.port()));
      idle.back()->send(request);
      EXPECT_EQ(idle.back()->receive_exactly(expected.size()), expected);
    }
  };
  add_half();
  const std::size_t before = memory_of(server.pid(), "RssAnon");
  add_half();
  return static_cast<double>(memory_of(server.pid(), "RssAnon") - before) / static_cast<double>(half);
}

TEST(idle_client, takes_less_than_512_bytes_of_the_servers) {
  descriptors();
  server_process echo(ECHO_SERVER, {"--shards", "1"});
  const std::string text(1000, 'e');
  const double per_echo_client = bytes_per_idle_client(echo, text, text);
  RecordProperty("bytes_per_echo_client", static_cast<int>(per_echo_client));
  EXPECT_LT(per_echo_client, 512);
  server_process kv(KV_SERVER, {"--shards", "1"});
  std::string pairs = "MSET";
  for (int i = 0; i < 100; ++i) pairs += " key" + std::to_string(i) + " value";
  EXPECT_LT(bytes_per_idle_client(kv, pairs + "\r\n", "+OK\r\n"), 512);
}

}  // namespace
