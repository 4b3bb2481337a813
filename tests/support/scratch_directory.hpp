// SPDX-License-Identifier: Apache-2.0
#pragma once

/// scratch_directory: a directory of a test's own, gone with all that is in it when the test ends.
///
/// Simulated hosts have disks of their own. Whoever names the directory there has it made, with all that was put into
/// it, so a test may put files before its shards begin. All is done by plain calls, which the caller's host answers.

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace skerry::test_support {

class scratch_directory {
 public:
  scratch_directory() : path_((std::filesystem::temp_directory_path() / "skerry-test-XXXXXX").string()) {
    if (::mkdtemp(path_.data()) == nullptr) throw std::system_error(errno, std::generic_category(), path_);
  }
  /// One that a simulated host has, or will have: nothing is made or removed.
  explicit scratch_directory(std::string path) : path_(std::move(path)), simulated_(true) {}
  scratch_directory(const scratch_directory&) = delete;
  scratch_directory& operator=(const scratch_directory&) = delete;
  ~scratch_directory() {
    std::error_code ignored;
    if (!simulated_) std::filesystem::remove_all(path_, ignored);
  }

  const std::string& path() const {
    if (!simulated_) be_there();
    return path_;
  }
  std::string file(std::string_view name) const {
    be_there();
    return path_ + '/' + std::string(name);
  }
  /// Makes, or replaces, a file with these bytes; directories on the way are made.
  std::string put(std::string_view name, std::string_view bytes) const {
    std::string made = file(name);
    put_there(made, bytes);
    if (!simulated_) put_.insert_or_assign(made, bytes);
    return made;
  }
  std::string get(std::string_view name) const {
    std::string all;
    const int fd = ::open(file(name).c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return all;
    std::vector<char> some(65536);
    while (true) {
      const ssize_t got = ::read(fd, some.data(), some.size());
      if (got <= 0) break;
      all.append(some.data(), static_cast<std::size_t>(got));
    }
    ::close(fd);
    return all;
  }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    const int fd = ::open(path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) throw std::system_error(errno, std::generic_category(), path_);
    alignas(dirent64) char some[4096];
    while (true) {
      const long got = ::syscall(SYS_getdents64, fd, some, sizeof some);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) break;
      for (long at = 0; at < got;) {
        const auto* each = reinterpret_cast<const dirent64*>(some + at);
        const std::string name = each->d_name;
        if (name != "." && name != "..") found.push_back(name);
        at += each->d_reclen;
      }
    }
    ::close(fd);
    return found;
  }

 private:
  void be_there() const {
    if (::mkdir(path_.c_str(), 0700) != 0) return;
    for (const auto& [path, bytes] : put_) put_there(path, bytes);
  }
  void put_there(const std::string& made, std::string_view bytes) const {
    for (std::size_t end = path_.size(); (end = made.find('/', end + 1)) != made.npos;) {
      ::mkdir(made.substr(0, end).c_str(), 0777);
    }
    const int fd = ::open(made.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) throw std::system_error(errno, std::generic_category(), made);
    while (!bytes.empty()) {
      const ssize_t written = ::write(fd, bytes.data(), bytes.size());
      if (written < 0 && errno != EINTR) break;
      bytes.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(written, 0)));
    }
    const int error = bytes.empty() ? 0 : errno;
    ::close(fd);
    if (error != 0) throw std::system_error(error, std::generic_category(), made);
  }

  std::string path_;
  bool simulated_ = false;
  mutable std::map<std::string, std::string> put_;  // by path
};

}  // namespace skerry::test_support
