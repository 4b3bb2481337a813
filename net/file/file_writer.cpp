// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/framework/backend/operation.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/net/file/aligned_buffer.hpp>
#include <skerry/net/file/detail/file_state.hpp>
#include <skerry/net/file/file_writer.hpp>

#include <algorithm>
#include <cerrno>
#include <coroutine>
#include <cstring>
#include <memory>
#include <string>
#include <system_error>
#include <vector>

namespace skerry::net {
namespace detail {

/// The blocks of one writer, and who waits for them. Frees itself after the last completion.
class write_behind final : public skerry::detail::pooled {
 public:
  write_behind(file_state& to, const file_writer_options& options) : to_(to), offset_(options.offset) {
    SKERRY_ASSERT(to_.pool().is_home(), "a file is used on the shard that opened it");
    SKERRY_ASSERT(options.depth > 0 && options.block_bytes > 0, "a writer has blocks, and they have bytes");
    SKERRY_ASSERT(options.block_bytes <= file::bytes_per_operation_max, "a block is one operation");
    if ((to_.flags & O_APPEND) != 0) {
      fail(EINVAL, "write",
           to_.path() + ": it is open with O_APPEND, where blocks would land in the order of their " +
               "writing; open it without, and begin at its size");
    }
    blocks_.reserve(options.depth);
    while (blocks_.size() < options.depth) blocks_.push_back(std::make_unique<block>(*this, options.block_bytes));
    to_.use();
  }

  void abandon() noexcept {
    SKERRY_ASSERT(waiter_ == nullptr, "a writer outlives who waits for it");
    abandoned_ = true;
    for (const auto& each : blocks_) to_.pool().kernel.cancel(*each);
    if (in_flight_ == 0) delete this;
  }

  /// Whether the requests of whole blocks fit the file; asked once.
  task<> check() {
    if (checked_ || !is_direct(to_)) co_return;
    const file_alignment needed = co_await alignment_of(to_);
    const block& first = *blocks_.front();
    require_aligned("write", to_, needed, first.memory.data(), offset_, first.memory.size());
    checked_ = true;
  }

  /// Suspends until the block to be filled is free or, with `all`, until nothing is on its way.
  class awaiter;

  std::span<std::byte> room() const noexcept { return current().memory.bytes().subspan(filled_); }
  void commit(std::size_t bytes) noexcept {
    SKERRY_ASSERT(!current().busy, "a writer has given room for what is committed");
    SKERRY_ASSERT(bytes <= room().size(), "no more is committed than there was room for");
    filled_ += bytes;
    if (filled_ == current().memory.size()) send();
  }
  /// The last block leaves though it is not full.
  void send_rest() {
    if (filled_ == 0) return;
    if (is_direct(to_)) require_aligned("write", to_, *to_.alignment, current().memory.data(), offset_, filled_);
    send();
  }

  /// Throws when a write has failed.
  void require_whole() {
    if (error_ == 0) return;
    if (std::exchange(told_, true)) fail(error_, "an earlier write of", to_.path());
    fail(error_, "write", to_.path() + " at offset " + std::to_string(error_offset_));
  }
  /// What is told by somebody else.
  void broken(int error) noexcept {
    error_ = error;
    told_ = true;
  }
  bool has_failed() const noexcept { return error_ != 0; }
  std::uint64_t position() const noexcept { return offset_ + filled_; }
  file_state& to() const noexcept { return to_; }

 private:
  struct block final : operation {
    block(write_behind& of, std::size_t bytes) : owner(of), memory(bytes) {}
    void complete(std::int32_t result, std::uint32_t) noexcept override { owner.completed(*this, result); }

    write_behind& owner;
    aligned_buffer memory;
    std::uint64_t offset = 0;
    std::size_t full = 0;  // bytes of it that are to be written
    std::size_t done = 0;
    bool busy = false;
  };

  ~write_behind() { to_.leave(); }
  block& current() const noexcept { return *blocks_[current_]; }

  void send() noexcept {
    block& b = current();
    b.offset = offset_;
    b.full = filled_;
    b.done = 0;
    offset_ += filled_;
    filled_ = 0;
    if (error_ != 0) return;  // nothing more goes, and everybody hears why
    b.busy = true;
    current_ = (current_ + 1) % blocks_.size();
    arm(b);
  }

