// SPDX-License-Identifier: Apache-2.0
#pragma once

/// scratch_directory: a directory of a test's own, gone with all that is in it when the test ends.

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
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

  const std::string& path() const noexcept { return path_; }
  std::string file(std::string_view name) const {
    ::mkdir(path_.c_str(), 0700);  // a simulated host has a disk of its own, without it
    return path_ + '/' + std::string(name);
  }
  /// Makes, or replaces, a file with these bytes; directories on the way are made.
  std::string put(std::string_view name, std::string_view bytes) const {
    const std::string made = file(name);
    for (std::size_t end = path_.size(); (end = made.find('/', end + 1)) != made.npos;) {
      ::mkdir(made.substr(0, end).c_str(), 0777);
    }
    // By calls that a simulated host answers if it is a shard of its that makes them.
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
    return made;
  }
  std::string get(std::string_view name) const {
    std::ifstream from(file(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(from), {}};
  }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& each : std::filesystem::directory_iterator(path_)) found.push_back(each.path().filename());
    return found;
  }

 private:
  std::string path_;
  bool simulated_ = false;
};

}  // namespace skerry::test_support
