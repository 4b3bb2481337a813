// SPDX-License-Identifier: Apache-2.0
#include <skerry/simulation/detail/machine.hpp>
#include <skerry/simulation/detail/pipes.hpp>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <utility>

#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>

namespace skerry::sim::detail {

pipe_end::pipe_end(machine& whose, std::shared_ptr<between> what, bool writes) noexcept
    : byte_node(whose), between_(std::move(what)), writes_(writes) {
  (writes_ ? between_->writer : between_->reader) = this;
}

pipe_end::~pipe_end() { leave(); }

std::pair<std::shared_ptr<pipe_end>, std::shared_ptr<pipe_end>> pipe_end::make(machine& of) {
  auto what = std::make_shared<between>();
  auto reader = std::make_shared<pipe_end>(of, what, false);
  return {std::move(reader), std::make_shared<pipe_end>(of, std::move(what), true)};
}

void pipe_end::leave() noexcept {
  pipe_end*& self = writes_ ? between_->writer : between_->reader;
  if (self == this) self = nullptr;
}

void pipe_end::closed() noexcept {
  cancel_all();
  leave();
  if (pipe_end* left = other()) left->changed();
}

int pipe_end::control(unsigned long command, int& value) const noexcept {
  if (command != SIOCINQ) return -ENOTTY;  // FIONREAD
  value = static_cast<int>(between_->unread());
  return 0;
}

std::uint32_t pipe_end::events() const noexcept {
  if (!writes_) return (between_->unread() > 0 ? POLLIN : 0) | (other() == nullptr ? POLLHUP : 0);
  if (other() == nullptr) return POLLOUT | POLLERR;
  return capacity - between_->unread() >= PIPE_BUF ? POLLOUT : 0;
}

int pipe_end::input_state() const noexcept {
  if (writes_) return -EBADF;
  if (between_->unread() > 0) return 1;
  return other() == nullptr ? 0 : -EAGAIN;
}

int pipe_end::output_state(std::size_t bytes) const noexcept {
  if (!writes_) return -EBADF;
  if (other() == nullptr) return -EPIPE;
  return capacity - between_->unread() >= (bytes > PIPE_BUF ? 1 : bytes) ? 1 : -EAGAIN;
}

std::size_t pipe_end::take(void* into, std::size_t most) noexcept {
  const std::size_t bytes = some_of(std::min(most, between_->unread()));
  std::memcpy(into, between_->bytes.data() + between_->taken, bytes);
  between_->taken += bytes;
  if (between_->unread() == 0 || between_->taken > capacity) {
    between_->bytes.erase(0, between_->taken);
    between_->taken = 0;
  }
  if (pipe_end* writer = other()) writer->changed();
  return bytes;
}

std::size_t pipe_end::give(const char* bytes, std::size_t count) noexcept {
  count = std::min(count, capacity - between_->unread());
  between_->bytes.append(bytes, count);
  other()->changed();
  return count;
}

std::size_t standard_stream::take(void* into, std::size_t most) noexcept {
  const std::size_t bytes = some_of(std::min(most, input.size()));
  std::memcpy(into, input.data(), bytes);
  input.erase(0, bytes);
  return bytes;
}

}  // namespace skerry::sim::detail
