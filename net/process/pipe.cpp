// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/io/readiness.hpp>
#include <skerry/net/detail/descriptor.hpp>
#include <skerry/net/process/pipe.hpp>
#include <skerry/timers/timer.hpp>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdint>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace skerry::net {

namespace {

[[noreturn]] void fail(int error, const char* what) { throw std::system_error(error, std::generic_category(), what); }

/// A file's place is its own; pipes and terminals have none.
constexpr std::uint64_t where_it_stands = UINT64_MAX;

bool nothing_happened(std::int32_t result) noexcept {
  return result == -EINTR || result == -EAGAIN || result == -ECANCELED;
}

unique_fd duplicate_of(int fd) {
  if (fd < 0) return unique_fd();
  unique_fd made(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (made.get() < 0) fail(errno, ("descriptor " + std::to_string(fd)).c_str());
  return made;
}

/// Whether a read or write may wait in the kernel. Those of sockets ask for it themselves, those of files never wait
/// for somebody.
bool may_wait(int fd) noexcept {
  struct stat kind{};
  return ::fstat(fd, &kind) != 0 || S_ISFIFO(kind.st_mode) || S_ISCHR(kind.st_mode);
}

void ignore_broken_pipes() noexcept {
  struct sigaction now{};
  if (::sigaction(SIGPIPE, nullptr, &now) == 0 && now.sa_handler == SIG_DFL) ::signal(SIGPIPE, SIG_IGN);
}

}  // namespace

namespace detail {

/// What both sides have in common: one operation, which is a poll first where the descriptor is shared.
class pipe_side : public pooled_descriptor {
 public:
  pipe_side(unique_fd fd, bool is_shared)
      : pooled_descriptor(std::move(fd), false), polls_first_(is_shared && may_wait(this->fd())) {}

 protected:
  struct request final : operation {
    explicit request(pipe_side& of) noexcept : owner(of) {}
    void complete(std::int32_t result, std::uint32_t flags) noexcept override { owner.completed(result, flags); }
    pipe_side& owner;
  };

  virtual void submit_it() noexcept = 0;
  virtual void done(std::int32_t result, std::uint32_t flags) noexcept = 0;
  /// Whether what was polled for is still wanted.
  virtual bool wanted() const noexcept = 0;
  virtual std::uint32_t events() const noexcept = 0;

  bool in_flight() const noexcept { return request_.in_flight(); }
  submission& slot() noexcept { return kernel().submit(request_); }
  void cancel() noexcept { kernel().cancel(request_); }
  bool polls_first() const noexcept { return polls_first_; }
  /// `unless_ready`: the kernel said that it is not.
  void ask(bool unless_ready = false) noexcept {
    use();
    polling_ = polls_first_ || unless_ready;
    if (polling_) return prepare::poll(slot(), fd(), events());
    submit_it();
  }

 private:
  void completed(std::int32_t result, std::uint32_t flags) noexcept {
    if (std::exchange(polling_, false) && result >= 0) {
      if (wanted()) return submit_it();
      result = -ECANCELED;
    }
    done(result, flags);
    leave();
  }

  request request_{*this};
  const bool polls_first_;
  bool polling_ = false;
};

class pipe_input final : public pipe_side, private buffer_waiter {
 public:
  using pipe_side::pipe_side;

  bool ready() const noexcept { return !kept_.empty() || ended_ || error_ != 0; }
  buffer take() {
    if (!kept_.empty()) return std::exchange(kept_, buffer());
    if (const int error = std::exchange(error_, 0); error != 0) fail(error, "read from a pipe");
    return {};
  }
  void wait(pipe_read_awaiter& reader) noexcept {
    check_home();
    SKERRY_ASSERT(reader_ == nullptr, "one task at a time reads from a pipe");
    reader_ = &reader;
    if (!in_flight() && !starved().linked()) ask();
  }
  void wait_no_more() noexcept {
    std::exchange(reader_, nullptr)->wake();
    if (starved().linked()) starved().unlink();
    cancel();
  }

 private:
  ~pipe_input() override { SKERRY_ASSERT(reader_ == nullptr, "nobody reads from a pipe that is gone"); }

  buffer_waiter& starved() noexcept { return *this; }
  void buffer_available() noexcept override { ask(); }
  bool wanted() const noexcept override { return reader_ != nullptr; }
  std::uint32_t events() const noexcept override { return POLLIN; }
  void submit_it() noexcept override {
    prepare::read_lent(slot(), fd(), buffer_pool::buffer_bytes, where_it_stands, buffer_pool::group);
  }

