// SPDX-License-Identifier: Apache-2.0
#include <skerry/backends/detail/ring_trial.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <iterator>
#include <string_view>
#include <system_error>
#include <vector>

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

namespace skerry::detail {

namespace {

/// The descriptor, or -errno.
int set_up(std::uint32_t flags, io_uring_params& params) noexcept {
  constexpr int tries = 100, wait_ms = 5;
  for (int i = 0;; ++i) {
    params = {};
    params.flags = flags;
    if ((flags & IORING_SETUP_CQSIZE) != 0) params.cq_entries = 4;
    const auto fd = static_cast<int>(::syscall(SYS_io_uring_setup, 1u, &params));
    if (fd >= 0) return fd;
    if (errno != ENOMEM || i == tries) return -errno;
    ::poll(nullptr, 0, wait_ms);  // what a ring was charged for comes back some time after it was closed
  }
}

long call_register(int fd, unsigned what, void* with, unsigned count) noexcept {
  return ::syscall(SYS_io_uring_register, fd, what, with, count);
}

/// Both ends of a stream within this process; -1 where there is no descriptor left, and so no answer.
struct socket_pair {
  socket_pair() noexcept {
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends.data()) != 0) ends = {-1, -1};
  }
  ~socket_pair() {
    for (const int end : ends) {
      if (end >= 0) ::close(end);
    }
  }
  socket_pair(const socket_pair&) = delete;
  socket_pair& operator=(const socket_pair&) = delete;
  bool say(std::string_view bytes) const noexcept {
    return ::send(ends[1], bytes.data(), bytes.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  }

  std::array<int, 2> ends{-1, -1};
};

struct closed_at_end {
  ~closed_at_end() {
    for (const int fd : all) ::close(fd);
  }
  std::vector<int> all;
};

/// Three receive buffers of four bytes each, each before the one that is filled before it: who runs on past the end of
/// one is found out.
class trial_buffers {
 public:
  static constexpr std::uint16_t group = 1, numbers[] = {3, 5, 4};
  static constexpr std::uint32_t each = 4;

  explicit trial_buffers(const backend& on) : ring_(on.capabilities().ring) {
    io_uring_buf_reg with{};
    with.ring_addr = reinterpret_cast<std::uint64_t>(lent_.memory());
    with.ring_entries = lent_.capacity();
    with.bgid = group;
    registered_ = call_register(ring_, IORING_REGISTER_PBUF_RING, &with, 1) == 0;
    for (std::size_t i = 0; i < std::size(numbers); ++i) lent_.provide(place(i), each, numbers[i]);
  }
  ~trial_buffers() {
    io_uring_buf_reg with{};
    with.bgid = group;
    if (registered_) call_register(ring_, IORING_UNREGISTER_PBUF_RING, &with, 1);
  }
  trial_buffers(const trial_buffers&) = delete;
  trial_buffers& operator=(const trial_buffers&) = delete;
  bool registered() const noexcept { return registered_; }
  /// What the nth one begins with.
  std::string_view in(std::size_t nth, std::size_t bytes) noexcept { return {place(nth), bytes}; }

 private:
  char* place(std::size_t nth) noexcept { return bytes_ + (std::size(numbers) - 1 - nth) * each; }

  int ring_;
  bool registered_ = false;
  buffer_ring lent_{4};
  char bytes_[std::size(numbers) * each]{};
};

/// What is tried: its completions in order. It has none under way when it goes.
class trial final : private operation {
 public:
  explicit trial(backend& on) : on_(on) {}
  ~trial() {
    on_.cancel(*this);
    while (in_flight()) on_.wait(clock::time_point::max());
  }
  trial(const trial&) = delete;
  trial& operator=(const trial&) = delete;

