// SPDX-License-Identifier: Apache-2.0
#pragma once

/// file_state: what a handle of a file stands for, and what every operation on it derives from.
///
/// The rule it enforces: the descriptor is closed, in the kernel and by an operation, after the last completion of
/// everything that was asked of it, whoever was cancelled or dropped meanwhile.
///
///     opening --descriptor--> open --last user leaves--> closing --> freed
///         '-- refused, or cancelled before it was open ------------> freed
///
/// An operation on names (rename, make a directory) has a state without a descriptor: it holds the name that the kernel
/// reads, and the shard's stop waits for it.
///
/// Affinity:   home shard.
/// Ownership:  itself, in the frame pool; its users share it: the handle, each operation, a read-ahead, a write-behind.
/// Invariants: (1) `users_` counts them; (2) the close begins when none is left; (3) a shard's pool outlives them all.
/// Limits:     the process's descriptors (RLIMIT_NOFILE).

#include <skerry/framework/backend/operation.hpp>
#include <skerry/framework/io/buffer_pool.hpp>
#include <skerry/framework/observe/metrics.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/framework/task/frame_pool.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/net/file/detail/registered_memory.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/shards/shard.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>

namespace skerry::net {

/// All files of one shard, so that its end waits until the last is closed.
class file_pool final : public drainable {
 public:
  explicit file_pool(shard& home);
  ~file_pool();

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
  memory_table registered;
  std::uint64_t close_errors = 0;

 private:
  shard& home_;
  const shard_core* core_;
  std::size_t files_ = 0;
  std::vector<observe::registration> published_;
};

/// This shard's pool; made on first use.
file_pool& this_files();

namespace detail {

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

/// Throws std::system_error that names call and path.
[[noreturn]] void fail(int error, const char* call, const std::string& path);
/// The kernel would cut such a path off at the NUL.
void require_no_nul(const char* call, const std::string& path);

}  // namespace detail

/// It is the operation that closes itself.
class file_state final : public operation, public skerry::detail::pooled {
 public:
  file_state(file_pool& pool, std::string path) noexcept : pool_(pool), path_(std::move(path)) { pool_.added(); }

  file_pool& pool() const noexcept { return pool_; }
  const std::string& path() const noexcept { return path_; }
  int fd() const noexcept { return fd_; }
  void opened(int fd) noexcept { fd_ = fd; }
  int sync_error() const noexcept { return sync_error_; }
  void sync_failed(int error) noexcept { sync_error_ = error; }

  void use() noexcept { ++users_; }
  void leave() noexcept {
    if (--users_ != 0) return;
    if (fd_ < 0) return free();
    submission& closing = pool_.kernel.submit(*this);
    slow_to_close ? prepare::close_by_worker(closing, fd_) : prepare::close(closing, fd_);
  }
  void tell_when_closed(detail::close_leaf* who) noexcept { closer_ = who; }

  void complete(std::int32_t result, std::uint32_t) noexcept override;

  /// Whether its end is where a read gives nothing, and not where one gives less; known once somebody had to ask.
  std::optional<bool> regular;
  std::optional<file_alignment> alignment;  ///< likewise
  int flags = 0;                            ///< O_*, as it was opened
  bool slow_to_close = false;

 private:
  ~file_state() = default;
  void free() noexcept {
    pool_.freed();
    delete this;
  }

  file_pool& pool_;
  const std::string path_;
  detail::close_leaf* closer_ = nullptr;
  int fd_ = -1;
  int sync_error_ = 0;
  std::uint32_t users_ = 1;
};

namespace detail {

/// Keeps a file open for a call of several operations, whatever becomes of the handle meanwhile.
class state_user {
 public:
  explicit state_user(file_state& used) noexcept : of(used) { of.use(); }
  state_user(const state_user&) = delete;
  state_user& operator=(const state_user&) = delete;
  ~state_user() { of.leave(); }

  file_state& of;
};

/// The state of an operation on names, which no handle has.
class name_user : public state_user {
 public:
  explicit name_user(std::string path) : state_user(*new file_state(this_files(), std::move(path))) { of.leave(); }
};

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

  void complete(std::int32_t result, std::uint32_t flags) noexcept override;
  void let_go() noexcept override;

 protected:
  ~file_operation() { state_.leave(); }
  virtual void arm() noexcept = 0;
  submission& submit() noexcept { return state_.pool().kernel.submit(*this); }

  file_state& state_;
  std::int32_t result_ = 0;
  bool letting_go_ = false;
};

/// Of a file that is open.
task<bool> is_regular(file_state& of);
task<file_alignment> alignment_of(file_state& of);
task<> sync_file(file_state& of, bool data_only);
/// Throws EINVAL, saying what is wrong and what would be right, unless memory, offset and length fit an O_DIRECT file.
void require_aligned(const char* call, const file_state& of, const file_alignment& to, const void* memory,
                     std::uint64_t offset, std::uint64_t bytes);
inline bool is_direct(const file_state& of) noexcept { return (of.flags & O_DIRECT) != 0; }

}  // namespace detail
}  // namespace skerry::net
