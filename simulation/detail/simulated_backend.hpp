// SPDX-License-Identifier: Apache-2.0
#pragma once

/// simulated_backend: a backend whose kernel is made up. It interprets the same submissions as the others, on nodes.
///
///     submit(op) --submit_and_reap(), wait()--> request --node::start()--> waits at the node
///                                                  |                            | node::changed(): it can go on
///     op.complete() <--reap, in a drawn order-- arrived <--finish(), emit()-----'
///
/// A **request** is one operation in flight: the copy of its submission, where it came from, and the node it waits at.
/// A **node** is what a descriptor stands for: a connection's end, a listener, a file. It answers at once, or keeps the
/// request until it changes.
///
/// A send that does not copy is answered twice: the bytes go at once, and must be as they were when the peer has
/// acknowledged all, or the connection is gone. Only then the second completion comes.
///
/// What goes wrong for every kind of operation is drawn here: interruption, lack of memory, late completions. What
/// goes wrong for one kind (resets, short transfers, full disks) is the node's.
///
/// Affinity:   the simulator's thread, whosever turn it is; what completes is handed over in its own shard's turn.
/// Ownership:  the backend owns its requests until their last completion is handed over.
/// Invariants: completions of one operation keep their order, the last one comes last.

#include <skerry/framework/backend/backend.hpp>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <sys/socket.h>
#include <sys/stat.h>

namespace skerry::sim {
class machine;
}

namespace skerry::sim::detail {

class node;
class shard_runner;
class simulated_backend;

/// One operation in flight.
class request {
 public:
  request(simulated_backend& from, operation& op, const submission& what) noexcept
      : from_(from), op_(op), what_(what) {}

  const submission& what() const noexcept { return what_; }
  submission& what() noexcept { return what_; }
  bool is_poll() const noexcept { return what_.opcode == IORING_OP_POLL_ADD; }
  bool multishot() const noexcept;
  machine& owner() const noexcept;
  simulated_backend& from() const noexcept { return from_; }
  /// Its last completion.
  void finish(std::int32_t result, std::uint32_t flags = 0) noexcept;
  /// One of several.
  void emit(std::int32_t result, std::uint32_t flags = 0) noexcept;
  bool finished() const noexcept { return finished_; }
  /// A buffer of the ring of its shard, filled by the caller: its number, or -1 if none is left.
  int take_buffer(void*& data, std::uint32_t& bytes) noexcept;

  std::uint64_t progress = 0;  ///< of an operation that goes in parts: bytes moved
  std::string left;            ///< of a send without copying: the bytes as they were when it was answered

 private:
  friend class node;
  friend class simulated_backend;
  simulated_backend& from_;
  operation& op_;
  submission what_;
  std::shared_ptr<node> at_;  // while it waits there
  bool finished_ = false;
  bool held_back_ = false;  // a completion of it is late, so all further ones are, too
  std::uint64_t number_ = 0;
};

/// What a descriptor stands for.
class node : public std::enable_shared_from_this<node> {
 public:
  virtual ~node() = default;

  /// Answers, or keeps it until something changes.
  virtual void start(request& r) noexcept;
  /// To be called when requests that wait may go on.
  void changed() noexcept;
  /// Ends what waits, or lets it go on to its end.
  virtual void cancel(request& r) noexcept;
  void cancel_all() noexcept;

  /// POLLIN, POLLOUT and so on, as they are now.
  virtual std::uint32_t events() const noexcept = 0;
  /// Finishes it if it can (true), or leaves it waiting.
  virtual bool attempt(request& r) noexcept = 0;
  /// The last descriptor is closed.
  virtual void closed() noexcept = 0;
  /// Its host has crashed: gone without a word, or with one where `told`.
  virtual void vanished() noexcept { closed(); }

  // What programs do to it beside the backend; 0 or more, or -errno.
  virtual long read_now(msghdr&, int) { return -EINVAL; }
  virtual long write_now(const msghdr&, int) { return -EINVAL; }
  virtual int control(unsigned long, int&) const noexcept { return -ENOTTY; }
  virtual std::uint32_t file_type() const noexcept { return S_IFSOCK; }

  int descriptors = 0;        ///< how many stand for it
  bool non_blocking = false;  ///< O_NONBLOCK

 protected:
  /// It waits no more: who calls this ends it.
  void forget(request& r) noexcept { std::erase(waiting_, &r); }

 private:
  friend class simulated_backend;
  bool try_one(request& r) noexcept;
  std::vector<request*> waiting_;
  bool changing_ = false;
  bool changed_again_ = false;
};

class simulated_backend final : public backend {
 public:
  simulated_backend(machine& of, shard_id shard, unsigned entries);
  ~simulated_backend() override;

  void start() override {}
  void stop() noexcept override { process_all(); }  // the last wake-ups go
  void submit_and_reap() noexcept override;
  void wait(clock::time_point deadline) noexcept override;
  void wake(backend& target) noexcept override;
  void wake_from_outside() noexcept override;
  backend_capabilities capabilities() const noexcept override { return {"simulated", 0}; }
  int register_buffer(unsigned slot, const iovec& memory) noexcept override;

  machine& owner() const noexcept { return of_; }
  void runs_on(shard_runner& runner) noexcept { runner_ = &runner; }
  /// The machine is off: what is in flight ends, and what comes ends at once, with errors.
  void die() noexcept;

 private:
  friend class request;
  struct arrival {
    request* of;
    std::int32_t result;
    std::uint32_t flags;
    bool last;
  };

  void make_room() noexcept override;
  void process_all() noexcept;
  void process(const submission& what) noexcept;
  void arrive(request& r, std::int32_t result, std::uint32_t flags, bool last) noexcept;
  void read_on(request& r, std::weak_ptr<node> at, std::int32_t result) noexcept;
  void look_whether_acknowledged(operation& op, std::uint64_t number, std::weak_ptr<node> at,
                                 std::chrono::nanoseconds next) noexcept;
  void let_go(request& r) noexcept;
  std::int32_t refusal(const submission& what) noexcept;
  void reap() noexcept;

  machine& of_;
  shard_id shard_;
  shard_runner* runner_ = nullptr;
  std::vector<submission> ring_;
  std::uint32_t pending_flag_ = 0;  // what wants_entry() reads
  std::unordered_map<operation*, std::unique_ptr<request>> requests_;
  std::vector<arrival> arrived_;
  std::uint64_t numbers_ = 0;
  std::uint16_t buffers_taken_ = 0;
  bool dead_ = false;
};

}  // namespace skerry::sim::detail