  submission& submit() noexcept { return on_.submit(*this); }
  /// Whether there is one more, and it was no error.
  bool succeeds() noexcept { return comes() && result_ >= 0; }
  /// Whether there is one more.
  bool comes() noexcept {
    const clock::time_point deadline = clock::now() + std::chrono::seconds(1);
    const std::size_t before = count_;
    while (count_ == before && in_flight() && clock::now() < deadline) on_.wait(deadline);
    return count_ != before;
  }
  std::int32_t result() const noexcept { return result_; }
  bool goes_on() const noexcept { return completion::more(flags_); }
  bool lets_go() const noexcept { return completion::lets_go(flags_); }
  std::int32_t first_result() const noexcept { return first_result_; }
  std::uint16_t buffer() const noexcept { return completion::buffer_number(flags_); }

 private:
  void complete(std::int32_t result, std::uint32_t flags) noexcept override {
    if (++count_ == 1) first_result_ = result;
    result_ = result;
    flags_ = flags;
  }

  backend& on_;
  std::size_t count_ = 0;
  std::int32_t first_result_ = 0, result_ = 0;
  std::uint32_t flags_ = 0;
};

}  // namespace

bare_ring::bare_ring(std::uint32_t flags) {
  io_uring_params params;
  fd_ = set_up(flags, params);
  if (fd_ < 0) throw std::system_error(-fd_, std::generic_category(), "io_uring_setup");
  features_ = params.features;
}

bare_ring::~bare_ring() { ::close(fd_); }

bool bare_ring::knows(std::uint8_t opcode) const noexcept {
  constexpr unsigned ops_max = 256;
  alignas(io_uring_probe) std::byte memory[sizeof(io_uring_probe) + ops_max * sizeof(io_uring_probe_op)]{};
  auto& probe = *reinterpret_cast<io_uring_probe*>(memory);
  if (call_register(fd_, IORING_REGISTER_PROBE, &probe, ops_max) != 0) return false;
  return opcode <= probe.last_op && (probe.ops[opcode].flags & IO_URING_OP_SUPPORTED) != 0;
}

bool bare_ring::registers_own_descriptor() noexcept {
  io_uring_rsrc_update update{};
  update.offset = ~0u;
  update.data = static_cast<std::uint64_t>(fd_);
  if (call_register(fd_, IORING_REGISTER_RING_FDS, &update, 1) != 1) return false;
  update.data = 0;
  return call_register(fd_, IORING_UNREGISTER_RING_FDS, &update, 1) == 1;
}

bool bare_ring::registers_empty(unsigned table) noexcept {
  io_uring_rsrc_register with{};
  with.nr = 1;
  with.flags = IORING_RSRC_REGISTER_SPARSE;
  return call_register(fd_, table, &with, sizeof with) == 0;
}

bool bare_ring::registers_buffer_ring(std::uint16_t flags) noexcept {
  buffer_ring lent(1);
  io_uring_buf_reg with{};
  with.ring_addr = reinterpret_cast<std::uint64_t>(lent.memory());
  with.ring_entries = lent.capacity();
  with.pad = flags;  // the newer headers' name is `flags`
  if (call_register(fd_, IORING_REGISTER_PBUF_RING, &with, 1) != 0) return false;
  with = {};
  call_register(fd_, IORING_UNREGISTER_PBUF_RING, &with, 1);
  return true;
}

bool bare_ring::registers_napi() noexcept { return register_napi(fd_, std::chrono::microseconds(1)) == 0; }

int register_napi(int ring, std::chrono::microseconds busy_poll) noexcept {
  io_uring_names::napi_settings with{.busy_poll_us = static_cast<std::uint32_t>(busy_poll.count()),
                                     .prefer_busy_poll = 1};
  return call_register(ring, io_uring_names::register_napi, &with, 1) == 0 ? 0 : errno;
}

bool sets_up(std::uint32_t flags) noexcept {
  io_uring_params params;
  const int fd = set_up(flags, params);
  if (fd >= 0) ::close(fd);
  return fd >= 0;
}

