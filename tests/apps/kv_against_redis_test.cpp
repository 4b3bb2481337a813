// SPDX-License-Identifier: Apache-2.0
// The key-value server and redis-server get the same random commands and must give the same replies, byte for byte.
// Long only: it takes a redis-server, which `scripts/test --long` installs.
#include <algorithm>
#include <cctype>
#include <csignal>
#include <cstdlib>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <kv_client.hpp>
#include <netinet/in.h>
#include <support/long_test.hpp>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using namespace kv_test;

/// A port that was free a moment ago; redis-server cannot be asked for any free one.
std::uint16_t free_port() {
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  if (::bind(fd, reinterpret_cast<sockaddr*>(&at), size) != 0) throw std::runtime_error("bind");
  ::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size);
  ::close(fd);
  return ntohs(at.sin_port);
}

class redis_process {
 public:
  redis_process() : port_(free_port()) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
    std::string port = std::to_string(port_);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(ends[1], 1);
      ::execlp("redis-server", "redis-server", "--port", port.c_str(), "--bind", "127.0.0.1", "--save", "",
               "--appendonly", "no", static_cast<char*>(nullptr));
      ::_exit(127);
    }
    ::close(ends[1]);
    output_ = ends[0];
    std::string log;
    while (log.find("Ready to accept connections") == std::string::npos) {
      char bytes[4096];
      ssize_t got = ::read(output_, bytes, sizeof bytes);
      if (got <= 0) throw std::runtime_error("redis-server did not start: " + log);
      log.append(bytes, static_cast<std::size_t>(got));
    }
  }
  ~redis_process() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    ::close(output_);
  }
  redis_process(const redis_process&) = delete;
  redis_process& operator=(const redis_process&) = delete;

  std::uint16_t port() const { return port_; }

 private:
  std::uint16_t port_;
  pid_t pid_ = -1;
  int output_ = -1;
};

/// What is answered to one request, however many replies that is.
std::string replies_to(blocking_client& client, const std::string& request) {
  static const std::string mark = "that was all";
  client.send(request + command({"ECHO", mark}));
  std::string text;
  while (!text.ends_with(bulk(mark))) {
    std::string more = client.receive();
    if (more.empty()) return text + "(closed)";
    text += more;
  }
  return text.substr(0, text.size() - bulk(mark).size());
}

class generator {
 public:
  explicit generator(unsigned long seed) : random_(seed) {}

  std::size_t below(std::size_t bound) { return static_cast<std::size_t>(random_() % bound); }

  std::vector<std::string> next() {
    std::vector<std::string> words = well_formed();
    if (below(25) == 0) words.push_back(any_word());
    if (below(25) == 0 && words.size() > 1) words.pop_back();
    if (below(2) == 0) {
      for (char& c : words[0]) c = static_cast<char>(std::tolower(c));
    }
    return words;
  }

