// SPDX-License-Identifier: Apache-2.0
/// Message sockets on the real kernel: descriptors that pass between tasks, shards and processes, and those that must
/// not stay open anywhere.

#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/message_listener.hpp>
#include <skerry/net/message_socket.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/submit_to.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/message_ends.hpp>
#include <support/faulty_backend.hpp>
#include <support/raw_peer.hpp>
#include <support/run_shards.hpp>
#include <support/scratch_directory.hpp>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace skerry {
namespace {

using namespace test_support;

task<int> error_of_connect(net::address to, message_kind kind) {
  auto connecting = spawn([](net::address there, message_kind which) -> task<> {
    (void)co_await message_socket::connect(there, which);
  }(to, kind));
  co_return co_await error_of(connecting);
}

/// Sends descriptors with a plain call.
bool send_plainly(int fd, const std::string& text, const std::vector<int>& descriptors) {
  iovec piece{const_cast<char*>(text.data()), text.size()};
  std::vector<char> control(CMSG_SPACE(descriptors.size() * sizeof(int)));
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size() * sizeof(int));
  }
  return ::sendmsg(fd, &message, MSG_NOSIGNAL) == ssize_t(text.size());
}

TEST(message_socket, passes_bytes_and_descriptors_between_two_tasks) {
  run_and_count([]() -> task<> {
    for (const message_kind kind : kinds) {
      const pipe_ends one;
      const pipe_ends two;
      auto [ours, theirs] = message_socket::pair(kind);
      EXPECT_EQ(ours.kind(), kind);
      auto other = spawn([&theirs]() -> task<> {
        std::optional<net::message> got = co_await theirs.receive();
        co_await complete(theirs, got, 9);
        EXPECT_EQ(got->bytes, "two pipes");
        EXPECT_FALSE(got->truncated());
        EXPECT_EQ(got->descriptors.size(), 2U);
        for (const net::unique_fd& each : got->descriptors) {
          EXPECT_EQ(::fcntl(each.get(), F_GETFD), FD_CLOEXEC);
          put(each.get(), "through it");
        }
        co_await theirs.send("done");
      });
      const int passed[] = {one.in, two.in};
      co_await ours.send("two pipes", passed);
      std::optional<net::message> answer = co_await ours.receive();
      co_await complete(ours, answer, 4);
      EXPECT_EQ(answer->bytes, "done");
      EXPECT_TRUE(answer->descriptors.empty());
      EXPECT_EQ(got_from(one.out), "through it");
      EXPECT_EQ(got_from(two.out), "through it");
      co_await other;
    }
  });
}

TEST(message_socket, keeps_packets_apart_and_says_how_long_a_cut_one_was) {
  run_and_count([]() -> task<> {
    net::message_options narrow;
    narrow.bytes_max = 10;
    auto [ours, theirs] = message_socket::pair(message_kind::packets, narrow);
    for (const std::string& text : {std::string("one"), std::string(25, 'x'), std::string("three")}) {
      co_await ours.send(text);
    }
    std::optional<net::message> got = co_await theirs.receive();
    EXPECT_EQ(got->bytes, "one");
    got = co_await theirs.receive();
    EXPECT_EQ(got->bytes, std::string(10, 'x'));
    EXPECT_TRUE(got->truncated());
    EXPECT_EQ(got->full_size, 25U);
    got = co_await theirs.receive();
    EXPECT_EQ(got->bytes, "three");
  });
}

TEST(message_socket, of_bytes_takes_what_the_kernel_has_no_room_for_in_parts_in_the_order_of_calls) {
  run_and_count([]() -> task<> {
    auto [ours, theirs] = message_socket::pair(message_kind::bytes);
    const pipe_ends passed;
    const std::string all = numbered_bytes(2'000'000);
    const std::string_view first = std::string_view(all).substr(0, 1'500'000);
    auto sender = spawn([&]() -> task<> {
      const int one[] = {passed.in};
      co_await ours.send(first, one);
    });
    auto second = spawn([&]() -> task<> { co_await ours.send(std::string_view(all).substr(first.size())); });
    std::string received;
    std::size_t descriptors = 0;
    while (received.size() < all.size()) {
      std::optional<net::message> got = co_await theirs.receive();
      received += got->bytes;
      descriptors += got->descriptors.size();
    }
    co_await sender;
    co_await second;
    EXPECT_TRUE(received == all);
    EXPECT_EQ(descriptors, 1U);
  });
}

