// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/framework/backend/operation.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/net/file/aligned_buffer.hpp>
#include <skerry/net/file/detail/file_state.hpp>
#include <skerry/net/file/file_reader.hpp>

#include <algorithm>
#include <cerrno>
#include <coroutine>
#include <memory>
#include <string>
#include <vector>

namespace skerry::net {
namespace detail {

/// The blocks of one reader, and who waits for the next. Frees itself after the last completion.
class read_ahead final : public skerry::detail::pooled {
 public:
  read_ahead(file_state& from, const file_reader_options& options) : from_(from), place_(options.offset) {
    SKERRY_ASSERT(from_.pool().is_home(), "a file is used on the shard that opened it");
    SKERRY_ASSERT(options.depth > 0 && options.block_bytes > 0, "a reader has blocks, and they have bytes");
    SKERRY_ASSERT(options.block_bytes <= file::bytes_per_operation_max, "a block is one operation");
    next_offset_ = options.offset;
    left_ = std::min(options.bytes_max, std::numeric_limits<std::uint64_t>::max() - options.offset);
    blocks_.reserve(options.depth);
    while (blocks_.size() < options.depth) blocks_.push_back(std::make_unique<block>(*this, options.block_bytes));
    from_.use();
  }

  void abandon() noexcept {
    SKERRY_ASSERT(waiter_ == nullptr, "a reader outlives who waits for its next block");
    abandoned_ = true;
    for (const auto& each : blocks_) from_.pool().kernel.cancel(*each);
    if (in_flight_ == 0) delete this;
  }

  /// Takes back what was lent and keeps the others busy. Once it has thrown, nothing has changed.
  task<> prepare() {
    if (!started_) {
      in_pieces_ = !co_await is_regular(from_);
      if (is_direct(from_)) {
        const file_alignment needed = co_await alignment_of(from_);
        const block& first = *blocks_.front();
        require_aligned("read", from_, needed, first.memory.data(), next_offset_, first.memory.size());
      }
      started_ = true;
      if (in_pieces_) blocks_.resize(1);
      for (const auto& each : blocks_) begin(*each);
    }
    if (!std::exchange(lent_, false)) co_return;
    block& given = head();
    place_ = given.offset + given.got;
    given.got = 0;
    if (given.ended) co_return;  // it stays the head, and its end or error is told again
    if (in_pieces_) next_offset_ = place_;
    begin(given);
    head_ = (head_ + 1) % blocks_.size();
  }

  class awaiter;
  std::span<const std::byte> take() {
    block& now = head();
    SKERRY_ASSERT(now.done, "a block is lent when it has come");
    if (now.got == 0 && now.error != 0) {
      fail(now.error, "read", from_.path() + " at offset " + std::to_string(place_));
    }
    if (now.got == 0) return {};
    lent_ = true;
    return now.memory.bytes().first(now.got);
  }
  std::uint64_t position() const noexcept {
    const block& now = *blocks_[head_];
    return lent_ ? now.offset + now.got : place_;
  }

 private:
  struct block final : operation {
    block(read_ahead& of, std::size_t bytes) : owner(of), memory(bytes) {}
    void complete(std::int32_t result, std::uint32_t) noexcept override { owner.completed(*this, result); }

    read_ahead& owner;
    aligned_buffer memory;
    std::uint64_t offset = 0;
    std::size_t wanted = 0;
    std::size_t got = 0;
    int error = 0;
    bool done = false;
    bool ended = false;  // nothing comes after what it got: the end of the file, or an error
  };

  ~read_ahead() { from_.leave(); }
  block& head() noexcept { return *blocks_[head_]; }

  /// Asks for what comes next in the file.
  void begin(block& b) noexcept {
    b.offset = next_offset_;
    b.wanted = static_cast<std::size_t>(std::min<std::uint64_t>(left_, b.memory.size()));
    b.got = 0;
    b.error = 0;
    b.ended = b.done = b.wanted == 0;
    if (b.done) return;
    next_offset_ += b.wanted;
    left_ -= b.wanted;
    arm(b);
  }

  void arm(block& b) noexcept {
    ++in_flight_;
    std::size_t bytes = b.wanted - b.got;
    // An O_DIRECT file takes whole blocks only; what the last one has beyond the range is dropped.
    if (is_direct(from_)) bytes = b.memory.size() - b.got;
    prepare::read(from_.pool().kernel.submit(b), from_.fd(), b.memory.data() + b.got, static_cast<std::uint32_t>(bytes),
                  b.offset + b.got);
  }

  void completed(block& b, std::int32_t result) noexcept {
    --in_flight_;
    if (abandoned_) {
      if (in_flight_ == 0) delete this;
      return;
    }
    if (result == -EINTR) return arm(b);
    if (result > 0) {
      b.got += static_cast<std::size_t>(result);
      const bool inside = is_direct(from_) && b.got % from_.alignment->offset != 0;  // the file's last block
      if (b.got < b.wanted && !in_pieces_ && !inside) return arm(b);
      b.ended = b.got < b.wanted && !in_pieces_;
      if (in_pieces_) left_ += b.wanted - b.got;
      b.got = std::min(b.got, b.wanted);
    } else {
      b.ended = true;
      b.error = -result;
    }
    b.done = true;
    if (waiter_ != nullptr && head().done) tell();
  }
  void tell() noexcept;

  file_state& from_;
  std::vector<std::unique_ptr<block>> blocks_;
  std::size_t head_ = 0;
  std::uint64_t place_;  // where the head begins, while it is not lent
  std::uint64_t next_offset_ = 0;
  std::uint64_t left_ = 0;  // of the range, not yet asked for
  std::size_t in_flight_ = 0;
  awaiter* waiter_ = nullptr;
  bool started_ = false;
  bool in_pieces_ = false;
  bool lent_ = false;
  bool abandoned_ = false;
};

/// Suspends until the head has come.
class read_ahead::awaiter final : public skerry::detail::leaf {
 public:
  explicit awaiter(read_ahead& of) noexcept : of_(of) {}
  bool await_ready() const noexcept { return of_.head().done; }
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    SKERRY_ASSERT(of_.waiter_ == nullptr, "one task at a time waits for the next block");
    of_.waiter_ = this;
    suspend(resume_point);
  }
  std::span<const std::byte> await_resume() { return of_.take(); }
  void let_go() noexcept override {
    of_.waiter_ = nullptr;
    wake();
  }
  const char* describe() const noexcept override { return "read ahead of file"; }
  void come() noexcept { wake(); }

 private:
  read_ahead& of_;
};

void read_ahead::tell() noexcept { std::exchange(waiter_, nullptr)->come(); }

}  // namespace detail

file_reader::file_reader(file& from, const file_reader_options& options)
    : state_(new detail::read_ahead(from.state(), options)) {}

file_reader::~file_reader() {
  if (state_ != nullptr) state_->abandon();
}

task<std::span<const std::byte>> file_reader::next() {
  SKERRY_ASSERT(state_ != nullptr, "a reader that was moved from is not used");
  co_await state_->prepare();
  co_return co_await detail::read_ahead::awaiter(*state_);
}

std::uint64_t file_reader::position() const noexcept { return state_->position(); }

}  // namespace skerry::net
