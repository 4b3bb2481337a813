// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/backend/operation.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/net/file/detail/file_state.hpp>
#include <skerry/net/file/directory.hpp>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include <dirent.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace skerry::net {

using namespace detail;

namespace {

/// Of the kernel's linux_dirent64, which no header has: inode and place (8 bytes each), length, kind, name.
constexpr std::size_t length_at = 16, kind_at = 18, name_at = 19;

template <class Number>
Number number_at(const std::byte* where) noexcept {
  Number found;
  std::memcpy(&found, where, sizeof found);
  return found;
}

entry_kind kind_of(unsigned char type) noexcept {
  switch (type) {
    case DT_UNKNOWN: return entry_kind::unknown;
    case DT_REG: return entry_kind::regular;
    case DT_DIR: return entry_kind::directory;
    case DT_LNK: return entry_kind::symbolic_link;
    default: return entry_kind::other;
  }
}

class make_operation final : public file_operation {
 public:
  make_operation(file_state& of, unsigned mode) noexcept : file_operation(of), mode_(mode) {}
  const char* describe() const noexcept override { return "make directory"; }

 private:
  void arm() noexcept override { prepare::mkdirat(submit(), AT_FDCWD, state_.path().c_str(), mode_); }

  unsigned mode_;
};

class remove_operation final : public file_operation {
 public:
  using file_operation::file_operation;
  const char* describe() const noexcept override { return "remove directory"; }

 private:
  void arm() noexcept override { prepare::unlinkat(submit(), AT_FDCWD, state_.path().c_str(), AT_REMOVEDIR); }
};

}  // namespace

/// Whether there was more.
bool directory_reader::receive() {
  long got = 0;
  do {
    got = ::syscall(SYS_getdents64, opened_.fd(), batch_->bytes.data(), batch_bytes);
  } while (got < 0 && errno == EINTR);
  if (got < 0) fail(errno, "list", opened_.path());
  at_ = 0;
  end_ = static_cast<std::size_t>(got);
  return got != 0;
}

task<std::optional<directory_entry>> directory_reader::next() {
  while (true) {
    if (at_ == end_) {
      if (std::exchange(others_may_run_, true)) co_await yield();
      if (!receive()) co_return std::nullopt;
    }
    const std::byte* entry = batch_->bytes.data() + at_;
    at_ += number_at<std::uint16_t>(entry + length_at);
    const std::string_view name(reinterpret_cast<const char*>(entry + name_at));
    if (name == "." || name == "..") continue;
    directory_entry found;
    found.name = name;
    found.inode = number_at<std::uint64_t>(entry);
    found.kind = kind_of(std::to_integer<unsigned char>(entry[kind_at]));
    co_return found;
  }
}

task<directory_reader> open_directory(std::string path) {
  file opened = co_await open_file(std::move(path), open_options(O_RDONLY | O_DIRECTORY));
  co_return directory_reader(std::move(opened));
}

task<std::vector<directory_entry>> list_directory(std::string path, std::size_t entries_max) {
  directory_reader from = co_await open_directory(std::move(path));
  std::vector<directory_entry> all;
  while (true) {
    std::optional<directory_entry> each = co_await from.next();
    if (!each) co_return all;
    if (all.size() == entries_max) {
      fail(E2BIG, "list", from.path() + ": it has more than " + std::to_string(entries_max) + " entries");
    }
    all.push_back(std::move(*each));
  }
}

task<> make_directory(std::string path, unsigned mode) {
  require_no_nul("make directory", path);
  const name_user made(std::move(path));
  const std::int32_t result = co_await make_operation(made.of, mode);
  if (result < 0) fail(-result, "make directory", made.of.path());
}

task<> remove_directory(std::string path) {
  require_no_nul("remove directory", path);
  const name_user removed(std::move(path));
  const std::int32_t result = co_await remove_operation(removed.of);
  if (result < 0) fail(-result, "remove directory", removed.of.path());
}

}  // namespace skerry::net
