// SPDX-License-Identifier: Apache-2.0
/// The epoll backend: the same submissions where io_uring is forbidden, by readiness and calls that do not block.
///
///     begin(submission) --done at once------------------------------------------> complete()
///           |            --has to wait--> watch_list --event--> attempt() -------^
///           '            --regular file, names--> blocking_pool --its eventfd----^
///
///     tried at once, then when it may work        send, sendmsg, connect, recvmsg
///     when there is something                     recv, accept, poll; transfers of what knows readiness
///     at once out of the page cache, or thread    read of a regular file
///     on a thread                                 writes of one, names, sizes, syncs, close_by_worker
///     at once                                     close
///
/// A request and its answer cost a wait, a receive and a send, as in a server that was written for epoll. A multishot
/// poll reports edges, as in a ring: it waits in an epoll instance of its own, which is made with the first and is
/// registered with the other. Level-triggered, it would be reported until somebody reads.
///
/// What a complete() submits or cancels is queued and begun in the next turn, so that no list changes while it is
/// walked and no connection keeps the others out.
///
/// Affinity:     as backend. The descriptors that are accepted from or connected become non-blocking, with all who have
///               their descriptions: for a single call there is no flag.
/// Limits:       `burst_max` receives and accepts per event, `messages_max` messages. The queue of submissions and the
///               jobs grow with the operations in flight; where memory is short an operation ends with ENOMEM. Shards
///               that accept from one socket are all woken by one connection, and all but one find nothing.
/// Cancellation: what waits ends at once; what a thread has begun ends by itself.

#include <skerry/backends/choose.hpp>
#include <skerry/backends/detail/blocking_pool.hpp>
#include <skerry/backends/detail/file_calls.hpp>
#include <skerry/backends/detail/watch_list.hpp>
#include <skerry/framework/detail/poison.hpp>
#include <skerry/framework/startup_error.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <climits>
#include <cstring>
#include <new>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/eventfd.h>

namespace skerry {

namespace {

using detail::is_poll;
using detail::is_read;
using detail::is_transfer;
using detail::job;
using detail::memory_of;
using detail::owner_of;
using detail::wants_edges;
using detail::watch_list;

constexpr int burst_max = 16, events_max = 256;
/// Messages are small, and who sends many at a time loses what a receive buffer has no room for.
constexpr int messages_max = 64;
/// Messages after which a receive that may not wait ends, as the kernel's own does.
constexpr int look_max = 32;
/// So many operations done in a turn are worth a look at events in the same one: they may have caused some.
constexpr std::uint64_t crowd = 32;
constexpr std::uint32_t receive_buffers_max = 2048;
constexpr std::size_t jobs_per_block = 64;
constexpr auto at_once = clock::time_point::min();

bool may_not_wait(const job& j) noexcept {
  return j.what.opcode == IORING_OP_RECVMSG && (j.what.msg_flags & MSG_DONTWAIT) != 0;
}
bool is_multishot(const submission& s) noexcept { return s.ioprio != 0; }
bool is_send(const submission& s) noexcept { return s.opcode == IORING_OP_SEND || s.opcode == IORING_OP_SEND_ZC; }

class epoll_backend final : public backend {
 public:
  explicit epoll_backend(unsigned entries)
      : backend(receive_buffers_max),
        queue_(entries),
        levels_(0, stats_.kernel_entries),
        event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    slots_ = queue_.data();
    mask_ = entries - 1;
    full_at_ = entries;
    polled_ = true;
    kernel_flags_ = &entry_flags_;
    // By its edges: each write is one, and nobody needs to read the count.
    if (const int refused = levels_.control(EPOLL_CTL_ADD, event_.fd, EPOLLIN | EPOLLET); refused < 0) {
      throw std::system_error(-refused, std::generic_category(), "epoll_ctl");
    }
  }

  void start() override {}
  /// Who was abandoned may wait for the answer to its cancel, and nobody for it.
  void stop() noexcept override {
    while (has_submissions()) submit_and_reap();
  }
  backend_capabilities capabilities() const noexcept override { return {"epoll", 0}; }

