// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/net/socket_file.hpp>

#include <cerrno>
#include <system_error>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace skerry::net {

namespace {

[[noreturn]] void fail(const char* what, const address& at, int error) {
  throw std::system_error(error, std::generic_category(), what + at.text());
}

/// Keeps others who make or replace sockets in the directory of `path` out; released with the descriptor.
unique_fd lock_directory_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  const std::string directory(slash == path.npos ? "." : path.substr(0, slash + 1));
  unique_fd opened(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (opened.get() >= 0) {
    while (::flock(opened.get(), LOCK_EX) != 0 && errno == EINTR) {
    }
  }
  return opened;
}

/// A socket to which nobody listens any more. Who listens with another type refuses otherwise (EPROTOTYPE).
bool is_stale(const address& at) {
  struct stat found{};
  if (::lstat(std::string(at.path()).c_str(), &found) != 0 || !S_ISSOCK(found.st_mode)) return false;
  const unique_fd probe = make_stream_socket(AF_UNIX);
  return ::connect(probe.get(), at.data(), at.size()) != 0 && errno == ECONNREFUSED;
}

}  // namespace

socket_file::socket_file(std::string path) : path_(std::move(path)) {
  struct stat made{};
  if (::lstat(path_.c_str(), &made) != 0) path_.clear();
  device_ = made.st_dev;
  number_ = made.st_ino;
}

socket_file::~socket_file() {
  if (path_.empty()) return;
  const unique_fd lock = lock_directory_of(path_);
  struct stat now{};
  if (::lstat(path_.c_str(), &now) != 0 || now.st_dev != device_ || now.st_ino != number_) return;
  ::unlink(path_.c_str());
}

listening_socket listen_on_path(const address& at, int backlog, int type) {
  SKERRY_ASSERT(at.is_unix(), "a path is a Unix socket's");
  const std::string path(at.path());
  const unique_fd lock = path.empty() ? unique_fd() : lock_directory_of(path);
  unique_fd fd = make_unix_socket(type);
  const auto bind = [&] { return ::bind(fd.get(), at.data(), at.size()) == 0 ? 0 : errno; };
  int error = bind();
  if (error == EADDRINUSE && !path.empty() && is_stale(at)) {
    ::unlink(path.c_str());
    error = bind();
  }
  if (error != 0) fail("bind to ", at, error);
  if (path.empty()) {
    if (::listen(fd.get(), backlog) != 0) fail("listen on ", at, errno);
    return listening_socket(std::move(fd));
  }
  // From here on the file is ours; but its destructor takes the lock, too, and this function holds it.
  if (::listen(fd.get(), backlog) != 0) {
    error = errno;
    ::unlink(path.c_str());
    fail("listen on ", at, error);
  }
  return listening_socket(std::move(fd), socket_file(path));
}

}  // namespace skerry::net
