// SPDX-License-Identifier: Apache-2.0
#include <skerry/backends/detail/file_calls.hpp>
#include <skerry/backends/detail/watch_list.hpp>

#include <algorithm>
#include <new>

#include <fcntl.h>

namespace skerry::detail {

std::uint32_t wanted_by(const job& j) noexcept {
  switch (j.what.opcode) {
    case IORING_OP_POLL_ADD: return j.what.poll32_events;
    case IORING_OP_SEND:
    case IORING_OP_SEND_ZC:
    case IORING_OP_SENDMSG:
    case IORING_OP_CONNECT: return EPOLLOUT;
    default: return is_transfer(j.what) && !is_read(j.what) ? EPOLLOUT : EPOLLIN;
  }
}

watch_list::watch_list(std::uint32_t how, std::uint64_t& calls)
    : epoll_(::epoll_create1(EPOLL_CLOEXEC)), how_(how), calls_(calls) {}

int watch_list::add(job& j) noexcept {
  const int fd = j.what.fd;
  if (static_cast<std::size_t>(fd) >= by_fd_.size()) {
    if (::fcntl(fd, F_GETFD) < 0) return -EBADF;  // so that a wrong number costs no memory
    try {
      by_fd_.resize(std::max(static_cast<std::size_t>(fd) + 1, 2 * by_fd_.size()));
    } catch (const std::bad_alloc&) {
      return -ENOMEM;
    }
  }
  waiters& w = by_fd_[static_cast<std::size_t>(fd)];
  job** at = &w.first;
  while (*at != nullptr) at = &(*at)->next;
  j.next = nullptr;
  *at = &j;
  // Also where nothing changes: it finds out whether this is still the file that the others wait for, and with edges it
  // lets what is there already be told to the new one.
  int result = tell(fd, true);
  if (result == -ENOENT && w.first == &j) {
    w.told = 0;
    result = tell(fd, true);
  }
  if (result < 0) *at = nullptr;
  return result;
}

void watch_list::remove(job& j) noexcept {
  job** at = &by_fd_[static_cast<std::size_t>(j.what.fd)].first;
  while (*at != &j) at = &(*at)->next;
  *at = j.next;
  tell(j.what.fd, false);
}

void watch_list::not_wanted(int fd) noexcept {
  if (first(fd) != nullptr) {
    tell(fd, true);
  } else {
    control(EPOLL_CTL_DEL, fd, 0);
  }
}

int watch_list::control(int call, int fd, std::uint32_t events) noexcept {
  epoll_event event{.events = events, .data = {.fd = fd}};
  ++calls_;
  return ::epoll_ctl(epoll_.fd, call, fd, &event) < 0 ? -errno : 0;
}

std::uint32_t watch_list::wanted(const waiters& w) const noexcept {
  if (w.first == nullptr) return 0;
  std::uint32_t events = how_ | EPOLLERR | EPOLLHUP;
  for (const job* each = w.first; each != nullptr; each = each->next) events |= wanted_by(*each);
  return events;
}

int watch_list::tell(int fd, bool in_any_case) noexcept {
  waiters& w = by_fd_[static_cast<std::size_t>(fd)];
  const std::uint32_t events = wanted(w);
  if (events == w.told && !in_any_case) return 0;
  int result = control(events == 0 ? EPOLL_CTL_DEL : w.told == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, events);
  if (result == -EEXIST) result = control(EPOLL_CTL_MOD, fd, events);
  // A file that is not there any more is not registered any more, either.
  if (result == 0 || (events == 0 && (result == -ENOENT || result == -EBADF))) w.told = events;
  return result;
}

}  // namespace skerry::detail
