// SPDX-License-Identifier: Apache-2.0
#pragma once

/// address_counts: how many connections each peer address has.
///
/// An IPv6 network gives every one of its hosts a /64 or more, so a limit on single addresses would limit nobody: those
/// of one /64 are one. An IPv4 address that is written as an IPv6 one is what it stands for.
///
/// Affinity:   one shard; a pure structure.
/// Invariants: an address is in the table exactly while it has connections.
/// Limits:     as many entries as connections. The hash is seeded: nobody outside can choose addresses that collide.

#include <skerry/net/address.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <unordered_map>

#include <netinet/in.h>

namespace skerry::net::detail {

/// What is counted as one peer.
using peer_key = std::uint64_t;
inline constexpr peer_key nobody = ~peer_key{0};

/// `nobody` for a Unix socket.
inline peer_key peer_of(const address& at) noexcept {
  // Multicast by its first byte, so that no IPv6 peer has the same.
  const auto of_v4 = [](const void* bytes) {
    std::uint32_t ip = 0;
    std::memcpy(&ip, bytes, sizeof ip);
    return peer_key{0xffffffff} << 32 | ntohl(ip);
  };
  if (at.family() == AF_INET) return of_v4(&reinterpret_cast<const sockaddr_in*>(at.data())->sin_addr);
  if (at.family() != AF_INET6) return nobody;
  const in6_addr& ip = reinterpret_cast<const sockaddr_in6*>(at.data())->sin6_addr;
  if (IN6_IS_ADDR_V4MAPPED(&ip)) return of_v4(&ip.s6_addr[12]);
  peer_key network = 0;
  for (int i = 0; i < 8; ++i) network = network << 8 | ip.s6_addr[i];
  return network;
}

class address_counts {
 public:
  explicit address_counts(std::uint64_t seed) : counts_(0, seeded_hash{seed}) {}

  /// One more, unless it has `most` already.
  bool enter(peer_key peer, std::uint32_t most) {
    const auto [at, fresh] = counts_.try_emplace(peer, 0);
    if (at->second >= most) return false;  // one that is fresh has none, and `most` is at least 1
    ++at->second;
    return true;
  }
  void leave(peer_key peer) noexcept {
    const auto at = counts_.find(peer);
    if (at != counts_.end() && --at->second == 0) counts_.erase(at);
  }
  std::size_t size() const noexcept { return counts_.size(); }

 private:
  struct seeded_hash {
    std::uint64_t seed;
    /// The finalizer of SplitMix64.
    std::size_t operator()(peer_key peer) const noexcept {
      std::uint64_t x = peer ^ seed;
      x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
      x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
      return x ^ (x >> 31);
    }
  };

  std::unordered_map<peer_key, std::uint32_t, seeded_hash> counts_;
};

}  // namespace skerry::net::detail
