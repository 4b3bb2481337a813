// SPDX-License-Identifier: Apache-2.0
/// What the programs say when they cannot start, and what they start with nevertheless. Every fault is made for real,
/// in the child between fork and exec.
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <support/child_faults.hpp>
#include <support/server_process.hpp>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using skerry::test::blocking_client;
using skerry::test::finished_program;
using skerry::test::forbid;
using skerry::test::launch;
using skerry::test::limit;
using skerry::test::run_program;
using skerry::test::seccomp_works;
using skerry::test::server_process;
using strings = std::vector<std::string>;

// Users of nobody else, so that nobody else's rings or threads count against their limits.
constexpr uid_t ring_user = 64001;
constexpr uid_t thread_user = 64002;

/// Status 1 and at most three lines altogether, log lines included, which name the cause, the value and the fix.
void expect_refusal(const strings& arguments, const launch& how, const strings& words) {
  strings all{"--port", "0"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  for (const char* program : {KV_SERVER, ECHO_SERVER}) {
    finished_program run = run_program(program, all, how);
    EXPECT_EQ(run.status, 1) << run.output;
    EXPECT_LE(std::count(run.output.begin(), run.output.end(), '\n'), 3) << run.output;
    for (const std::string& word : words) {
      EXPECT_NE(run.output.find(word), std::string::npos) << word << " is not in:\n" << run.output;
    }
  }
}

/// A port that nobody has at the moment.
std::uint16_t free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  EXPECT_EQ(::bind(fd, reinterpret_cast<sockaddr*>(&at), size), 0);
  EXPECT_EQ(::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size), 0);
  ::close(fd);
  return ntohs(at.sin_port);
}

/// So many bytes, or up to the end of the stream.
std::string received(blocking_client& from, std::size_t bytes) {
  std::string all;
  while (all.size() < bytes) {
    const std::string more = from.receive(bytes - all.size());
    if (more.empty()) break;
    all += more;
  }
  return all;
}

/// What the kernel tells of a ring; nothing while somebody enters it.
std::optional<unsigned> ring_size(const std::filesystem::path& fdinfo) {
  std::ifstream info(fdinfo);
  for (std::string line; std::getline(info, line);) {
    if (line.starts_with("SqMask:")) return 1 + static_cast<unsigned>(std::stoul(line.substr(7), nullptr, 16));
  }
  return std::nullopt;
}

/// SQ sizes of all rings of a process.
std::multiset<unsigned> ring_sizes(pid_t pid) {
  const std::filesystem::path process = "/proc/" + std::to_string(pid);
  std::multiset<unsigned> sizes;
  for (const auto& entry : std::filesystem::directory_iterator(process / "fd")) {
    std::error_code closed;
    if (std::filesystem::read_symlink(entry.path(), closed) != "anon_inode:[io_uring]") continue;
    std::optional<unsigned> size;
    while (!size) size = ring_size(process / "fdinfo" / entry.path().filename());
    sizes.insert(*size);
  }
  return sizes;
}

TEST(start, is_refused_where_another_process_has_the_port) {
  server_process first(KV_SERVER, {"--shards", "2", "--overprovision"});
  expect_refusal({"--port", std::to_string(first.port())}, {}, {std::to_string(first.port()), "in use", "--port"});
  // Not one of ours: it shares the port with nobody.
  int other = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  ASSERT_EQ(::bind(other, reinterpret_cast<sockaddr*>(&at), size), 0);
  ASSERT_EQ(::listen(other, 1), 0);
  ::getsockname(other, reinterpret_cast<sockaddr*>(&at), &size);
  expect_refusal({"--port", std::to_string(ntohs(at.sin_port))}, {}, {"in use", "--port"});
  ::close(other);
}

TEST(start, is_refused_on_an_address_of_another_machine) {
  expect_refusal({"--bind", "192.0.2.1", "--port", "7999"}, {}, {"192.0.2.1", "--bind"});
}

TEST(start, is_refused_on_a_cpu_that_is_not_there) {
  expect_refusal({"--cpuset", "1000"}, {}, {"CPU 1000", "allowed are", "--cpuset"});
}

TEST(start, is_refused_without_shards) { expect_refusal({"--shards", "0"}, {}, {"--shards 0", "use --shards auto"}); }

TEST(start, is_refused_with_more_shards_than_cpus) {
  expect_refusal({"--shards", "1000"}, {}, {"1000 shards", "--overprovision"});
}

