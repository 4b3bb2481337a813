// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/file/detail/file_blocks.hpp>
#include <skerry/net/file/file_writer.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>

namespace skerry::net {
namespace detail {

/// The blocks of one writer: the one that is being filled, and any other, which has no order.
class write_behind final : public file_blocks {
 public:
  write_behind(file_state& to, const file_writer_options& options)
      : file_blocks(to, direction::write, options.block_bytes, options.depth),
        current_(&blocks_.front()),
        offset_(options.offset) {}

  /// Whether the requests of whole blocks fit the file; asked once.
  task<> check() {
    if (checked_ || !is_direct(of_)) co_return;
    const file_alignment needed = co_await alignment_of(of_);
    const std::span<std::byte> first = blocks_.front().memory;
    require_aligned("write", of_, needed, first.data(), offset_, first.size());
    checked_ = true;
  }

  /// Suspends until there is room.
  awaiter some_room() noexcept {
    waits_for_all_ = false;
    return awaiter(*this, "write behind of file");
  }
  /// Suspends until nothing is on its way.
  awaiter all_written() noexcept {
    waits_for_all_ = true;
    return awaiter(*this, "flush of file");
  }

  std::span<std::byte> room() const noexcept { return current_->memory.subspan(filled_); }
  void commit(std::size_t bytes) noexcept {
    SKERRY_ASSERT(current_ != nullptr, "a writer has given room for what is committed");
    SKERRY_ASSERT(bytes <= room().size(), "no more is committed than there was room for");
    filled_ += bytes;
    if (filled_ == current_->memory.size()) send();
  }
  /// The last block leaves though it is not full.
  void send_rest() {
    if (filled_ == 0) return;
    if (is_direct(of_)) require_aligned("write", of_, *of_.alignment, current_->memory.data(), offset_, filled_);
    send();
  }

  /// Throws when a write has failed.
  void require_whole() {
    if (error_ == 0) return;
    if (std::exchange(told_, true)) fail(error_, "an earlier write of", of_.path());
    fail(error_, "write", of_.path() + " at offset " + std::to_string(error_offset_));
  }
  /// What is told by somebody else.
  void broken(int error) noexcept {
    error_ = error;
    told_ = true;
  }
  bool has_failed() const noexcept { return error_ != 0; }
  std::uint64_t position() const noexcept { return offset_ + filled_; }

 private:
  bool ready() const noexcept override { return waits_for_all_ ? in_flight_ == 0 : current_ != nullptr; }

  void send() noexcept {
    block& b = *current_;
    b.offset = offset_;
    b.asked = filled_;
    b.moved = 0;
    offset_ += filled_;
    filled_ = 0;
    if (error_ != 0) return;  // nothing more goes, and everybody hears why
    b.busy = true;
    const auto free = std::ranges::find(blocks_, false, &block::busy);
    current_ = free != blocks_.end() ? &*free : nullptr;
    arm(b);
  }

  void answered(block& b, std::int32_t result) noexcept override {
    if (result > 0) {
      b.moved += static_cast<std::size_t>(result);
      if (b.moved < b.asked) return arm(b);
    } else {
      const std::uint64_t at = b.offset + b.moved;
      if (error_ == 0 || (!told_ && at < error_offset_)) {  // the first of them in the file
        error_ = result == 0 ? EIO : -result;
        error_offset_ = at;
      }
    }
    b.busy = false;
    if (current_ == nullptr) current_ = &b;
  }

  block* current_;          // null: all of them are on their way
  std::size_t filled_ = 0;  // of the current block
  std::uint64_t offset_;    // where the current block begins
  bool waits_for_all_ = false;
  int error_ = 0;
  std::uint64_t error_offset_ = 0;
  bool told_ = false;
  bool checked_ = false;
};

/// A file in which blocks have their places. Throws EINVAL.
file_state& require_places(file_state& to) {
  if ((to.flags & O_APPEND) == 0) return to;
  fail(EINVAL, "write",
       to.path() + ": it is open with O_APPEND, where blocks would land in the order of their writing; open it " +
           "without, and begin at its size");
}

}  // namespace detail

file_writer::file_writer(file& to, const file_writer_options& options)
    : state_(new detail::write_behind(detail::require_places(to.state()), options)) {}

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
  co_await writing.some_room();
  if (writing.has_failed()) co_await writing.all_written();  // perhaps more is missing
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
  co_await writing.all_written();
  writing.require_whole();
}

task<> file_writer::sync(bool data_only) {
  detail::write_behind& writing = state();
  co_await flush();
  try {
    co_await detail::sync_file(writing.of(), data_only);
  } catch (const std::system_error& failed) {
    writing.broken(failed.code().value());
    throw;
  }
}

std::uint64_t file_writer::position() const noexcept { return state().position(); }

}  // namespace skerry::net
