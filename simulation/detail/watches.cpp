// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/simulation/detail/disk.hpp>
#include <skerry/simulation/detail/machine.hpp>
#include <skerry/simulation/detail/watches.hpp>
#include <skerry/simulation/detail/world.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include <linux/sockios.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>

namespace skerry::sim::detail {

namespace {

constexpr std::uint32_t mask_create = 0x10000000;  // IN_MASK_CREATE, of Linux 4.18, which older headers lack
constexpr std::uint32_t ways = IN_ONLYDIR | IN_DONT_FOLLOW | IN_EXCL_UNLINK | IN_MASK_ADD | IN_ONESHOT | mask_create;
constexpr std::uint32_t known = IN_ALL_EVENTS | IN_UNMOUNT | IN_Q_OVERFLOW | IN_IGNORED | IN_ISDIR | ways;

std::uint32_t kind_of(const inode& what) noexcept { return what.is_directory ? IN_ISDIR : 0; }

}  // namespace

// --- the table ---

watches::watch* watches::find(std::uint64_t about, const watch_queue& by) noexcept {
  const auto found = of_.find(about);
  if (found == of_.end()) return nullptr;
  const auto its = std::ranges::find(found->second, &by, &watch::by);
  return its == found->second.end() ? nullptr : &*its;
}

void watches::tell(std::uint64_t about, std::string_view name, std::uint32_t kinds, std::uint32_t cookie,
                   bool unlinked) {
  const auto found = of_.find(about);
  if (found == of_.end()) return;
  const std::vector<watch> all = found->second;  // one may end with what it is told
  for (const watch& each : all) {
    if ((each.wanted & kinds & IN_ALL_EVENTS) == 0 || (unlinked && (each.wanted & IN_EXCL_UNLINK) != 0)) continue;
    each.by->put({each.number, kinds, cookie, std::string(name)});
    if ((each.wanted & IN_ONESHOT) != 0) each.by->ended(each.number);
  }
}

void watches::tell_of_name(const inode& directory, std::string_view name, const inode& what, std::uint32_t kinds,
                           std::uint32_t cookie) {
  tell(directory.number, name, kinds | kind_of(what), cookie, false);
}

void watches::tell_itself(const inode& what, std::uint32_t kinds) {
  const bool says_kind = (kinds & (IN_MOVE_SELF | IN_DELETE_SELF)) == 0;
  tell(what.number, {}, kinds | (says_kind ? kind_of(what) : 0), 0, false);
}

void watches::tell_both(const inode& what, std::uint32_t kinds, bool resized) {
  const bool unlinked = !what.named && !resized;
  tell(what.within, what.name, kinds | kind_of(what), 0, unlinked);
  tell(what.number, {}, kinds | kind_of(what), 0, unlinked);
}

void watches::unnamed(inode& what, inode& directory) {
  if (what.opened == 0) return gone(what);
  what.stays = directory.shared_from_this();
  ++directory.opened;
}

void watches::released(inode& what) {
  if (--what.opened != 0) return;
  if (!what.named) gone(what);
  if (const inode_ptr directory = std::exchange(what.stays, nullptr)) released(*directory);
}

void watches::gone(const inode& what) {
  tell_itself(what, IN_DELETE_SELF);
  const auto found = of_.find(what.number);
  if (found == of_.end()) return;
  const std::vector<watch> all = found->second;
  for (const watch& each : all) each.by->ended(each.number);
}

void watches::power_off() noexcept {
  for (const auto& [about, all] : std::exchange(of_, {})) {
    for (const watch& each : all) each.by->watched_.erase(each.number);
  }
  count_ = 0;
}

// --- a queue ---

int watch_queue::open(machine& of, int flags) {
  if ((flags & ~(IN_CLOEXEC | IN_NONBLOCK)) != 0) return -EINVAL;
  if (of.storage().watched().queues_ >= of.in().given().system.watch_queues_max) return -EMFILE;
  auto made = std::make_shared<watch_queue>(of);
  made->non_blocking = (flags & IN_NONBLOCK) != 0;
  return of.open(std::move(made));
}

watch_queue::watch_queue(machine& of) noexcept : of_(of) { ++of_.storage().watched().queues_; }

watch_queue::~watch_queue() { leave(); }

int watch_queue::add(const char* path, std::uint32_t kinds) {
  if ((kinds & known) == 0 || (kinds & ~known) != 0) return -EINVAL;
  if ((kinds & IN_MASK_ADD) != 0 && (kinds & mask_create) != 0) return -EINVAL;
  inode_ptr found;
  if (const int none = of_.storage().find_now(path, found); none != 0) return none;
  if ((kinds & IN_ONLYDIR) != 0 && !found->is_directory) return -ENOTDIR;
  watches& all = of_.storage().watched();
  const std::uint32_t wanted = kinds & (IN_ALL_EVENTS | IN_EXCL_UNLINK | IN_ONESHOT);
  if (watches::watch* there = all.find(found->number, *this)) {
    if ((kinds & mask_create) != 0) return -EEXIST;
    there->wanted = wanted | ((kinds & IN_MASK_ADD) != 0 ? there->wanted : 0);
    return there->number;
  }
  if (all.count_ >= of_.in().given().system.watches_max) return -ENOSPC;
  const int number = ++last_watch_;
  all.of_[found->number].push_back({this, number, wanted});
  watched_.emplace(number, found->number);
  ++all.count_;
  return number;
}

int watch_queue::remove(int watch) {
  if (!watched_.contains(watch)) return -EINVAL;
  ended(watch);
  return 0;
}

void watch_queue::ended(int watch) {
  const auto found = watched_.find(watch);
  SKERRY_ASSERT(found != watched_.end(), "a watch ends once");
  watches& all = of_.storage().watched();
  const auto there = all.of_.find(found->second);
  SKERRY_ASSERT(there != all.of_.end(), "a watch of a queue is in the table");
  std::erase_if(there->second, [&](const watches::watch& each) { return each.by == this; });
  if (there->second.empty()) all.of_.erase(there);
  watched_.erase(found);
  --all.count_;
  put({watch, IN_IGNORED, 0, {}});
}

void watch_queue::put(happening what) {
  world& w = of_.in();
  const system_options& given = w.given().system;
  const bool lost = w.chance(given.out_of_memory, "lost_change");
  if (lost || queue_.size() >= given.watched_changes_max) {
    if (std::exchange(overflowed_, true)) return;
    what = {-1, IN_Q_OVERFLOW, 0, {}};
  } else if (!queue_.empty()) {
    const happening& last = queue_.back();  // a cookie makes no difference, in Linux neither
    if (last.watch == what.watch && last.kinds == what.kinds && last.name == what.name) return;
  }
  w.note("change", static_cast<std::uint64_t>(what.watch), what.kinds);
  queue_.push_back(std::move(what));
  changed();
}

/// With the name after it, filled up with NULs.
std::size_t watch_queue::bytes_of(const happening& each) noexcept {
  constexpr std::size_t unit = sizeof(inotify_event);
  return unit + (each.name.empty() ? 0 : (each.name.size() + 1 + unit - 1) / unit * unit);
}

long watch_queue::take(void* into, std::size_t most) {
  if (queue_.empty()) return -EAGAIN;
  world& w = of_.in();
  std::size_t count = queue_.size();
  if (count > 1 && w.chance(w.given().system.short_transfer, "fewer_changes")) count = 1 + w.draw(count);
  auto* to = static_cast<char*>(into);
  std::size_t used = 0;
  for (; count != 0; --count) {
    const happening& next = queue_.front();
    const std::size_t bytes = bytes_of(next);
    if (used + bytes > most) break;
    inotify_event event{};
    event.wd = next.watch;
    event.mask = next.kinds;
    event.cookie = next.cookie;
    event.len = static_cast<std::uint32_t>(bytes - sizeof event);
    std::memset(to + used, 0, bytes);
    std::memcpy(to + used, &event, sizeof event);
    std::memcpy(to + used + sizeof event, next.name.data(), next.name.size());
    used += bytes;
    if ((next.kinds & IN_Q_OVERFLOW) != 0) overflowed_ = false;
    queue_.pop_front();
  }
  return used != 0 ? static_cast<long>(used) : -EINVAL;
}

// --- as a descriptor ---

std::uint32_t watch_queue::events() const noexcept { return queue_.empty() ? 0 : POLLIN; }

bool watch_queue::attempt(request& r) noexcept {
  const submission& what = r.what();
  const bool reads = what.opcode == IORING_OP_READ && (what.flags & IOSQE_BUFFER_SELECT) == 0;
  const long result = reads ? take(reinterpret_cast<void*>(what.addr), what.len) : -EOPNOTSUPP;
  if (result == -EAGAIN && !non_blocking) return false;
  r.finish(static_cast<std::int32_t>(result));
  return true;
}

/// Into the first piece: a read may give less than there is.
long watch_queue::read_now(msghdr& into, int flags) {
  if (into.msg_iovlen == 0) return 0;
  const iovec& piece = into.msg_iov[0];
  if (queue_.empty() && !non_blocking && (flags & MSG_DONTWAIT) == 0) {
    if (!of_.block_until([this] { return !queue_.empty(); })) return -EINTR;
  }
  return take(piece.iov_base, piece.iov_len);
}

int watch_queue::control(unsigned long command, int& value) const noexcept {
  if (command != SIOCINQ) return -ENOTTY;  // FIONREAD
  std::size_t all = 0;
  for (const happening& each : queue_) all += bytes_of(each);
  value = static_cast<int>(all);
  return 0;
}

void watch_queue::closed() noexcept {
  cancel_all();
  leave();
}

void watch_queue::leave() noexcept {
  if (!std::exchange(counted_, false)) return;
  watches& all = of_.storage().watched();
  --all.queues_;
  for (const auto& [number, about] : std::exchange(watched_, {})) {
    const auto there = all.of_.find(about);
    std::erase_if(there->second, [&](const watches::watch& each) { return each.by == this; });
    if (there->second.empty()) all.of_.erase(there);
    --all.count_;
  }
  queue_.clear();
}

}  // namespace skerry::sim::detail
