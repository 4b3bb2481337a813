// SPDX-License-Identifier: Apache-2.0
#pragma once

/// file_content: the bytes of a simulated file twice: as programs see them, and as they are after a power cut.
///
///     write, resize --> now, sectors marked dirty --sync()--> durable
///                                                 --some_written_back(): the kernel writes when it likes
///                                                 --fail_sync(): some written, and none is dirty any more
///     power_off(): each dirty sector survives or not, and so does the new size
///
/// Affinity:   the simulator's thread. Knows no clock, no requests and no names.
/// Invariants: what is not dirty is never written again, be it durable or (after a failed sync) not.
/// Limits:     the caller's: `used` says how many bytes all contents that share it have.
/// Units:      bytes; sectors of 512.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace skerry::sim::detail {

/// A number below the bound, from the seed.
using draw_source = std::function<std::uint64_t(std::uint64_t bound)>;

class file_content {
 public:
  static constexpr std::uint64_t sector_bytes = 512;

  explicit file_content(std::shared_ptr<std::uint64_t> used) noexcept : used_(std::move(used)) {}
  file_content(const file_content&) = delete;
  file_content& operator=(const file_content&) = delete;
  ~file_content() { *used_ -= charged_; }

  std::uint64_t size() const noexcept { return now_.size(); }
  /// As there are from there on, `most` at most.
  std::string_view read(std::uint64_t offset, std::uint64_t most) const noexcept;
  void write(std::uint64_t offset, std::string_view bytes);
  void resize(std::uint64_t size);
  /// A part reads as zeros; the size stays.
  void zero(std::uint64_t offset, std::uint64_t bytes);
  /// Up to here a write needs no more space.
  std::uint64_t allocated() const noexcept { return allocated_; }
  void allocate(std::uint64_t end);
  void release_from(std::uint64_t offset);
  /// How much more `used` would be with an end there.
  std::uint64_t growth(std::uint64_t end) const noexcept { return end > charged_ ? end - charged_ : 0; }

  void sync();
  void fail_sync(const draw_source& draw);
  void some_written_back(const draw_source& draw);
  void power_off(const draw_source& draw);

 private:
  void mark(std::uint64_t from, std::uint64_t to);
  void make_durable(std::uint64_t sector);
  void charge() noexcept;

  std::shared_ptr<std::uint64_t> used_;
  std::uint64_t charged_ = 0;
  std::uint64_t allocated_ = 0;
  std::string now_, durable_;
  std::vector<bool> dirty_;  // of sectors of the longer of the two
};

}  // namespace skerry::sim::detail
