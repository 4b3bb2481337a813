// SPDX-License-Identifier: Apache-2.0
#include <skerry/simulation/detail/addresses.hpp>
#include <skerry/simulation/detail/machine.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <arpa/inet.h>

namespace skerry::sim::detail {

int read_name(const sockaddr* name, socklen_t bytes, int family, place& into) noexcept {
  if (name == nullptr || bytes < sizeof name->sa_family) return -EINVAL;
  if (name->sa_family != family) return -EAFNOSUPPORT;
  if (family == AF_INET) {
    sockaddr_in v4{};
    if (bytes < sizeof v4) return -EINVAL;
    std::memcpy(&v4, name, sizeof v4);
    into = {ip_number::v4(ntohl(v4.sin_addr.s_addr)), ntohs(v4.sin_port)};
    return 0;
  }
  sockaddr_in6 v6{};
  if (bytes < sizeof v6) return -EINVAL;
  std::memcpy(&v6, name, sizeof v6);
  into = {{}, ntohs(v6.sin6_port)};
  for (std::size_t i = 0; i < 8; ++i) {
    into.ip.high = into.ip.high << 8 | v6.sin6_addr.s6_addr[i];
    into.ip.low = into.ip.low << 8 | v6.sin6_addr.s6_addr[8 + i];
  }
  return 0;
}

void write_name(const place& from, int family, sockaddr* name, socklen_t* bytes) noexcept {
  if (family == AF_INET) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_addr.s_addr = htonl(static_cast<std::uint32_t>(from.ip.low));
    v4.sin_port = htons(from.port);
    std::memcpy(name, &v4, std::min<std::size_t>(*bytes, sizeof v4));
    *bytes = sizeof v4;
    return;
  }
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(from.port);
  for (unsigned i = 0; i < 8; ++i) {
    v6.sin6_addr.s6_addr[i] = static_cast<std::uint8_t>(from.ip.high >> (56 - 8 * i));
    v6.sin6_addr.s6_addr[8 + i] = static_cast<std::uint8_t>(from.ip.low >> (56 - 8 * i));
  }
  std::memcpy(name, &v6, std::min<std::size_t>(*bytes, sizeof v6));
  *bytes = sizeof v6;
}

ip_socket::ip_socket(machine& whose, int of_family) noexcept
    : of(whose), family(of_family), local(anywhere(of_family)), remote(anywhere(of_family)) {}

namespace {
bool covered(const ip_number& by, bool v6_only, const ip_number& ip) noexcept {
  if (by == ip) return true;
  if (!by.is_any()) return false;
  return by.is_v4() ? ip.is_v4() : !v6_only || !ip.is_v4();
}
}  // namespace

bool ip_socket::covers(const ip_number& ip) const noexcept { return covered(local.ip, v6_only, ip); }

bool ip_socket::meets(const ip_socket& other, const place& at) const noexcept {
  return &of == &other.of && at.port == other.local.port &&
         (other.covers(at.ip) || covered(at.ip, v6_only, other.local.ip));
}

int ip_socket::refusal(const place& at) const noexcept {
  if (v6_only && at.ip.is_v4()) return -EINVAL;
  return at.ip.is_any() || at.ip.is_loopback() || of.has(at.ip) ? 0 : -EADDRNOTAVAIL;
}

int ip_socket::toward(place& to) const noexcept {
  if (v6_only && to.ip.is_v4()) return -ENETUNREACH;
  if (!local.ip.is_any() && local.ip.is_v4() != to.ip.is_v4()) return -ENETUNREACH;
  if (to.ip.is_any()) to.ip = to.ip.loopback();
  return 0;
}

ip_number ip_socket::as_seen_from(const ip_number& peer) const noexcept {
  if (!local.ip.is_any()) return local.ip;
  if (peer.is_loopback()) return peer.loopback();
  return peer.is_v4() ? ip_number::v4(of.ip()) : of.ip6();
}

bool ip_socket::set_common(int level, int name, const void* value, socklen_t bytes) noexcept {
  const bool on = bytes >= sizeof(int) && *static_cast<const int*>(value) != 0;
  if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY) {
    v6_only = on;
  } else if (level == SOL_SOCKET && name == SO_REUSEADDR) {
    reuse_address = on;
  } else if (level == SOL_SOCKET && name == SO_REUSEPORT) {
    reuse_port = on;
  } else {
    return false;
  }
  return true;
}

}  // namespace skerry::sim::detail
