// SPDX-License-Identifier: Apache-2.0
/// Every operation of operation.hpp on sockets and readiness, with the completions that are promised there, on each
/// backend of the kernel's.
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <support/bare_kernel.hpp>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace skerry {
namespace {

using namespace std::chrono_literals;
using test_support::bare_kernel;
using test_support::request;

/// A descriptor of the test's.
struct owned {
  explicit owned(int made) : fd(made) { EXPECT_GE(made, 0) << std::strerror(errno); }
  owned(const owned&) = delete;
  owned& operator=(const owned&) = delete;
  ~owned() { close(); }
  void close() {
    if (fd >= 0) ::close(std::exchange(fd, -1));
  }
  int fd;
};

struct socket_pair {
  explicit socket_pair(int type = SOCK_STREAM) {
    std::array<int, 2> both{};
    EXPECT_EQ(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, both.data()), 0);
    near_end = std::make_unique<owned>(both[0]);
    far_end = std::make_unique<owned>(both[1]);
  }
  int near_fd() const { return near_end->fd; }
  int far_fd() const { return far_end->fd; }
  std::unique_ptr<owned> near_end, far_end;
};

sockaddr_in loopback(std::uint16_t port = 0) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(port);
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return at;
}

const sockaddr* plain(const sockaddr_in& at) { return reinterpret_cast<const sockaddr*>(&at); }

/// A socket of `type` on a free port; blocking, which no backend may mind.
struct bound : owned {
  explicit bound(int type) : owned(::socket(AF_INET, type | SOCK_CLOEXEC, 0)) {
    at = loopback();
    socklen_t size = sizeof at;
    EXPECT_EQ(::bind(fd, plain(at), size), 0);
    EXPECT_EQ(type == SOCK_STREAM ? ::listen(fd, 64) : 0, 0);
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&at), &size);
  }
  sockaddr_in at;
};

void say(int fd, std::string_view text) {
  EXPECT_EQ(::send(fd, text.data(), text.size(), MSG_NOSIGNAL), std::ssize(text));
}

class operations : public test_support::on_each_kernel {};
INSTANTIATE_TEST_SUITE_P(kernel, operations, ::testing::ValuesIn(test_support::kernels()),
                         [](const auto& of) { return std::string(of.param); });

// ---- readiness ----

TEST_P(operations, a_poll_completes_once_when_it_is_so) {
  bare_kernel kernel(GetParam());
  socket_pair s;
  request in, out;
  prepare::poll(kernel.submit(in), s.near_fd(), POLLIN);
  prepare::poll(kernel.submit(out), s.near_fd(), POLLOUT);
  EXPECT_EQ(kernel.result_of(out), POLLOUT);
  EXPECT_TRUE(in.answers.empty());
  say(s.far_fd(), "x");
  EXPECT_EQ(kernel.result_of(in), POLLIN);
  s.far_end->close();
  request end;
  prepare::poll(kernel.submit(end), s.near_fd(), POLLOUT);
  EXPECT_NE(kernel.result_of(end) & POLLHUP, 0);
}

TEST_P(operations, a_poll_of_a_file_is_ready_at_once) {
  bare_kernel kernel(GetParam());
  owned file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  request r;
  prepare::poll(kernel.submit(r), file.fd, POLLIN);
  EXPECT_NE(kernel.result_of(r) & POLLIN, 0);
}

TEST_P(operations, a_multishot_poll_completes_each_time_and_not_in_between) {
  bare_kernel kernel(GetParam());
  owned event(::eventfd(0, EFD_CLOEXEC));
  request r;
  prepare::poll_multishot(kernel.submit(r), event.fd, POLLIN);
  const std::uint64_t one = 1;
  for (std::size_t times = 1; times <= 3; ++times) {
    ASSERT_EQ(::write(event.fd, &one, sizeof one), 8);
    ASSERT_TRUE(kernel.until([&] { return r.answers.size() == times; }));
    kernel.turn();  // nobody reads: still no more of them
    ASSERT_EQ(r.answers.size(), times);
    EXPECT_EQ(r.last(), POLLIN);
    EXPECT_TRUE(completion::more(r.answers.back().flags));
  }
  (*kernel).cancel(r);
  ASSERT_TRUE(kernel.until([&] { return r.ended(); }));
  EXPECT_EQ(r.last(), -ECANCELED);
}

