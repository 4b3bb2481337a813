// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/detail/zero_copy_send.hpp>
#include <skerry/net/endpoint.hpp>

#include <cerrno>
#include <cstring>
#include <new>
#include <span>

#include <netinet/in.h>
#include <sys/socket.h>

namespace skerry::net::detail {

namespace {

union socket_name {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
};

/// An IPv4 address as one of IPv6, as a socket of both has it.
in6_addr host_of(const socket_name& name) noexcept {
  if (name.any.sa_family == AF_INET6) return name.v6.sin6_addr;
  in6_addr mapped{};
  mapped.s6_addr[10] = mapped.s6_addr[11] = 0xff;
  std::memcpy(&mapped.s6_addr[12], &name.v4.sin_addr, sizeof name.v4.sin_addr);
  return mapped;
}

bool is_loopback(const in6_addr& host) noexcept {
  return IN6_IS_ADDR_LOOPBACK(&host) || (IN6_IS_ADDR_V4MAPPED(&host) && host.s6_addr[12] == 127);
}

/// Whether what is sent there leaves by a device. Who has no such address (a Unix socket) or is gone does not.
bool leaves_host(int fd) noexcept {
  socket_name ours{}, theirs{};
  socklen_t size = sizeof theirs;
  if (::getpeername(fd, &theirs.any, &size) != 0) return false;
  if (theirs.any.sa_family != AF_INET && theirs.any.sa_family != AF_INET6) return false;
  size = sizeof ours;
  if (::getsockname(fd, &ours.any, &size) != 0) return false;
  const in6_addr to = host_of(theirs), from = host_of(ours);
  return !is_loopback(to) && std::memcmp(&to, &from, sizeof to) != 0;
}

bool is_refusal(std::int32_t result) noexcept {
  return result == -ENOMEM || result == -ENOBUFS || result == -EOPNOTSUPP || result == -EINVAL;
}

}  // namespace

zero_copy_send::zero_copy_send(endpoint& of) noexcept : pool_(of.pool_), of_(&of) {}

bool zero_copy_send::begin(endpoint& of) noexcept {
  backend& kernel = of.pool_.kernel_;
  if (of.copied_only_ || of.held_ == held_max) return false;
  if (of.held_elsewhere_ && of.peer_lacks_held()) return false;
  if (!of.zero_copy_tried_) {
    of.zero_copy_tried_ = true;
    of.copied_only_ = !kernel.zero_copy_anywhere && !leaves_host(of.fd_);
    if (of.copied_only_) return false;
  }
  try {
    of.zero_copy_ = new zero_copy_send(of);
  } catch (const std::bad_alloc&) {
    return false;
  }
  ++of.pool_.stats_.zero_copy_sends;
  const std::span<const std::byte> bytes = of.sending_.bytes();
  prepare::send_zero_copy(kernel.submit(*of.zero_copy_), of.fd_, bytes.data(),
                          static_cast<std::uint32_t>(bytes.size()));
  return true;
}

void zero_copy_send::complete(std::int32_t result, std::uint32_t flags) noexcept {
  if (!completion::more(flags)) {
    const bool second = completion::lets_go(flags);
    if (second && result == completion::copied) {
      ++pool_.stats_.zero_copy_copied;
      if (of_ != nullptr && !pool_.kernel_.zero_copy_anywhere) of_->copied_only_ = true;
    }
    return held_.empty() ? answered(second ? result_ : result) : let_go();
  }
  result_ = result;
  if (result > 0) taken(static_cast<std::size_t>(result));
}

void zero_copy_send::taken(std::size_t bytes) noexcept {
  endpoint& of = *of_;
  held_.swap(of.sending_);
  pool_.held_.push_back(*this);
  of.zero_copy_ = nullptr;
  ++of.held_;
  try {
    const std::span<const std::byte> rest = held_.bytes().subspan(bytes);
    if (!rest.empty() && of.output_error_ == 0) of.sending_.append(of.pool_.bytes_, rest);
  } catch (const std::bad_alloc&) {
    of.break_output(ENOMEM);
  }
  of.go_on_sending();
}

/// Nothing is left of it but the result.
void zero_copy_send::answered(std::int32_t result) noexcept {
  endpoint& of = *of_;
  of.zero_copy_ = nullptr;
  delete this;
  if (!is_refusal(result)) return of.out_done(result);
  of.copied_only_ = true;
  of.go_on_sending();
}

void zero_copy_send::let_go() noexcept {
  endpoint* const of = of_;
  endpoint_pool& pool = pool_;
  held_.clear(pool.bytes_);
  held_hook().unlink();
  delete this;
  if (of == nullptr) return pool.home_.drain_progressed();
  --of->held_;
  of->let_go_of_piece();
}

void zero_copy_send::stay_behind(endpoint& of) noexcept {
  of.pool_.held_.for_each([&of](zero_copy_send& piece) {
    if (piece.of_ == &of) piece.of_ = nullptr;
  });
}

}  // namespace skerry::net::detail