  /// There is nothing to be gained by it here, and all that asks for it works.
  int register_buffer(unsigned slot, const iovec& memory) noexcept override {
    if (slot >= registered_buffers_max) return -EINVAL;
    registered_[slot] = memory;
    return 0;
  }

  void submit_and_reap() noexcept override {
    begin_queued();
    look(at_once);
  }

  void wait(clock::time_point deadline) noexcept override {
    const std::uint64_t before = stats_.completions;
    begin_queued();
    // What was done at once may have woken a task or set a timer: only the loop knows. It comes back, and then, or if
    // it has been sent back just now, events get their look.
    const std::uint64_t done = stats_.completions - before;
    if (done != 0 && done < crowd && !std::exchange(came_back_, true)) return;
    came_back_ = false;
    if (done == 0) ++stats_.waits;
    look(done != 0 ? at_once : deadline);
  }

  void wake(backend& target) noexcept override {
    ++stats_.wakes_sent;
    target.wake_from_outside();
  }

  void wake_from_outside() noexcept override {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(event_.fd, &one, sizeof one);
  }

 private:
  /// Counts a system call; its result or -errno.
  std::int32_t call(ssize_t returned) noexcept {
    return call_result(returned < 0 ? -errno : static_cast<std::int32_t>(returned));
  }
  std::int32_t call_result(std::int32_t result) noexcept {
    ++stats_.kernel_entries;
    return result;
  }

  void make_room() noexcept override {
    ++stats_.full;
    std::vector<submission> larger(2 * queue_.size());
    for (std::uint32_t i = submitted_; i != tail_; ++i) larger[i & (2 * mask_ + 1)] = slots_[i & mask_];
    queue_.swap(larger);
    slots_ = queue_.data();
    mask_ = 2 * mask_ + 1;
    full_at_ = submitted_ + mask_ + 1;
  }

  // --- jobs. Those that can be cancelled are found by the address of their operation.

  job*& bucket(const operation& op) noexcept {
    const auto key = reinterpret_cast<std::uintptr_t>(&op) * 0x9e3779b97f4a7c15;
    return buckets_[(key >> 32) & (buckets_.size() - 1)];
  }

  /// Null where there is no memory.
  job* make(const submission& s) noexcept {
    if (free_ == nullptr && !grow()) return nullptr;
    job* made = std::exchange(free_, free_->next);
    *made = {.what = s};
    return made;
  }

  bool grow() noexcept {
    try {
      std::vector<job*> buckets(std::bit_ceil(blocks_.size() + 1) * jobs_per_block);
      auto& block = blocks_.emplace_back(std::make_unique<job[]>(jobs_per_block));
      for (std::size_t i = 0; i < jobs_per_block; ++i) block[i].next = std::exchange(free_, &block[i]);
      buckets_.swap(buckets);
      for (job* chain : buckets) {
        while (chain != nullptr) note(*std::exchange(chain, chain->same_bucket));
      }
    } catch (const std::bad_alloc&) {
      return false;
    }
    return true;
  }

  void note(job& j) noexcept {
    job*& chain = bucket(owner_of(j));
    j.same_bucket = std::exchange(chain, &j);
  }

  void done(job& j) noexcept {
    operation& op = owner_of(j);
    const auto [result, flags] = std::pair(j.result, j.flags);
    j.next = std::exchange(free_, &j);
    deliver(op, result, flags);
  }

  /// Of one that was kept.
  void finish(job& j) noexcept {
    job** at = &bucket(owner_of(j));
    while (*at != &j) at = &(*at)->same_bucket;
    *at = j.same_bucket;
    if (!j.pooled) list_of(j).remove(j);
    done(j);
  }

  watch_list& list_of(const job& j) noexcept { return wants_edges(j) ? *edges_ : levels_; }

  // --- submissions