bool multishot_receive_works(backend& on) {
  trial_buffers buffers(on);
  const socket_pair pair;
  trial receive(on);
  if (!buffers.registered()) return false;
  prepare::recv_multishot(receive.submit(), pair.ends[0], trial_buffers::group);
  for (const std::size_t i : {0u, 1u}) {
    if (!pair.say("ab") || !receive.succeeds()) return false;
    if (receive.result() != 2 || !receive.goes_on() || receive.buffer() != trial_buffers::numbers[i]) return false;
    if (buffers.in(i, 2) != "ab") return false;
  }
  return true;
}

bool multishot_accept_works(backend& on) {
  closed_at_end fds;
  const auto make = [&] { return fds.all.emplace_back(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)); };
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  socklen_t size = sizeof name.sun_family;  // the kernel finds an abstract name
  const int listening = make();
  if (::bind(listening, reinterpret_cast<sockaddr*>(&name), size) != 0 || ::listen(listening, 2) != 0) return false;
  size = sizeof name;
  if (::getsockname(listening, reinterpret_cast<sockaddr*>(&name), &size) != 0) return false;
  trial accept(on);
  prepare::accept_multishot(accept.submit(), listening);
  for (int i = 0; i < 2; ++i) {
    if (::connect(make(), reinterpret_cast<sockaddr*>(&name), size) != 0 || !accept.succeeds()) return false;
    fds.all.push_back(accept.result());
    if (!accept.goes_on()) return false;
  }
  return true;
}

bool multishot_poll_works(backend& on) {
  const socket_pair pair;
  trial poll(on);
  prepare::poll_multishot(poll.submit(), pair.ends[0], POLLIN);
  for (int i = 0; i < 2; ++i) {
    if (!pair.say("a") || !poll.succeeds() || !poll.goes_on()) return false;
  }
  return true;
}

bool bundles_work(backend& on) {
  constexpr std::string_view together = "abcdefg", last = "h";
  constexpr std::uint32_t most = together.size() + last.size();
  if ((on.capabilities().kernel_features & io_uring_names::feature_bundle) == 0) return false;
  trial_buffers buffers(on);
  const socket_pair pair;
  if (!buffers.registered() || !pair.say(together)) return false;
  trial receive(on);
  prepare::recv_multishot(receive.submit(), pair.ends[0], trial_buffers::group, most);
  if (!receive.succeeds() || receive.result() != together.size() || !receive.goes_on()) return false;
  if (receive.buffer() != trial_buffers::numbers[0]) return false;
  if (buffers.in(0, 4) != together.substr(0, 4) || buffers.in(1, 3) != together.substr(4)) return false;
  if (!pair.say(last) || !receive.succeeds() || receive.goes_on()) return false;
  return receive.buffer() == trial_buffers::numbers[2] && receive.result() == 1 && buffers.in(2, 1) == last;
}

bool zero_copy_works(backend& on) {
  closed_at_end fds;
  const auto make = [&] { return fds.all.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)); };
  sockaddr_in name{};
  name.sin_family = AF_INET;
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof name;
  auto* const address = reinterpret_cast<sockaddr*>(&name);
  const int listening = make(), connected = make();
  if (::bind(listening, address, size) != 0 || ::listen(listening, 1) != 0) return false;
  if (::getsockname(listening, address, &size) != 0 || ::connect(connected, address, size) != 0) return false;
  const int accepted = fds.all.emplace_back(::accept4(listening, nullptr, nullptr, SOCK_CLOEXEC));
  constexpr std::string_view bytes = "abcdefgh";
  trial send(on);
  prepare::send_zero_copy(send.submit(), connected, bytes.data(), bytes.size());
  while (send.comes() && send.goes_on()) {
  }
  if (send.first_result() != bytes.size() || !send.lets_go()) return false;
  char got[bytes.size()]{};
  return ::recv(accepted, got, sizeof got, MSG_DONTWAIT) == bytes.size() && std::string_view(got, sizeof got) == bytes;
}

}  // namespace skerry::detail