constexpr auto serve_there = [](net::unique_fd end) -> task<std::string> {
  message_socket mine = message_socket::adopt(std::move(end));
  std::optional<net::message> got = co_await mine.receive();
  put(got->descriptors.at(0).get(), "from shard 1");
  const pipe_ends other;
  put(other.in, "in answer");
  const int passed[] = {other.out};
  co_await mine.send("and mine", passed);
  co_return got->bytes;
};

constexpr auto answer_crosses = [](net::message crossed) -> std::string {
  return crossed.bytes + ": " + got_from(crossed.descriptors.at(0).get());
};

TEST(message_socket, connects_two_shards_and_a_message_crosses_them) {
  const std::ptrdiff_t before = open_descriptors();
  run_shards(2, []() -> task<> {
    const pipe_ends passed;
    auto [ours, theirs] = message_socket::pair_of_descriptors();
    message_socket mine = message_socket::adopt(std::move(ours));
    auto there = spawn([](net::unique_fd end) -> task<> {
      EXPECT_EQ(co_await submit_to(1, serve_there, std::move(end)), "for shard 1");
    }(std::move(theirs)));
    const int one[] = {passed.in};
    co_await mine.send("for shard 1", one);
    std::optional<net::message> got = co_await mine.receive();
    EXPECT_EQ(got_from(passed.out),
              "from shard 1");  // it was there before the answer; a wait here would hold the shard
    EXPECT_EQ(co_await submit_to(1, answer_crosses, std::move(*got)), "and mine: in answer");
    co_await there;
  });
  EXPECT_EQ(open_descriptors(), before);
}

/// What the child of the test below does, by plain calls only.
[[noreturn]] void answer_plainly(int socket) {
  char bytes[100];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  iovec piece{bytes, sizeof bytes};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (::fcntl(socket, F_SETFL, 0) != 0 || ::recvmsg(socket, &message, 0) <= 0) ::_exit(1);
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS) ::_exit(2);
  int given = -1;
  std::memcpy(&given, CMSG_DATA(header), sizeof given);
  if (::write(given, "child", 5) != 5) ::_exit(3);
  // And sends it back.
  ::_exit(::sendmsg(socket, &message, 0) > 0 ? 0 : 4);
}

TEST(message_socket, passes_descriptors_between_processes_and_hears_of_the_others_end) {
  if (simulating()) GTEST_SKIP() << "children are not simulated";
  run_and_count([]() -> task<> {
    const pipe_ends passed;
    auto [ours, theirs] = message_socket::pair_of_descriptors();
    const pid_t child = ::fork();
    if (child == 0) answer_plainly(theirs.get());
    ::close(theirs.release());
    message_socket mine = message_socket::adopt(std::move(ours));
    const int one[] = {passed.in};
    co_await mine.send("to the child", one);
    std::optional<net::message> got = co_await mine.receive();
    EXPECT_EQ(got->descriptors.size(), 1U);
    EXPECT_EQ(got_from(passed.out), "child");
    put(got->descriptors.at(0).get(), "returned");
    EXPECT_EQ(got_from(passed.out), "returned");
    got = co_await mine.receive();
    EXPECT_FALSE(got);
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
  });
}

