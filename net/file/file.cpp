// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/backend/operation.hpp>
#include <skerry/framework/detail/intrusive_list.hpp>
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/observe/metrics.hpp>
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/task/frame_pool.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/shards/shard.hpp>

#include <algorithm>
#include <cerrno>
#include <coroutine>
#include <optional>
#include <system_error>
#include <vector>

#include <sys/stat.h>

namespace skerry::net {

/// All files of one shard, so that its end waits until the last is closed.
class file_pool final : public drainable {
 public:
  explicit file_pool(shard& home)
      : kernel(home.loop().kernel()), buffers(resource<buffer_pool>()), home_(home), core_(&this_shard()) {
    observe::registry& metrics = *this_shard().metrics;
    published_.push_back(metrics.add_gauge([this] { return static_cast<std::int64_t>(files_); },
                                           {"skerry_net_files", "Open files, closing ones included."}));
    published_.push_back(metrics.add_counter([this] { return close_errors; },
                                             {"skerry_net_file_close_errors_total", "Files whose close failed."}));
    home_.add_drainable(*this);  // last: whoever knows a pool must not find it gone
  }
  ~file_pool() {
    SKERRY_ASSERT(files_ == 0, "a shard ends after its last file");
    home_.remove_drainable(*this);
  }

  void added() noexcept { ++files_; }
  void freed() noexcept {
    --files_;
    home_.drain_progressed();
  }
  std::size_t size() const noexcept { return files_; }
  bool is_home() const noexcept { return core_ == &this_shard(); }

  void begin_drain() noexcept override {}
  bool drained() const noexcept override { return true; }  // files are nobody's requests
  bool empty() const noexcept override { return files_ == 0; }

  backend& kernel;
  buffer_pool& buffers;
  std::uint64_t close_errors = 0;

 private:
  shard& home_;
  const shard_core* core_;
  std::size_t files_ = 0;
  std::vector<observe::registration> published_;
};

namespace {

file_pool& this_files() {
  file_pool* found = resources().find<file_pool>();
  return found != nullptr ? *found : resources().emplace<file_pool>(this_assembled_shard());
}

[[noreturn]] void fail(int error, const char* call, const std::string& path) {
  throw std::system_error(error, std::generic_category(), std::string(call) + ' ' + path);
}

}  // namespace

/// Hears of the end of a close.
class close_leaf : public skerry::detail::leaf {
 public:
  void closed(std::int32_t result) noexcept {
    result_ = result;
    wake();
  }

 protected:
  ~close_leaf() = default;
  std::int32_t result_ = 0;
};

/// What a handle stands for. It is the operation that closes itself.
/// Invariant: users_ counts the handle and each operation on it; the close begins when none is left.
class file_state final : public operation, public skerry::detail::pooled {
 public:
  file_state(file_pool& pool, std::string path) noexcept : pool_(pool), path_(std::move(path)) { pool_.added(); }

  file_pool& pool() const noexcept { return pool_; }
  const std::string& path() const noexcept { return path_; }
  int fd() const noexcept { return fd_; }
  void opened(int fd) noexcept { fd_ = fd; }
  /// Whether its end is where a read gives nothing, and not where one gives less; known once somebody had to ask.
  std::optional<bool> regular;
  int sync_error() const noexcept { return sync_error_; }
  void sync_failed(int error) noexcept { sync_error_ = error; }

  void use() noexcept { ++users_; }
  void leave() noexcept {
    if (--users_ != 0) return;
    if (fd_ < 0) return free();
    prepare::close(pool_.kernel.submit(*this), fd_);
  }
  void tell_when_closed(close_leaf* who) noexcept { closer_ = who; }

  void complete(std::int32_t result, std::uint32_t) noexcept override {
    if (result == -EINTR) result = 0;  // Linux has closed it all the same
    if (result < 0) ++pool_.close_errors;
    if (closer_ != nullptr) {
      closer_->closed(result);
    } else if (result < 0) {
      log::warning("close {}: {}", path_, std::generic_category().message(-result));
    }
    free();
  }

 private:
  ~file_state() = default;
  void free() noexcept {
    pool_.freed();
    delete this;
  }