  void done(std::int32_t result, std::uint32_t flags) noexcept override {
    buffer_pool& buffers = pool().buffers;
    if (completion::has_buffer(flags)) {
      buffer got = buffers.take(completion::buffer_number(flags), static_cast<std::uint32_t>(std::max(result, 0)));
      if (result > 0 && !dropped_) kept_ = std::move(got);
    }
    if (result == 0) ended_ = true;
    if (result < 0 && result != -ENOBUFS && !nothing_happened(result)) error_ = -result;
    if (reader_ != nullptr && ready()) {
      std::exchange(reader_, nullptr)->wake();
    } else if (reader_ != nullptr && (result != -ENOBUFS || buffers.wait_for_buffer(*this))) {
      ask(result == -EAGAIN);  // somebody else may wait by now, for whom a cancelled answer is none
    }
    if (result <= 0 && result != -ENOBUFS) buffers.pass_on();
  }

  void let_go() noexcept override {
    dropped_ = true;
    kept_ = buffer();
    ended_ = true;
    if (reader_ != nullptr) return wait_no_more();
    cancel();
  }

  pipe_read_awaiter* reader_ = nullptr;
  buffer kept_;
  int error_ = 0;
  bool ended_ = false;
  bool dropped_ = false;
};

class pipe_output_awaiter;

class pipe_output final : public pipe_side, private timers::timer {
 public:
  pipe_output(unique_fd fd, bool is_shared) : pipe_side(std::move(fd), is_shared) { ignore_broken_pipes(); }

  std::size_t give(std::span<const std::byte> bytes) {
    if (error_ != 0) fail(error_, "write to a pipe");
    SKERRY_ASSERT(!shutdown_wanted_, "nothing is written after shutdown_output");
    const std::size_t taken =
        std::min(pipe_stream::high_water - std::min(pipe_stream::high_water, pending_.size()), bytes.size());
    if (taken == 0) return 0;
    pending_.append(pool().bytes, bytes.first(taken));
    if (!in_flight()) send_pending();
    return taken;
  }
  bool empty() const noexcept { return pending_.empty() && sending_.empty(); }
  int error() const noexcept { return error_; }
  void wait(pipe_output_awaiter* writer) noexcept {
    check_home();
    SKERRY_ASSERT(writer == nullptr || writer_ == nullptr, "one task at a time writes to a pipe");
    writer_ = writer;
  }
  void shut_down() noexcept {
    shutdown_wanted_ = true;
    close_if_done();
  }

 private:
  ~pipe_output() override {
    SKERRY_ASSERT(writer_ == nullptr, "nobody writes to a pipe that is gone");
    if (armed()) timers::this_timers().cancel(*this);
  }

  bool wanted() const noexcept override { return !sending_.empty() && error_ == 0; }
  std::uint32_t events() const noexcept override { return POLLOUT; }
  void submit_it() noexcept override {
    const std::span<const std::byte> bytes = sending_.bytes();
    const std::size_t most = polls_first() ? PIPE_BUF : bytes.size();
    prepare::write(slot(), fd(), bytes.data(), static_cast<std::uint32_t>(std::min(bytes.size(), most)),
                   where_it_stands);
  }

  void send_pending(bool unless_ready = false) noexcept {
    if (sending_.empty()) {
      sending_.swap(pending_);
      if (!sending_.empty()) wake_writer();  // there is room again while this is on its way
    }
    if (!sending_.empty()) ask(unless_ready);
  }

  void done(std::int32_t result, std::uint32_t) noexcept override {
    if (result > 0) sending_.consume(pool().bytes, static_cast<std::size_t>(result));
    if (result == 0) result = -EIO;  // it took nothing and does not say why
    if (result < 0 && !nothing_happened(result)) break_off(-result);
    if (error_ != 0) {
      sending_.clear(pool().bytes);
    } else {
      send_pending(result == -EAGAIN);
    }
    if (empty()) wake_writer();
    close_if_done();
  }

  void close_if_done() noexcept {
    if (shutdown_wanted_ && empty() && !in_flight() && fd() >= 0) close_early();
  }

  /// What is in sending_ stays until the kernel has let go of it.
  void break_off(int error) noexcept {
    error_ = error;
    pending_.clear(pool().bytes);
    wake_writer();
  }

  void let_go() noexcept override {
    shutdown_wanted_ = true;
    if (!empty()) timers::this_timers().arm(*this, clock::now() + pipe_stream::send_rest_max);
  }
  void expired() noexcept override {
    if (empty()) return;
    ++pool().pipe_rests_dropped;
    break_off(ETIMEDOUT);
    cancel();
  }
  void wake_writer() noexcept;

