// SPDX-License-Identifier: Apache-2.0
#pragma once

/// buffered_writer: small writes to any byte_stream, put together.
///
///     skerry::net::buffered_writer out(connection);
///     skerry::net::buffered_reader in(connection, out);
///     while (auto line = co_await in.read_line(4096)) co_await out.write(*line);
///     co_await out.flush();
///
/// The cork opens by itself: bytes go to the stream when `bytes_max` of them wait, and when the buffered_reader beside
/// it has to wait for the peer. So the answers to everything that came in one piece leave in one, and nobody waits for
/// an answer that was never sent. `push` opens it by hand.
///
/// Affinity:     the stream's shard.
/// Ownership:    the stream, and the writer a reader was given, outlive their users.
/// Lifetime:     what is given to write may go as soon as that returns.
/// Errors:       the stream's. A write after one that was cancelled, or failed, in the middle throws broken_pipe: how
///               much of it has gone is unknown.
/// Cancellation: where the stream's write is, with what waits here. Dropping the writer drops what it holds: a
///               destructor cannot tell an end from a cancel, so an end says `flush`.
/// Limits:       holds `bytes_max`; a piece that is larger is not copied here.

#include <skerry/framework/io/byte_stream.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/net/io/framing_error.hpp>

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

namespace skerry::net {

template <byte_stream Stream>
class buffered_writer {
 public:
  static constexpr std::size_t default_bytes_max = 16 * 1024;

  explicit buffered_writer(Stream& to, std::size_t bytes_max = default_bytes_max) noexcept
      : to_(to), bytes_max_(bytes_max) {}
  buffered_writer(const buffered_writer&) = delete;
  buffered_writer& operator=(const buffered_writer&) = delete;

  /// Takes all of `text`; suspends when the stream does.
  task<> write(std::string_view text) {
    if (try_write(text)) co_return;
    co_await push();
    if (!try_write(text)) co_await hand_over(text);
  }
  /// Takes `text` if there is room for all of it; never suspends.
  bool try_write(std::string_view text) {
    if (text.size() > bytes_max_ - held_.size()) return false;
    require_whole();
    held_.append(text);
    return true;
  }
  /// `text` behind its length, as buffered_reader::read_frame reads it. Throws framing_error if Length cannot say it.
  template <std::unsigned_integral Length, std::endian order = std::endian::big>
  task<> write_frame(std::string_view text) {
    if (text.size() > std::numeric_limits<Length>::max()) {
      throw framing_error(std::errc::message_size, std::to_string(text.size()) +
                                                       " bytes do not fit into a frame whose " + "length has " +
                                                       std::to_string(sizeof(Length)) + " bytes");
    }
    auto length = static_cast<Length>(text.size());
    if constexpr (order != std::endian::native) length = std::byteswap(length);
    char head[sizeof length];
    std::memcpy(head, &length, sizeof length);
    co_await write({head, sizeof head});
    co_await write(text);
  }

  /// Gives the stream what waits here.
  task<> push() {
    require_whole();
    if (held_.empty()) co_return;
    co_await hand_over(held_);
    held_.clear();
  }
  /// Waits until the kernel has everything.
  task<> flush() {
    co_await push();
    co_await to_.flush();
  }
  /// Bytes that wait here.
  std::size_t held() const noexcept { return held_.size(); }

 private:
  void require_whole() const {
    if (!broken_) return;
    throw std::system_error(std::make_error_code(std::errc::broken_pipe), "an earlier write ended in its middle");
  }
  task<> hand_over(std::string_view text) {
    broken_ = true;  // unless it returns
    co_await to_.write(std::as_bytes(std::span(text)));
    broken_ = false;
  }

  Stream& to_;
  const std::size_t bytes_max_;
  std::string held_;
  bool broken_ = false;
};

}  // namespace skerry::net
