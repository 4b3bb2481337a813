// SPDX-License-Identifier: Apache-2.0
#include <skerry/simulation/detail/machine.hpp>
#include <skerry/simulation/detail/streams.hpp>
#include <skerry/simulation/detail/world.hpp>

#include <algorithm>
#include <cerrno>
#include <span>
#include <string>

#include <sys/uio.h>

namespace skerry::sim::detail {

namespace {

std::span<const iovec> pieces_of(const msghdr& message) noexcept { return {message.msg_iov, message.msg_iovlen}; }

/// Files and pipes answer at once where they were told not to wait; sockets wait for whoever submits, as kernels do.
bool as_told(const submission& what) noexcept {
  switch (what.opcode) {
    case IORING_OP_READ:
    case IORING_OP_WRITE:
    case IORING_OP_WRITEV: return true;
    default: return false;
  }
}

}  // namespace

// --- bytes ---

world& byte_node::in() const noexcept { return of.in(); }

std::size_t byte_node::some_of(std::size_t bytes) const noexcept {
  if (bytes > 1 && in().chance(in().given().system.short_transfer, "short_transfer")) return 1 + in().draw(bytes);
  return bytes;
}

bool byte_node::attempt(request& r) noexcept {
  switch (r.what().opcode) {
    case IORING_OP_RECV:
    case IORING_OP_READ: return attempt_input(r);
    case IORING_OP_SEND:
    case IORING_OP_SEND_ZC:
    case IORING_OP_WRITE:
    case IORING_OP_WRITEV: return attempt_output(r);
    default: r.finish(-EOPNOTSUPP); return true;
  }
}

bool byte_node::attempt_input(request& r) noexcept {
  const submission& what = r.what();
  const bool lent = (what.flags & IOSQE_BUFFER_SELECT) != 0;
  int state = input_state();
  for (; state > 0; state = input_state()) {
    auto* data = reinterpret_cast<void*>(what.addr);
    std::uint32_t room = what.len, flags = 0;
    if (lent) {
      const int number = r.take_buffer(data, room);
      if (number < 0) {
        r.finish(-ENOBUFS);
        return true;
      }
      if (what.len != 0) room = std::min(room, what.len);
      flags = IORING_CQE_F_BUFFER | static_cast<std::uint32_t>(number) << IORING_CQE_BUFFER_SHIFT;
    }
    const auto bytes = static_cast<std::int32_t>(take(data, room));
    r.multishot() ? r.emit(bytes, flags) : r.finish(bytes, flags);
    if (r.finished()) return true;
  }
  if (state == -EAGAIN && !(non_blocking && as_told(what))) return false;
  if (state < 0) error_told();
  r.finish(state);
  return true;
}

bool byte_node::attempt_output(request& r) noexcept {
  const submission& what = r.what();
  const auto* data = reinterpret_cast<const char*>(what.addr);
  std::size_t length = what.len;
  std::string gathered;
  if (what.opcode == IORING_OP_WRITEV) {
    for (const iovec& each : std::span(reinterpret_cast<const iovec*>(what.addr), what.len)) {
      gathered.append(static_cast<const char*>(each.iov_base), each.iov_len);
    }
    data = gathered.data();
    length = gathered.size();
  }
  int state = 1;
  while (r.progress < length && (state = output_state(length - r.progress)) > 0) {
    r.progress += give(data + r.progress, length - r.progress);
    if (r.progress < length && in().chance(in().given().system.short_transfer, "short_transfer")) break;
  }
  if (state == -EAGAIN && !(non_blocking && as_told(what))) return false;
  if (state < 0 && r.progress == 0) error_told();
  r.finish(r.progress > 0 ? static_cast<std::int32_t>(r.progress) : std::min(state, 0));
  return true;
}

long byte_node::read_now(msghdr& into, int flags) {
  int state = input_state();
  if (state == -EAGAIN && patient(flags)) {
    if (!of.block_until([this] { return input_state() != -EAGAIN; })) return -EINTR;
    state = input_state();
  }
  if (state < 0) error_told();
  long all = 0;
  for (const iovec& each : pieces_of(into)) {
    for (std::size_t done = 0; done < each.iov_len && state > 0; state = input_state()) {
      const std::size_t more = take(static_cast<char*>(each.iov_base) + done, each.iov_len - done);
      done += more;
      all += static_cast<long>(more);
    }
  }
  return all > 0 ? all : std::min(state, 0);
}

long byte_node::write_now(const msghdr& from, int flags) {
  int state = 1;
  long all = 0;
  for (const iovec& each : pieces_of(from)) {
    const auto* bytes = static_cast<const char*>(each.iov_base);
    for (std::size_t done = 0; done < each.iov_len;) {
      const std::size_t left = each.iov_len - done;
      state = output_state(left);
      if (state == -EAGAIN && patient(flags)) {
        if (!of.block_until([&] { return output_state(left) != -EAGAIN; })) return -EINTR;
        continue;
      }
      if (state < 0) {
        if (all == 0) error_told();
        return all > 0 ? all : state;
      }
      const std::size_t more = give(bytes + done, left);
      done += more;
      all += static_cast<long>(more);
    }
  }
  return all;
}

// --- sockets ---

int give_number(void* value, socklen_t* bytes, int what) noexcept {
  if (*bytes < sizeof what) return -EINVAL;
  *static_cast<int*>(value) = what;
  *bytes = sizeof what;
  return 0;
}

std::size_t buffer_size(const void* value, socklen_t bytes, std::size_t least) noexcept {
  constexpr int most = 212'992;  // net.core.wmem_max and rmem_max, where nobody has changed them
  const int asked = bytes >= sizeof(int) ? *static_cast<const int*>(value) : 0;
  return std::max(least, 2 * static_cast<std::size_t>(std::clamp(asked, 0, most)));
}

void stream_socket::open_door(int backlog) noexcept {
  role_ = role::listening;
  backlog_ = static_cast<std::size_t>(std::clamp(backlog, 1, 4096));
}

int stream_socket::accept_now() {
  if (role_ != role::listening) return -EINVAL;
  if (waiting_.empty()) return -EAGAIN;
  if (in().chance(in().given().system.out_of_descriptors, "out_of_descriptors")) return -EMFILE;
  const int fd = of.open(waiting_.front());
  if (fd < 0) return fd;
  waiting_.pop_front();
  somebody_accepted();
  return fd;
}

bool stream_socket::attempt(request& r) noexcept {
  switch (r.what().opcode) {
    case IORING_OP_ACCEPT: return attempt_accept(r);
    case IORING_OP_CONNECT: return attempt_connect(r);
    default: return byte_node::attempt(r);
  }
}

bool stream_socket::attempt_accept(request& r) noexcept {
  while (true) {
    const int fd = accept_now();
    if (fd == -EAGAIN) return false;
    if (fd >= 0) of.find(fd)->non_blocking = (r.what().accept_flags & SOCK_NONBLOCK) != 0;
    if (fd < 0 || !r.multishot()) {
      r.finish(fd);
      return true;
    }
    r.emit(fd);
    if (r.finished()) return true;
  }
}

}  // namespace skerry::sim::detail