TEST(message_socket, connects_to_a_path_and_adopts_who_was_accepted) {
  scratch_directory scratch;
  run_and_count([&]() -> task<> {
    for (const message_kind kind : kinds) {
      const net::address at = *net::address::unix_socket(scratch.file(kind == message_kind::bytes ? "b" : "p"));
      EXPECT_EQ(co_await error_of_connect(at, kind), ENOENT);
      const net::unique_fd listening(
          ::socket(AF_UNIX, (kind == message_kind::bytes ? SOCK_STREAM : SOCK_SEQPACKET) | SOCK_CLOEXEC, 0));
      EXPECT_EQ(::bind(listening.get(), at.data(), at.size()), 0);
      EXPECT_EQ(::listen(listening.get(), 5), 0);
      message_socket client = co_await message_socket::connect(at, kind);
      message_socket served =
          message_socket::adopt(net::unique_fd(::accept4(listening.get(), nullptr, nullptr, SOCK_CLOEXEC)));
      EXPECT_EQ(served.kind(), kind);
      co_await client.send("hello");
      std::optional<net::message> got = co_await served.receive();
      co_await complete(served, got, 5);
      EXPECT_EQ(got->bytes, "hello");
    }
    EXPECT_EQ(co_await error_of_connect(loopback(), message_kind::packets), EAFNOSUPPORT);
  });
}

TEST(message_listener, accepts_those_who_come_with_its_kind_and_its_file_goes_with_it) {
  scratch_directory scratch;
  run_and_count([&]() -> task<> {
    const net::address at = *net::address::unix_socket(scratch.file("door"));
    for (const message_kind kind : kinds) {
      {
        net::message_listener door(at, kind);
        EXPECT_EQ(door.where().text(), at.text());
        for (int guests = 0; guests < 3; ++guests) {
          message_socket client = co_await message_socket::connect(at, kind);
          std::optional<message_socket> served = co_await door.accept();
          EXPECT_EQ(served->kind(), kind);
          const pipe_ends passed;
          const int one[] = {passed.in};
          co_await client.send("hello", one);
          std::optional<net::message> got = co_await served->receive();
          co_await complete(*served, got, 5);
          EXPECT_EQ(got->bytes, "hello");
          EXPECT_EQ(got->descriptors.size(), 1U);
        }
        const message_kind other = kind == message_kind::bytes ? message_kind::packets : message_kind::bytes;
        EXPECT_EQ(co_await error_of_connect(at, other), EPROTOTYPE);
        // Somebody lives there, of whichever kind the next one would be.
        EXPECT_THROW(net::message_listener(at, kind), std::system_error);
        EXPECT_THROW(net::message_listener(at, other), std::system_error);
        message_socket unmet = co_await message_socket::connect(at, kind);
      }
      for (int i = 0; i < 20; ++i) co_await turn();
      EXPECT_EQ(co_await error_of_connect(at, kind), ENOENT);
    }
    EXPECT_THROW(net::message_listener{loopback()}, std::system_error);
  });
}

TEST(message_listener, in_a_drain_accepts_no_more_and_ends_what_it_has_accepted) {
  const net::address at = *net::address::parse("unix:@skerry door " + std::to_string(::getpid()));
  const std::ptrdiff_t before = open_descriptors();
  run_shards(quiet_options(1), [&]() -> task<> {
    net::message_listener door(at);
    message_socket client = co_await message_socket::connect(at);
    std::optional<message_socket> served = co_await door.accept();
    auto receiving = spawn([&]() -> task<bool> {
      std::optional<net::message> got = co_await served->receive();
      co_return got.has_value();
    });
    auto accepting = spawn([&]() -> task<bool> {
      std::optional<message_socket> more = co_await door.accept();
      co_return more.has_value();
    });
    co_await turn();
    this_shard().host->request_stop();
    EXPECT_FALSE(co_await receiving);
    EXPECT_FALSE(co_await accepting);
    co_await served->send("bye");
    std::optional<net::message> got = co_await client.receive();
    EXPECT_EQ(got->bytes, "bye");
  });
  EXPECT_EQ(open_descriptors(), before);
}

