// SPDX-License-Identifier: Apache-2.0
#pragma once

/// aligned_buffer: memory of one's own that an O_DIRECT file takes, which goes past the page cache.
///
///     net::file data = co_await net::open_file("data", net::open_options(O_RDWR | O_DIRECT));
///     net::aligned_buffer block(1 << 20, co_await data.alignment());
///     block.register_here();                              // for more than a few transfers
///     std::size_t got = co_await data.read(block.bytes(), 0);
///
/// Registered with a shard's ring, its pages are looked up and pinned once, and not for every transfer; reads and
/// writes of O_DIRECT files of that shard that lie in it find out by themselves. Registering takes 24 us per MiB. It
/// saves of the CPU time of a transfer, with eight in flight:
///
///       4 KiB   0.8 to 1.3 us of 5 to 7 (one at a time, each costs 10 us more for its wait, and this is not seen)
///      64 KiB     3 to 4   us of 9
///     256 KiB     6 to 14  us of 23 to 31
///
/// So it pays from the second transfer on, and a buffer that is used once is better left alone. Transfers by way of the
/// page cache copy the bytes, and take no notice.
///
/// Affinity:   none; once registered, the shard's that registered it.
/// Ownership:  the holder's; moves only. It must live until whoever reads into it has returned or ended, as any memory.
/// Invariants: it begins at a multiple of the alignment's memory, and its size is a multiple of both.
/// Errors:     std::bad_alloc. A registration that is refused is no error: the same is done without.
/// Limits:     none of its own; those of registrations are in detail/registered_memory.hpp. Its bytes are not
///             initialised.

#include <skerry/net/file/file.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <span>

namespace skerry::net {

class registered_memory;

class aligned_buffer {
 public:
  /// A page: enough for every block device that is common, and what the kernel copies best.
  static constexpr std::size_t alignment_default = 4096;

  /// Has `bytes` bytes, rounded up to what fits.
  explicit aligned_buffer(std::size_t bytes, file_alignment fits = {alignment_default, alignment_default})
      : alignment_(std::max({fits.memory, fits.offset, sizeof(void*)})),
        size_((bytes + alignment_ - 1) / alignment_ * alignment_),
        data_(static_cast<std::byte*>(::operator new(size_, std::align_val_t(alignment_))), release{alignment_}) {}

  /// Whether this shard's ring has it registered now; it stays so until the buffer's end.
  bool register_here();

  std::span<std::byte> bytes() const noexcept { return {data_.get(), size_}; }
  std::byte* data() const noexcept { return data_.get(); }
  std::size_t size() const noexcept { return size_; }

 private:
  struct release {
    std::size_t alignment;
    registered_memory* registered = nullptr;  // until the memory goes
    void operator()(std::byte* memory) const noexcept;
  };

  std::size_t alignment_;
  std::size_t size_;
  std::unique_ptr<std::byte, release> data_;
};

}  // namespace skerry::net