TEST(start, is_refused_where_descriptors_do_not_suffice_to_serve_anyone) {
  // Three are taken; two shards need a ring, an event, a listener and a connection each. UBSan looks at memory through
  // pipes, and reports objects as broken when it gets none.
#ifdef __SANITIZE_ADDRESS__
  constexpr rlim_t lowest = 8;
#else
  constexpr rlim_t lowest = 5;
#endif
  for (rlim_t descriptors = lowest; descriptors < 11; ++descriptors) {
    launch how;
    how.before_exec = [descriptors] { limit(RLIMIT_NOFILE, descriptors); };
    expect_refusal({"--shards", "2", "--overprovision"}, how,
                   {"RLIMIT_NOFILE is " + std::to_string(descriptors), "ulimit -n"});
  }
}

TEST(start, is_refused_where_the_admin_endpoint_cannot_be_opened) {
  server_process first(KV_SERVER, {"--shards", "2", "--overprovision"});
  const std::string taken = "127.0.0.1:" + std::to_string(first.port());
  expect_refusal({"--admin", taken}, {}, {taken, "in use"});
  expect_refusal({"--admin", "localhost:9180"}, {}, {"--admin takes ADDR:PORT", "off"});
  // A program that never listens.
  const finished_program silent = run_program(HELLO_SHARDS, {"--admin", taken}, {});
  EXPECT_EQ(silent.status, 1) << silent.output;
  EXPECT_NE(silent.output.find("in use"), std::string::npos) << silent.output;
}

/// Every shard of it answers, it says which backend and why in one line, and in its metrics, and it ends as it should.
void expect_to_serve(const strings& arguments, const launch& how, const std::string& said, const std::string& backend) {
  const std::uint16_t admin_port = free_port();
  strings all{"--shards", "2", "--overprovision", "--admin", "127.0.0.1:" + std::to_string(admin_port)};
  all.insert(all.end(), arguments.begin(), arguments.end());
  server_process server(KV_SERVER, all, how);
  for (int i = 0; i < 20; ++i) {
    blocking_client client(server.port());
    const std::string key = "key" + std::to_string(i);
    client.send("SET " + key + " value\r\nGET " + key + "\r\n");
    EXPECT_EQ(received(client, 16), "+OK\r\n$5\r\nvalue\r\n");
  }
  blocking_client metrics(admin_port);
  metrics.send("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_NE(received(metrics, 1 << 20).find("skerry_backend_info{backend=\"" + backend + "\",shard=\"0\"} 1"),
            std::string::npos);
  server.signal(SIGTERM);
  EXPECT_EQ(server.wait(), 0) << server.log();
  const auto at = server.log().find(said);
  ASSERT_NE(at, std::string::npos) << said << " is not in:\n" << server.log();
  EXPECT_EQ(server.log().find("backend ", at + said.size()), std::string::npos) << server.log();
}

TEST(start, takes_the_backend_that_was_asked_for) {
  expect_to_serve({"--backend", "epoll"}, {}, "backend epoll: it was asked for", "epoll");
  expect_to_serve({"--backend", "io_uring"}, {}, "backend io_uring: it was asked for", "io_uring");
  expect_to_serve({"--backend", "auto"}, {}, "backend io_uring: it works here", "io_uring");
  server_process server(KV_SERVER, {"--shards", "2", "--overprovision", "--backend", "epoll"});
  EXPECT_TRUE(ring_sizes(server.pid()).empty());
}

TEST(start, goes_without_io_uring_where_that_is_forbidden_unless_it_was_asked_for) {
  if (!seccomp_works()) GTEST_SKIP() << "this system has no seccomp filters";
  struct forbidden {
    long call;
    int error;
    std::string text;
  };
  for (const forbidden& what : {forbidden{SYS_io_uring_setup, EPERM, "Operation not permitted"},
                                {SYS_io_uring_setup, ENOSYS, "Function not implemented"},
                                {SYS_io_uring_setup, EACCES, "Permission denied"},
                                {SYS_io_uring_register, EPERM, "Operation not permitted"},
                                {SYS_io_uring_enter, EPERM, "Operation not permitted"}}) {
    launch how;
    how.before_exec = [&what] { forbid(what.call, what.error); };
    const std::string why = "io_uring is not usable here: " + what.text;
    expect_refusal({"--shards", "2", "--overprovision", "--backend", "io_uring"}, how, {why, "seccomp"});
    expect_to_serve({"--backend", "auto"}, how, "backend epoll: " + why, "epoll");
  }
}

