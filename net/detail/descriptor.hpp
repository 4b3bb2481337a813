// SPDX-License-Identifier: Apache-2.0
#pragma once

/// pooled_descriptor: what a handle stands for that has a descriptor and operations of its own: a datagram socket, a
/// message socket, a pipe's end, a child process.
///
/// The rule it enforces: the descriptor is closed, in the kernel and by an operation, after the last completion of
/// everything that was armed on it; a handle may be dropped at any time and waits for nothing.
///
///     open --release(): let_go()--> operations end --nobody uses it--> closing --> freed
///       '--close_early(): nothing is armed--> closing, the handle lives on ---------^
///
/// Affinity:   home shard.
/// Ownership:  itself, in the frame pool; its shard's `descriptor_pool` knows it, and keeps the shard's loop turning.
/// Invariants: (1) the handle, each operation in flight and each awaiter that refers to it are one use each; (2) the
///             close begins when no use is left, or by close_early().
/// Limits:     the process's descriptors (RLIMIT_NOFILE).

#include <skerry/framework/backend/operation.hpp>
#include <skerry/framework/detail/intrusive_list.hpp>
#include <skerry/framework/io/buffer_pool.hpp>
#include <skerry/framework/observe/metrics.hpp>
#include <skerry/framework/reactor/poller.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/frame_pool.hpp>
#include <skerry/net/byte_pool.hpp>
#include <skerry/net/detail/freed_descriptors.hpp>
#include <skerry/net/socket.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/toolkit/observe/home_stamp.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace skerry::net::detail {

class pooled_descriptor;
struct flush_tag;

/// All of one shard.
class descriptor_pool final : public poller, public drainable {
 public:
  explicit descriptor_pool(shard& home);
  ~descriptor_pool();

  void begin_drain() noexcept override;
  bool drained() const noexcept override { return serving_ == 0; }
  bool empty() const noexcept override { return descriptors_ == 0; }
  void poll() noexcept override {}
  void flush() noexcept override;
  bool has_work() noexcept override { return !to_flush_.empty(); }
  /// Open ones, closing ones included.
  std::size_t size() const noexcept { return descriptors_; }

  backend& kernel;
  buffer_pool& buffers;
  byte_pool& bytes;
  std::uint64_t datagrams_dropped = 0;
  std::uint64_t pipe_rests_dropped = 0;

 private:
  friend class pooled_descriptor;
  void begin_to_flush();

  shard& home_;
  skerry::detail::intrusive_list<pooled_descriptor, descriptor_pool> all_;
  skerry::detail::intrusive_list<pooled_descriptor, flush_tag> to_flush_;
  bool flushes_ = false;  // the loop knows it
  std::size_t descriptors_ = 0;
  std::size_t serving_ = 0;
  std::vector<observe::registration> published_;
};

/// This shard's pool; made on first use.
descriptor_pool& this_descriptors();

class pooled_descriptor : public skerry::detail::pooled,
                          public skerry::detail::list_hook<descriptor_pool>,
                          public skerry::detail::list_hook<flush_tag> {
 public:
  /// The handle is gone.
  void release() noexcept {
    check_home();
    let_go();
    leave();
  }
  void use() noexcept {
    check_home();
    ++uses_;
  }
  void check_home() const noexcept { home_.check("a socket or pipe"); }
  void leave() noexcept;
  /// -1 once it closes.
  int fd() const noexcept { return fd_; }
  descriptor_pool& pool() const noexcept { return pool_; }
  backend& kernel() const noexcept { return pool_.kernel; }

 protected:
  /// A drain ends the input of one that `serves`, and waits for it.
  pooled_descriptor(unique_fd fd, bool serves);
  virtual ~pooled_descriptor();
  /// Cancels what is armed and drops what nobody will ask for.
  virtual void let_go() noexcept = 0;
  /// Only those that serve.
  virtual void end_input() noexcept {}
  bool draining() const noexcept;
  /// To be called once before flush_soon(): most descriptors have nothing to flush, and their shard's loop asks nobody.
  void may_flush() { pool_.begin_to_flush(); }
  /// Has flush() called in the flush phase, behind all that tasks submit in this turn; forgotten if it is gone by then.
  void flush_soon() noexcept {
    if (!skerry::detail::list_hook<flush_tag>::linked()) pool_.to_flush_.push_back(*this);
  }
  virtual void flush() noexcept {}
  /// For one that is made before what it stands for.
  void opened(unique_fd fd) noexcept { fd_ = fd.release(); }
  /// Closes the descriptor though the handle is there; nothing is armed on it.
  void close_early() noexcept;

 private:
  friend class descriptor_pool;
  struct closing final : operation {
    explicit closing(pooled_descriptor& of) noexcept : owner(of) {}
    void complete(std::int32_t, std::uint32_t) noexcept override {
      descriptor_closed();
      owner.leave();
    }
    pooled_descriptor& owner;
  };

  descriptor_pool& pool_;
  closing closing_{*this};
  int fd_;
  std::uint32_t uses_ = 1;
  bool serves_;
  [[no_unique_address]] home_stamp home_;
};

/// Keeps one from being freed while a call of several steps refers to it.
class descriptor_user {
 public:
  explicit descriptor_user(pooled_descriptor& used) noexcept : used_(used) { used_.use(); }
  descriptor_user(const descriptor_user&) = delete;
  descriptor_user& operator=(const descriptor_user&) = delete;
  ~descriptor_user() { used_.leave(); }

 private:
  pooled_descriptor& used_;
};

}  // namespace skerry::net::detail
