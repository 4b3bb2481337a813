// SPDX-License-Identifier: Apache-2.0
#pragma once

/// datagram_state: what a datagram socket stands for: its descriptor, what is armed on it, what has come and is unread.
///
/// Into lent buffers it receives in one of two ways:
///
///     standing   one receive waits on the socket and takes whatever comes, with no submission of its own
///     in turns   poll --something is there--> look, a receive that takes what is there and waits for nothing
///                 ^------ nothing is left ------' '-- it was cut short: once more
///
/// Whoever waits on a socket is looked for, under a lock, whenever a datagram that it sent is freed; on loopback that
/// is in the middle of each send, 60 to 90 ns of 3 us. So who sends a crowd at a time receives in turns, each submitted
/// in the flush phase, behind the sends of its turn. That costs a kernel entry per crowd more, so who gets few at a
/// time goes back to the standing receive.
///
/// Into blocks of its own it receives one at a time.
///
/// Affinity:   home shard.
/// Ownership:  as every pooled_descriptor.
/// Invariants: (1) one receive, look or poll is in flight at most; (2) one is, or is on the pool's list, or waits for a
///             buffer, whenever more is wanted, so that what comes is taken whether or not anybody asks for it.
/// Limits:     as datagram_socket.

#include <skerry/framework/backend/operation.hpp>
#include <skerry/framework/detail/intrusive_list.hpp>
#include <skerry/framework/io/buffer_pool.hpp>
#include <skerry/framework/task/frame_pool.hpp>
#include <skerry/net/byte_pool.hpp>
#include <skerry/net/datagram.hpp>
#include <skerry/net/detail/descriptor.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

namespace skerry::net::detail {

inline constexpr std::size_t datagram_block_bytes = 65536;

/// 64 KiB into which one receive goes, with all that its submission points to; shared by the datagrams in it.
struct datagram_block final : skerry::detail::pooled {
  explicit datagram_block(byte_pool& from) : pool(from), bytes(from.allocate(datagram_block_bytes)) {}
  ~datagram_block() { pool.release(bytes); }
  void leave() noexcept {
    if (--users == 0) delete this;
  }

  byte_pool& pool;
  std::span<std::byte> bytes;
  std::uint32_t users = 1;
  sockaddr_in6 name{};
  iovec piece{};
  msghdr message{};
  alignas(cmsghdr) std::byte control[CMSG_SPACE(sizeof(int))];
};

class datagram_state final : public pooled_descriptor, private buffer_waiter {
 public:
  datagram_state(unique_fd fd, bool serves, const datagram_options& options);

  // --- in ---
  bool ready() const noexcept { return first_ != nullptr || error_ != 0 || ended_; }
  /// Nothing at the end, or if there is nothing. Throws the network's error.
  std::optional<datagram> take();
  void wait(receive_awaiter* reader) noexcept {
    check_home();
    SKERRY_ASSERT(reader == nullptr || reader_ == nullptr, "one task at a time receives from a datagram socket");
    reader_ = reader;
  }

  // --- out ---
  /// What the network has reported, once.
  int take_error() noexcept;
  void begin(send_awaiter& sender) noexcept;
  void cancel(send_awaiter& sender) noexcept;
  void sent(sending& done, std::int32_t result) noexcept;

  bool coalesces() const noexcept { return coalesced_; }
  bool cuts_segments = false;
  datagram_stats stats() const noexcept;

 private:
  struct unread final : skerry::detail::pooled {
    explicit unread(datagram&& received) noexcept : what(std::move(received)) {}
    datagram what;
    unread* next = nullptr;
    bool last_of_block = false;
  };

  struct receiving final : operation {
    explicit receiving(datagram_state& of) noexcept : owner(of) {}
    void complete(std::int32_t result, std::uint32_t flags) noexcept override { owner.received(result, flags); }
    datagram_state& owner;
  };

  ~datagram_state() override;
  void let_go() noexcept override;
  void end_input() noexcept override;
  void received(std::int32_t result, std::uint32_t flags) noexcept;
  void buffer_available() noexcept override;
  buffer_waiter& starved() noexcept { return *this; }

  bool wants_more() const noexcept {
    return !ended_ && !paused_ && error_ == 0 && blocks_unread_ < datagram_socket::blocks_unread_max;
  }
  bool can_arm() const noexcept { return wants_more() && !in_.in_flight() && !buffer_waiter::linked(); }
  void arm() noexcept;
  void resume() noexcept {
    if (can_arm()) in_turns_ ? flush_soon() : arm();
  }
  void flush() noexcept override {
    if (can_arm()) arm();
  }
  void take_turns() noexcept;
  void turn_over(std::int32_t result) noexcept;
  void store_lent(buffer whole) noexcept;
  void store_block(std::size_t full_size) noexcept;
  void store(datagram&& received, bool last_of_block) noexcept;
  void drop_unread() noexcept;
  void pump(send_awaiter& sender) noexcept;

  /// What is armed; see above.
  enum class way : std::uint8_t { standing, poll, look };
  static constexpr std::size_t crowd = 16;         // sends at a time
  static constexpr unsigned kernel_look = 32;      // datagrams after which the kernel ends a look, or the one behind
  static constexpr unsigned few = 8, few_max = 8;  // datagrams of a look, and looks that brought fewer

  receiving in_{*this};
  receive_awaiter* reader_ = nullptr;
  unread* first_ = nullptr;
  unread* last_ = nullptr;
  datagram_block* block_ = nullptr;  // being filled
  std::size_t unread_count_ = 0;
  std::size_t blocks_unread_ = 0;
  std::size_t sends_ = 0;
  unsigned looked_ = 0;  // datagrams of this look
  unsigned quiet_ = 0;   // looks in a row that brought few
  skerry::detail::intrusive_list<send_awaiter, send_awaiter> waiting_;
  msghdr layout_{};
  datagram_stats counted_;
  int error_ = 0;
  const std::size_t bytes_max_;
  const bool in_blocks_;
  bool coalesced_ = false;
  bool paused_ = false;
  bool ended_ = false;
  bool in_turns_ = false;
  bool look_next_ = false;
  way armed_ = way::standing;
};

}  // namespace skerry::net::detail
