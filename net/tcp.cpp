// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/io/readiness.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/net/socket.hpp>
#include <skerry/net/stream.hpp>

namespace skerry::net {

namespace {

/// Owns the socket until the connection stands, so that a cancelled connect closes it after the kernel's answer.
class connect_operation final : public skerry::detail::single_operation {
 public:
  explicit connect_operation(const address& to) : to_(to), fd_(make_stream_socket(to.family())) {}
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    prepare::connect(begin(resume_point), fd_.get(), to_.data(), to_.size());
  }
  int await_resume() {
    if (result_ < 0) throw std::system_error(-result_, std::generic_category(), "connect to " + to_.text());
    set_no_delay(fd_.get());
    return fd_.release();
  }
  const char* describe() const noexcept override { return "connect"; }

 private:
  address to_;
  unique_fd fd_;
};

}  // namespace

task<stream> connect(address to) {
  int fd = co_await connect_operation(to);
  co_return stream::adopt(fd, false);
}

listener::listener(const address& at)
    : acceptor_(new acceptor(this_endpoints(), at.is_unix() ? listen_on_path(at, backlog)
                                                            : listening_socket(make_listening_socket(at, backlog)))) {}

listener::listener(unique_fd listening) : acceptor_(nullptr) {
  require_listening(listening.get());
  acceptor_ = new acceptor(this_endpoints(), listening_socket(std::move(listening)));
}

}  // namespace skerry::net
