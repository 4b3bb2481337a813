// SPDX-License-Identifier: Apache-2.0
#pragma once

/// stream: a TCP or Unix connection, as a handle.
///
///     while (true) {
///       skerry::buffer bytes = co_await s.read();
///       if (bytes.empty()) break;
///       co_await s.write(bytes);
///     }
///
/// `move_to` hands the connection over to another shard, for one that turns out to be the busier, or where the data is:
///
///     const auto serve_there = [](net::stream client, std::string key) { return serve(std::move(client), key); };
///     co_await std::move(s).move_to(owner, serve_there, key);
///
/// Affinity:     the shard that accepted or connected it, or that it was moved to.
/// Lifetime:     a buffer that was read may outlive the stream; bytes given to write must live until it returns.
///               Dropping the handle sends what was written, then closes in the order that endpoint.hpp describes.
/// Errors:       std::system_error from the kernel's answer; the end of the stream is an empty buffer.
/// Cancellation: read and write let go at once; what has arrived stays for the next read, what was taken is still sent.
/// Limits:       endpoint.hpp's. One reader and one writer at a time.

#include <skerry/framework/io/byte_stream.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/net/address.hpp>
#include <skerry/net/detail/moving.hpp>
#include <skerry/net/endpoint.hpp>
#include <skerry/net/socket_options.hpp>
#include <skerry/shards/submit_to.hpp>

#include <algorithm>
#include <concepts>
#include <coroutine>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>

namespace skerry::net {

class stream {
 public:
  stream(stream&& other) noexcept : endpoint_(std::exchange(other.endpoint_, nullptr)) {}
  stream& operator=(stream&& other) noexcept {
    if (this != &other) {
      if (endpoint_ != nullptr) endpoint_->release();
      endpoint_ = std::exchange(other.endpoint_, nullptr);
    }
    return *this;
  }
  ~stream() {
    if (endpoint_ != nullptr) endpoint_->release();
  }

  class [[nodiscard("co_await it")]] readable_awaiter : public endpoint_leaf {
   public:
    explicit readable_awaiter(endpoint& e) noexcept : endpoint_(e) {}
    bool await_ready() const noexcept { return endpoint_.input_ready(); }
    void await_suspend(std::coroutine_handle<> resume_point) noexcept {
      endpoint_.wait_for_input(this);
      suspend(resume_point);
    }
    void await_resume() const noexcept {}
    void let_go() noexcept override {
      endpoint_.wait_for_input(nullptr);
      wake();
    }
    const char* describe() const noexcept override { return "read"; }

   protected:
    endpoint& endpoint_;
  };
  class [[nodiscard("co_await it")]] read_awaiter final : public readable_awaiter {
   public:
    using readable_awaiter::readable_awaiter;
    buffer await_resume() { return endpoint_.take_input(); }
  };

  /// Wakes with whatever comes; the drain is what it is for.
  class [[nodiscard("co_await it")]] cut_off_awaiter final : public readable_awaiter {
   public:
    using readable_awaiter::readable_awaiter;
    bool await_ready() const noexcept { return endpoint_.cut_off(); }
    const char* describe() const noexcept override { return "drain of stream"; }
  };

  /// Waits for room, or with `all_sent` until the kernel has everything.
  class [[nodiscard("co_await it")]] output_awaiter final : public endpoint_leaf {
   public:
    output_awaiter(endpoint& e, bool all_sent) noexcept : endpoint_(e), all_sent_(all_sent) {}
    bool await_ready() const noexcept { return all_sent_ && done(); }
    void await_suspend(std::coroutine_handle<> resume_point) noexcept {
      endpoint_.wait_for_output(this);
      suspend(resume_point);
    }
    void await_resume() const noexcept {}
    void let_go() noexcept override {
      endpoint_.wait_for_output(nullptr);
      wake();
    }
    const char* describe() const noexcept override { return "write"; }

   private:
    bool done() const noexcept { return endpoint_.output_empty() || endpoint_.output_error() != 0; }
    endpoint& endpoint_;
    bool all_sent_;
  };

  /// The next bytes, as they came; empty at the end of the stream.
  read_awaiter read() noexcept { return read_awaiter(open()); }
  /// Until read() has an answer at once. For those who fetch what they need for reading only then: idle connections are
  /// many.
  readable_awaiter readable() noexcept { return readable_awaiter(open()); }
  /// Until a drain has cut the input off, so that who only writes hears of it. Nobody reads meanwhile (asserted); what
  /// comes is kept for them.
  task<> cut_off() {
    endpoint& e = open();
    while (!e.cut_off()) co_await cut_off_awaiter(e);
  }

  /// Takes all of `bytes`; suspends while more than the high-water mark is unsent.
  task<> write(std::span<const std::byte> bytes) {
    endpoint& e = open();
    while (true) {
      bytes = bytes.subspan(e.give_output(bytes));
      if (bytes.empty()) co_return;
      co_await output_awaiter(e, false);
    }
  }
  task<> write(std::string_view text) { return write(std::as_bytes(std::span(text))); }
  task<> write(const buffer& bytes) { return write(std::span(bytes.data(), bytes.size())); }

