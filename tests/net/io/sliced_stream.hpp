// SPDX-License-Identifier: Apache-2.0
#pragma once

/// sliced_stream: a byte_stream whose input is real receive buffers cut where the test wants, and whose output is kept.

#include <skerry/framework/io/byte_stream.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/net/stream.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <support/raw_peer.hpp>

namespace skerry::test_support {

/// `text` in one receive buffer. A simulated network may cut it; then it is sent again.
inline task<buffer> in_one_buffer(std::string text) {
  while (true) {
    connected pair = co_await connect_pair();
    co_await pair.theirs.send(text);
    while (queued_bytes(pair.theirs.fd(), SIOCOUTQ) != 0) co_await turn();
    buffer whole = co_await pair.ours.read();
    if (simulated() && whole.size() < text.size()) continue;
    EXPECT_EQ(text_of(whole), text) << "small messages come in one piece";
    co_return whole;
  }
}

class sliced_stream {
 public:
  /// Gives `whole` in pieces that end at `cuts`, which ascend, then the end.
  sliced_stream(buffer whole, std::vector<std::size_t> cuts) : whole_(std::move(whole)), cuts_(std::move(cuts)) {
    cuts_.push_back(whole_.size());
  }

  task<buffer> read() {
    ++reads;
    if (next_ == cuts_.size()) co_return buffer();
    const std::size_t to = cuts_[next_++];
    const std::size_t from = std::exchange(read_, to);
    if (from == to) co_return buffer();
    co_return whole_.slice(from, to - from);
  }
  task<> write(std::span<const std::byte> bytes) {
    if (fails) throw std::system_error(std::make_error_code(std::errc::connection_reset), "send");
    if (wait_before_write != nullptr) co_await wait_before_write->wait();
    written.emplace_back(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  task<> flush() {
    ++flushes;
    co_return;
  }
  void shutdown_output() noexcept {}

  std::vector<std::string> written;
  int reads = 0;
  int flushes = 0;
  bool fails = false;
  event* wait_before_write = nullptr;

 private:
  buffer whole_;
  std::vector<std::size_t> cuts_;
  std::size_t next_ = 0;
  std::size_t read_ = 0;
};
static_assert(byte_stream<sliced_stream>);

}  // namespace skerry::test_support
