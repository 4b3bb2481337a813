// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/framework/io/readiness.hpp>
#include <skerry/net/file/detail/file_state.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/net/file/file_watch.hpp>

#include <cerrno>
#include <cstring>
#include <system_error>

#include <fcntl.h>
#include <unistd.h>

namespace skerry::net {

using namespace detail;

namespace {

int open_inotify() {
  const int fd = ::inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  if (fd >= 0) return fd;
  const bool instances = errno == EMFILE;
  throw std::system_error(errno, std::generic_category(),
                          instances ? "watch files: too many descriptors (ulimit -n), or watches of this user (sysctl "
                                      "fs.inotify.max_user_instances)"
                                    : "watch files");
}

}  // namespace

file_watch::file_watch() : batch_(std::make_unique<batch>()) {
  state_ = new file_state(this_files(), "inotify");
  try {
    state_->opened(open_inotify());
  } catch (...) {
    state_->leave();
    throw;
  }
  state_->slow_to_close = true;
}

file_watch::~file_watch() {
  if (state_ != nullptr) state_->leave();
}

task<int> file_watch::add(std::string path, std::uint32_t kinds) {
  SKERRY_ASSERT(state_ != nullptr, "a watch that was moved from is not used");
  const state_user user(*state_);
  // Rings have no inotify_add_watch. Opened first, the path is in the kernel's cache, and the call meets no device.
  const int follow = (kinds & IN_DONT_FOLLOW) != 0 ? O_NOFOLLOW : 0;
  const file found = co_await open_file(path, open_options(O_PATH | follow));
  const int watch = ::inotify_add_watch(user.of.fd(), path.c_str(), kinds);
  if (watch >= 0) co_return watch;
  const bool too_many = errno == ENOSPC;
  fail(errno, "watch", too_many ? path + ": too many watches of this user (sysctl fs.inotify.max_user_watches)" : path);
}

void file_watch::remove(int watch) {
  SKERRY_ASSERT(state_ != nullptr, "a watch that was moved from is not used");
  if (::inotify_rm_watch(state_->fd(), watch) != 0) fail(errno, "end watch", std::to_string(watch));
}

/// Whether something had come. The kernel's queue is memory: nothing here waits for a device.
bool file_watch::receive() {
  while (true) {
    const ssize_t got = ::read(state_->fd(), batch_->bytes, batch_bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return false;
    if (got <= 0) fail(got == 0 ? EIO : errno, "read changes of", "files");
    batch_->at = 0;
    batch_->end = static_cast<std::size_t>(got);
    return true;
  }
}

file_change file_watch::take() {
  const char* first = batch_->bytes + batch_->at;
  inotify_event event;  // its name, of `len` bytes, lies behind it
  std::memcpy(&event, first, sizeof event);
  file_change change;
  change.watch = event.wd;
  change.kinds = event.mask;
  change.cookie = event.cookie;
  if (event.len != 0) change.name = first + sizeof event;  // NULs fill it up
  batch_->at += sizeof event + event.len;
  return change;
}

task<file_change> file_watch::next() {
  SKERRY_ASSERT(state_ != nullptr, "a watch that was moved from is not used");
  const state_user user(*state_);
  SKERRY_ASSERT(user.of.pool().is_home(), "a watch is used on the shard that made it");
  while (batch_->at == batch_->end) {
    if (!receive()) co_await readable(user.of.fd());
  }
  co_return take();
}

}  // namespace skerry::net