TEST(message_socket, with_more_descriptors_than_allowed_closes_all_says_so_and_goes_on) {
  run_and_count([]() -> task<> {
    for (const message_kind kind : kinds) {
      for (const std::size_t allowed : {0u, 1u, 3u, 16u, 253u}) {
        net::message_options options;
        options.descriptors_max = allowed;
        auto [ours, theirs] = message_socket::pair(kind, options);
        const pipe_ends passed;
        const std::vector<int> fitting(allowed, passed.in);
        co_await ours.send("fit", fitting);
        std::optional<net::message> got = co_await theirs.receive();
        co_await complete(theirs, got, 3);
        EXPECT_EQ(got->descriptors.size(), allowed);
        got.reset();
        const std::vector<int> more(allowed + 1, passed.in);
        if (allowed == message_socket::descriptors_limit) {
          EXPECT_THROW(static_cast<void>(ours.send("too many", more)), std::system_error);
          continue;
        }
        const std::ptrdiff_t before = open_descriptors();
        co_await ours.send("too many", more);
        std::string text;
        try {
          (void)co_await theirs.receive();
        } catch (const std::system_error& error) {
          EXPECT_EQ(error.code().value(), EMSGSIZE);
          text = error.what();
        }
        EXPECT_NE(text.find("descriptors_max"), text.npos) << text;
        EXPECT_EQ(open_descriptors(), before);
        co_await ours.send("next");
        got = co_await theirs.receive();
        while (simulated() && got && !got->bytes.ends_with("next"))
          co_await complete(theirs, got, got->bytes.size() + 1);
        // And before it what a simulated kernel had not given with the descriptors.
        const bool in_parts = simulated() && kind == message_kind::bytes;
        EXPECT_TRUE(got->bytes == "next" || (in_parts && std::string_view("too manynext").ends_with(got->bytes)))
            << got->bytes;
      }
    }
  });
}

TEST(message_socket, without_free_descriptors_closes_what_came_and_names_the_limit) {
  run_and_count([]() -> task<> {
    auto [ours, theirs] = message_socket::pair();
    const pipe_ends passed;
    const std::vector<int> three(3, passed.in);
    co_await ours.send("three", three);
    const std::ptrdiff_t before = open_descriptors();
    const net::unique_fd lowest(::dup(passed.in));
    rlimit old{};
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &old), 0);
    rlimit narrow = old;
    narrow.rlim_cur = static_cast<rlim_t>(lowest.get()) + 32;
    std::vector<net::unique_fd> fill;
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &narrow), 0);
    while (true) {
      net::unique_fd next(::dup(passed.in));
      if (next.get() < 0) break;
      fill.push_back(std::move(next));
    }
    fill.pop_back();  // now there is room for one
    std::string text;
    try {
      (void)co_await theirs.receive();
    } catch (const std::system_error& error) {
      EXPECT_EQ(error.code().value(), EMFILE);
      text = error.what();
    }
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &old), 0);
    EXPECT_NE(text.find("only 1 "), text.npos) << text;
    EXPECT_NE(text.find("ulimit -n"), text.npos) << text;
    EXPECT_EQ(open_descriptors(), before + 1 + static_cast<std::ptrdiff_t>(fill.size()));
  });
}

task<> cancel_receives_at_each_point(message_kind kind) {
  auto [ours, theirs] = message_socket::pair(kind);
  const pipe_ends passed;
  const std::ptrdiff_t open = open_descriptors();
  for (int before_send = 0; before_send < 4; ++before_send) {
    for (int after_send = 0; after_send < 4; ++after_send) {
      std::optional<net::message> got;  // set by a receive that is quicker than its cancel
      auto waiting = spawn([](message_socket& from, std::optional<net::message>& to) -> task<> {
        to = co_await from.receive();
      }(theirs, got));
      for (int i = 0; i < before_send; ++i) co_await turn();
      EXPECT_TRUE(send_plainly(ours.fd(), "kept", {passed.in}));
      for (int i = 0; i < after_send; ++i) co_await turn();
      waiting.abort();
      const int error = co_await error_of(waiting);
      EXPECT_EQ(error, got ? 0 : ECANCELED);
      if (!got) got = co_await theirs.receive();
      co_await complete(theirs, got, 4);
      EXPECT_EQ(got->bytes, "kept");
      EXPECT_EQ(got->descriptors.size(), 1U);
      EXPECT_EQ(open_descriptors(), open + 1);
      got.reset();
      EXPECT_EQ(open_descriptors(), open);
    }
  }
}

