// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/dns/host_tables.hpp>

#include <algorithm>
#include <charconv>
#include <system_error>

namespace skerry::net::dns {

namespace {

constexpr std::string_view blanks = " \t\r";

/// The next word of `line`, which is shortened by it; empty at the end.
std::string_view next_word(std::string_view& line) {
  line.remove_prefix(std::min(line.find_first_not_of(blanks), line.size()));
  const std::string_view word = line.substr(0, line.find_first_of(blanks));
  line.remove_prefix(word.size());
  return word;
}

/// Each line without its comment.
template <class Visit>
void for_each_line(std::string_view text, Visit visit) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    visit(line.substr(0, line.find('#')));
  }
}

}  // namespace

std::string canonical_name(std::string_view name) {
  if (name.ends_with('.')) name.remove_suffix(1);
  std::string lower(name);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

hosts_table::hosts_table(std::string_view text) {
  for_each_line(text, [this](std::string_view line) {
    const auto at = address::parse(next_word(line), 0);
    if (!at) return;
    for (std::string_view name = next_word(line); !name.empty(); name = next_word(line)) {
      addresses_[canonical_name(name)].push_back(*at);
    }
  });
}

const std::vector<address>& hosts_table::find(std::string_view name) const {
  static const std::vector<address> none;
  const auto found = addresses_.find(canonical_name(name));
  return found == addresses_.end() ? none : found->second;
}

services_table::services_table(std::string_view text) {
  for_each_line(text, [this](std::string_view line) {
    const std::string_view first = next_word(line);
    const std::string_view where = next_word(line);  // 80/tcp
    std::uint16_t port = 0;
    const auto [end, error] = std::from_chars(where.data(), where.data() + where.size(), port);
    if (error != std::errc() || where.substr(static_cast<std::size_t>(end - where.data())) != "/tcp") return;
    for (std::string_view name = first; !name.empty(); name = next_word(line)) ports_.emplace(name, port);
  });
}

std::optional<std::uint16_t> services_table::find(std::string_view name) const {
  const auto found = ports_.find(name);
  return found == ports_.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace skerry::net::dns