  /// Takes what fits now and tells how much; never suspends. Throws when the connection is broken.
  std::size_t try_write(std::span<const std::byte> bytes) { return open().give_output(bytes); }

  /// Waits until the kernel has everything that was written. Throws when the connection broke before.
  task<> flush() {
    endpoint& e = open();
    while (!e.output_empty() && e.output_error() == 0) co_await output_awaiter(e, true);
    if (e.output_error() != 0) throw std::system_error(e.output_error(), std::generic_category(), "send");
  }

  /// No more bytes from us, after what was written; reading goes on.
  void shutdown_output() noexcept { open().shut_down_output(); }

  /// Ends it so that the peer cannot take what it has for all there is: what was written and is not on its way is
  /// dropped, writes throw, and when the handle goes, the peer gets a reset.
  void reset() noexcept { open().reset(); }

  /// Throws std::system_error if the kernel refuses.
  template <socket_option Option>
  void set(const Option& option) {
    option.apply(open().fd());
  }

  /// Gives bytes back that were read: the next read has them. Throws std::system_error when 16 MiB such bytes are
  /// unread on this shard.
  void put_back(std::span<const std::byte> bytes) { open().put_back(bytes); }

  /// Hands the connection over to shard `target`, where `handler(stream, args…)` runs as a task of the root scope, as
  /// the handlers of listeners do; returns when the target has it. Nothing is lost: what has come and was not read is
  /// what the handler reads first, an end or a reset included; what was written and not sent is sent from there; a side
  /// that was shut down stays so; options of the socket stay. What a buffered_reader has taken out it gives back by
  /// `give_back()`. A connection of a server stays that server's, with its place.
  ///
  /// `handler` has no captures; what it takes by value crosses, and is checked. To the own shard, too, it is another
  /// task. Nobody reads from or writes to the stream meanwhile (asserted).
  ///
  /// In a drain it returns when the handler has ended, and throws what that threw: whoever drains waits for this task.
  ///
  /// Errors: std::bad_alloc here or there, or no_buffer_space, and std::system_error(operation_canceled) from a target
  /// that is stopping. Those and a cancel close the connection in order, unless the target has it by then.
  template <class Handler, class... Args>
  task<> move_to(shard_id target, Handler, Args... args) && {
    skerry::detail::require_no_captures<Handler>();
    (skerry::detail::require_crossing<Args>(), ...);
    static_assert(std::same_as<std::invoke_result_t<Handler, stream, Args...>, task<>>,
                  "the handler of a moved connection is a function from (stream, args…) to task<>");
    return move<Handler, Args...>(std::move(*this), target, std::move(args)...);
  }

  /// Bytes that were written and have not reached the kernel.
  /// After the end of the input: whether a drain has cut it off, so that the peer may have said more.
  bool ended_by_drain() const noexcept { return endpoint_->ended_by_drain(); }
  bool output_empty() const noexcept { return endpoint_->output_empty(); }
  int fd() const noexcept { return endpoint_->fd(); }

  /// Makes a stream of a connected, non-blocking socket, which it then owns. A drain ends the input of those that were
  /// accepted, and waits for them.
  static stream adopt(int fd, bool accepted) { return stream(this_endpoints().adopt(fd, accepted)); }
  /// The same for a connection of a server, by its number on this shard; `draining` if a drain of it has begun.
  static stream adopt_for(std::uint16_t server, int fd, bool draining) {
    return stream(this_endpoints().adopt(fd, true, server, draining));
  }

 private:
  friend class detail::arrival;
  explicit stream(endpoint* e) noexcept : endpoint_(e) {}

  template <class Handler, class... Args>
  static task<> arrive(borrowed<detail::parcel> from, Args... args) {
    detail::arrival here(*from);
    task<> body = Handler{}(here.open(), std::move(args)...);
    if (here.sender_waits()) co_return co_await std::move(body);
    here.begin(std::move(body));
  }
  template <class Handler, class... Args>
  static task<> move(stream from, shard_id target, Args... args) {
    endpoint& e = from.open();
    if (target == this_shard_id()) {
      detail::change_of_task change(e);
      task<> body = Handler{}(std::move(from), std::move(args)...);
      if (change.sender_waits()) co_return co_await std::move(body);
      change.begin(std::move(body));
      co_return;
    }
    detail::departure leaving(e);
    from.endpoint_ = nullptr;
    while (!leaving.may_pack()) co_await leaving.until_let_go();
    const auto receive = [](borrowed<detail::parcel> packed, Args... rest) {
      return arrive<Handler, Args...>(packed, std::move(rest)...);
    };
    co_await submit_to(target, receive, borrowed(leaving.pack()), std::move(args)...);
  }
  endpoint& open() const noexcept {
    SKERRY_ASSERT(endpoint_ != nullptr, "a stream that was moved from is not used");
    endpoint_->check_home();
    return *endpoint_;
  }

  endpoint* endpoint_;
};

static_assert(byte_stream<stream>);

/// Connects to `to`; connect.hpp chooses among several. Throws std::system_error. A cancelled connect closes its socket
/// once the kernel has let go.
task<stream> connect(address to);

}  // namespace skerry::net