TEST(start, is_refused_where_not_even_the_smallest_ring_may_be_locked) {
  launch how;
  how.user = ring_user;
  how.before_exec = [] { limit(RLIMIT_MEMLOCK, 8 * 1024); };
  expect_refusal({"--shards", "1", "--backend", "io_uring"}, how, {"RLIMIT_MEMLOCK is 8 KiB", "16 KiB", "ulimit -l"});
  expect_to_serve({}, how, "backend epoll: cannot set up 2 io_uring rings: RLIMIT_MEMLOCK is 8 KiB", "epoll");
  how.before_exec = [] { limit(RLIMIT_MEMLOCK, 64 * 1024); };
  expect_refusal({"--shards", "5", "--overprovision", "--backend", "io_uring"}, how,
                 {"5 io_uring rings", "RLIMIT_MEMLOCK is 64 KiB", "--shards"});
}

TEST(start, is_refused_where_threads_are_limited) {
  launch how;
  how.user = thread_user;
  // A sanitizer may have a thread of its own, so one more is allowed and two more are asked for.
  how.before_exec = [] { limit(RLIMIT_NPROC, 2); };
  expect_refusal({"--shards", "4", "--overprovision"}, how, {"cannot start shard", "ulimit -u", "--shards"});
}

TEST(an_ordinary_user, starts_with_64_kib_of_locked_memory_and_rings_of_one_size) {
  launch how;
  how.user = ring_user;
  how.before_exec = [] { limit(RLIMIT_MEMLOCK, 64 * 1024); };
  for (std::size_t shards : {1u, 2u, 4u}) {
    for (const char* program : {KV_SERVER, ECHO_SERVER}) {
      server_process server(program, {"--shards", std::to_string(shards), "--overprovision"}, how);
      std::multiset<unsigned> sizes = ring_sizes(server.pid());
      ASSERT_EQ(sizes.size(), shards);
      EXPECT_EQ(sizes.count(*sizes.begin()), shards);
      EXPECT_EQ(*sizes.begin(), shards == 1 ? 128u : 64u);
      // More connections than there are submissions in a ring.
      std::vector<std::unique_ptr<blocking_client>> clients;
      for (int i = 0; i < 200; ++i) {
        clients.push_back(std::make_unique<blocking_client>(server.port()));
        clients.back()->send("PING\r\n");
      }
      for (auto& client : clients) EXPECT_EQ(client->receive(1).size(), 1u);
      clients.clear();
      server.signal(SIGTERM);
      EXPECT_EQ(server.wait(), 0) << server.log();
    }
  }
}

TEST(a_user_that_may_lock_what_it_wants, gets_the_rings_that_were_asked_for) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root is not charged for locked memory";
  server_process server(ECHO_SERVER, {"--shards", "2", "--overprovision", "--ring-entries", "1024"});
  EXPECT_EQ(ring_sizes(server.pid()), (std::multiset<unsigned>{1024, 1024}));
}

/// The lines of the table below its head: what the kernel and what Skerry does, and a reason for it.
std::size_t rows_in(const std::string& table) {
  std::istringstream lines(table);
  std::size_t rows = 0;
  for (std::string line; std::getline(lines, line);) {
    const bool row = line.find(" uses it ") != line.npos || line.find(" does not ") != line.npos ||
                     line.find(" opt-in, ") != line.npos;
    if (!row) continue;
    ++rows;
    EXPECT_TRUE(line.find(" has it ") != line.npos || line.find(" lacks ") != line.npos) << line;
    EXPECT_GT(line.size(), 60u) << "no reason: " << line;
  }
  return rows;
}

TEST(io_uring_features, are_told_with_a_reason_each_also_within_the_least_of_locked_memory) {
  launch poor;
  poor.user = ring_user;
  poor.before_exec = [] { limit(RLIMIT_MEMLOCK, 64 * 1024); };
  for (const launch& how : {launch(), poor}) {
    for (const char* program : {KV_SERVER, ECHO_SERVER}) {
      const finished_program run = run_program(program, {"--io-uring-features"}, how);
      EXPECT_EQ(run.status, 0) << run.output;
      EXPECT_GT(rows_in(run.output), 20u) << run.output;
      for (const char* name :
           {"deferred task work", "multishot receive", "receive bundles", "NAPI busy polling", "zero-copy send"}) {
        EXPECT_NE(run.output.find(name), std::string::npos) << name << " is not in:\n" << run.output;
      }
    }
  }
}

/// The line of the table that begins with `name`.
std::string line_of(const std::string& table, const std::string& name) {
  const auto begin = table.find("\n" + name);
  return begin == table.npos ? "" : table.substr(begin + 1, table.find('\n', begin + 1) - begin - 1);
}