  byte_queue pending_;
  byte_queue sending_;
  pipe_output_awaiter* writer_ = nullptr;
  int error_ = 0;
  bool shutdown_wanted_ = false;
};

/// Waits for room, or with `all_sent` until the kernel has everything.
class [[nodiscard("co_await it")]] pipe_output_awaiter final : public skerry::detail::leaf {
 public:
  pipe_output_awaiter(pipe_output& to, bool all_sent) noexcept : to_(to), all_sent_(all_sent) {}
  bool await_ready() const noexcept { return all_sent_ && (to_.empty() || to_.error() != 0); }
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    to_.wait(this);
    suspend(resume_point);
  }
  void await_resume() const noexcept {}
  void let_go() noexcept override {
    to_.wait(nullptr);
    wake();
  }
  const char* describe() const noexcept override { return "write pipe"; }

 private:
  friend class pipe_output;
  pipe_output& to_;
  bool all_sent_;
};

void pipe_output::wake_writer() noexcept {
  if (writer_ != nullptr) std::exchange(writer_, nullptr)->wake();
}

}  // namespace detail

// --- awaiter ---

pipe_read_awaiter::pipe_read_awaiter(detail::pipe_input* from) noexcept : from_(from) {
  if (from_ != nullptr) from_->use();
}
pipe_read_awaiter::~pipe_read_awaiter() {
  if (from_ != nullptr) from_->leave();
}
bool pipe_read_awaiter::await_ready() const noexcept { return from_ == nullptr || from_->ready(); }
void pipe_read_awaiter::await_suspend(std::coroutine_handle<> resume_point) noexcept {
  suspend(resume_point);
  from_->wait(*this);
}
buffer pipe_read_awaiter::await_resume() {
  if (from_ == nullptr) return {};
  return from_->take();
}
void pipe_read_awaiter::let_go() noexcept { from_->wait_no_more(); }

// --- the handle ---

namespace {

template <class Side>
Side* side_of(unique_fd fd, bool is_shared) {
  if (fd.get() < 0) return nullptr;
  if (!is_shared) set_non_blocking(fd.get());
  return new Side(std::move(fd), is_shared);
}

}  // namespace

pipe_stream::pipe_stream(unique_fd in, unique_fd out) : pipe_stream(nullptr, nullptr) {
  // Whoever throws from here on is whole already: its destructor runs.
  in_ = side_of<detail::pipe_input>(std::move(in), false);
  out_ = side_of<detail::pipe_output>(std::move(out), false);
}

pipe_stream pipe_stream::shared(int in, int out) {
  pipe_stream made(nullptr, nullptr);
  made.in_ = side_of<detail::pipe_input>(duplicate_of(in), true);
  made.out_ = side_of<detail::pipe_output>(duplicate_of(out), true);
  return made;
}

pipe_stream::~pipe_stream() {
  if (in_ != nullptr) in_->release();
  if (out_ != nullptr) out_->release();
}

detail::pipe_output& pipe_stream::output() const {
  if (out_ == nullptr) fail(EBADF, "write to a pipe_stream that only reads, or was moved from");
  return *out_;
}

task<> pipe_stream::write(std::span<const std::byte> bytes) {
  detail::pipe_output& to = output();
  const detail::descriptor_user user(to);
  while (true) {
    bytes = bytes.subspan(to.give(bytes));
    if (bytes.empty()) co_return;
    co_await detail::pipe_output_awaiter(to, false);
  }
}

std::size_t pipe_stream::try_write(std::span<const std::byte> bytes) { return output().give(bytes); }

task<> pipe_stream::flush() {
  detail::pipe_output& to = output();
  const detail::descriptor_user user(to);
  while (!to.empty() && to.error() == 0) co_await detail::pipe_output_awaiter(to, true);
  if (to.error() != 0) fail(to.error(), "write to a pipe");
}

void pipe_stream::shutdown_output() noexcept {
  if (out_ != nullptr) out_->shut_down();
}

// --- functions ---

pipe_ends make_pipe() {
  int both[2];
  if (::pipe2(both, O_CLOEXEC) != 0) fail(errno, "pipe");
  return {unique_fd(both[0]), unique_fd(both[1])};
}

pipe_stream standard_streams() { return pipe_stream::shared(0, 1); }
pipe_stream standard_error() { return pipe_stream::shared(-1, 2); }

}  // namespace skerry::net