TEST_P(operations, who_waits_for_the_same_in_two_ways_is_told_in_both) {
  bare_kernel kernel(GetParam());
  socket_pair s;
  request each, once, received;
  prepare::poll_multishot(kernel.submit(each), s.near_fd(), POLLIN);
  prepare::poll(kernel.submit(once), s.near_fd(), POLLIN);
  kernel.turn();
  say(s.far_fd(), "x");
  ASSERT_TRUE(kernel.until([&] { return once.ended() && !each.answers.empty(); }));
  prepare::recv_multishot(kernel.submit(received), s.near_fd(), buffer_ring::group);
  ASSERT_TRUE(kernel.until([&] { return !received.answers.empty(); }));
  EXPECT_EQ(kernel.bytes_of(received.answers[0]), "x");
  (*kernel).cancel(each);
  (*kernel).cancel(received);
  ASSERT_TRUE(kernel.until([&] { return each.ended() && received.ended(); }));
  EXPECT_EQ(each.last(), -ECANCELED);
  EXPECT_EQ(received.last(), -ECANCELED);
}

// ---- streams ----

TEST_P(operations, accept_takes_one_and_its_multishot_all_who_come) {
  bare_kernel kernel(GetParam());
  bound listener(SOCK_STREAM);
  auto come = [&] {
    auto client = std::make_unique<owned>(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    EXPECT_EQ(::connect(client->fd, plain(listener.at), sizeof listener.at), 0);
    return client;
  };
  std::vector<std::unique_ptr<owned>> clients, accepted;
  request one, all;
  prepare::accept(kernel.submit(one), listener.fd);
  kernel.turn();
  EXPECT_TRUE(one.answers.empty());
  for (int i = 0; i < 2; ++i) clients.push_back(come());
  accepted.push_back(std::make_unique<owned>(kernel.result_of(one)));
  prepare::accept_multishot(kernel.submit(all), listener.fd);
  for (int i = 0; i < 20; ++i) clients.push_back(come());
  ASSERT_TRUE(kernel.until([&] { return all.answers.size() == 21; }));
  for (const auto& each : all.answers) {
    EXPECT_TRUE(completion::more(each.flags));
    accepted.push_back(std::make_unique<owned>(each.result));
  }
  for (const auto& each : accepted) {
    EXPECT_NE(::fcntl(each->fd, F_GETFD) & FD_CLOEXEC, 0);
    EXPECT_NE(::fcntl(each->fd, F_GETFL) & O_NONBLOCK, 0);
  }
  (*kernel).cancel(all);
  ASSERT_TRUE(kernel.until([&] { return all.ended(); }));
  EXPECT_EQ(all.last(), -ECANCELED);
}

TEST_P(operations, a_multishot_accept_ends_without_descriptors) {
  bare_kernel kernel(GetParam());
  bound listener(SOCK_STREAM);
  owned client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  request all;
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  const rlimit none{0, before.rlim_max};
  ::setrlimit(RLIMIT_NOFILE, &none);
  prepare::accept_multishot(kernel.submit(all), listener.fd);
  kernel.turn();
  EXPECT_EQ(::connect(client.fd, plain(listener.at), sizeof listener.at), 0);
  EXPECT_TRUE(kernel.until([&] { return all.ended(); }));
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_EQ(all.last(), -EMFILE);
}

TEST_P(operations, a_receive_tells_each_arrival_and_the_end) {
  bare_kernel kernel(GetParam());
  socket_pair s;
  request r;
  prepare::recv_multishot(kernel.submit(r), s.near_fd(), buffer_ring::group);
  for (std::size_t i = 0; i < 3; ++i) {
    const std::string text = "message " + std::to_string(i);
    say(s.far_fd(), text);
    ASSERT_TRUE(kernel.until([&] { return r.answers.size() > i; }));
    EXPECT_EQ(kernel.bytes_of(r.answers[i]), text);
    EXPECT_TRUE(completion::more(r.answers[i].flags));
    kernel.provide(completion::buffer_number(r.answers[i].flags));
  }
  s.far_end->close();
  ASSERT_TRUE(kernel.until([&] { return r.ended(); }));
  EXPECT_EQ(r.last(), 0);
}

TEST_P(operations, a_receive_without_buffers_ends_and_loses_nothing) {
  bare_kernel kernel(GetParam(), 1);
  socket_pair s;
  const std::string first(bare_kernel::buffer_bytes, 'a');
  say(s.far_fd(), first + "rest");
  request r;
  prepare::recv_multishot(kernel.submit(r), s.near_fd(), buffer_ring::group);
  ASSERT_TRUE(kernel.until([&] { return r.ended(); }));
  ASSERT_EQ(r.answers.size(), 2u);
  EXPECT_EQ(kernel.bytes_of(r.answers[0]), first);
  EXPECT_EQ(r.last(), -ENOBUFS);
  kernel.provide(0);
  prepare::recv_multishot(kernel.submit(r), s.near_fd(), buffer_ring::group);
  ASSERT_TRUE(kernel.until([&] { return r.answers.size() >= 3; }));
  EXPECT_EQ(kernel.bytes_of(r.answers[2]), "rest");
  (*kernel).cancel(r);
  ASSERT_TRUE(kernel.until([&] { return r.ended(); }));
}

TEST_P(operations, a_send_is_whole_whatever_room_there_is) {
  bare_kernel kernel(GetParam());
  socket_pair s;
  const std::string bytes(1 << 20, 'b');
  std::string got;
  request r;
  prepare::send(kernel.submit(r), s.near_fd(), bytes.data(), static_cast<std::uint32_t>(bytes.size()));
  std::array<char, 100'000> piece{};
  ASSERT_TRUE(kernel.until([&] {
    ssize_t n = 0;
    while ((n = ::recv(s.far_fd(), piece.data(), piece.size(), MSG_DONTWAIT)) > 0) {
      got.append(piece.data(), static_cast<std::size_t>(n));
      (*kernel).submit_and_reap();
    }
    return r.ended() && got.size() == bytes.size();
  }));
  ASSERT_EQ(r.answers.size(), 1u);
  EXPECT_EQ(r.last(), std::ssize(bytes));
  EXPECT_EQ(got, bytes);
}

TEST_P(operations, a_send_without_copying_answers_and_lets_go_later_where_the_kernel_keeps_its_memory) {
  bare_kernel kernel(GetParam());
  bound listener(SOCK_STREAM);
  owned client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::connect(client.fd, plain(listener.at), sizeof listener.at), 0);
  owned server(::accept4(listener.fd, nullptr, nullptr, SOCK_CLOEXEC));
  const std::string bytes(60'000, 'b');
  request r;
  prepare::send_zero_copy(kernel.submit(r), client.fd, bytes.data(), static_cast<std::uint32_t>(bytes.size()));
  std::string got(bytes.size(), '\0');
  ASSERT_TRUE(kernel.until([&] { return !r.answers.empty(); }));
  if (r.answers.front().result == -EINVAL) GTEST_SKIP() << "of Linux 6.2";
  EXPECT_EQ(r.answers.front().result, std::ssize(bytes));
  EXPECT_EQ(::recv(server.fd, got.data(), got.size(), MSG_WAITALL), std::ssize(bytes));
  EXPECT_EQ(got, bytes);
  ASSERT_TRUE(kernel.until([&] { return r.ended(); }));
  ASSERT_LE(r.answers.size(), 2u);
  if (r.answers.size() == 1) return;
  EXPECT_TRUE(completion::more(r.answers[0].flags));
  EXPECT_FALSE(completion::lets_go(r.answers[0].flags));
  EXPECT_TRUE(completion::lets_go(r.answers[1].flags));
  EXPECT_EQ(r.answers[1].result, completion::copied) << "loopback copies";
}

TEST_P(operations, a_send_that_is_cancelled_half_way_says_how_far_it_came) {
  bare_kernel kernel(GetParam());
  socket_pair s;
  const std::string bytes(8 << 20, 'b');
  request r;
  prepare::send(kernel.submit(r), s.near_fd(), bytes.data(), static_cast<std::uint32_t>(bytes.size()));
  kernel.turn();
  ASSERT_TRUE(r.answers.empty());
  (*kernel).cancel(r);
  ASSERT_GT(kernel.result_of(r), 0);
  s.near_end->close();
  std::int64_t got = 0;
  std::array<char, 100'000> piece{};
  for (ssize_t n = 0; (n = ::recv(s.far_fd(), piece.data(), piece.size(), 0)) > 0;) got += n;
  EXPECT_EQ(got, r.last());
}

TEST_P(operations, a_send_to_nobody_fails_without_a_signal) {
  bare_kernel kernel(GetParam());
  socket_pair s;
  s.far_end->close();
  request r;
  prepare::send(kernel.submit(r), s.near_fd(), "x", 1);
  EXPECT_EQ(kernel.result_of(r), -EPIPE);
}

TEST_P(operations, connect_tells_how_it_went) {
  bare_kernel kernel(GetParam());
  bound listener(SOCK_STREAM);
  owned client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  request well;
  prepare::connect(kernel.submit(well), client.fd, plain(listener.at), sizeof listener.at);
  EXPECT_EQ(kernel.result_of(well), 0);
  say(client.fd, "x");
  listener.close();
  owned other(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  request badly;
  prepare::connect(kernel.submit(badly), other.fd, plain(listener.at), sizeof listener.at);
  EXPECT_EQ(kernel.result_of(badly), -ECONNREFUSED);
}

TEST_P(operations, a_connect_that_nobody_answers_can_be_cancelled) {
  bare_kernel kernel(GetParam());
  bound listener(SOCK_STREAM);
  ASSERT_EQ(::listen(listener.fd, 0), 0);
  std::vector<std::unique_ptr<owned>> clients;
  std::vector<std::unique_ptr<request>> asked;
  for (int i = 0; i < 4; ++i) {  // more than fit: the kernel drops what they send
    clients.push_back(std::make_unique<owned>(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)));
    asked.push_back(std::make_unique<request>());
    prepare::connect(kernel.submit(*asked.back()), clients.back()->fd, plain(listener.at), sizeof listener.at);
  }
  ASSERT_TRUE(kernel.until([&] { return asked.front()->ended(); }));
  EXPECT_EQ(asked.front()->last(), 0);
  ASSERT_FALSE(asked.back()->ended());
  (*kernel).cancel(*asked.back());
  EXPECT_EQ(kernel.result_of(*asked.back()), -ECANCELED);
  for (auto& each : asked) (*kernel).cancel(*each);
  ASSERT_TRUE(kernel.until([&] { return std::ranges::all_of(asked, [](auto& each) { return each->ended(); }); }));
}

TEST_P(operations, a_unix_listener_whose_queue_is_full_takes_nobody) {
  bare_kernel kernel(GetParam());
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  std::snprintf(&at.sun_path[1], sizeof at.sun_path - 1, "skerry-operations-%d", ::getpid());  // abstract
  const auto* place = reinterpret_cast<const sockaddr*>(&at);
  owned listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(::bind(listener.fd, place, sizeof at), 0);
  ASSERT_EQ(::listen(listener.fd, 0), 0);
  std::vector<std::unique_ptr<owned>> clients;
  for (const int expected : {0, -EAGAIN}) {
    clients.push_back(std::make_unique<owned>(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)));
    request r;
    prepare::connect(kernel.submit(r), clients.back()->fd, place, sizeof at);
    EXPECT_EQ(kernel.result_of(r), expected);
  }
}

