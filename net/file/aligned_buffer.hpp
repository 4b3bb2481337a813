// SPDX-License-Identifier: Apache-2.0
#pragma once

/// aligned_buffer: memory of one's own that an O_DIRECT file takes, which goes past the page cache.
///
///     net::file data = co_await net::open_file("data", net::open_options(O_RDWR | O_DIRECT));
///     net::aligned_buffer block(1 << 20, co_await data.alignment());
///     std::size_t got = co_await data.read(block.bytes(), 0);
///
/// Ownership:  the holder's; moves only. It must live until whoever reads into it has returned or ended, as any memory.
/// Invariants: it begins at a multiple of the alignment's memory, and its size is a multiple of both.
/// Errors:     std::bad_alloc.
/// Limits:     none of its own. Its bytes are not initialised.

#include <skerry/net/file/file.hpp>

#include <algorithm>
#include <cstddef>
#include <memory>
#include <new>
#include <span>

namespace skerry::net {

class aligned_buffer {
 public:
  /// A page: enough for every block device that is common, and what the kernel copies best.
  static constexpr std::size_t alignment_default = 4096;

  /// Has `bytes` bytes, rounded up to what fits.
  explicit aligned_buffer(std::size_t bytes, file_alignment fits = {alignment_default, alignment_default})
      : alignment_(std::max({fits.memory, fits.offset, sizeof(void*)})),
        size_((bytes + alignment_ - 1) / alignment_ * alignment_),
        data_(static_cast<std::byte*>(::operator new(size_, std::align_val_t(alignment_))), release{alignment_}) {}

  std::span<std::byte> bytes() const noexcept { return {data_.get(), size_}; }
  std::byte* data() const noexcept { return data_.get(); }
  std::size_t size() const noexcept { return size_; }

 private:
  struct release {
    std::size_t alignment;
    void operator()(std::byte* memory) const noexcept { ::operator delete(memory, std::align_val_t(alignment)); }
  };

  std::size_t alignment_;
  std::size_t size_;
  std::unique_ptr<std::byte, release> data_;
};

}  // namespace skerry::net
