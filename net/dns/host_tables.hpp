// SPDX-License-Identifier: Apache-2.0
#pragma once

/// host_tables: what /etc/hosts and /etc/services say, as text that was read before.
///
///     net::dns::hosts_table names("127.0.0.1 localhost\n192.0.2.1 db db.example # the old one\n");
///     names.find("DB");                                        // 192.0.2.1, with port 0
///
/// A line that cannot be read is left out, as everybody does. Names are compared without regard to case, and to a dot
/// at their end.
///
/// Affinity: none of its own; pure.
/// Limits:   the caller's: whoever reads the files bounds them.
/// Source:   hosts(5), services(5).

#include <skerry/net/address.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace skerry::net::dns {

/// A host name as it is compared: in lower case, without a dot at the end.
std::string canonical_name(std::string_view name);

class hosts_table {
 public:
  explicit hosts_table(std::string_view text = {});
  /// In the order of the file; empty if it is not there.
  const std::vector<address>& find(std::string_view name) const;

 private:
  std::map<std::string, std::vector<address>, std::less<>> addresses_;
};

class services_table {
 public:
  explicit services_table(std::string_view text = {});
  /// The TCP port of a name or alias.
  std::optional<std::uint16_t> find(std::string_view name) const;

 private:
  std::map<std::string, std::uint16_t, std::less<>> ports_;
};

}  // namespace skerry::net::dns