// ---- messages ----

TEST_P(operations, a_datagram_goes_where_it_is_sent) {
  bare_kernel kernel(GetParam());
  bound from(SOCK_DGRAM), to(SOCK_DGRAM);
  request sent, received;
  std::array<char, 4> room{};
  iovec piece{room.data(), room.size()};
  sockaddr_in name{};
  msghdr message{};
  message.msg_name = &name;
  message.msg_namelen = sizeof name;
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  prepare::recvmsg(kernel.submit(received), to.fd, &message, MSG_TRUNC);
  prepare::send(kernel.submit(sent), from.fd, "datagram", 8, plain(to.at), sizeof to.at);
  EXPECT_EQ(kernel.result_of(sent), 8);
  EXPECT_EQ(kernel.result_of(received), 8) << "the length of the whole";
  EXPECT_EQ(std::string_view(room.data(), 4), "data");
  EXPECT_NE(message.msg_flags & MSG_TRUNC, 0);
  EXPECT_EQ(name.sin_port, from.at.sin_port);
}

TEST_P(operations, descriptors_travel_and_close_on_exec) {
  bare_kernel kernel(GetParam());
  socket_pair s(SOCK_SEQPACKET);
  owned passed(::eventfd(7, EFD_CLOEXEC));
  struct with_control {
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    char byte = 'x';
    iovec piece{&byte, 1};
    msghdr message{};
    with_control() {
      message.msg_iov = &piece;
      message.msg_iovlen = 1;
      message.msg_control = control.data();
      message.msg_controllen = control.size();
    }
  } out, in;
  cmsghdr* header = CMSG_FIRSTHDR(&out.message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &passed.fd, sizeof(int));
  request sent, received;
  prepare::sendmsg(kernel.submit(sent), s.near_fd(), &out.message);
  prepare::recvmsg(kernel.submit(received), s.far_fd(), &in.message, 0);
  EXPECT_EQ(kernel.result_of(sent), 1);
  EXPECT_EQ(kernel.result_of(received), 1);
  header = CMSG_FIRSTHDR(&in.message);
  ASSERT_NE(header, nullptr);
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  owned arrived(fd);
  EXPECT_NE(::fcntl(arrived.fd, F_GETFD) & FD_CLOEXEC, 0);
  std::uint64_t seven = 0;
  EXPECT_EQ(::read(arrived.fd, &seven, sizeof seven), 8);
  EXPECT_EQ(seven, 7u);
}