  void begin_queued() noexcept {
    for (const std::uint32_t end = tail_; submitted_ != end;) {
      const submission s = slots_[submitted_++ & mask_];  // a completion may make room, and move them
      full_at_ = submitted_ + mask_ + 1;
      ++stats_.submissions;
      begin(s);
    }
    detail::intrusive_list<operation, cancel_tag> not_begun;  // submitted by a completion just now
    while (!cancels_.empty()) {
      operation& op = cancels_.pop_front();
      job* found = bucket(op);
      while (found != nullptr && &owner_of(*found) != &op) found = found->same_bucket;
      if (found == nullptr) not_begun.push_back(op);
      // What a thread has begun ends by itself.
      else if (!found->pooled || pool_.withdraw(*found))
        end(*found, -ECANCELED);
    }
    while (!not_begun.empty()) cancels_.push_back(not_begun.pop_front());
  }

  /// What was sent is told.
  void end(job& j, std::int32_t result) noexcept {
    if (j.result <= 0 || !is_send(j.what)) j.result = result;
    finish(j);
  }
  void end_all(int fd) noexcept {
    while (job* j = levels_.first(fd)) end(*j, -EBADF);
    while (job* j = edges_ ? edges_->first(fd) : nullptr) end(*j, -EBADF);
  }

  void begin(const submission& s) noexcept {
    if (s.opcode == IORING_OP_CLOSE) end_all(s.fd);
    job* made = nullptr;
    if (s.opcode != IORING_OP_CLOSE || s.flags == IOSQE_ASYNC) made = make(s);
    if (made == nullptr) {
      const bool closes = s.opcode == IORING_OP_CLOSE;
      return deliver(*reinterpret_cast<operation*>(s.user_data), closes ? call(::close(s.fd)) : -ENOMEM, 0);
    }
    job& j = *made;
    switch (s.opcode) {
      case IORING_OP_ACCEPT:
      case IORING_OP_CONNECT:
        if (const int flags = ::fcntl(s.fd, F_GETFL); flags >= 0 && (flags & O_NONBLOCK) == 0) {
          ::fcntl(s.fd, F_SETFL, flags | O_NONBLOCK);
        }
        if (s.opcode == IORING_OP_ACCEPT) return keep(j);
        [[fallthrough]];
      case IORING_OP_RECVMSG:  // what came before a crowd of sends in this turn would have no room behind them
      case IORING_OP_SEND:
      case IORING_OP_SEND_ZC:
      case IORING_OP_SENDMSG: return attempt(j, 0) ? done(j) : keep(j);
      case IORING_OP_POLL_ADD:
      case IORING_OP_RECV: return keep(j);
      default: return is_transfer(s) ? begin_transfer(j) : post(j);
    }
  }

  /// Until there is an event.
  void keep(job& j) noexcept {
    int result = wants_edges(j) ? make_edges() : 0;
    if (result == 0) result = list_of(j).add(j);
    if (result == -ENOENT) {
      end_all(j.what.fd);
      result = list_of(j).add(j);
    }
    if (result == 0) return note(j);
    j.result = result;
    if (result == -EPERM) {  // no readiness: a regular file, or what the call itself refuses
      if (is_transfer(j.what)) return begin_on_file(j);
      if (!wants_edges(j)) attempt(j, EPOLLIN | EPOLLOUT);
    }
    done(j);
  }

  /// 0 or -errno.
  int make_edges() noexcept {
    if (edges_) return 0;
    try {
      edges_.emplace(EPOLLET, stats_.kernel_entries);
    } catch (const std::system_error& refused) {
      return -refused.code().value();
    }
    const int result = levels_.control(EPOLL_CTL_ADD, edges_->fd(), EPOLLIN);
    if (result < 0) edges_.reset();
    return result;
  }

