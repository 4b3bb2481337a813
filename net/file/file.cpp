// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/backend/operation.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/net/file/detail/file_state.hpp>
#include <skerry/net/file/file.hpp>

#include <algorithm>
#include <cerrno>
#include <coroutine>
#include <optional>
#include <system_error>
#include <vector>

#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

namespace skerry::net {

using namespace detail;

namespace {

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
  void arm() noexcept override { prepare::statx(submit(), state_.fd(), STATX_BASIC_STATS | STATX_DIOALIGN, &found_); }

  struct statx found_{};
};

/// Where such memory is registered, if that is of use.
int slot_of(const file_state& of, std::span<const std::byte> memory) noexcept {
  const registered_memory* found = is_direct(of) ? of.pool().registered.find(memory) : nullptr;
  return found != nullptr ? found->slot() : -1;
}

class read_operation final : public file_operation {
 public:
  read_operation(file_state& of, std::span<std::byte> into, std::uint64_t offset) noexcept
      : file_operation(of), into_(into), offset_(offset), slot_(slot_of(of, into)) {}
  const char* describe() const noexcept override { return "read file"; }

 private:
  void arm() noexcept override {
    prepare::read(submit(), state_.fd(), into_.data(), static_cast<std::uint32_t>(into_.size()), offset_, slot_);
  }

  std::span<std::byte> into_;
  std::uint64_t offset_;
  const int slot_;
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
      : file_operation(of), bytes_(bytes), offset_(offset), slot_(slot_of(of, bytes)) {}
  const char* describe() const noexcept override { return "write file"; }

 private:
  void arm() noexcept override {
    prepare::write(submit(), state_.fd(), bytes_.data(), static_cast<std::uint32_t>(bytes_.size()), offset_, slot_);
  }

  std::span<const std::byte> bytes_;
  std::uint64_t offset_;
  const int slot_;
};

class vectored_operation final : public file_operation {
 public:
  vectored_operation(file_state& of, io_uring_op which, std::span<const iovec> pieces, std::uint64_t offset) noexcept
      : file_operation(of), which_(which), pieces_(pieces), offset_(offset) {}
  const char* describe() const noexcept override { return which_ == IORING_OP_READV ? "read file" : "write file"; }

 private:
  void arm() noexcept override {
    const auto count = static_cast<std::uint32_t>(pieces_.size());
    prepare::vectored(submit(), which_, state_.fd(), pieces_.data(), count, offset_);
  }

  io_uring_op which_;
  std::span<const iovec> pieces_;
  std::uint64_t offset_;
};

class truncate_operation final : public file_operation {
 public:
  truncate_operation(file_state& of, std::uint64_t size) noexcept : file_operation(of), size_(size) {}
  const char* describe() const noexcept override { return "truncate file"; }

 private:
  void arm() noexcept override { prepare::ftruncate(submit(), state_.fd(), size_); }

  std::uint64_t size_;
};

static_assert(static_cast<int>(allocation::keep_size) == FALLOC_FL_KEEP_SIZE);
static_assert(static_cast<int>(allocation::punch_hole) == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE));
static_assert(static_cast<int>(allocation::zero) == FALLOC_FL_ZERO_RANGE);

class allocate_operation final : public file_operation {
 public:
  allocate_operation(file_state& of, std::uint64_t offset, std::uint64_t bytes, allocation how) noexcept
      : file_operation(of), offset_(offset), bytes_(bytes), how_(how) {}
  const char* describe() const noexcept override { return "allocate file"; }

 private:
  void arm() noexcept override { prepare::fallocate(submit(), state_.fd(), static_cast<int>(how_), offset_, bytes_); }

  std::uint64_t offset_;
  std::uint64_t bytes_;
  allocation how_;
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
    if (to_ == nullptr) return prepare::unlinkat(submit(), AT_FDCWD, state_.path().c_str(), 0);
    prepare::renameat(submit(), AT_FDCWD, state_.path().c_str(), to_->c_str());
  }

  const std::string* to_;
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

namespace detail {

task<bool> is_regular(file_state& of) {
  if (!of.regular) {
    status_operation asking(of);
    const std::int32_t result = co_await asking;
    of.regular = result == 0 && S_ISREG(asking.found().stx_mode);
  }
  co_return *of.regular;
}

task<file_alignment> alignment_of(file_state& of) {
  if (!of.alignment) {
    status_operation asking(of);
    const std::int32_t result = co_await asking;
    if (result < 0) fail(-result, "status of", of.path());
    const struct statx& found = asking.found();
    const bool told = (found.stx_mask & STATX_DIOALIGN) != 0 && found.stx_dio_offset_align != 0;
    file_alignment needed;
    needed.memory = told ? found.stx_dio_mem_align : found.stx_blksize;
    needed.offset = told ? found.stx_dio_offset_align : found.stx_blksize;
    of.alignment = needed;
  }
  co_return *of.alignment;
}

task<> sync_file(file_state& of, bool data_only) {
  if (of.sync_error() != 0) fail(of.sync_error(), "an earlier sync of", of.path());
  const std::int32_t result = co_await sync_operation(of, data_only);
  if (result < 0) fail(-result, "sync", of.path());
}

}  // namespace detail