TEST(io_uring_features, that_are_asked_for_by_options_say_whether_they_are) {
  const std::string off = run_program(ECHO_SERVER, {"--io-uring-features"}).output;
  const std::string on = run_program(ECHO_SERVER, {"--io-uring-features", "--sqpoll-idle-ms", "1"}).output;
  for (const char* name : {"kernel thread submits", "NAPI busy polling", "zero-copy send"}) {
    EXPECT_NE(line_of(off, name).find(" opt-in, off "), std::string::npos) << off;
  }
  if (line_of(on, "kernel thread submits").find(" has it ") == std::string::npos) GTEST_SKIP() << on;
  EXPECT_NE(line_of(on, "kernel thread submits").find(" opt-in, on "), std::string::npos) << on;
  EXPECT_NE(line_of(on, "NAPI busy polling").find(" opt-in, off "), std::string::npos) << on;
}

const strings extras{"--sqpoll-idle-ms", "--napi-busy-poll-us", "--send-zc-bytes"};

TEST(extras_of_io_uring, are_refused_beside_epoll) {
  for (const std::string& extra : extras) {
    expect_refusal({"--backend", "epoll", extra, "10"}, launch(), {extra + " is for io_uring", "--backend epoll"});
  }
}

TEST(extras_of_io_uring, do_not_give_way_to_epoll_where_io_uring_is_forbidden) {
  if (!seccomp_works()) GTEST_SKIP() << "this system has no seccomp filters";
  launch how;
  how.before_exec = [] { forbid(SYS_io_uring_setup, EPERM); };
  for (const std::string& extra : extras) {
    expect_refusal({extra, "10"}, how, {extra + " needs io_uring", "Operation not permitted", "seccomp"});
  }
}

TEST(extras_of_io_uring, napi_polling_is_refused_with_the_reason_by_kernels_without_it) {
  if (!seccomp_works()) GTEST_SKIP() << "this system has no seccomp filters";
  launch how;
  how.before_exec = [] { forbid(SYS_io_uring_register, 27, EINVAL); };
  expect_refusal({"--napi-busy-poll-us", "10"}, how,
                 {"--napi-busy-poll-us is refused by the kernel: Invalid argument", "6.9", "leave it out"});
  server_process without(ECHO_SERVER, {}, how);
  without.signal(SIGTERM);
  EXPECT_EQ(without.wait(), 0) << without.log();
}

/// Threads of the kernel's that submit for it.
std::ptrdiff_t submitting_threads_of(pid_t pid) {
  std::ptrdiff_t found = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(pid) + "/task")) {
    std::ifstream file(task.path() / "comm");
    std::string name;
    found += std::getline(file, name) && name.starts_with("iou-sqp-");
  }
  return found;
}

TEST(extras_of_io_uring, sqpoll_gives_each_shard_a_thread_of_the_kernels) {
  const std::string table = run_program(ECHO_SERVER, {"--io-uring-features"}).output;
  if (line_of(table, "kernel thread submits").find(" has it ") == std::string::npos) GTEST_SKIP() << table;
  const strings shards{"--shards", "3", "--overprovision"};
  launch asked;
  asked.environment = {"SKERRY_SQPOLL_IDLE_MS=1"};
  server_process with(ECHO_SERVER, shards, asked), without(ECHO_SERVER, shards);
  EXPECT_EQ(submitting_threads_of(with.pid()), 3);
  EXPECT_EQ(submitting_threads_of(without.pid()), 0);
  EXPECT_NE(with.log().find("a thread of the kernel's submits (idle after 1 ms)"), std::string::npos) << with.log();
  blocking_client client(with.port());
  client.send("echo");
  EXPECT_EQ(client.receive_exactly(4), "echo");
  with.signal(SIGTERM);
  EXPECT_EQ(with.wait(), 0) << with.log();
}

TEST(io_uring_features, are_refused_with_the_reason_where_io_uring_is_forbidden) {
  if (!seccomp_works()) GTEST_SKIP() << "this system has no seccomp filters";
  for (const long call : {SYS_io_uring_setup, SYS_io_uring_register}) {
    launch how;
    how.before_exec = [call] { forbid(call, EPERM); };
    const finished_program run = run_program(ECHO_SERVER, {"--io-uring-features", "--backend", "io_uring"}, how);
    EXPECT_EQ(run.status, 0) << run.output;
    EXPECT_EQ(rows_in(run.output), 0u);
    for (const char* words : {"io_uring is not usable here: Operation not permitted", "seccomp", "epoll"}) {
      EXPECT_NE(run.output.find(words), std::string::npos) << words << " is not in:\n" << run.output;
    }
  }
}

}  // namespace