TEST(message_socket, a_receive_cancelled_at_any_point_loses_neither_bytes_nor_descriptors) {
  for (const message_kind kind : kinds) {
    run_and_count([kind] { return cancel_receives_at_each_point(kind); });
  }
}

/// Whether the answer came after the cancel of who had asked.
task<bool> cancel_before_the_answer(int turns_before, int turns_after, bool dropped) {
  auto [ours, theirs] = message_socket::pair();
  const pipe_ends passed;
  std::optional<net::message> got;
  auto waiting = spawn([](message_socket& from, std::optional<net::message>& to) -> task<> {
    to = co_await from.receive();
  }(theirs, got));
  EXPECT_TRUE(send_plainly(ours.fd(), "late", {passed.in, passed.in}));
  for (int i = 0; i < turns_before; ++i) co_await turn();
  const std::ptrdiff_t open = open_descriptors();  // with the two, if the kernel has answered already
  waiting.abort();
  const int error = co_await error_of(waiting);
  EXPECT_EQ(error, got ? 0 : ECANCELED);
  const bool late = !got;
  for (int i = 0; i < turns_after; ++i) co_await turn();
  if (dropped) {
    const message_socket gone = std::move(theirs);
    co_return late;
  }
  if (late) got = co_await theirs.receive();
  EXPECT_EQ(got->bytes, "late");
  EXPECT_EQ(got->descriptors.size(), 2U);
  EXPECT_LE(open_descriptors(), open + 2);
  co_return late;
}

TEST(message_socket, an_answer_that_comes_after_its_cancel_is_there_for_the_next_or_closed_with_the_handle) {
  const auto answers_late = [](const submission& what, std::uint64_t) {
    fault planned;
    if (what.opcode == IORING_OP_RECVMSG) planned.entries_late = 6;
    return planned;
  };
  const std::ptrdiff_t before = open_descriptors();
  int late = 0;
  const auto body = [&late]() -> task<> {
    for (int turns_before = 0; turns_before < 4; ++turns_before) {
      for (int turns_after = 0; turns_after < 8; ++turns_after) {
        for (const bool dropped : {false, true}) {
          const bool came_late = co_await cancel_before_the_answer(turns_before, turns_after, dropped);
          if (came_late) ++late;
        }
      }
    }
  };
  run_alone(body, make_faulty_backends(1, answers_late, 1));
  EXPECT_GT(late, 16);
  EXPECT_EQ(open_descriptors(), before);
}

TEST(message_socket, a_dropped_handle_closes_descriptors_that_nobody_took) {
  run_and_count([]() -> task<> {
    const pipe_ends passed;
    for (const message_kind kind : kinds) {
      for (int turns = 0; turns < 4; ++turns) {
        for (const bool by_abort : {false, true}) {
          auto [ours, theirs] = message_socket::pair(kind);
          auto waiting = spawn([](message_socket end) -> task<> {
            while (std::optional<net::message> got = co_await end.receive()) {
            }
          }(std::move(theirs)));
          co_await turn();
          EXPECT_TRUE(send_plainly(ours.fd(), "for nobody", {passed.in, passed.in}));
          for (int i = 0; i < turns; ++i) co_await turn();
          if (by_abort) waiting.abort();
          {
            const message_socket gone = std::move(ours);
          }
          (void)co_await error_of(waiting);
        }
      }
    }
  });
}

