// SPDX-License-Identifier: Apache-2.0
#pragma once

/// addresses: where simulated sockets are, and what those of TCP and UDP have in common: IPv4 and IPv6 as one number.
///
///     10.0.0.3 is ::ffff:10.0.0.3, as a socket of both families (AF_INET6 without IPV6_V6ONLY) sees it
///
/// So a listener on :: has whoever comes by either family, and no table is kept twice. A socket says its addresses in
/// its own family.
///
/// Affinity:   the simulator's thread; plain data.
/// Limits:     no zones: link-local addresses belong to nobody.

#include <compare>
#include <cstdint>

#include <netinet/in.h>
#include <sys/socket.h>

namespace skerry::sim {
class machine;
}

namespace skerry::sim::detail {

struct ip_number {
  std::uint64_t high = 0, low = 0;

  static constexpr std::uint64_t mapped = 0xffff'0000'0000;
  static constexpr ip_number v4(std::uint32_t in_host_order) noexcept { return {0, mapped | in_host_order}; }
  constexpr bool is_v4() const noexcept { return high == 0 && low >> 32 == 0xffff; }
  constexpr bool is_any() const noexcept { return high == 0 && (low == 0 || low == mapped); }
  constexpr bool is_loopback() const noexcept { return is_v4() ? (low >> 24 & 0xff) == 127 : high == 0 && low == 1; }
  /// The loopback address of the same family.
  constexpr ip_number loopback() const noexcept { return is_v4() ? v4(127u << 24 | 1) : ip_number{0, 1}; }
  auto operator<=>(const ip_number&) const = default;
};

struct place {
  ip_number ip;
  std::uint16_t port = 0;
  bool operator==(const place&) const = default;
};

/// The names of Internet sockets of `family`. 0 or -errno.
int read_name(const sockaddr* name, socklen_t bytes, int family, place& into) noexcept;
void write_name(const place& from, int family, sockaddr* name, socklen_t* bytes) noexcept;

/// A TCP or UDP socket as far as ports and addresses go.
struct ip_socket {
  ip_socket(machine& whose, int of_family) noexcept;

  static place anywhere(int family) noexcept { return {family == AF_INET ? ip_number::v4(0) : ip_number(), 0}; }
  /// Whether what is sent there comes here.
  bool covers(const ip_number& ip) const noexcept;
  /// Whether one of them would get what comes to the other, were this one at `at`.
  bool meets(const ip_socket& other, const place& at) const noexcept;
  /// 0, or why it cannot be there.
  int refusal(const place& at) const noexcept;
  /// Where it can go: `to`, which may mean this host, or -errno.
  int toward(place& to) const noexcept;
  /// An address of its own as that peer sees it.
  ip_number as_seen_from(const ip_number& peer) const noexcept;
  /// SOL_SOCKET's and IPv6's that both know; false: none of these.
  bool set_common(int level, int name, const void* value, socklen_t bytes) noexcept;

  machine& of;
  const int family;
  bool v6_only = false;
  bool reuse_address = false, reuse_port = false;
  place local, remote;
};

}  // namespace skerry::sim::detail
