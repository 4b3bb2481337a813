// SPDX-License-Identifier: Apache-2.0
#pragma once

/// buffered_reader: frames out of any byte_stream, however the network cut it: lines, pieces up to a delimiter, pieces
/// behind their length, pieces of a known size.
///
///     skerry::net::buffered_reader in(connection);
///     while (auto line = co_await in.read_line(4096)) look_at(std::string(*line));
///
/// What is read is a view of the bytes where they came in; they are copied only where they straddle two buffers.
/// A frame is taken whole or not at all.
///
/// Affinity:     the stream's shard. One task at a time.
/// Ownership:    the stream outlives the reader.
/// Lifetime:     a view, until the next call or the reader's end.
/// Errors:       framing_error for a frame that is too long or that the end of the stream cuts; the stream's own. The
///               end of the stream between two frames is no error: there is no next one.
/// Cancellation: wherever the stream's read is. Nothing is lost: what has come is there for the next call.
/// Limits:       a frame has at most what its reader says; beside it, what came with its last part.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/io/byte_stream.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/net/io/buffered_writer.hpp>
#include <skerry/net/io/framing_error.hpp>
#include <skerry/net/io/unread_bytes.hpp>

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace skerry::net {

template <byte_stream Stream>
class buffered_reader {
 public:
  explicit buffered_reader(Stream& from) noexcept : from_(from) {}
  /// `pushed` gives the stream what it holds before each wait.
  buffered_reader(Stream& from, buffered_writer<Stream>& pushed) noexcept : from_(from), pushed_(&pushed) {}
  buffered_reader(const buffered_reader&) = delete;
  buffered_reader& operator=(const buffered_reader&) = delete;

  /// What comes before the next `delimiter`, which is dropped, and has at most `bytes_max`. Nothing at the end.
  task<std::optional<std::string_view>> read_until(std::string_view delimiter, std::size_t bytes_max) {
    std::size_t searched = 0;  // no delimiter begins before it
    while (true) {
      const std::size_t at = unread_.find(delimiter, searched);
      if (at != unread_.npos && at <= bytes_max) co_return take(at, delimiter.size());
      const bool beyond = unread_.size() > bytes_max && unread_.size() - bytes_max >= delimiter.size();
      if (at != unread_.npos || beyond) {
        throw framing_error(std::errc::message_size,
                            "more than " + std::to_string(bytes_max) + " bytes come before the delimiter");
      }
      searched = unread_.size() - std::min(unread_.size(), delimiter.size() - 1);
      const bool more = co_await receive();
      if (!more) co_return end_between_frames("the delimiter");
    }
  }
  /// The next line, without its "\n" or "\r\n"; a "\r" counts. Nothing at the end.
  task<std::optional<std::string_view>> read_line(std::size_t bytes_max) {
    std::optional<std::string_view> line = co_await read_until("\n", bytes_max);
    if (line && line->ends_with('\r')) line->remove_suffix(1);
    co_return line;
  }
  /// The next frame behind its length, which is no part of it. Nothing at the end.
  template <std::unsigned_integral Length, std::endian order = std::endian::big>
  task<std::optional<std::string_view>> read_frame(std::size_t bytes_max) {
    bool more = co_await receive_at_least(sizeof(Length));
    if (!more) co_return end_between_frames("a length of " + std::to_string(sizeof(Length)) + " bytes");
    Length length;
    std::memcpy(&length, unread_.view(sizeof length).data(), sizeof length);
    if constexpr (order != std::endian::native) length = std::byteswap(length);
    if (length > bytes_max) {
      throw framing_error(std::errc::message_size, "a frame of " + std::to_string(length) +
                                                       " bytes is announced, at most " + std::to_string(bytes_max) +
                                                       " are taken");
    }
    more = co_await receive_at_least(sizeof length + length);
    if (!more) co_return end_between_frames("a frame of " + std::to_string(length) + " bytes");
    std::string_view frame = unread_.view(sizeof length + length);
    unread_.drop(frame.size());
    co_return frame.substr(sizeof length);
  }
  /// The next `bytes`, in one piece. Nothing at the end.
  task<std::optional<std::string_view>> read_exactly(std::size_t bytes) {
    const bool more = co_await receive_at_least(bytes);
    if (!more) co_return end_between_frames(std::to_string(bytes) + " bytes");
    co_return take(bytes, 0);
  }
  /// Fills `memory`, without a copy between. False at the end. Unlike all else, bytes that were put there before a
  /// cancel are gone from here.
  task<bool> read_exactly(std::span<char> memory) {
    std::span<char> missing = memory;
    while (!missing.empty()) {
      if (unread_.size() == 0) {
        const bool more = co_await receive();
        if (more) continue;
        if (missing.size() == memory.size()) co_return false;
        throw cut_off(memory.size() - missing.size(), std::to_string(memory.size()) + " bytes");
      }
      const std::string_view piece = unread_.first_piece().substr(0, missing.size());
      std::memcpy(missing.data(), piece.data(), piece.size());
      unread_.drop(piece.size());
      missing = missing.subspan(piece.size());
    }
    co_return true;
  }
  /// Whatever is there next, at most `bytes_max`; empty at the end.
  task<std::string_view> read_some(std::size_t bytes_max) {
    SKERRY_ASSERT(bytes_max > 0, "who reads wants at least one byte");
    if (unread_.size() == 0) co_await receive();
    const std::string_view piece = unread_.first_piece().substr(0, bytes_max);
    unread_.drop(piece.size());
    co_return piece;
  }
  /// The next `bytes` without taking them; fewer only at the end.
  task<std::string_view> peek(std::size_t bytes) {
    co_await receive_at_least(bytes);
    co_return unread_.view(std::min(bytes, unread_.size()));
  }
  /// Drops the next `bytes`; gives how many there were: fewer only at the end.
  task<std::uint64_t> skip(std::uint64_t bytes) {
    std::uint64_t missing = bytes;
    while (true) {
      const auto here = static_cast<std::size_t>(std::min<std::uint64_t>(missing, unread_.size()));
      unread_.drop(here);
      missing -= here;
      if (missing == 0) co_return bytes;
      const bool more = co_await receive();
      if (!more) co_return bytes - missing;
    }
  }

  /// Gives what has come and was not read back to the stream, whose next read has it: for whoever moves the stream, or
  /// goes on without this reader. Throws std::system_error when the stream has no room; then it is still here.
  void give_back()
    requires requires(Stream& s, std::span<const std::byte> bytes) { s.put_back(bytes); }
  {
    from_.put_back(std::as_bytes(std::span(unread_.view(unread_.size()))));
    unread_.drop(unread_.size());
  }

  /// Bytes that have come and were not read.
  std::size_t unread() const noexcept { return unread_.size(); }

 private:
  /// False at the end of the stream.
  task<bool> receive() {
    unread_.keep();
    if (pushed_ != nullptr) co_await pushed_->push();
    buffer next = co_await from_.read();
    if (next.empty()) co_return false;
    unread_.add(std::move(next));
    co_return true;
  }
  task<bool> receive_at_least(std::size_t bytes) {
    while (unread_.size() < bytes) {
      const bool more = co_await receive();
      if (!more) co_return false;
    }
    co_return true;
  }
  std::string_view take(std::size_t bytes, std::size_t behind) {
    const std::string_view taken = unread_.view(bytes);
    unread_.drop(bytes + behind);
    return taken;
  }
  framing_error cut_off(std::size_t came, const std::string& wanted) const {
    return {std::errc::bad_message, "the stream ended after " + std::to_string(came) + " bytes, before " + wanted};
  }
  std::optional<std::string_view> end_between_frames(const std::string& wanted) const {
    if (unread_.size() != 0) throw cut_off(unread_.size(), wanted);
    return std::nullopt;
  }

  Stream& from_;
  buffered_writer<Stream>* pushed_ = nullptr;
  detail::unread_bytes unread_;
};

}  // namespace skerry::net