/// What an answer of recvmsg_multishot says, by the layout with room for an address.
struct told {
  io_uring_recvmsg_out head;
  sockaddr_in from;
  std::string bytes;
};
told read_told(const std::string& whole) {
  told t{};
  std::memcpy(&t.head, whole.data(), sizeof t.head);
  std::memcpy(&t.from, whole.data() + sizeof t.head, sizeof t.from);
  t.bytes = whole.substr(sizeof t.head + sizeof t.from);
  return t;
}

TEST_P(operations, messages_come_in_buffers_with_their_senders) {
  bare_kernel kernel(GetParam());
  bound from(SOCK_DGRAM), to(SOCK_DGRAM);
  ASSERT_EQ(::connect(from.fd, plain(to.at), sizeof to.at), 0);
  msghdr layout{};
  layout.msg_namelen = sizeof(sockaddr_in);
  request r;
  prepare::recvmsg_multishot(kernel.submit(r), to.fd, &layout, buffer_ring::group, 0);
  kernel.turn();
  const std::string large(5000, 'l');
  for (const std::string& text : {std::string("one"), large}) {
    const std::size_t before = r.answers.size();
    say(from.fd, text);
    ASSERT_TRUE(kernel.until([&] { return r.answers.size() > before; }));
    ASSERT_TRUE(completion::more(r.answers.back().flags));
    const told got = read_told(kernel.bytes_of(r.answers.back()));
    EXPECT_EQ(got.head.payloadlen, text.size()) << "before a cut";
    EXPECT_EQ(got.head.namelen, sizeof(sockaddr_in));
    EXPECT_EQ(got.from.sin_port, from.at.sin_port);
    const std::size_t room = bare_kernel::buffer_bytes - sizeof(io_uring_recvmsg_out) - sizeof(sockaddr_in);
    EXPECT_EQ(got.bytes, text.substr(0, room));
    EXPECT_EQ((got.head.flags & MSG_TRUNC) != 0, text.size() > room);
  }
  ASSERT_EQ(::send(from.fd, "", 0, 0), 0);
  ASSERT_TRUE(kernel.until([&] { return r.ended(); })) << "an empty one is the last";
  EXPECT_EQ(read_told(kernel.bytes_of(r.answers.back())).head.payloadlen, 0u);
}

