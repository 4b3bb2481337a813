// SPDX-License-Identifier: Apache-2.0
/// The command line of the real programs: every option from every place, which place wins, and that it does something.
#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <sched.h>
#include <support/server_process.hpp>
#include <unistd.h>

namespace {

using skerry::test::blocking_client;
using skerry::test::finished_program;
using skerry::test::launch;
using skerry::test::run_program;
using skerry::test::server_process;
using strings = std::vector<std::string>;

class config_file {
 public:
  explicit config_file(const std::string& text) {
    char name[] = "/tmp/skerry-config-XXXXXX";
    int fd = ::mkstemp(name);
    if (fd >= 0) ::close(fd);
    path_ = name;
    std::ofstream(path_) << text;
  }
  ~config_file() { std::filesystem::remove(path_); }
  config_file(const config_file&) = delete;
  config_file& operator=(const config_file&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string variable(const std::string& option, const std::string& value) {
  std::string name = "SKERRY_";
  for (char c : option) name += c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name + "=" + value;
}

launch with(strings environment) {
  launch how;
  how.environment = std::move(environment);
  return how;
}

struct sample {
  std::string option;
  std::string good;
  std::string bad;
};

/// Every option of every program; --config, --help and --version are below.
const std::vector<sample> samples{
    {"port", "0", "65536"},
    {"bind", "127.0.0.1", "localhost"},
    {"shards", "1", "0"},
    {"cpuset", "0", "none"},
    {"pin", "off", "maybe"},
    {"smt", "on", "perhaps"},
    {"overprovision", "on", "perhaps"},
    {"backend", "epoll", "kqueue"},
    {"idle-spin-us", "1", "-1"},
    {"task-budget-us", "1000", "9"},
    {"ring-entries", "128", "100"},
    {"sqpoll-idle-ms", "0", "10001"},  // what others do: startup_test
    {"napi-busy-poll-us", "0", "1000001"},
    {"send-zc-bytes", "0", "65537"},
    {"mailbox-capacity", "1", "0"},
    {"drain-timeout", "1500ms", "soon"},
    {"admin", "off", "9180"},
    {"log-level", "info", "loud"},
    {"log-format", "text", "xml"},
    {"seed", "0x2a", "dice"},
};

/// The sample for this machine: not every one lets us use CPU 0.
std::string here(const sample& s) {
  if (s.option != "cpuset") return s.good;
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  ::sched_getaffinity(0, sizeof allowed, &allowed);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) return std::to_string(cpu);
  }
  return "0";
}

void expect_ends_well(server_process& server) {
  {
    blocking_client client(server.port());
    client.send("PING\r\n");
    EXPECT_EQ(client.receive_exactly(7), "+PONG\r\n");
  }
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.log();
}

void expect_refused(const finished_program& run, const std::string& as_written) {
  EXPECT_EQ(run.status, 1) << run.output;
  EXPECT_TRUE(run.output.starts_with("kv_server: " + as_written + ": ")) << as_written << " in:\n" << run.output;
  EXPECT_LE(std::count(run.output.begin(), run.output.end(), '\n'), 3) << run.output;
}

TEST(options, are_taken_from_the_command_line) {
  for (const sample& s : samples) {
    SCOPED_TRACE(s.option);
    server_process server(KV_SERVER, {"--" + s.option + "=" + here(s)});
    expect_ends_well(server);
    expect_refused(run_program(KV_SERVER, {"--" + s.option + "=" + s.bad}), "--" + s.option + " " + s.bad);
  }
}

TEST(options, are_taken_from_the_environment) {
  for (const sample& s : samples) {
    SCOPED_TRACE(s.option);
    server_process server(KV_SERVER, {}, with({variable(s.option, here(s))}));
    expect_ends_well(server);
    expect_refused(run_program(KV_SERVER, {}, with({variable(s.option, s.bad)})), variable(s.option, s.bad));
  }
}

TEST(options, are_taken_from_a_file) {
  for (const sample& s : samples) {
    SCOPED_TRACE(s.option);
    config_file good("# a comment\n" + s.option + " = " + here(s) + "\n");
    server_process server(KV_SERVER, {"--config", good.path()});
    expect_ends_well(server);
    config_file bad(s.option + " = " + s.bad + "\n");
    std::string as_written = bad.path() + ": " + s.option + " = " + s.bad;
    expect_refused(run_program(KV_SERVER, {"--config", bad.path()}), as_written);
    expect_refused(run_program(KV_SERVER, {}, with({"SKERRY_CONFIG=" + bad.path()})), as_written);
  }
}

TEST(options, of_the_program_itself_are_taken_from_all_three) {
  config_file file("maxmemory = 7mb\n");
  for (const auto& [arguments, environment] : {std::pair<strings, strings>{{"--maxmemory", "7mb"}, {}},
                                               {{}, {"SKERRY_MAXMEMORY=7mb"}},
                                               {{"--config", file.path()}, {}}}) {
    server_process server(KV_SERVER, arguments, with(environment));
    blocking_client client(server.port());
    client.send("INFO\r\n");
    std::string info;
    while (info.find("# Keyspace") == std::string::npos) info += client.receive();
    EXPECT_NE(info.find("\r\nmaxmemory:7340032\r\n"), std::string::npos) << info;
  }
}

std::size_t shards_of(server_process& server) {
  blocking_client client(server.port());
  client.send("INFO\r\n");
  std::string info;
  while (info.find("# Keyspace") == std::string::npos) info += client.receive();
  std::size_t count = 0;
  while (info.find("\nshard" + std::to_string(count) + ":") != std::string::npos) ++count;
  return count;
}

TEST(options, of_the_command_line_beat_the_environment_and_that_beats_the_file) {
  config_file file("shards = 1\noverprovision\n");
  strings arguments{"--config", file.path()};
  server_process from_file(KV_SERVER, arguments);
  EXPECT_EQ(shards_of(from_file), 1u);
  server_process from_environment(KV_SERVER, arguments, with({"SKERRY_SHARDS=2"}));
  EXPECT_EQ(shards_of(from_environment), 2u);
  arguments.insert(arguments.end(), {"--shards", "3"});
  server_process from_command_line(KV_SERVER, arguments, with({"SKERRY_SHARDS=2"}));
  EXPECT_EQ(shards_of(from_command_line), 3u);
}

TEST(options, that_nobody_knows_are_refused_with_those_there_are) {
  for (const char* program : {KV_SERVER, ECHO_SERVER, HELLO_SHARDS}) {
    finished_program run = run_program(program, {"--shard", "1"});
    EXPECT_EQ(run.status, 1);
    EXPECT_NE(run.output.find("unknown option --shard\n  valid: "), std::string::npos) << run.output;
  }
}

TEST(options, name_the_backends_that_are_built_when_asked_for_another) {
  finished_program run = run_program(ECHO_SERVER, {"--backend", "kqueue"});
  EXPECT_EQ(run.status, 1);
  EXPECT_NE(run.output.find("auto, io_uring, epoll"), std::string::npos) << run.output;
}

TEST(options, name_the_accept_policies_when_asked_for_another) {
  for (const char* policy : {"reuseport", "steered", "round-robin", "least-loaded"}) {
    server_process server(KV_SERVER, {"--accept", policy});
    expect_ends_well(server);
  }
  finished_program run = run_program(ECHO_SERVER, {"--accept", "lottery", "--port", "0"});
  EXPECT_EQ(run.status, 1);
  EXPECT_NE(
      run.output.find("--accept lottery: no such policy; it takes reuseport, steered, round-robin or least-loaded"),
      std::string::npos)
      << run.output;
}

TEST(options, version_and_help_end_with_0) {
  for (const auto& [program, name] : {std::pair{KV_SERVER, "kv_server"}, {ECHO_SERVER, "echo_server"}}) {
    finished_program version = run_program(program, {"--version"});
    EXPECT_EQ(version.status, 0);
    EXPECT_EQ(version.output, std::string(name) + " 0.1.0\n");
    finished_program help = run_program(program, {"--help"});
    EXPECT_EQ(help.status, 0);
    for (const sample& s : samples) EXPECT_NE(help.output.find("--" + s.option), std::string::npos) << s.option;
    for (const char* option : {"--config", "--version", "--help", "--io-uring-features"}) {
      EXPECT_NE(help.output.find(option), std::string::npos) << option;
    }
  }
}

TEST(port, is_the_one_asked_for_wherever_it_was_asked) {
  std::uint16_t free_port = server_process(ECHO_SERVER, {}).port();
  config_file file("port = " + std::to_string(free_port) + "\n");
  launch own;
  own.any_port = false;
  EXPECT_EQ(server_process(ECHO_SERVER, {"--port", std::to_string(free_port)}, own).port(), free_port);
  EXPECT_EQ(server_process(ECHO_SERVER, {"--config", file.path()}, own).port(), free_port);
  own.environment = {"SKERRY_PORT=" + std::to_string(free_port)};
  EXPECT_EQ(server_process(ECHO_SERVER, {}, own).port(), free_port);
}

TEST(bind, listens_on_that_address_only) {
  server_process server(ECHO_SERVER, {"--bind", "127.0.0.2"});
  EXPECT_NE(server.log().find("listening on 127.0.0.2:"), std::string::npos) << server.log();
  EXPECT_THROW(blocking_client{server.port()}, std::runtime_error);
  server_process sixth(ECHO_SERVER, {"--bind", "::1"});
  EXPECT_NE(sixth.log().find("listening on [::1]:"), std::string::npos) << sixth.log();
}

std::string keys_in_order(const strings& arguments) {
  server_process server(KV_SERVER, arguments);
  blocking_client client(server.port());
  std::string text;
  for (int i = 0; i < 100; ++i) text += "SET key" + std::to_string(i) + " v\r\n";
  client.send(text + "KEYS *\r\nPING\r\n");
  std::string replies;
  while (!replies.ends_with("+PONG\r\n")) replies += client.receive();
  return replies;
}

TEST(seed, decides_every_random_draw) {
  strings one{"--shards", "1", "--seed", "1"};
  EXPECT_EQ(keys_in_order(one), keys_in_order(one));
  EXPECT_NE(keys_in_order(one), keys_in_order({"--shards", "1", "--seed", "2"}));
  EXPECT_NE(keys_in_order({"--shards", "1"}), keys_in_order({"--shards", "1"}));
}

TEST(log_options, decide_what_is_logged_and_how) {
  strings arguments{"--shards", "1"};
  std::string normal = run_program(HELLO_SHARDS, arguments).output;
  EXPECT_NE(normal.find("Z info  no shard: 1 shard (as asked)"), std::string::npos) << normal;
  arguments.insert(arguments.end(), {"--log-format", "json"});
  std::string json = run_program(HELLO_SHARDS, arguments).output;
  EXPECT_NE(json.find(R"("level":"info","shard":null,"task":"","message":"1 shard (as asked))"), std::string::npos)
      << json;
  arguments.insert(arguments.end(), {"--log-level", "warning"});
  EXPECT_EQ(run_program(HELLO_SHARDS, arguments).output, "shard 0 answered\n");
}

std::multiset<std::string> thread_names(pid_t pid) {
  std::multiset<std::string> names;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
    std::ifstream file(thread.path() / "comm");
    std::string name;
    std::getline(file, name);
    names.insert(name);
  }
  return names;
}

TEST(threads, are_named_after_their_shards_and_the_first_after_the_program) {
  server_process server(ECHO_SERVER, {"--shards", "3", "--overprovision"});
  std::multiset<std::string> names = thread_names(server.pid());
  names.erase("echo_server");
  for (const char* name : {"shard-1", "shard-2", "skerry-log"}) EXPECT_EQ(names.count(name), 1u) << name;
}

/// The CPUs that each shard's thread may run on.
std::vector<int> cpus_of_shards(pid_t pid) {
  std::vector<int> counts;
  for (const auto& thread : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
    std::ifstream file(thread.path() / "comm");
    std::string name;
    std::getline(file, name);
    cpu_set_t mask;
    ::sched_getaffinity(std::stoi(thread.path().filename()), sizeof mask, &mask);
    bool first = thread.path().filename() == std::to_string(pid);
    if (first || name.starts_with("shard-")) counts.push_back(CPU_COUNT(&mask));
  }
  return counts;
}

TEST(threads, are_pinned_as_asked) {
  cpu_set_t allowed;
  ::sched_getaffinity(0, sizeof allowed, &allowed);
  server_process pinned(ECHO_SERVER, {"--shards", "2", "--overprovision", "--pin", "on"});
  EXPECT_EQ(cpus_of_shards(pinned.pid()), (std::vector<int>{1, 1}));
  server_process free(ECHO_SERVER, {"--shards", "2", "--overprovision", "--pin", "off"});
  EXPECT_EQ(cpus_of_shards(free.pid()), (std::vector<int>(2, CPU_COUNT(&allowed))));
}

TEST(ring_entries, is_the_size_of_the_ring) {
  server_process server(ECHO_SERVER, {"--shards", "1", "--ring-entries", "64"});
  bool found = false;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/" + std::to_string(server.pid()) + "/fdinfo")) {
    std::ifstream info(entry.path());
    for (std::string line; std::getline(info, line);) found |= line == "SqMask:\t0x3f";
  }
  EXPECT_TRUE(found);
}

}  // namespace
