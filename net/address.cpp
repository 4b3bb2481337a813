// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/address.hpp>

#include <charconv>
#include <cstring>

#include <arpa/inet.h>
#include <net/if.h>

namespace skerry::net {

namespace {

template <class Number>
std::optional<Number> parse_number(std::string_view digits) noexcept {
  Number n{};
  const auto [end, error] = std::from_chars(digits.begin(), digits.end(), n);
  if (error != std::errc() || end != digits.end()) return std::nullopt;
  return n;
}

}  // namespace

std::optional<address> address::parse(std::string_view ip, std::uint16_t port) {
  const std::string text(ip);
  const std::size_t zone = text.find('%');
  address a;
  if (inet_pton(AF_INET, text.c_str(), &a.storage_.v4.sin_addr) == 1) {
    a.storage_.v4.sin_family = AF_INET;
  } else if (inet_pton(AF_INET6, text.substr(0, zone).c_str(), &a.storage_.v6.sin6_addr) == 1) {
    a.storage_.v6.sin6_family = AF_INET6;
    if (zone != std::string::npos) {
      const std::string name = text.substr(zone + 1);
      unsigned index = ::if_nametoindex(name.c_str());
      if (index == 0) index = parse_number<unsigned>(name).value_or(0);
      if (index == 0) return std::nullopt;
      a.storage_.v6.sin6_scope_id = index;
    }
  } else {
    return std::nullopt;
  }
  a.set_port(port);
  return a;
}

std::optional<address> address::parse(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view ip = text.substr(0, colon);
  const bool brackets = ip.starts_with('[') && ip.ends_with(']');
  if (brackets) ip = ip.substr(1, ip.size() - 2);
  if (brackets != ip.contains(':')) return std::nullopt;
  const auto port = parse_number<std::uint16_t>(text.substr(colon + 1));
  return port ? parse(ip, *port) : std::nullopt;
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
    std::string zone;
    if (char name[IF_NAMESIZE]; storage_.v6.sin6_scope_id != 0) {
      zone = '%';
      zone += ::if_indextoname(storage_.v6.sin6_scope_id, name) != nullptr ? name
                                                                           : std::to_string(storage_.v6.sin6_scope_id);
    }
    return '[' + std::string(ip) + zone + "]:" + std::to_string(port());
  }
  inet_ntop(AF_INET, &storage_.v4.sin_addr, ip, sizeof ip);
  return std::string(ip) + ':' + std::to_string(port());
}

}  // namespace skerry::net
