// SPDX-License-Identifier: Apache-2.0
#pragma once

/// address: where a stream socket is, as a value that crosses shards: an IPv4 or IPv6 address with a port, or a Unix
/// socket's path or abstract name.
///
///     127.0.0.1:6379    [::1]:6379    [fe80::1%eth0]:6379    unix:/run/skerry.sock    unix:@skerry
///
/// Errors: `parse` gives nothing for what is no address; host names are not looked up.
/// Limits: a path has at most 107 bytes, an abstract name as many.

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace skerry::net {

class address {
 public:
  using crosses_shards = address;

  address() noexcept { std::memset(&storage_, 0, sizeof storage_); }
  /// From "127.0.0.1", "::1" or "fe80::1%eth0" (whose interface must be here) and a port.
  static std::optional<address> parse(std::string_view ip, std::uint16_t port);
  /// From what text() writes: see above.
  static std::optional<address> parse(std::string_view text);
  /// A path in the file system, or "@name" for an abstract name, which is in none.
  static std::optional<address> unix_socket(std::string_view path);
  /// From what the kernel gave, and how much of it.
  static address from_kernel(const void* name, socklen_t bytes) noexcept;

  int family() const noexcept { return storage_.v4.sin_family; }
  bool is_unix() const noexcept { return family() == AF_UNIX; }
  /// 0 for a Unix socket.
  std::uint16_t port() const noexcept;
  /// Asserts that it is no Unix socket.
  void set_port(std::uint16_t port) noexcept;
  /// The file of a Unix socket; empty if it has none.
  std::string_view path() const noexcept;
  const sockaddr* data() const noexcept { return reinterpret_cast<const sockaddr*>(&storage_); }
  socklen_t size() const noexcept;
  /// As above; "unix:" for a Unix socket without a name, which is what clients have.
  std::string text() const;

 private:
  union {
    sockaddr_in v4;
    sockaddr_in6 v6;
    sockaddr_un local;
  } storage_;
  std::uint8_t name_bytes_ =
      0;  // of sun_path, with the zero in front of an abstract name, or without that behind a path
};

}  // namespace skerry::net
