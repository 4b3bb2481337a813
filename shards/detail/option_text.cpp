// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/shards/detail/option_text.hpp>

#include <array>
#include <charconv>
#include <cmath>

#include <fmt/core.h>

namespace skerry::detail {

namespace {

struct unit {
  std::string_view name;
  double factor;
};

constexpr double kilo = 1000;
constexpr double kibi = 1024;
constexpr std::array byte_units{
    unit{"", 1},
    unit{"b", 1},
    unit{"k", kilo},
    unit{"m", kilo* kilo},
    unit{"g", kilo* kilo* kilo},
    unit{"t", kilo* kilo* kilo* kilo},
    unit{"kb", kibi},
    unit{"mb", kibi* kibi},
    unit{"gb", kibi* kibi* kibi},
    unit{"tb", kibi* kibi* kibi* kibi},
    unit{"kib", kibi},
    unit{"mib", kibi* kibi},
    unit{"gib", kibi* kibi* kibi},
    unit{"tib", kibi* kibi* kibi* kibi},
};
constexpr std::array time_units{
    unit{"ns", 1}, unit{"us", 1e3}, unit{"ms", 1e6}, unit{"s", 1e9}, unit{"m", 60e9}, unit{"h", 3600e9},
};

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

/// A number directly followed by one of the units, in the smallest unit. Declines what is not a whole number of it.
template <std::size_t Count>
std::optional<std::uint64_t> parse_with_unit(std::string_view text, const std::array<unit, Count>& units) {
  std::size_t digits = 0;
  while (digits < text.size() && ((text[digits] >= '0' && text[digits] <= '9') || text[digits] == '.')) ++digits;
  auto number = parse_decimal(text.substr(0, digits));
  if (!number) return std::nullopt;
  std::string name = lower(text.substr(digits));
  for (const unit& u : units) {
    if (u.name != name) continue;
    // Plain integers take the exact way: a double holds only 53 bits.
    if (u.factor == 1) return parse_unsigned(text.substr(0, digits));
    double value = *number * u.factor;
    if (value > 9.2e18 || value != std::floor(value)) return std::nullopt;
    return static_cast<std::uint64_t>(value);
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::uint64_t> parse_unsigned(std::string_view text) {
  int base = 10;
  if (text.starts_with("0x") || text.starts_with("0X")) {
    base = 16;
    text.remove_prefix(2);
  }
  std::uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<double> parse_decimal(std::string_view text) {
  double value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

std::optional<bool> parse_switch(std::string_view text) {
  std::string word = lower(text);
  if (word == "true" || word == "on" || word == "yes" || word == "1") return true;
  if (word == "false" || word == "off" || word == "no" || word == "0") return false;
  return std::nullopt;
}

std::optional<std::uint64_t> parse_bytes(std::string_view text) { return parse_with_unit(text, byte_units); }

std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text) {
  if (text == "0") return std::chrono::nanoseconds{0};
  auto count = parse_with_unit(text, time_units);
  if (!count || *count > static_cast<std::uint64_t>(std::chrono::nanoseconds::max().count())) return std::nullopt;
  return std::chrono::nanoseconds{static_cast<std::int64_t>(*count)};
}

std::string format_duration(std::chrono::nanoseconds duration) {
  auto count = duration.count();
  if (count == 0) return "0s";
  if (count % 1'000'000'000 == 0) return fmt::format("{}s", count / 1'000'000'000);
  if (count % 1'000'000 == 0) return fmt::format("{}ms", count / 1'000'000);
  if (count % 1'000 == 0) return fmt::format("{}us", count / 1'000);
  return fmt::format("{}ns", count);
}

std::string printable(std::string_view text) {
  constexpr std::size_t length_max = 80;
  std::string out(text.substr(0, length_max));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  if (text.size() > length_max) out += "...";
  return out;
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

}  // namespace skerry::detail