  file_pool& pool_;
  const std::string path_;
  close_leaf* closer_ = nullptr;
  int fd_ = -1;
  int sync_error_ = 0;
  std::uint32_t users_ = 1;
};

namespace {

/// One operation on a file, awaited by one task; its result is the kernel's. Derived classes fill the submission.
class file_operation : public operation, public skerry::detail::leaf {
 public:
  explicit file_operation(file_state& of) noexcept : state_(of) {
    SKERRY_ASSERT(state_.pool().is_home(), "a file is used on the shard that opened it");
    state_.use();
  }
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    suspend(resume_point);
    arm();
  }
  std::int32_t await_resume() const noexcept { return result_; }

  void complete(std::int32_t result, std::uint32_t) noexcept override {
    // A signal cut it short, and nobody asked for an end: once more.
    if (result == -EINTR && !letting_go_) return arm();
    result_ = result;
    wake();
  }
  void let_go() noexcept override {
    letting_go_ = true;
    state_.pool().kernel.cancel(*this);
  }

 protected:
  ~file_operation() { state_.leave(); }
  virtual void arm() noexcept = 0;
  submission& submit() noexcept { return state_.pool().kernel.submit(*this); }

  file_state& state_;
  std::int32_t result_ = 0;
  bool letting_go_ = false;
};

class open_operation final : public file_operation {
 public:
  open_operation(file_state& of, const open_options& options) noexcept
      : file_operation(of), directory_(options.directory) {
    how_.flags = static_cast<std::uint64_t>(options.flags | O_CLOEXEC);
    if ((options.flags & O_CREAT) != 0 || (options.flags & O_TMPFILE) == O_TMPFILE) how_.mode = options.mode;
    how_.resolve = options.resolve;
  }
  void complete(std::int32_t result, std::uint32_t flags) noexcept override {
    if (result >= 0) state_.opened(result);  // from here on the descriptor has an owner, whoever is cancelled
    file_operation::complete(result, flags);
  }
  const char* describe() const noexcept override { return "open file"; }

 private:
  void arm() noexcept override { prepare::openat2(submit(), directory_, state_.path().c_str(), &how_); }

  int directory_;
  open_how how_{};
};

class status_operation final : public file_operation {
 public:
  using file_operation::file_operation;
  const struct statx& found() const noexcept { return found_; }
  const char* describe() const noexcept override { return "status of file"; }

 private:
  void arm() noexcept override { prepare::statx(submit(), state_.fd(), STATX_BASIC_STATS, &found_); }

  struct statx found_{};
};

class read_operation final : public file_operation {
 public:
  read_operation(file_state& of, std::span<std::byte> into, std::uint64_t offset) noexcept
      : file_operation(of), into_(into), offset_(offset) {}
  const char* describe() const noexcept override { return "read file"; }

 private:
  void arm() noexcept override {
    prepare::read(submit(), state_.fd(), into_.data(), static_cast<std::uint32_t>(into_.size()), offset_);
  }

  std::span<std::byte> into_;
  std::uint64_t offset_;
};

/// Reads into a buffer that the kernel takes from the shard's ring when there is something to put into it.
class lent_read_operation final : public file_operation, private buffer_waiter {
 public:
  lent_read_operation(file_state& of, std::uint32_t bytes, std::uint64_t offset) noexcept
      : file_operation(of), bytes_(bytes), offset_(offset) {}

  void complete(std::int32_t result, std::uint32_t flags) noexcept override {
    buffer_pool& pool = state_.pool().buffers;
    if (completion::has_buffer(flags)) {
      got_ = pool.take(completion::buffer_number(flags), static_cast<std::uint32_t>(std::max(result, 0)));
      if (result <= 0) got_ = buffer();
    }
    if (result == -ENOBUFS && !letting_go_) {
      if (pool.wait_for_buffer(*this)) arm();
      return;
    }
    if (result <= 0) pool.pass_on();
    file_operation::complete(result, flags);
  }
  void let_go() noexcept override {
    if (!starved().linked()) return file_operation::let_go();
    starved().unlink();
    wake();
  }
  buffer take() noexcept { return std::move(got_); }
  const char* describe() const noexcept override { return "read file"; }

 private:
  buffer_waiter& starved() noexcept { return *this; }
  void buffer_available() noexcept override { arm(); }
  void arm() noexcept override { prepare::read_lent(submit(), state_.fd(), bytes_, offset_, buffer_pool::group); }