namespace {

/// Returns when such a request may be made of the file.
task<> check_alignment(const char* call, file_state& of, const void* memory, std::uint64_t offset,
                       std::uint64_t bytes) {
  const file_alignment needed = co_await alignment_of(of);
  require_aligned(call, of, needed, memory, offset, bytes);
}

/// Whether a read of a regular file that gave less than was asked for has met its end: where the last block of an
/// O_DIRECT file ends inside, the kernel takes no request for the rest.
bool ends_inside(const file_state& of, std::uint64_t at) noexcept {
  return is_direct(of) && of.alignment && at % of.alignment->offset != 0;
}

/// After a read that gave less than was asked for. Of a pipe this is what there is. A regular file gives less where its
/// end is near, but also where its device fails a little further on, and only the next try says so.
task<bool> goes_on_after(file_state& of, std::uint64_t at) {
  if (ends_inside(of, at)) co_return false;
  co_return co_await is_regular(of);
}

/// What of many pieces is still to be moved, a list for the kernel at a time.
class iovec_cursor {
 public:
  template <class Byte>
  explicit iovec_cursor(std::span<const std::span<Byte>> all) {
    left_.reserve(all.size());
    for (const std::span<Byte>& each : all) {
      for (std::size_t at = 0; at < each.size(); at += file::bytes_per_operation_max) {  // one may be longer than that
        const auto part = each.subspan(at, std::min(each.size() - at, file::bytes_per_operation_max));
        left_.push_back({const_cast<std::byte*>(static_cast<const std::byte*>(part.data())), part.size()});
      }
    }
  }

  /// Chooses the pieces of the next operation; how many.
  std::size_t prepare_next() noexcept {
    count_ = 0;
    bytes_ = 0;
    while (first_ + count_ < left_.size() && count_ < file::pieces_per_operation_max) {
      const std::size_t more = left_[first_ + count_].iov_len;
      if (count_ != 0 && bytes_ + more > file::bytes_per_operation_max) break;
      bytes_ += more;
      ++count_;
    }
    return count_;
  }
  std::span<const iovec> pieces() const noexcept { return std::span(left_).subspan(first_, count_); }
  /// So many bytes of them are done; whether that is not all of them.
  bool advance(std::size_t done) noexcept {
    const bool less = done < bytes_;
    while (done != 0) {
      iovec& piece = left_[first_];
      const std::size_t part = std::min(done, piece.iov_len);
      piece.iov_base = static_cast<std::byte*>(piece.iov_base) + part;
      piece.iov_len -= part;
      done -= part;
      if (piece.iov_len == 0) ++first_;
    }
    return less;
  }

