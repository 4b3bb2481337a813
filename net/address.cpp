// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/address.hpp>

#include <cstring>

#include <arpa/inet.h>

namespace skerry::net {

std::optional<address> address::parse(std::string_view ip, std::uint16_t port) {
  std::string text(ip);
  address a;
  if (inet_pton(AF_INET, text.c_str(), &a.storage_.v4.sin_addr) == 1) {
    a.storage_.v4.sin_family = AF_INET;
  } else if (inet_pton(AF_INET6, text.c_str(), &a.storage_.v6.sin6_addr) == 1) {
    a.storage_.v6.sin6_family = AF_INET6;
  } else {
    return std::nullopt;
  }
  a.set_port(port);
  return a;
}

address address::from_kernel(const sockaddr_storage& storage) noexcept {
  address a;
  std::memcpy(&a.storage_, &storage, sizeof a.storage_);
  return a;
}

std::uint16_t address::port() const noexcept {
  return ntohs(family() == AF_INET6 ? storage_.v6.sin6_port : storage_.v4.sin_port);
}

void address::set_port(std::uint16_t port) noexcept {
  (family() == AF_INET6 ? storage_.v6.sin6_port : storage_.v4.sin_port) = htons(port);
}

std::string address::text() const {
  char ip[INET6_ADDRSTRLEN] = "";
  if (family() == AF_INET6) {
    inet_ntop(AF_INET6, &storage_.v6.sin6_addr, ip, sizeof ip);
    return '[' + std::string(ip) + "]:" + std::to_string(port());
  }
  inet_ntop(AF_INET, &storage_.v4.sin_addr, ip, sizeof ip);
  return std::string(ip) + ':' + std::to_string(port());
}

}  // namespace skerry::net
