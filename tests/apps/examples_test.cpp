// SPDX-License-Identifier: Apache-2.0
// The examples as a newcomer runs them: what each prints, and that each fits on a page and says what to type.
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <support/scratch_directory.hpp>
#include <support/server_process.hpp>
#include <sys/socket.h>
#include <unistd.h>

namespace {

using skerry::test::blocking_client;
using skerry::test::finished_program;
using skerry::test::run_program;
using skerry::test::server_process;

std::string path_of(const std::string& example) { return std::string(EXAMPLES) + '/' + example; }

struct example {
  const char* name;
  std::vector<std::string> arguments;
  const char* prints;
};

const std::vector<std::string> three_shards{"--shards", "3", "--overprovision"};

const example examples[] = {
    {"01_hello_shards", three_shards, "shard 0 answered\nshard 1 answered\nshard 2 answered\n"},
    {"02_tasks",
     {},
     "alone 0\nalone 1\ncounted 2\n"
     "left 0\nright 0\nleft 1\nright 1\ntogether 4\n"
     "the light goes out\njoined: Operation canceled\n"},
    {"03_time", {}, "10\n20\n30\nin time: 42\ntoo late: Connection timed out\n"},
    {"04_counters", three_shards, "shard 0: 11\nshard 1: 10\nshard 2: 110\nsum: 131\n"},
    {"06_what_crosses", three_shards, "session on shard 0: hello from shard 2\nsession ends on shard 0\n"},
    {"09_select", {}, "somebody at the door\nsomebody on the telephone\nsomebody at the door\nsilence\n"},
    {"10_nursery",
     {},
     "the body ends first\nhello from Ben\nhello from Anna\neverybody has spoken\n"
     "red goes out\ngreen goes out\nafter a gust of wind\n"},
    {"15_retry", {}, "attempt 1\nattempt 2\nattempt 3\nanswer 42\nattempt 1\ngiven up: Connection timed out\n"},
    {"22_blocking", {}, "root: /root\nnobody at all: nobody\nthe shard went on meanwhile\n"},
    {"23_compute", {"--compute-threads", "2"}, "fib(30) = 832040\nprimes below 100000: 9592\n"},
    {"26_service_groups",
     {"--shards", "2", "--overprovision"},
     "reserved 3\nrefused: it does not climb\nnoted 0\nnoted 1\nnoted 2\nsum 3\n"},
    {"27_calls", three_shards, "ahoy!\ncaught: no such rock\ntoo late\nended on shard 2\nacknowledged\n10\n20\n30\n"},
    {"28_hops",
     {"--shards", "2", "--overprovision"},
     "one by one: 100 messages, each to a shard that may sleep again\n"
     "in one go: 100 messages, and only the first pays for a wake-up\nby shard: 1 message\n"
     "shard 1 has run 201 calls of shard 0\n"},
    {"20_channels", {}, "number 1\nnumber 2\nnumber 3\nword sea\nword rock\nsilence\n"},
    {"21_primes", three_shards, "9592 primes below 100000, the greatest is 99991\n"},
};

class examples_that_end : public testing::TestWithParam<example> {};

TEST_P(examples_that_end, print_what_they_promise) {
  std::vector<std::string> arguments = GetParam().arguments;
  arguments.insert(arguments.end(), {"--log-level", "error"});
  finished_program run = run_program(path_of(GetParam().name), arguments);
  EXPECT_EQ(run.status, 0);
  EXPECT_EQ(run.output, GetParam().prints);
}

INSTANTIATE_TEST_SUITE_P(all, examples_that_end, testing::ValuesIn(examples),
                         [](const auto& each) { return std::string("example_") + each.param.name; });

TEST(shares, are_what_two_kinds_of_work_get) {
  const finished_program run = run_program(path_of("29_shares"), {"--shards", "1", "--log-level", "error"});
  EXPECT_EQ(run.status, 0);
  unsigned long much = 0;
  unsigned long little = 0;
  ASSERT_EQ(std::sscanf(run.output.c_str(), "much took %lu steps and little %lu; nobody waited", &much, &little), 2)
      << run.output;
  EXPECT_GT(much, little);
}

TEST(programs_with_a_loop_of_their_own, call_shards_and_stop_them) {
  finished_program embedded = run_program(path_of("24_embedded"), {});
  EXPECT_EQ(embedded.status, 0);
  const std::string round = "shard 0 greets the main loop\nshard 1 greets the main loop\nstopped for the ";
  EXPECT_EQ(embedded.output, round + "first time\n" + round + "second time\nnobody is there any more\n");
  if (!std::filesystem::exists(path_of("25_asio_bridge"))) return;  // Boost.Asio's coroutines are not for each compiler
  finished_program bridge = run_program(path_of("25_asio_bridge"), {});
  EXPECT_EQ(bridge.status, 0);
  EXPECT_EQ(bridge.output, "shard 1 says 42\n");
}

TEST(word_count, counts_each_word_once_on_whatever_number_of_shards) {
  for (const char* shards : {"1", "3"}) {
    std::string command = "printf 'the sea the rock\\nthe rock' | " + path_of("05_word_count") +
                          " --overprovision --log-level error --shards " + shards;
    finished_program run = run_program("/bin/sh", {"-c", command});
    EXPECT_EQ(run.status, 0);
    EXPECT_NE(run.output.find("3 times \"the\"\n"), std::string::npos) << run.output;
    EXPECT_EQ(std::to_string(std::count(run.output.begin(), run.output.end(), '\n')), shards) << run.output;
  }
}

TEST(static_files, are_those_of_the_directory_it_is_started_in) {
  const skerry::test_support::scratch_directory here;
  here.put("a.txt", "text of the file");
  skerry::test::launch how;
  how.before_exec = [&here] {
    if (::chdir(here.path().c_str()) != 0) ::_exit(1);
  };
  server_process server(path_of("14_static_files"), three_shards, how);
  blocking_client client(server.port());
  client.send("GET /files/a.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  const std::string answer = client.receive_exactly(1 << 20);
  EXPECT_EQ(answer.substr(0, 15), "HTTP/1.1 200 OK");
  EXPECT_TRUE(answer.ends_with("\r\n\r\ntext of the file")) << answer;
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
}

TEST(line_server, answers_the_client_example_and_ends_on_sigterm) {
  server_process server(path_of("07_line_server"), three_shards);
  finished_program client = run_program(path_of("08_client"), {std::to_string(server.port()), "hello"});
  EXPECT_EQ(client.status, 0);
  EXPECT_EQ(client.output, "HELLO\n");
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
  // And nobody is there any more.
  client = run_program(path_of("08_client"), {std::to_string(server.port()), "hello"});
  EXPECT_EQ(client.status, 1);
  EXPECT_NE(client.output.find("refused"), std::string::npos) << client.output;
}

TEST(line_server, answers_lines_however_they_were_split_and_more_than_a_client_reads_at_once) {
  server_process server(path_of("07_line_server"), three_shards);
  blocking_client client(server.port());
  std::string lines;
  std::string expected;
  for (int n = 0; n < 300'000; ++n) {
    lines += "line " + std::to_string(n) + '\n';
    expected += "LINE " + std::to_string(n) + '\n';
  }
  std::thread sender([&] {
    for (std::size_t at = 0; at < lines.size(); at += 1009) client.send(std::string_view(lines).substr(at, 1009));
    client.shutdown_output();
  });
  EXPECT_TRUE(client.receive_exactly(expected.size()) == expected);
  EXPECT_EQ(client.receive(), "");
  sender.join();
}

TEST(line_server, drops_a_client_whose_line_never_ends_and_serves_the_others) {
  server_process server(path_of("07_line_server"), three_shards);
  blocking_client good(server.port());
  blocking_client endless(server.port());
  endless.send(std::string(4096, 'x'));
  endless.send("x");
  EXPECT_EQ(endless.receive(), "");
  good.send("still here\n");
  EXPECT_EQ(good.receive_exactly(11), "STILL HERE\n");
}

TEST(tcp_proxy, passes_everything_both_ways_and_the_end_behind_it_to_the_first_server_that_answers) {
  server_process server(path_of("07_line_server"), three_shards);
  // Nobody listens on port 1.
  std::vector<std::string> arguments = three_shards;
  arguments.insert(arguments.end(), {"--to", "127.0.0.1:1,127.0.0.1:" + std::to_string(server.port())});
  server_process proxy(path_of("12_tcp_proxy"), arguments);
  blocking_client client(proxy.port());
  std::string lines;
  std::string expected;
  for (int n = 0; n < 100'000; ++n) {
    lines += "line " + std::to_string(n) + '\n';
    expected += "LINE " + std::to_string(n) + '\n';
  }
  std::thread sender([&] {
    client.send(lines);
    client.shutdown_output();
  });
  EXPECT_TRUE(client.receive_exactly(expected.size()) == expected);
  EXPECT_EQ(client.receive(), "");
  sender.join();
  proxy.signal(SIGTERM);
  EXPECT_EQ(proxy.wait(), 0);
}

TEST(tcp_proxy, closes_a_client_whose_server_is_not_there_and_refuses_what_is_no_address) {
  server_process proxy(path_of("12_tcp_proxy"), {"--to", "127.0.0.1:1"});
  blocking_client client(proxy.port());
  EXPECT_EQ(client.receive(), "");
  finished_program refused = run_program(path_of("12_tcp_proxy"), {"--port", "0", "--to", "127.0.0.1:1,nowhere"});
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.output.find("this is none: nowhere"), std::string::npos) << refused.output;
}

TEST(chat, tells_everybody_on_every_shard_what_somebody_says_and_takes_its_socket_away) {
  const std::string path = testing::TempDir() + "chat." + std::to_string(::getpid());
  skerry::test::launch without_port;
  without_port.any_port = false;
  std::vector<std::string> arguments = three_shards;
  arguments.insert(arguments.end(), {"--at", "unix:" + path});
  server_process server(path_of("13_chat"), arguments, without_port);
  const std::string said = "user " + std::to_string(::getuid()) + ": ";
  {
    blocking_client anna(path);
    anna.send("alone\n");
    EXPECT_EQ(anna.receive_exactly(said.size() + 6), said + "alone\n");
    blocking_client ben(path);
    ben.send("together, ");  // in two pieces
    ben.send("then\n");
    EXPECT_EQ(ben.receive_exactly(said.size() + 15), said + "together, then\n");
    EXPECT_EQ(anna.receive_exactly(said.size() + 15), said + "together, then\n");
  }
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(chat, shows_a_client_that_says_too_much_the_door) {
  const std::string path = testing::TempDir() + "chat." + std::to_string(::getpid());
  skerry::test::launch without_port;
  without_port.any_port = false;
  server_process server(path_of("13_chat"), {"--at", "unix:" + path}, without_port);
  blocking_client endless(path);
  endless.send(std::string(1001, 'x'));
  EXPECT_EQ(endless.receive(), "");
}

TEST(time_server, answers_each_datagram_with_the_time_and_ends_on_sigterm) {
  server_process server(path_of("16_time_server"), three_shards);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(server.port());
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (int question = 0; question < 20; ++question) {  // each from a port of its own, so perhaps to another shard
    const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(::sendto(fd, "?", 1, 0, reinterpret_cast<sockaddr*>(&to), sizeof to), 1);
    char answer[100];
    const ssize_t got = ::recv(fd, answer, sizeof answer, 0);
    ::close(fd);
    ASSERT_GT(got, 0);
    EXPECT_THAT(std::string(answer, static_cast<std::size_t>(got)),
                testing::MatchesRegex("20..-..-..T..:..:..Z from shard [012]\n"));
  }
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
}

TEST(tail, gives_every_client_on_every_shard_what_is_added_and_ends_on_sigterm) {
  const skerry::test_support::scratch_directory here;
  const std::string file = here.put("log", "of old\n");
  skerry::test::launch without_port;
  without_port.any_port = false;
  std::vector<std::string> arguments = three_shards;
  arguments.insert(arguments.end(), {"--file", file, "--at", "unix:" + here.file("tail")});
  server_process server(path_of("17_tail"), arguments, without_port);
  const auto append = [&file](const std::string& text) { std::ofstream(file, std::ios::app) << text; };
  std::string added;
  {
    std::vector<std::unique_ptr<blocking_client>> clients;
    for (int n = 0; n < 8; ++n) clients.push_back(std::make_unique<blocking_client>(here.file("tail")));
    for (const auto& each : clients) {  // until it is served: where it has begun is its own affair
      pollfd answered{each->fd(), POLLIN, 0};
      do {
        append("probe\n");
      } while (::poll(&answered, 1, 10) == 0);
    }
    std::string lines;
    for (int n = 0; n < 50'000; ++n) lines += "line " + std::to_string(n) + '\n';
    append(lines.substr(0, 1000));
    append(lines.substr(1000));
    append("the last\n");
    for (const auto& each : clients) {
      std::string got;
      while (!got.ends_with("the last\n")) {
        const std::string more = each->receive();
        ASSERT_NE(more, "");
        got += more;
      }
      EXPECT_TRUE(got.starts_with("probe\n"));
      EXPECT_TRUE(got.ends_with("probe\n" + lines + "the last\n"));
      EXPECT_EQ(got.find("old"), std::string::npos);
    }
  }
  blocking_client idle(here.file("tail"));
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
  EXPECT_EQ(idle.receive(), "");
  const finished_program refused = run_program(path_of("17_tail"), {"--file", here.file("none")});
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.output.find("no file "), std::string::npos) << refused.output;
}

TEST(rebalance, serves_each_board_on_one_shard_wherever_its_clients_come) {
  server_process server(path_of("19_rebalance"), three_shards);
  const char* boards[] = {"tides", "winds", "stars", "birds"};
  for (int round = 1; round <= 20; ++round) {
    for (const std::string board : boards) {
      blocking_client client(server.port());
      client.send(board + "\nfirst of two\nsecond\n");
      const std::string expected = board + ' ' + std::to_string(2 * round - 1) + ": first of two\n" + board + ' ' +
                                   std::to_string(2 * round) + ": second\n";
      EXPECT_EQ(client.receive_exactly(expected.size()), expected);
    }
  }
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0);
}

TEST(examples, fit_on_a_page_and_open_with_what_to_type) {
  std::vector<std::string> names;
  for (const auto& file : std::filesystem::directory_iterator(EXAMPLES_SOURCE)) {
    if (file.path().extension() != ".cpp") continue;
    std::string name = file.path().stem();
    names.push_back(name);
    std::ifstream in(file.path());
    std::string text{std::istreambuf_iterator<char>(in), {}};
    EXPECT_LE(std::count(text.begin(), text.end(), '\n'), name == "01_hello_shards" ? 20 : 59) << name;
    std::string opening = text.substr(0, text.find("#include"));
    EXPECT_NE(opening.find("Run it with: build/release/apps/" + name), std::string::npos) << name;
  }
  // A new example belongs into a test above, and into this list.
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names, (std::vector<std::string>{
                       "01_hello_shards", "02_tasks",       "03_time",           "04_counters", "05_word_count",
                       "06_what_crosses", "07_line_server", "08_client",         "09_select",   "10_nursery",
                       "11_http_echo",  // http_server_test has this one
                       "12_tcp_proxy",    "13_chat",        "14_static_files",   "15_retry",    "16_time_server",
                       "17_tail",         "18_hot_restart",  // hand_over_test has this one
                       "19_rebalance",    "20_channels",    "21_primes",         "22_blocking", "23_compute",
                       "24_embedded",     "25_asio_bridge", "26_service_groups", "27_calls",    "28_hops",
                       "29_shares"}));
}

}  // namespace