  buffer got_;
  std::uint32_t bytes_;
  std::uint64_t offset_;
};

class write_operation final : public file_operation {
 public:
  write_operation(file_state& of, std::span<const std::byte> bytes, std::uint64_t offset) noexcept
      : file_operation(of), bytes_(bytes), offset_(offset) {}
  const char* describe() const noexcept override { return "write file"; }

 private:
  void arm() noexcept override {
    prepare::write(submit(), state_.fd(), bytes_.data(), static_cast<std::uint32_t>(bytes_.size()), offset_);
  }

  std::span<const std::byte> bytes_;
  std::uint64_t offset_;
};

class sync_operation final : public file_operation {
 public:
  sync_operation(file_state& of, bool data_only) noexcept : file_operation(of), data_only_(data_only) {}
  void complete(std::int32_t result, std::uint32_t flags) noexcept override {
    // Noted here, so that it is known also when the task that asked is cancelled.
    if (result < 0 && result != -EINTR && result != -ECANCELED) state_.sync_failed(-result);
    file_operation::complete(result, flags);
  }
  const char* describe() const noexcept override { return "sync file"; }

 private:
  void arm() noexcept override { prepare::fsync(submit(), state_.fd(), data_only_); }

  bool data_only_;
};

class close_operation final : public close_leaf {
 public:
  explicit close_operation(file_state& of) noexcept : state_(&of) {}
  ~close_operation() {
    if (state_ != nullptr) state_->leave();  // cancelled before it began
  }
  bool await_ready() const noexcept { return false; }
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    suspend(resume_point);
    closing_ = std::exchange(state_, nullptr);
    closing_->tell_when_closed(this);
    closing_->leave();
  }
  std::int32_t await_resume() const noexcept { return result_; }
  void let_go() noexcept override {
    closing_->tell_when_closed(nullptr);
    wake();
  }
  const char* describe() const noexcept override { return "close file"; }

 private:
  file_state* state_;
  file_state* closing_ = nullptr;
};

/// An operation on names: it has a state without a descriptor, which holds the first of them and the pool's count.
class name_operation final : public file_operation {
 public:
  name_operation(file_state& of, const std::string* to) noexcept : file_operation(of), to_(to) {}
  const char* describe() const noexcept override { return to_ != nullptr ? "rename file" : "remove file"; }

 private:
  void arm() noexcept override {
    if (to_ == nullptr) return prepare::unlinkat(submit(), AT_FDCWD, state_.path().c_str());
    prepare::renameat(submit(), AT_FDCWD, state_.path().c_str(), to_->c_str());
  }

  const std::string* to_;
};

void require_no_nul(const char* call, const std::string& path) {
  if (path.find('\0') != std::string::npos) fail(EINVAL, call, path);
}

/// Keeps a file open for a call of several operations, whatever becomes of the handle meanwhile.
class state_user {
 public:
  explicit state_user(file_state& used) noexcept : of(used) { of.use(); }
  state_user(const state_user&) = delete;
  state_user& operator=(const state_user&) = delete;
  ~state_user() { of.leave(); }

  file_state& of;
};

}  // namespace

file::~file() {
  if (state_ != nullptr) state_->leave();
}

file& file::operator=(file&& other) noexcept {
  if (this != &other) {
    if (state_ != nullptr) state_->leave();
    state_ = std::exchange(other.state_, nullptr);
  }
  return *this;
}

file_state& file::state() const noexcept {
  SKERRY_ASSERT(state_ != nullptr, "a file that was closed or moved from is not used");
  return *state_;
}

int file::fd() const noexcept { return state().fd(); }
const std::string& file::path() const noexcept { return state().path(); }

namespace {

task<bool> is_regular(file_state& of) {
  if (!of.regular) {
    status_operation asking(of);
    const std::int32_t result = co_await asking;
    of.regular = result == 0 && S_ISREG(asking.found().stx_mode);
  }
  co_return *of.regular;
}

}  // namespace

task<std::size_t> file::read(std::span<std::byte> into, std::uint64_t offset) {
  const state_user user(state());
  file_state& from = user.of;
  std::size_t got = 0;
  while (got < into.size()) {
    const auto piece = into.subspan(got, std::min(into.size() - got, bytes_per_operation_max));
    const std::int32_t result = co_await read_operation(from, piece, offset + got);
    if (result < 0) fail(-result, "read", from.path());
    if (result == 0) break;
    got += static_cast<std::size_t>(result);
    // Of a pipe this is what there is. A regular file gives less where its end is near, but also where its device fails
    // a little further on, and only the next try says so.
    if (static_cast<std::size_t>(result) < piece.size()) {
      const bool goes_on = co_await is_regular(from);
      if (!goes_on) break;
    }
  }
  co_return got;
}

