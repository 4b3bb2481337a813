// SPDX-License-Identifier: Apache-2.0
#pragma once

/// pipes: the two ends of a simulated pipe as nodes, and the streams that a program begins with.
///
///     write --room?--> bytes --> read          reader closed: EPIPE; writer closed: the rest, then the end
///
/// A write of at most PIPE_BUF bytes goes as a whole, or waits.
///
/// Affinity:   the simulator's thread.
/// Ownership:  the ends share what is between them, and know each other while both are open.
/// Limits:     `capacity` bytes. EPIPE comes without SIGPIPE, as to programs that ignore it.

#include <skerry/simulation/detail/streams.hpp>

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include <poll.h>

namespace skerry::sim::detail {

class pipe_end final : public byte_node {
 public:
  static constexpr std::size_t capacity = 64 * 1024;

  struct between {
    std::string bytes;
    std::size_t taken = 0;
    pipe_end *reader = nullptr, *writer = nullptr;  // while they are open
    std::size_t unread() const noexcept { return bytes.size() - taken; }
  };

  pipe_end(machine& of, std::shared_ptr<between> what, bool writes) noexcept;
  ~pipe_end() override;
  /// The reading and the writing end.
  static std::pair<std::shared_ptr<pipe_end>, std::shared_ptr<pipe_end>> make(machine& of);

  int control(unsigned long command, int& value) const noexcept override;
  std::uint32_t file_type() const noexcept override { return S_IFIFO; }
  std::uint32_t events() const noexcept override;
  void closed() noexcept override;
  void vanished() noexcept override { leave(); }

 private:
  int input_state() const noexcept override;
  int output_state(std::size_t bytes) const noexcept override;
  std::size_t take(void* into, std::size_t most) noexcept override;
  std::size_t give(const char* bytes, std::size_t count) noexcept override;
  /// The other end, if it is open.
  pipe_end* other() const noexcept { return writes_ ? between_->reader : between_->writer; }
  void leave() noexcept;

  const std::shared_ptr<between> between_;
  const bool writes_;
};

/// Standard input, output or error of a simulated program: what it is given to read, and what it has written.
class standard_stream final : public byte_node {
 public:
  using byte_node::byte_node;

  std::uint32_t file_type() const noexcept override { return S_IFIFO; }
  std::uint32_t events() const noexcept override { return POLLIN | POLLOUT; }
  void closed() noexcept override { cancel_all(); }
  void vanished() noexcept override {}

  std::string input, output;

 private:
  int input_state() const noexcept override { return input.empty() ? 0 : 1; }
  int output_state(std::size_t) const noexcept override { return 1; }
  std::size_t take(void* into, std::size_t most) noexcept override;
  std::size_t give(const char* bytes, std::size_t count) noexcept override {
    output.append(bytes, count);
    return count;
  }
};

}  // namespace skerry::sim::detail