TEST_P(operations, a_look_takes_what_is_there_and_waits_for_nothing) {
  bare_kernel kernel(GetParam(), 8);
  bound from(SOCK_DGRAM), to(SOCK_DGRAM);
  ASSERT_EQ(::connect(from.fd, plain(to.at), sizeof to.at), 0);
  for (int i = 0; i < 3; ++i) say(from.fd, "x");
  msghdr layout{};
  layout.msg_namelen = sizeof(sockaddr_in);
  request r;
  prepare::recvmsg_multishot(kernel.submit(r), to.fd, &layout, buffer_ring::group, MSG_DONTWAIT);
  ASSERT_TRUE(kernel.until([&] { return r.ended(); }));
  EXPECT_EQ(r.answers.size(), 4u);
  EXPECT_EQ(r.last(), -EAGAIN);
  EXPECT_FALSE(completion::has_buffer(r.answers.back().flags));
}

// ---- ends ----

TEST_P(operations, whatever_is_asked_of_no_descriptor_is_refused) {
  bare_kernel kernel(GetParam());
  msghdr nothing{};
  const sockaddr_in at = loopback(1);
  const std::vector<std::pair<const char*, std::function<void(submission&)>>> all = {
      {"poll", [](submission& s) { prepare::poll(s, 1000, POLLIN); }},
      {"poll_multishot", [](submission& s) { prepare::poll_multishot(s, 1000, POLLIN); }},
      {"accept", [](submission& s) { prepare::accept(s, 1000); }},
      {"accept_multishot", [](submission& s) { prepare::accept_multishot(s, 1000); }},
      {"recv", [](submission& s) { prepare::recv_multishot(s, 1000, buffer_ring::group); }},
      {"send", [](submission& s) { prepare::send(s, 1000, "x", 1); }},
      {"send_zero_copy", [](submission& s) { prepare::send_zero_copy(s, 1000, "x", 1); }},
      {"sendmsg", [&](submission& s) { prepare::sendmsg(s, 1000, &nothing); }},
      {"recvmsg", [&](submission& s) { prepare::recvmsg(s, 1000, &nothing, 0); }},
      {"recvmsg_multishot",
       [&](submission& s) { prepare::recvmsg_multishot(s, 1000, &nothing, buffer_ring::group, 0); }},
      {"connect", [&](submission& s) { prepare::connect(s, 1000, plain(at), sizeof at); }},
      {"close", [](submission& s) { prepare::close(s, 1000); }},
      {"close_by_worker", [](submission& s) { prepare::close_by_worker(s, 1000); }},
  };
  for (const auto& [name, fill] : all) {
    request r;
    fill(kernel.submit(r));
    ASSERT_TRUE(kernel.until([&] { return r.ended(); })) << name;
    EXPECT_EQ(r.answers.front().result, -EBADF) << name;
  }
}