  void begin_transfer(job& j) noexcept {
    const submission& s = j.what;
    if (s.opcode == IORING_OP_READ_FIXED || s.opcode == IORING_OP_WRITE_FIXED) {
      const iovec memory = s.buf_index < registered_buffers_max ? registered_[s.buf_index] : iovec{};
      const auto from = reinterpret_cast<std::uint64_t>(memory.iov_base);
      if (s.addr < from || s.addr + s.len > from + memory.iov_len) {
        j.result = -EFAULT;
        return done(j);
      }
    }
    keep(j);
  }

  /// What the page cache has is read here: a thread would take longer. A read that comes out short is made again there,
  /// which finds out whether this is the end; not so where it moves the place at which the descriptor stands. One of
  /// O_DIRECT would wait for the device.
  void begin_on_file(job& j) noexcept {
    if (!aim_at_buffer(j)) return done(j);
    take_buffer(j);
    const submission& s = j.what;
    const auto offset = static_cast<std::int64_t>(s.off);
    if (is_read(s) && offset != detail::where_it_stands && (::fcntl(s.fd, F_GETFL) & O_DIRECT) == 0) {
      j.result = call_result(detail::transfer(s, offset, RWF_NOWAIT));
      if (j.result >= 0 && static_cast<std::uint64_t>(j.result) == detail::bytes_of(s)) return done(j);
    }
    j.result = 0;
    post(j);
  }

  void post(job& j) noexcept {
    j.pooled = true;
    note(j);
    pool_.post(j);
  }

  /// Lets a read into one of the ring's buffers aim at the next one; false where there is none.
  bool aim_at_buffer(job& j) noexcept {
    if ((j.what.flags & IOSQE_BUFFER_SELECT) == 0) return true;
    const io_uring_buf* front = receive_buffers_.front();
    if (front == nullptr) {
      j.result = -ENOBUFS;
      return false;
    }
    j.what.addr = front->addr;
    j.what.len = std::min(j.what.len, front->len);
    detail::unpoison(memory_of<void>(j.what), front->len);
    return true;
  }
  /// It is the job's until its completion, and the reader's from then on.
  void take_buffer(job& j) noexcept {
    if ((j.what.flags & IOSQE_BUFFER_SELECT) == 0) return;
    j.flags = lent(*receive_buffers_.front());
    receive_buffers_.pop();
  }
  static std::uint32_t lent(const io_uring_buf& b) noexcept {
    return IORING_CQE_F_BUFFER | std::uint32_t{b.bid} << IORING_CQE_BUFFER_SHIFT;
  }

  // --- events

  void look(clock::time_point deadline) noexcept {
    epoll_event found[events_max];
    const int count = wait_for(found, deadline);
    for (int i = 0; i < count; ++i) {
      const int fd = found[i].data.fd;
      if (fd == event_.fd) {
        for (job* next = pool_.take_done(); next != nullptr;) finish(*std::exchange(next, next->next));
      } else if (edges_ && fd == edges_->fd()) {
        epoll_event edges[events_max];
        const int there = call(::epoll_wait(fd, edges, events_max, 0));
        for (int k = 0; k < there; ++k) visit(*edges_, edges[k].data.fd, edges[k].events);
      } else {
        visit(levels_, fd, found[i].events);
      }
    }
  }