task<buffer> file::read(std::uint64_t offset, std::size_t bytes_max) {
  const state_user user(state());
  file_state& from = user.of;
  const std::size_t bytes = std::min<std::size_t>(bytes_max, buffer_pool::buffer_bytes);
  lent_read_operation reading(from, static_cast<std::uint32_t>(bytes), offset);
  const std::int32_t result = co_await reading;
  if (result < 0) fail(-result, "read", from.path());
  co_return reading.take();
}

task<> file::write(std::span<const std::byte> bytes, std::uint64_t offset) {
  const state_user user(state());
  file_state& to = user.of;
  while (!bytes.empty()) {
    const auto piece = bytes.first(std::min(bytes.size(), bytes_per_operation_max));
    const std::int32_t result = co_await write_operation(to, piece, offset);
    if (result <= 0) fail(result == 0 ? EIO : -result, "write", to.path());
    bytes = bytes.subspan(static_cast<std::size_t>(result));
    offset += static_cast<std::size_t>(result);
  }
}

task<> file::sync(bool data_only) {
  const state_user user(state());
  file_state& of = user.of;
  if (of.sync_error() != 0) fail(of.sync_error(), "an earlier sync of", of.path());
  const std::int32_t result = co_await sync_operation(of, data_only);
  if (result < 0) fail(-result, "sync", of.path());
}

task<file_status> file::status() const {
  const state_user user(state());
  file_state& of = user.of;
  status_operation asking(of);
  const std::int32_t result = co_await asking;
  if (result < 0) fail(-result, "status of", of.path());
  const struct statx& found = asking.found();
  file_status status;
  status.size = found.stx_size;
  status.inode = found.stx_ino;
  status.modified = std::chrono::seconds(found.stx_mtime.tv_sec) + std::chrono::nanoseconds(found.stx_mtime.tv_nsec);
  status.permissions = found.stx_mode & 07777U;
  if (S_ISREG(found.stx_mode)) status.kind = file_kind::regular;
  if (S_ISDIR(found.stx_mode)) status.kind = file_kind::directory;
  co_return status;
}

task<std::uint64_t> file::size() const {
  const file_status found = co_await status();
  co_return found.size;
}

task<> file::close() {
  file closed(std::move(*this));
  const std::string path = closed.path();
  const std::int32_t result = co_await close_operation(*std::exchange(closed.state_, nullptr));
  if (result < 0) fail(-result, "close", path);
}

task<std::expected<file, std::errc>> open_if_possible(std::string path, open_options options) {
  if (path.find('\0') != std::string::npos) co_return std::unexpected(std::errc::invalid_argument);
  file made(*new file_state(this_files(), std::move(path)));
  const std::int32_t result = co_await open_operation(made.state(), options);
  if (result < 0) co_return std::unexpected(static_cast<std::errc>(-result));
  if ((options.flags & O_NONBLOCK) != 0) ::fcntl(made.fd(), F_SETFL, options.flags & ~O_NONBLOCK);
  co_return made;
}

task<file> open_file(std::string path, open_options options) {
  std::expected<file, std::errc> made = co_await open_if_possible(path, options);
  if (!made) fail(static_cast<int>(made.error()), "open", path);
  co_return std::move(*made);
}

task<> rename_file(std::string from, std::string to) {
  require_no_nul("rename", from);
  require_no_nul("rename to", to);
  const state_user renamed(*new file_state(this_files(), std::move(from)));
  renamed.of.leave();  // no handle has it
  const std::int32_t result = co_await name_operation(renamed.of, &to);
  if (result < 0) fail(-result, "rename", renamed.of.path() + " to " + to);
}

task<> remove_file(std::string path) {
  require_no_nul("remove", path);
  const state_user removed(*new file_state(this_files(), std::move(path)));
  removed.of.leave();  // no handle has it
  const std::int32_t result = co_await name_operation(removed.of, nullptr);
  if (result < 0) fail(-result, "remove", removed.of.path());
}

std::size_t open_files() noexcept {
  const auto* pool = resources().find<file_pool>();
  return pool != nullptr ? pool->size() : 0;
}

}  // namespace skerry::net