TEST_P(operations, a_file_is_no_socket) {
  bare_kernel kernel(GetParam());
  owned file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  request accepted, received, sent;
  prepare::accept_multishot(kernel.submit(accepted), file.fd);
  prepare::recv_multishot(kernel.submit(received), file.fd, buffer_ring::group);
  prepare::send(kernel.submit(sent), file.fd, "x", 1);
  EXPECT_EQ(kernel.result_of(accepted), -ENOTSOCK);
  EXPECT_EQ(kernel.result_of(received), -ENOTSOCK);
  EXPECT_EQ(kernel.result_of(sent), -ENOTSOCK);
}

TEST_P(operations, a_close_closes) {
  bare_kernel kernel(GetParam());
  for (auto close : {&prepare::close, &prepare::close_by_worker}) {
    socket_pair s;
    request r;
    close(kernel.submit(r), std::exchange(s.near_end->fd, -1));
    EXPECT_EQ(kernel.result_of(r), 0);
    char byte = 0;
    EXPECT_EQ(::recv(s.far_fd(), &byte, 1, MSG_DONTWAIT), 0);
  }
}

TEST_P(operations, a_number_that_is_taken_again_is_another_file) {
  bare_kernel kernel(GetParam());
  socket_pair first;
  const owned kept(::fcntl(first.near_fd(), F_DUPFD_CLOEXEC, 100));  // its description lives on
  request r;
  prepare::recv_multishot(kernel.submit(r), first.near_fd(), buffer_ring::group);
  kernel.turn();
  (*kernel).cancel(r);
  ASSERT_TRUE(kernel.until([&] { return r.ended(); }));
  const int number = first.near_fd();
  first.near_end->close();
  socket_pair second;
  ASSERT_EQ(second.near_fd(), number);
  request again;
  prepare::recv_multishot(kernel.submit(again), number, buffer_ring::group);
  kernel.turn();
  say(first.far_fd(), "for the other");
  const clock::time_point deadline = clock::now() + 20ms;
  int waits = 0;
  for (; clock::now() < deadline; ++waits) (*kernel).wait(deadline);
  EXPECT_LE(waits, 10) << "nobody is woken for it, again and again";
  EXPECT_TRUE(again.answers.empty());
  say(second.far_fd(), "for this");
  ASSERT_TRUE(kernel.until([&] { return !again.answers.empty(); }));
  EXPECT_EQ(kernel.bytes_of(again.answers[0]), "for this");
  (*kernel).cancel(again);
  ASSERT_TRUE(kernel.until([&] { return again.ended(); }));
}

