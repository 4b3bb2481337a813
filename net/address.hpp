// SPDX-License-Identifier: Apache-2.0
#pragma once

/// address: an IPv4 or IPv6 address with a port, as a value that crosses shards.
///
/// Errors: `parse` gives nothing for what is no address; names are not looked up.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <netinet/in.h>
#include <sys/socket.h>

namespace skerry::net {

class address {
 public:
  using crosses_shards = address;

  address() noexcept : storage_{} {}
  /// From "127.0.0.1", "::1" or "fe80::1%eth0" (whose interface must be here) and a port.
  static std::optional<address> parse(std::string_view ip, std::uint16_t port);
  /// From "127.0.0.1:80" or "[::1]:80", as text() writes them.
  static std::optional<address> parse(std::string_view text);
  /// From what the kernel gave.
  static address from_kernel(const sockaddr_storage& storage) noexcept;

  int family() const noexcept { return storage_.v4.sin_family; }
  std::uint16_t port() const noexcept;
  void set_port(std::uint16_t port) noexcept;
  const sockaddr* data() const noexcept { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const noexcept { return family() == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in); }
  /// "127.0.0.1:6379" or "[::1]:6379".
  std::string text() const;

 private:
  union {
    sockaddr_in v4;
    sockaddr_in6 v6;
  } storage_;
};

}  // namespace skerry::net
