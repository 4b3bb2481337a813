// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/net/address.hpp>

#include <algorithm>
#include <charconv>
#include <cstddef>
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

std::optional<address> address::unix_socket(std::string_view path) {
  address a;
  const bool abstract = path.starts_with('@');
  if (path.size() <= (abstract ? 1 : 0) || path.size() >= sizeof a.storage_.local.sun_path) return std::nullopt;
  if (!abstract && path.contains('\0')) return std::nullopt;
  a.storage_.local.sun_family = AF_UNIX;
  std::memcpy(a.storage_.local.sun_path, path.data(), path.size());
  if (abstract) a.storage_.local.sun_path[0] = '\0';
  a.name_bytes_ = static_cast<std::uint8_t>(path.size());
  return a;
}

std::optional<address> address::parse(std::string_view text) {
  if (constexpr std::string_view scheme = "unix:"; text.starts_with(scheme)) {
    return unix_socket(text.substr(scheme.size()));
  }
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view ip = text.substr(0, colon);
  const bool brackets = ip.starts_with('[') && ip.ends_with(']');
  if (brackets) ip = ip.substr(1, ip.size() - 2);
  if (brackets != ip.contains(':')) return std::nullopt;
  const auto port = parse_number<std::uint16_t>(text.substr(colon + 1));
  return port ? parse(ip, *port) : std::nullopt;
}

address address::from_kernel(const void* name, socklen_t bytes) noexcept {
  address a;
  std::memcpy(&a.storage_, name, std::min<std::size_t>(bytes, sizeof a.storage_));
  if (a.is_unix()) {
    constexpr std::size_t before = offsetof(sockaddr_un, sun_path);
    const std::size_t length = std::min<std::size_t>(bytes, sizeof a.storage_.local) - before;
    const char* path = a.storage_.local.sun_path;
    a.name_bytes_ = static_cast<std::uint8_t>(length != 0 && path[0] != '\0' ? ::strnlen(path, length) : length);
  }
  return a;
}

socklen_t address::size() const noexcept {
  if (family() == AF_INET6) return sizeof(sockaddr_in6);
  if (!is_unix()) return sizeof(sockaddr_in);
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name_bytes_ + (path().empty() ? 0 : 1));
}

std::string_view address::path() const noexcept {
  if (!is_unix() || storage_.local.sun_path[0] == '\0') return {};
  return {storage_.local.sun_path, name_bytes_};
}

std::uint16_t address::port() const noexcept {
  if (is_unix()) return 0;
  return ntohs(family() == AF_INET6 ? storage_.v6.sin6_port : storage_.v4.sin_port);
}

void address::set_port(std::uint16_t port) noexcept {
  SKERRY_ASSERT(!is_unix(), "a Unix socket has no port");
  (family() == AF_INET6 ? storage_.v6.sin6_port : storage_.v4.sin_port) = htons(port);
}

std::string address::text() const {
  if (is_unix()) {
    std::string name(storage_.local.sun_path, name_bytes_);
    if (name.starts_with('\0')) name.front() = '@';
    return "unix:" + name;
  }
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