  int wait_for(epoll_event* found, clock::time_point deadline) noexcept {
    const bool for_ever = deadline == clock::time_point::max();
    std::int64_t ns = 0;
    if (!for_ever && deadline != at_once) ns = std::max<std::int64_t>((deadline - clock::now()).count(), 0);
    if (ns != 0) {
      const timespec timeout{ns / 1'000'000'000, ns % 1'000'000'000};
      const int count = call(::epoll_pwait2(levels_.fd(), found, events_max, &timeout, nullptr));
      if (count != -ENOSYS && count != -EPERM) return count;  // sandboxes may not know it
    }
    const auto ms = std::min<std::int64_t>((ns + 999'999) / 1'000'000, INT_MAX);
    return call(::epoll_wait(levels_.fd(), found, events_max, for_ever ? -1 : static_cast<int>(ms)));
  }

  void visit(watch_list& in, int fd, std::uint32_t events) noexcept {
    bool wanted = false;
    for (job* next = in.first(fd); next != nullptr;) {
      job& j = *std::exchange(next, next->next);
      if ((events & (detail::wanted_by(j) | EPOLLERR | EPOLLHUP)) == 0) continue;
      wanted = true;
      if (attempt(j, events)) finish(j);
    }
    if (!wanted) in.not_wanted(fd);
  }

  /// True when `j.result` is that of the last completion.
  bool attempt(job& j, std::uint32_t events) noexcept {
    submission& s = j.what;
    switch (s.opcode) {
      case IORING_OP_POLL_ADD:
        j.result = static_cast<std::int32_t>(events & (s.poll32_events | EPOLLERR | EPOLLHUP));
        if (wants_edges(j)) deliver(owner_of(j), j.result, IORING_CQE_F_MORE);
        return !wants_edges(j);
      case IORING_OP_ACCEPT: return accept(j);
      case IORING_OP_RECV: return receive(j);
      case IORING_OP_RECVMSG:
        if (is_multishot(s)) return receive_messages(j);
        j.result = call(::recvmsg(s.fd, memory_of<msghdr>(s), static_cast<int>(s.msg_flags | MSG_DONTWAIT)));
        return j.result != -EAGAIN;
      case IORING_OP_CONNECT:  // the second call tells how the first went
        j.result = call(::connect(s.fd, memory_of<const sockaddr>(s), static_cast<socklen_t>(s.off)));
        return j.result != -EINPROGRESS && j.result != -EALREADY;
      case IORING_OP_SENDMSG:
        j.result = call(::sendmsg(s.fd, memory_of<const msghdr>(s), static_cast<int>(s.msg_flags | MSG_DONTWAIT)));
        return j.result != -EAGAIN;
      case IORING_OP_SEND:
      case IORING_OP_SEND_ZC: return send(j);  // which copies, and so has no second completion
      default:                                 // a transfer of what knows readiness
        if (!aim_at_buffer(j)) return true;
        j.result = call_result(detail::transfer_ready(s));
        if (j.result > 0) {
          take_buffer(j);
        } else if ((s.flags & IOSQE_BUFFER_SELECT) != 0) {  // nothing is lent while it waits
          detail::poison(memory_of<void>(s), s.len);
        }
        return j.result != -EAGAIN;
    }
  }

  bool accept(job& j) noexcept {
    const submission& s = j.what;
    for (int i = 0; i < burst_max && !owner_of(j).linked(); ++i) {
      j.result = call(::accept4(s.fd, nullptr, nullptr, static_cast<int>(s.accept_flags)));
      if (j.result < 0) return j.result != -EAGAIN;
      if (!is_multishot(s)) return true;
      deliver(owner_of(j), j.result, IORING_CQE_F_MORE);
    }
    return false;
  }

  bool send(job& j) noexcept {
    submission& s = j.what;
    const auto* to = reinterpret_cast<const sockaddr*>(s.addr2);
    const int flags = static_cast<int>(s.msg_flags | MSG_DONTWAIT);
    const std::int32_t sent = call(::sendto(s.fd, memory_of<const void>(s), s.len, flags, to, s.addr_len));
    if (sent == -EAGAIN) return false;
    if (sent < 0) {
      if (j.result <= 0) j.result = sent;
      return true;
    }
    j.result = std::max(j.result, 0) + sent;
    s.addr += static_cast<std::uint32_t>(sent);
    return (s.len -= static_cast<std::uint32_t>(sent)) == 0;
  }

  bool receive(job& j) noexcept {
    for (int i = 0; i < burst_max && !owner_of(j).linked(); ++i) {
      const io_uring_buf* front = receive_buffers_.front();
      if (front == nullptr) return j.result = -ENOBUFS, true;
      const std::uint32_t size = front->len;
      void* const memory = reinterpret_cast<void*>(front->addr);
      detail::unpoison(memory, size);
      j.result = call(::recv(j.what.fd, memory, size, MSG_DONTWAIT));
      detail::poison(memory, size);
      if (j.result <= 0) return j.result != -EAGAIN;
      const std::uint32_t flags = lent(*front);
      receive_buffers_.pop();
      deliver(owner_of(j), j.result, IORING_CQE_F_MORE | flags);
      if (j.result != static_cast<std::int32_t>(size)) return false;  // that was all, as a rule: no call to be told so
    }
    return false;
  }

  /// Each behind an io_uring_recvmsg_out and the areas for its name and control data, whose lengths `layout` says.
  bool receive_messages(job& j) noexcept {
    const submission& s = j.what;
    const msghdr& layout = *memory_of<const msghdr>(s);
    const std::size_t head = sizeof(io_uring_recvmsg_out) + layout.msg_namelen + layout.msg_controllen;
    const int count = may_not_wait(j) ? look_max : messages_max;
    for (int i = 0; i < count && !owner_of(j).linked(); ++i) {
      const io_uring_buf* front = receive_buffers_.front();
      if (front == nullptr) return j.result = -ENOBUFS, true;
      if (front->len < head) return j.result = -EFAULT, true;
      auto* const memory = reinterpret_cast<std::byte*>(front->addr);
      iovec piece{memory + head, front->len - head};
      msghdr message{};
      message.msg_name = layout.msg_namelen != 0 ? memory + sizeof(io_uring_recvmsg_out) : nullptr;
      message.msg_namelen = layout.msg_namelen;
      message.msg_control = memory + sizeof(io_uring_recvmsg_out) + layout.msg_namelen;
      message.msg_controllen = layout.msg_controllen;
      message.msg_iov = &piece;
      message.msg_iovlen = 1;
      detail::unpoison(memory, front->len);
      j.result = call(::recvmsg(s.fd, &message, static_cast<int>(s.msg_flags | MSG_DONTWAIT)));
      if (j.result >= 0) {
        const io_uring_recvmsg_out out{message.msg_namelen, static_cast<std::uint32_t>(message.msg_controllen),
                                       static_cast<std::uint32_t>(j.result),
                                       static_cast<std::uint32_t>(message.msg_flags)};
        std::memcpy(memory, &out, sizeof out);
      }
      detail::poison(memory, front->len);
      if (j.result < 0) return j.result != -EAGAIN || may_not_wait(j);
      const bool last = j.result == 0;
      j.result =
          static_cast<std::int32_t>(head + std::min<std::size_t>(static_cast<std::size_t>(j.result), piece.iov_len));
      const std::uint32_t flags = lent(*front);
      receive_buffers_.pop();
      if (last) return j.flags = flags, true;
      deliver(owner_of(j), j.result, IORING_CQE_F_MORE | flags);
    }
    if (!may_not_wait(j)) return false;
    j.result = owner_of(j).linked() ? -ECANCELED : -EAGAIN;
    return true;
  }

  std::vector<submission> queue_;
  std::vector<std::unique_ptr<job[]>> blocks_;
  std::vector<job*> buckets_{1};
  job* free_ = nullptr;
  watch_list levels_;
  std::optional<watch_list> edges_;
  detail::own_descriptor event_;
  detail::blocking_pool pool_{event_.fd};
  std::array<iovec, registered_buffers_max> registered_{};
  bool came_back_ = false;
};

}  // namespace

std::vector<std::unique_ptr<backend>> make_epoll_backends(std::size_t shards, unsigned entries) {
  std::vector<std::unique_ptr<backend>> made;
  try {
    while (made.size() < shards) made.push_back(std::make_unique<epoll_backend>(entries));
  } catch (const std::system_error& refused) {
    throw startup_error(
        fmt::format("cannot set up epoll for {} shard{}: {}\n"
                    "raise the limit of descriptors (ulimit -n 65536), or run fewer shards (--shards)",
                    shards, shards == 1 ? "" : "s", refused.code().message()));
  }
  return made;
}

}  // namespace skerry