TEST(message_socket, a_peer_that_has_gone_ends_what_comes_and_refuses_what_goes_without_a_signal) {
  run_and_count([]() -> task<> {
    struct sigaction old{};
    struct sigaction deadly{};
    deadly.sa_handler = SIG_DFL;
    EXPECT_EQ(::sigaction(SIGPIPE, &deadly, &old), 0);
    for (const message_kind kind : kinds) {
      auto [ours, theirs] = message_socket::pair(kind);
      co_await theirs.send("last words");
      {
        const message_socket gone = std::move(theirs);
      }
      std::optional<net::message> got = co_await ours.receive();
      co_await complete(ours, got, 10);
      EXPECT_EQ(got->bytes, "last words");
      got = co_await ours.receive();
      EXPECT_FALSE(got);
      got = co_await ours.receive();
      EXPECT_FALSE(got);
      EXPECT_EQ(co_await error_of(ours.send("x")), EPIPE);
    }
    EXPECT_EQ(::sigaction(SIGPIPE, &old, nullptr), 0);
  });
}

TEST(message_socket, of_bytes_refuses_all_that_would_follow_a_part) {
  run_and_count([]() -> task<> {
    auto [ours, theirs] = message_socket::pair(message_kind::bytes);
    const std::string long_text(2'000'000, 'x');
    // One that the kernel has taken in part, and one behind it.
    auto first = spawn([&]() -> task<> { co_await ours.send(long_text); });
    auto second = spawn([&]() -> task<> { co_await ours.send("second"); });
    std::optional<net::message> got = co_await theirs.receive();
    EXPECT_EQ(got->bytes, std::string(simulated() ? got->bytes.size() : 4096, 'x'));
    first.abort();
    EXPECT_EQ(co_await error_of(first), ECANCELED);
    EXPECT_EQ(co_await error_of(second), EPIPE);
    EXPECT_EQ(co_await error_of(ours.send("third")), EPIPE);
  });
}

TEST(message_socket, in_a_drain_ends_if_it_serves_and_goes_on_if_not) {
  const std::ptrdiff_t before = open_descriptors();
  run_shards(quiet_options(1), []() -> task<> {
    net::message_options serving;
    serving.drain = net::in_drain::finishes;
    auto [one, other] = message_socket::pair_of_descriptors();
    message_socket served = message_socket::adopt(std::move(one), serving);
    message_socket client = message_socket::adopt(std::move(other));
    auto waiting = spawn([&]() -> task<bool> {
      std::optional<net::message> got = co_await served.receive();
      co_return got.has_value();
    });
    co_await turn();
    this_shard().host->request_stop();
    EXPECT_FALSE(co_await waiting);
    co_await served.send("bye");
    std::optional<net::message> got = co_await client.receive();
    EXPECT_EQ(got->bytes, "bye");
  });
  EXPECT_EQ(open_descriptors(), before);
}

TEST(message_socket, refuses_what_is_none_and_what_cannot_be) {
  run_and_count([]() -> task<> {
    const pipe_ends other;
    auto adopt = [](int fd) { return message_socket::adopt(net::unique_fd(fd)); };
    EXPECT_THROW(adopt(::dup(other.in)), std::system_error);
    EXPECT_THROW(adopt(::socket(AF_INET, SOCK_STREAM, 0)), std::system_error);
    EXPECT_THROW(adopt(::socket(AF_UNIX, SOCK_DGRAM, 0)), std::system_error);
    EXPECT_THROW(adopt(-1), std::system_error);
    auto [ours, theirs] = message_socket::pair();
    EXPECT_THROW(static_cast<void>(ours.send("")), std::system_error);
    net::message_options wrong;
    wrong.bytes_max = 0;
    EXPECT_THROW(message_socket::pair(message_kind::packets, wrong), std::system_error);
    wrong.bytes_max = message_socket::bytes_limit;
    wrong.descriptors_max = message_socket::descriptors_limit + 1;
    EXPECT_THROW(message_socket::pair(message_kind::packets, wrong), std::system_error);
    const std::string huge(10'000'000, 'x');
    EXPECT_EQ(co_await error_of(ours.send(huge)), EMSGSIZE);
    const int closed[] = {1'000'000};
    EXPECT_EQ(co_await error_of(ours.send("x", closed)), EBADF);
    co_await ours.send("it goes on");
    std::optional<net::message> got = co_await theirs.receive();
    EXPECT_EQ(got->bytes, "it goes on");
  });
}

}  // namespace
}  // namespace skerry