  void arm(block& b) noexcept {
    ++in_flight_;
    prepare::write(to_.pool().kernel.submit(b), to_.fd(), b.memory.data() + b.done,
                   static_cast<std::uint32_t>(b.full - b.done), b.offset + b.done);
  }

  void completed(block& b, std::int32_t result) noexcept {
    --in_flight_;
    if (abandoned_) {
      if (in_flight_ == 0) delete this;
      return;
    }
    if (result == -EINTR) return arm(b);
    if (result > 0) {
      b.done += static_cast<std::size_t>(result);
      if (b.done < b.full) return arm(b);
    } else {
      const std::uint64_t at = b.offset + b.done;
      if (error_ == 0 || (!told_ && at < error_offset_)) {  // the first of them in the file
        error_ = result == 0 ? EIO : -result;
        error_offset_ = at;
      }
    }
    b.busy = false;
    if (waiter_ != nullptr && (waits_for_all_ ? in_flight_ == 0 : !current().busy)) tell();
  }
  void tell() noexcept;

  file_state& to_;
  std::vector<std::unique_ptr<block>> blocks_;
  std::size_t current_ = 0;
  std::size_t filled_ = 0;  // of the current block
  std::uint64_t offset_;    // where the current block begins
  std::size_t in_flight_ = 0;
  awaiter* waiter_ = nullptr;
  bool waits_for_all_ = false;
  int error_ = 0;
  std::uint64_t error_offset_ = 0;
  bool told_ = false;
  bool checked_ = false;
  bool abandoned_ = false;
};

class write_behind::awaiter final : public skerry::detail::leaf {
 public:
  awaiter(write_behind& of, bool all) noexcept : of_(of), all_(all) {}
  bool await_ready() const noexcept { return all_ ? of_.in_flight_ == 0 : !of_.current().busy; }
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    SKERRY_ASSERT(of_.waiter_ == nullptr, "one task at a time waits for a writer");
    of_.waiter_ = this;
    of_.waits_for_all_ = all_;
    suspend(resume_point);
  }
  void await_resume() const noexcept {}
  void let_go() noexcept override {
    of_.waiter_ = nullptr;
    wake();
  }
  const char* describe() const noexcept override { return all_ ? "flush of file" : "write behind of file"; }
  void come() noexcept { wake(); }

 private:
  write_behind& of_;
  bool all_;
};

void write_behind::tell() noexcept { std::exchange(waiter_, nullptr)->come(); }

}  // namespace detail

file_writer::file_writer(file& to, const file_writer_options& options)
    : state_(new detail::write_behind(to.state(), options)) {}

file_writer::~file_writer() {
  if (state_ != nullptr) state_->abandon();
}

detail::write_behind& file_writer::state() const noexcept {
  SKERRY_ASSERT(state_ != nullptr, "a writer that was moved from is not used");
  return *state_;
}

task<std::span<std::byte>> file_writer::room() {
  detail::write_behind& writing = state();
  co_await writing.check();
  co_await detail::write_behind::awaiter(writing, false);
  if (writing.has_failed()) co_await detail::write_behind::awaiter(writing, true);  // perhaps more is missing
  writing.require_whole();
  co_return writing.room();
}

void file_writer::commit(std::size_t bytes) noexcept { state().commit(bytes); }

task<> file_writer::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::span<std::byte> into = co_await room();
    const std::size_t part = std::min(into.size(), bytes.size());
    std::memcpy(into.data(), bytes.data(), part);
    commit(part);
    bytes = bytes.subspan(part);
  }
}

task<> file_writer::flush() {
  detail::write_behind& writing = state();
  if (!writing.has_failed()) {
    co_await writing.check();
    writing.send_rest();
  }
  co_await detail::write_behind::awaiter(writing, true);
  writing.require_whole();
}

task<> file_writer::sync(bool data_only) {
  detail::write_behind& writing = state();
  co_await flush();
  try {
    co_await detail::sync_file(writing.to(), data_only);
  } catch (const std::system_error& failed) {
    writing.broken(failed.code().value());
    throw;
  }
}

std::uint64_t file_writer::position() const noexcept { return state().position(); }

}  // namespace skerry::net