 private:
  std::vector<iovec> left_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace

task<std::size_t> file::read(std::span<std::byte> into, std::uint64_t offset) {
  const state_user user(state());
  file_state& from = user.of;
  if (is_direct(from)) co_await check_alignment("read", from, into.data(), offset, into.size());
  std::size_t got = 0;
  while (got < into.size()) {
    const auto piece = into.subspan(got, std::min(into.size() - got, bytes_per_operation_max));
    const std::int32_t result = co_await read_operation(from, piece, offset + got);
    if (result < 0) fail(-result, "read", from.path());
    if (result == 0) break;
    got += static_cast<std::size_t>(result);
    if (static_cast<std::size_t>(result) < piece.size()) {
      const bool goes_on = co_await goes_on_after(from, offset + got);
      if (!goes_on) break;
    }
  }
  co_return got;
}

task<std::size_t> file::read_vectored(std::span<const std::span<std::byte>> into, std::uint64_t offset) {
  const state_user user(state());
  file_state& from = user.of;
  if (is_direct(from)) {
    for (const auto& piece : into) co_await check_alignment("read", from, piece.data(), offset, piece.size());
  }
  iovec_cursor left(into);
  std::size_t got = 0;
  while (left.prepare_next() != 0) {
    const std::int32_t result = co_await vectored_operation(from, IORING_OP_READV, left.pieces(), offset + got);
    if (result < 0) fail(-result, "read", from.path());
    if (result == 0) break;
    got += static_cast<std::size_t>(result);
    const bool less = left.advance(static_cast<std::size_t>(result));
    if (less) {
      const bool goes_on = co_await goes_on_after(from, offset + got);
      if (!goes_on) break;
    }
  }
  co_return got;
}

task<buffer> file::read(std::uint64_t offset, std::size_t bytes_max) {
  const state_user user(state());
  file_state& from = user.of;
  if (is_direct(from)) {
    fail(EINVAL, "read", from.path() + ": it is open with O_DIRECT; read into a net::aligned_buffer");
  }
  const std::size_t bytes = std::min<std::size_t>(bytes_max, buffer_pool::buffer_bytes);
  lent_read_operation reading(from, static_cast<std::uint32_t>(bytes), offset);
  const std::int32_t result = co_await reading;
  if (result < 0) fail(-result, "read", from.path());
  co_return reading.take();
}

namespace {

void require_offsets(const file_state& to) {
  if ((to.flags & O_APPEND) == 0) return;
  fail(EINVAL, "write", to.path() + ": Linux ignores offsets of a file that is open with O_APPEND; use append");
}

task<> write_all(file_state& to, std::span<const std::byte> bytes, std::uint64_t offset) {
  while (!bytes.empty()) {
    const auto piece = bytes.first(std::min(bytes.size(), file::bytes_per_operation_max));
    const std::int32_t result = co_await write_operation(to, piece, offset);
    if (result <= 0) fail(result == 0 ? EIO : -result, "write", to.path());
    bytes = bytes.subspan(static_cast<std::size_t>(result));
    offset += static_cast<std::size_t>(result);
  }
}

}  // namespace

task<> file::write(std::span<const std::byte> bytes, std::uint64_t offset) {
  const state_user user(state());
  require_offsets(user.of);
  if (is_direct(user.of)) co_await check_alignment("write", user.of, bytes.data(), offset, bytes.size());
  co_await write_all(user.of, bytes, offset);
}

task<> file::write_vectored(std::span<const std::span<const std::byte>> pieces, std::uint64_t offset) {
  const state_user user(state());
  file_state& to = user.of;
  require_offsets(to);
  if (is_direct(to)) {
    for (const auto& piece : pieces) co_await check_alignment("write", to, piece.data(), offset, piece.size());
  }
  iovec_cursor left(pieces);
  while (left.prepare_next() != 0) {
    const std::int32_t result = co_await vectored_operation(to, IORING_OP_WRITEV, left.pieces(), offset);
    if (result <= 0) fail(result == 0 ? EIO : -result, "write", to.path());
    left.advance(static_cast<std::size_t>(result));
    offset += static_cast<std::size_t>(result);
  }
}

task<> file::append(std::span<const std::byte> bytes) {
  const state_user user(state());
  file_state& to = user.of;
  if ((to.flags & O_APPEND) == 0) {
    fail(EINVAL, "append to", to.path() + ": it was opened without O_APPEND, so that others could write in between");
  }
  if (is_direct(to)) co_await check_alignment("append to", to, bytes.data(), 0, bytes.size());
  co_await write_all(to, bytes, 0);
}

task<> file::truncate(std::uint64_t size) {
  const state_user user(state());
  file_state& of = user.of;
  std::int32_t result = co_await truncate_operation(of, size);
  // Before Linux 6.9 rings do not know it, and say so with what is also said of a file that is not open for writing.
  if (result == -EINVAL) result = ::ftruncate(of.fd(), static_cast<off_t>(size)) == 0 ? 0 : -errno;
  if (result < 0) fail(-result, "truncate", of.path());
}

task<> file::allocate(std::uint64_t offset, std::uint64_t bytes, allocation how) {
  const state_user user(state());
  file_state& of = user.of;
  const std::int32_t result = co_await allocate_operation(of, offset, bytes, how);
  if (result < 0) fail(-result, "allocate space of", of.path());
}

task<> file::sync(bool data_only) {
  const state_user user(state());
  co_await sync_file(user.of, data_only);
}

task<file_alignment> file::alignment() const {
  const state_user user(state());
  co_return co_await alignment_of(user.of);
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
  made.state().flags = options.flags;
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
  const name_user renamed(std::move(from));
  const std::int32_t result = co_await name_operation(renamed.of, &to);
  if (result < 0) fail(-result, "rename", renamed.of.path() + " to " + to);
}

task<> remove_file(std::string path) {
  require_no_nul("remove", path);
  const name_user removed(std::move(path));
  const std::int32_t result = co_await name_operation(removed.of, nullptr);
  if (result < 0) fail(-result, "remove", removed.of.path());
}

std::size_t open_files() noexcept {
  const auto* pool = resources().find<file_pool>();
  return pool != nullptr ? pool->size() : 0;
}

}  // namespace skerry::net