 private:
  std::string one_of(std::initializer_list<const char*> words) { return words.begin()[below(words.size())]; }
  std::string key() { return below(100) == 0 ? std::string() : "key" + std::to_string(below(12)); }
  std::string number() {
    if (below(3) != 0) return std::to_string(below(1000));
    return one_of({"0", "-1", "-17", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "1.5", "+1",
                   " 1", "1 ", "007", "-0", "x", ""});
  }
  std::string value() {
    switch (below(4)) {
      case 0: return number();
      case 1: return std::string(below(3) == 0 ? below(70'000) : below(80), static_cast<char>('a' + below(26)));
      case 2: return "\r\n$5\xff";
      default: return "v" + std::to_string(below(10));
    }
  }
  /// Far away, so that nothing expires in between, or no time at all.
  std::string seconds() { return below(4) == 0 ? number_of_time() : std::to_string(100'000 + below(1000)); }
  std::string number_of_time() {
    return one_of(
        {"0", "-1", "-100000", "9223372036854775807", "-9223372036854775808", "9223372036854775", "1.5", "x", ""});
  }
  std::string any_word() { return below(2) == 0 ? option() : value(); }
  std::string option() {
    return one_of({"EX", "PX", "NX", "XX", "GET", "KEEPTTL", "GT", "LT", "PERSIST", "ex", "Nx", "NOSUCH"});
  }

  std::vector<std::string> well_formed() {
    switch (below(24)) {
      case 0:
      case 1:
      case 2: {
        std::vector<std::string> words{"SET", key(), value()};
        for (std::size_t options = below(4); options > 0; --options) {
          std::string name = option();
          words.push_back(name);
          if (name == "EX" || name == "PX" || name == "ex") words.push_back(seconds());
        }
        return words;
      }
      case 3:  // a zero byte in a value only: in error texts redis-server ends at it, for reasons of C
        return {"SET", key(), below(2) == 0 ? std::string("\0a\0", 3) : number()};
      case 4: return {"GET", key()};
      case 5: return {one_of({"GETDEL", "TYPE", "STRLEN", "PERSIST"}), key()};
      case 6: {
        std::vector<std::string> words{"GETEX", key()};
        std::string name = option();
        if (below(2) == 0) words.push_back(name);
        if (words.size() == 3 && (name == "EX" || name == "PX")) words.push_back(seconds());
        return words;
      }
      case 7:
      case 8: return {one_of({"INCR", "DECR"}), key()};
      case 9: return {one_of({"INCRBY", "DECRBY"}), key(), number()};
      case 10: return {"APPEND", key(), value()};
      case 11: return {one_of({"TTL", "PTTL"}), key()};
      case 12: return {one_of({"EXPIRE", "PEXPIRE"}), key(), seconds()};
      case 13: return {one_of({"EXPIRE", "PEXPIRE"}), key(), seconds(), option()};
      case 14: return {"EXPIRE", key(), seconds(), option(), option()};
      case 15:
      case 16: {
        std::vector<std::string> words{one_of({"MGET", "DEL", "EXISTS"})};
        for (std::size_t keys = 1 + below(4); keys > 0; --keys) words.push_back(key());
        return words;
      }
      case 17: {
        std::vector<std::string> words{"MSET"};
        for (std::size_t keys = 1 + below(4); keys > 0; --keys) words.insert(words.end(), {key(), value()});
        return words;
      }
      case 18: return {"DBSIZE"};
      case 19: return below(20) == 0 ? std::vector<std::string>{"FLUSHALL"} : std::vector<std::string>{"DBSIZE"};
      case 20: return {"PING"};
      case 21: return {one_of({"PING", "ECHO"}), value()};
      case 22: return {"SELECT", one_of({"0", "x", ""})};
      default: return {one_of({"NOSUCHCOMMAND", "G", "GETT", "", "A\r\nB"}), value(), key()};
    }
  }

  std::mt19937_64 random_;
};

std::string shown(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += " \"" + word.substr(0, 60) + '"';
  return text;
}

/// TTL and PTTL tell time, and the two servers are asked one after the other.
bool same(const std::string& name, const std::string& ours, const std::string& theirs) {
  if (ours == theirs) return true;
  bool tells_time = name == "TTL" || name == "ttl" || name == "PTTL" || name == "pttl";
  if (!tells_time || ours[0] != ':' || theirs[0] != ':') return false;
  long long a = std::atoll(ours.c_str() + 1);
  long long b = std::atoll(theirs.c_str() + 1);
  return a > 0 && b > 0 && std::abs(a - b) <= (name.size() == 4 ? 5000 : 5);
}

class kv_against_redis : public testing::Test {
 protected:
  void SetUp() override {
    if (!skerry::test::is_long_run()) GTEST_SKIP() << "scripts/test --long runs this";
  }
};

TEST_F(kv_against_redis, random_commands_get_the_same_replies) {
  const char* given = std::getenv("SKERRY_TEST_SEED");
  unsigned long seed = given != nullptr ? std::strtoul(given, nullptr, 10) : std::random_device{}();
  SCOPED_TRACE("replay with SKERRY_TEST_SEED=" + std::to_string(seed));
  generator commands(seed);
  redis_process redis;
  server_process skerry(KV_SERVER, four_shards);
  blocking_client to_redis(redis.port());
  blocking_client to_skerry(skerry.port());
  int differences = 0;
  for (int n = 0; n < 200'000 && differences < 20; ++n) {
    std::vector<std::string> words = commands.next();
    std::string theirs = replies_to(to_redis, command(words));
    std::string ours = replies_to(to_skerry, command(words));
    if (same(words[0], ours, theirs)) continue;
    ++differences;
    ADD_FAILURE() << "command " << n << ':' << shown(words) << "\n  redis  " << theirs.substr(0, 200) << "  skerry "
                  << ours.substr(0, 200);
  }
}

TEST_F(kv_against_redis, malformed_frames_get_the_same_errors) {
  redis_process redis;
  server_process skerry(KV_SERVER, four_shards);
  for (const char* bytes :
       {"*1\r\nx\r\n", "*-5x\r\n", "*x\r\n", "*1\r\n$-7\r\n", "*1\r\n$999999999999\r\n", "*99999999999\r\n",
        "*1\r\n$x\r\n", "*1\r\n:1\r\n", "*2\r\n$3\r\nGET\r\n+k\r\n", "set \"a\r\n", "set 'a'b c\r\n", "*0\r\nPING\r\n",
        "*-1\r\nPING\r\n", "\r\nPING\r\n", "PING\n", "ping   \"a b\\x41\\n\"\r\n", "*1\r\n$4\r\nPING\r\nPING\r\n"}) {
    std::string replies[2];
    for (std::uint16_t port : {redis.port(), skerry.port()}) {
      blocking_client client(port);
      client.send(bytes);
      client.shutdown_output();
      replies[port == skerry.port()] = receive_all(client);
    }
    EXPECT_EQ(replies[1], replies[0]) << "for " << bytes;
  }
}

}  // namespace
