// SPDX-License-Identifier: Apache-2.0
#include <skerry/shards/detail/option.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/core.h>

namespace skerry::detail {

namespace {

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

/// How many bytes a unit has; 0 if there is none of that name.
double byte_factor(std::string_view unit) {
  if (unit.empty() || unit == "b") return 1;
  double power = static_cast<double>(std::string_view("kmgt").find(unit.front())) + 1;
  if (power > 4) return 0;
  std::string_view rest = unit.substr(1);
  if (rest.empty()) return std::pow(1000, power);
  return rest == "b" || rest == "ib" ? std::pow(1024, power) : 0;
}

/// The same for nanoseconds.
double time_factor(std::string_view unit) {
  using named = std::pair<std::string_view, double>;
  for (auto [name, factor] :
       {named{"ns", 1}, named{"us", 1e3}, named{"ms", 1e6}, named{"s", 1e9}, named{"m", 60e9}, named{"h", 3600e9}}) {
    if (unit == name) return factor;
  }
  return 0;
}

/// A number directly followed by a unit, in the smallest unit. Declines what is not a whole number of it.
std::optional<std::uint64_t> parse_with_unit(std::string_view text, double (*factor_of)(std::string_view)) {
  std::string_view digits = text.substr(0, text.find_first_not_of("0123456789."));
  std::optional<double> number = parse_decimal(digits);
  double factor = factor_of(lower(text.substr(digits.size())));
  if (!number || factor == 0) return std::nullopt;
  // Plain integers take the exact way: a double holds only 53 bits.
  if (factor == 1) return parse_unsigned(digits);
  double value = *number * factor;
  if (value > 9.2e18 || value != std::floor(value)) return std::nullopt;
  return static_cast<std::uint64_t>(value);
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

std::optional<std::uint64_t> parse_bytes(std::string_view text) { return parse_with_unit(text, byte_factor); }

std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text) {
  if (text == "0") return std::chrono::nanoseconds{0};
  auto count = parse_with_unit(text, time_factor);
  if (!count || *count > static_cast<std::uint64_t>(std::chrono::nanoseconds::max().count())) return std::nullopt;
  return std::chrono::nanoseconds{static_cast<std::int64_t>(*count)};
}

std::string format_duration(std::chrono::nanoseconds duration) {
  auto count = duration.count();
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

void option::read(std::string_view text, std::string_view as_written) const {
  try {
    value.read(text);
  } catch (const startup_error& why) {
    throw startup_error(fmt::format("{}: {}", as_written, why.what()));
  }
}

option_value one_of(std::string& variable, std::vector<std::string> choices, std::string valid) {
  if (valid.empty()) {
    for (const std::string& choice : choices) valid += (valid.empty() ? "must be one of " : ", ") + choice;
  }
  auto choose = [choices = std::move(choices)](std::string_view text) -> std::optional<std::string> {
    if (std::ranges::find(choices, text) == choices.end()) return std::nullopt;
    return std::string(text);
  };
  return value_of(variable, std::move(valid), std::move(choose), std::identity());
}

option_value on_or_off(bool& variable) {
  return value_of(variable, "must be on or off", parse_switch, [](bool on) { return on ? "on" : "off"; });
}

}  // namespace skerry::detail
