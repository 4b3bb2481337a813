// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/file/detail/file_blocks.hpp>
#include <skerry/net/file/file_reader.hpp>

#include <algorithm>
#include <string>

namespace skerry::net {
namespace detail {

/// The blocks of one reader, in the order of the file from the head on.
class read_ahead final : public file_blocks {
 public:
  read_ahead(file_state& from, const file_reader_options& options)
      : file_blocks(from, direction::read, options.block_bytes, options.depth),
        place_(options.offset),
        next_offset_(options.offset),
        range_end_(options.offset +
                   std::min(options.bytes_max, std::numeric_limits<std::uint64_t>::max() - options.offset)),
        end_(range_end_) {}

  /// Takes back what was lent and keeps the others busy. Once it has thrown, nothing has changed.
  task<> prepare() {
    if (!started_) {
      in_pieces_ = !co_await is_regular(of_);
      if (is_direct(of_)) {
        const file_alignment needed = co_await alignment_of(of_);
        const std::span<std::byte> first = blocks_.front().memory;
        require_aligned("read", of_, needed, first.data(), next_offset_, first.size());
      }
      started_ = true;
      while (in_pieces_ && blocks_.size() > 1) blocks_.pop_back();
      for (block& each : blocks_) begin(each);
    }
    if (!std::exchange(lent_, false)) co_return;
    block& given = head();
    place_ = given.offset + given.moved;
    given.moved = 0;
    if (place_ >= end_) co_return;  // it stays the head, and its end or error is told again
    if (in_pieces_) next_offset_ = place_;
    begin(given);
    head_ = (head_ + 1) % blocks_.size();
  }

  /// Suspends until the head has come.
  awaiter head_come() noexcept { return awaiter(*this, "read ahead of file"); }
  std::span<const std::byte> take() {
    const block& now = head();
    SKERRY_ASSERT(!now.busy, "a block is lent when it has come");
    if (now.moved == 0) {
      if (end_error_ != 0) fail(end_error_, "read", of_.path() + " at offset " + std::to_string(end_));
      return {};
    }
    lent_ = true;
    return now.memory.first(now.moved);
  }
  std::uint64_t position() const noexcept {
    const block& now = blocks_[head_];
    return lent_ ? now.offset + now.moved : place_;
  }

 private:
  block& head() noexcept { return blocks_[head_]; }
  bool ready() const noexcept override { return !blocks_[head_].busy; }

  /// Asks for what comes next in the file.
  void begin(block& b) noexcept {
    b.offset = next_offset_;
    b.moved = 0;
    if (next_offset_ >= end_) return;
    b.asked = static_cast<std::size_t>(std::min<std::uint64_t>(range_end_ - next_offset_, b.memory.size()));
    next_offset_ += b.asked;
    // An O_DIRECT file takes whole blocks only; what the last one has beyond the range is dropped.
    if (is_direct(of_)) b.asked = b.memory.size();
    b.busy = true;
    arm(b);
  }

  void answered(block& b, std::int32_t result) noexcept override {
    if (result > 0) {
      b.moved += static_cast<std::size_t>(result);
      const std::size_t wanted = std::min<std::uint64_t>(b.asked, range_end_ - b.offset);
      const bool inside = is_direct(of_) && b.moved % of_.alignment->offset != 0;  // the file's last block
      if (b.moved < wanted && !in_pieces_ && !inside) return arm(b);
      if (b.moved < wanted && !in_pieces_) ends_at(b.offset + b.moved, 0);
      b.moved = std::min(b.moved, wanted);
    } else {
      ends_at(b.offset + b.moved, -result);
    }
    b.busy = false;
  }
  /// The first of all ends, in the order of the file, is the end.
  void ends_at(std::uint64_t place, int error) noexcept {
    if (place >= end_) return;
    end_ = place;
    end_error_ = error;
  }

  std::size_t head_ = 0;
  std::uint64_t place_;  // where the head begins, while it is not lent
  std::uint64_t next_offset_;
  const std::uint64_t range_end_;
  std::uint64_t end_;  // nothing is given from there on, as far as is known
  int end_error_ = 0;
  bool started_ = false;
  bool in_pieces_ = false;
  bool lent_ = false;
};

}  // namespace detail

file_reader::file_reader(file& from, const file_reader_options& options)
    : state_(new detail::read_ahead(from.state(), options)) {}

file_reader::~file_reader() {
  if (state_ != nullptr) state_->abandon();
}

task<std::span<const std::byte>> file_reader::next() {
  SKERRY_ASSERT(state_ != nullptr, "a reader that was moved from is not used");
  co_await state_->prepare();
  co_await state_->head_come();
  co_return state_->take();
}

std::uint64_t file_reader::position() const noexcept { return state_->position(); }

}  // namespace skerry::net
