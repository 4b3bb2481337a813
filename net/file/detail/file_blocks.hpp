// SPDX-License-Identifier: Apache-2.0
#pragma once

/// file_blocks: what a reader and a writer of a whole file have in common: some blocks of one piece of memory, the
/// operations on them, who waits for the next, and the end.
///
///     arm -> in flight --EINTR--> again
///                      --answered(): the reader's or writer's; may arm the rest--> who waits goes on, if ready()
///     abandon -> cancelled in the kernel -> the last completion -> freed
///
/// Of an O_DIRECT file the memory is registered with the ring when a block is used a second time: for a file that
/// is no longer than the blocks together, it would cost more than it saves (registered_memory.hpp).
///
/// Affinity:   the file's shard.
/// Ownership:  itself; keeps the file open. The memory goes after the last completion.
/// Invariants: (1) in_flight_ counts the blocks that the kernel has; (2) one task at a time waits.
/// Limits:     depth * block_bytes of memory, from the start.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/backend/operation.hpp>
#include <skerry/framework/task/chain.hpp>
#include <skerry/net/file/aligned_buffer.hpp>
#include <skerry/net/file/detail/file_state.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>

namespace skerry::net::detail {

class file_blocks : public skerry::detail::pooled {
 public:
  /// Nobody uses it any more; frees itself.
  void abandon() noexcept;
  file_state& of() const noexcept { return of_; }

 protected:
  enum class direction : std::uint8_t { read, write };

  struct block final : operation {
    block(file_blocks& owner, std::span<std::byte> part) noexcept : of(owner), memory(part) {}
    void complete(std::int32_t result, std::uint32_t) noexcept override { of.completed(*this, result); }

    file_blocks& of;
    std::span<std::byte> memory;
    std::uint64_t offset = 0;  // in the file
    std::size_t asked = 0;     // how many bytes are to be moved
    std::size_t moved = 0;
    bool busy = false;  // not free to be filled or lent: on its way
    bool used = false;  // has been on its way before
  };

  file_blocks(file_state& of, direction which, std::size_t block_bytes, std::size_t depth);
  virtual ~file_blocks() { of_.leave(); }

  /// Asks the kernel to move what is left of the block.
  void arm(block& b) noexcept;
  /// `result` is the kernel's, but for EINTR.
  virtual void answered(block& b, std::int32_t result) noexcept = 0;
  /// Whether who waits, or is about to, has something to go on with.
  virtual bool ready() const noexcept = 0;

  /// Suspends until ready(); resumes on the shard, from the run queue. Cancelled, it lets go at once.
  class awaiter final : public skerry::detail::leaf {
   public:
    awaiter(file_blocks& of, const char* what) noexcept : of_(of), what_(what) {}
    bool await_ready() const noexcept { return of_.ready(); }
    void await_suspend(std::coroutine_handle<> resume_point) noexcept {
      SKERRY_ASSERT(of_.waiter_ == nullptr, "one task at a time waits for a reader or writer");
      of_.waiter_ = this;
      suspend(resume_point);
    }
    void await_resume() const noexcept {}
    void let_go() noexcept override {
      of_.waiter_ = nullptr;
      wake();
    }
    const char* describe() const noexcept override { return what_; }
    void come() noexcept { wake(); }

   private:
    file_blocks& of_;
    const char* what_;
  };

  file_state& of_;
  aligned_buffer memory_;
  std::deque<block> blocks_;  // which do not move
  std::size_t in_flight_ = 0;

 private:
  void completed(block& b, std::int32_t result) noexcept;

  awaiter* waiter_ = nullptr;
  const direction direction_;
  std::unique_ptr<registered_memory> registered_;  // goes before the memory
  bool goes_round_ = false;                        // has tried to register the memory
  bool abandoned_ = false;
};

}  // namespace skerry::net::detail