TEST_P(operations, more_than_there_are_slots_are_submitted_in_one_turn) {
  bare_kernel kernel(GetParam());
  owned event(::eventfd(1, EFD_CLOEXEC));
  std::vector<std::unique_ptr<request>> all;
  for (int i = 0; i < 1000; ++i) {
    all.push_back(std::make_unique<request>());
    prepare::poll(kernel.submit(*all.back()), event.fd, POLLIN);
  }
  ASSERT_TRUE(kernel.until([&] { return std::ranges::all_of(all, [](auto& each) { return each->ended(); }); }));
  for (const auto& each : all) EXPECT_EQ(each->last(), POLLIN);
  EXPECT_EQ((*kernel).in_flight(), std::string_view(GetParam()) == "io_uring" ? 1u : 0u);  // io_uring's own
}

TEST_P(operations, a_wait_ends_at_its_deadline_and_when_woken_from_outside) {
  bare_kernel kernel(GetParam());
  // A ring that was closed just now interrupts its thread once or twice.
  const clock::time_point deadline = clock::now() + 20ms;
  int waits = 0;
  for (; clock::now() < deadline; ++waits) (*kernel).wait(deadline);
  EXPECT_LE(waits, 10);
  for (int i = 0; i < 3; ++i) {
    std::thread other([&] { (*kernel).wake_from_outside(); });
    (*kernel).wait(clock::time_point::max());
    other.join();
  }
}

}  // namespace
}  // namespace skerry
