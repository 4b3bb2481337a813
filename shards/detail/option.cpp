// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/shards/cpu_list.hpp>
#include <skerry/shards/detail/option.hpp>

#include <algorithm>
#include <bit>
#include <cctype>
#include <charconv>
#include <cmath>
#include <ranges>
#include <span>

#include <arpa/inet.h>
#include <fmt/format.h>

namespace skerry {

namespace detail {

namespace {

using text = std::string_view;
using namespace std::chrono_literals;

std::string lower(text from) {
  std::string out(from);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

template <class Number, class... Base>
std::optional<Number> parse_number(text from, Base... base) {
  Number value{};
  auto [end, error] = std::from_chars(from.data(), from.data() + from.size(), value, base...);
  if (error != std::errc{} || end != from.data() + from.size()) return std::nullopt;
  return value;
}

struct unit {
  text name;
  std::uint64_t size;
};

constexpr std::uint64_t kb = 1 << 10, mb = kb << 10, gb = mb << 10, tb = gb << 10;
constexpr unit byte_units[] = {unit("", 1),     unit("b", 1),   unit("k", 1'000),
                               unit("kib", kb), unit("kb", kb), unit("m", 1'000'000),
                               unit("mib", mb), unit("mb", mb), unit("g", 1'000'000'000),
                               unit("gib", gb), unit("gb", gb), unit("t", 1'000'000'000'000),
                               unit("tib", tb), unit("tb", tb)};
constexpr unit time_units[] = {
    {"ns", 1}, {"us", 1'000}, {"ms", 1'000'000}, {"s", 1'000'000'000}, {"m", 60'000'000'000}, {"h", 3'600'000'000'000}};

/// A number directly followed by a unit, in the smallest unit. Declines what is not a whole number of it.
std::optional<std::uint64_t> parse_with_unit(text from, std::span<const unit> units) {
  text digits = from.substr(0, from.find_first_not_of("0123456789."));
  auto found = std::ranges::find(units, lower(from.substr(digits.size())), &unit::name);
  if (found == units.end()) return std::nullopt;
  // Plain integers take the exact way: a double holds only 53 bits.
  if (found->size == 1) return parse_number<std::uint64_t>(digits);
  double value = parse_number<double>(digits).value_or(-1) * static_cast<double>(found->size);
  if (value < 0 || value > 9.2e18 || value != std::floor(value)) return std::nullopt;
  return static_cast<std::uint64_t>(value);
}

template <class Count>
std::string show_with_unit(Count count, std::span<const unit> units) {
  for (const unit& each : units | std::views::reverse) {
    auto size = static_cast<Count>(each.size);
    if (count != 0 && count % size == 0) return fmt::format("{}{}", count / size, each.name);
  }
  return "0";
}

auto among(std::vector<text> choices) {
  return [choices = std::move(choices)](text from) {
    return std::ranges::find(choices, from) != choices.end() ? std::optional(std::string(from)) : std::nullopt;
  };
}

std::optional<pin_mode> parse_pin(text from) {
  for (pin_mode each : {pin_mode::automatic, pin_mode::on, pin_mode::off}) {
    if (show(each) == from) return each;
  }
  return std::nullopt;
}

std::optional<std::string> parse_address(text from) {
  if (from.size() > 2 && from.front() == '[' && from.back() == ']') from = from.substr(1, from.size() - 2);
  // A zone ("fe80::1%eth0") is for the socket layer to resolve.
  std::string address(from.substr(0, from.find('%')));
  in6_addr parsed;
  bool valid = inet_pton(AF_INET, address.c_str(), &parsed) == 1 || inet_pton(AF_INET6, address.c_str(), &parsed) == 1;
  return valid ? std::optional(std::string(from)) : std::nullopt;
}

std::optional<std::optional<unsigned>> parse_shards(text from) {
  if (from == "auto") return std::optional<unsigned>();
  auto count = parse_unsigned(from);
  if (count == 0u) throw startup_error("there is no work without a shard; use --shards auto");
  if (!count || *count > shard_count_max) return std::nullopt;
  return static_cast<unsigned>(*count);
}

std::optional<std::string> parse_cpuset(text from) {
  if (!from.empty()) parse_cpu_list(from);
  return std::string(from);
}

std::optional<std::chrono::nanoseconds> parse_threshold(text from) {
  auto time = parse_duration(from);
  return time && (time == 0ns || (*time >= 1ms && *time <= 1h)) ? time : std::nullopt;
}

std::optional<std::uint64_t> parse_ring_entries(text from) {
  auto count = parse_unsigned(from);
  return count && std::has_single_bit(*count) && *count >= 64 && *count <= 32768 ? count : std::nullopt;
}

}  // namespace

std::optional<std::uint64_t> parse_unsigned(text from) {
  if (from.starts_with("0x") || from.starts_with("0X")) return parse_number<std::uint64_t>(from.substr(2), 16);
  return parse_number<std::uint64_t>(from);
}

std::optional<bool> parse_switch(text from) {
  std::string word = lower(from);
  if (word == "true" || word == "on" || word == "yes" || word == "1") return true;
  if (word == "false" || word == "off" || word == "no" || word == "0") return false;
  return std::nullopt;
}

std::optional<byte_size> parse_bytes(text from) {
  auto count = parse_with_unit(from, byte_units);
  return count ? std::optional(byte_size{*count}) : std::nullopt;
}

std::optional<std::chrono::nanoseconds> parse_duration(text from) {
  auto count = from == "0" ? 0 : parse_with_unit(from, time_units);
  if (!count || *count > static_cast<std::uint64_t>(std::chrono::nanoseconds::max().count())) return std::nullopt;
  return std::chrono::nanoseconds(*count);
}

std::string show(byte_size value) { return show_with_unit(value.bytes, byte_units); }
std::string show(std::chrono::nanoseconds value) { return show_with_unit(value.count(), time_units); }
std::string show(pin_mode value) {
  SKERRY_ASSERT(value <= pin_mode::off, "a pin_mode is one of its three values");
  return value == pin_mode::on ? "on" : value == pin_mode::off ? "off" : "auto";
}

std::string printable(text from) {
  constexpr std::size_t length_max = 80;
  std::string out(from.substr(0, length_max));
  std::ranges::replace_if(out, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  if (from.size() > length_max) out += "...";
  return out;
}

void option::read(text from, text as_written) const {
  try {
    value.read(from);
  } catch (const startup_error& why) {
    throw startup_error(fmt::format("{}: {}", as_written, why.what()));
  }
}

std::vector<option> standard_options(app_options& o) {
  auto number = [](auto& field, unsigned lowest, unsigned highest) {
    return between(field, lowest, highest, "a number", parse_unsigned);
  };
  auto on_or_off = [](bool& field) { return value_of(field, "must be on or off", parse_switch); };
  return {
      {"port", "PORT", "TCP port to listen on; 0 takes a free one", number(o.port, 0, 65535)},
      {"bind", "ADDR", "address to listen on",
       value_of(o.bind, "must be an IP address, such as 127.0.0.1, 0.0.0.0 or ::", parse_address)},
      {"shards", "N|auto", "how many shards; auto, the default: one per allowed core, within the CPU quota",
       value_of(o.shards, fmt::format("must be auto or a number from 1 to {}", shard_count_max), parse_shards)},
      {"cpuset", "LIST", "CPUs to use, such as 0-3,8 (all that are allowed)", value_of(o.cpuset, "", parse_cpuset)},
      {"pin", "auto|on|off", "keep each shard on one CPU; auto: unless a quota alone shares the machine out",
       value_of(o.pin, "must be one of auto, on, off", parse_pin)},
      {"smt", "", "auto counts hardware threads, not cores", on_or_off(o.smt)},
      {"overprovision", "", "allow more shards than CPUs", on_or_off(o.overprovision)},
      {"backend", "NAME", "I/O backend: auto or io_uring",
       value_of(o.backend, "is not built into this program; use one of auto, io_uring", among({"auto", "io_uring"}))},
      {"idle-spin-us", "N", "look for work this long before sleeping, in microseconds",
       number(o.idle_spin, 0, 1'000'000)},
      {"task-budget-us", "N", "run tasks this long before looking at I/O, in microseconds",
       number(o.task_budget, 10, 1'000'000)},
      {"ring-entries", "N", "submission queue of each shard, a power of two",
       value_of(o.ring_entries, "must be a power of two from 64 to 32768", parse_ring_entries)},
      {"mailbox-capacity", "N", "messages handed over in one batch between two shards",
       number(o.mailbox_capacity, 1, 65536)},
      {"drain-timeout", "TIME", "how long a graceful stop may take: 10s, 500ms, 2m",
       between<std::chrono::nanoseconds>(o.drain_timeout, 0ns, 24h, "a duration such as 10s, 500ms or 2m,",
                                         parse_duration)},
      {"stall-threshold", "TIME", "log a task that keeps its CPU longer than this in one step; 0 turns it off",
       value_of(o.stall_threshold, "must be 0 or a duration from 1ms to 1h, such as 25ms", parse_threshold)},
      {"admin", "off", "the admin endpoint; this version has none",
       value_of(o.admin, "this version has no admin endpoint; use --admin off", among({"off"}))},
      {"log-level", "LEVEL", "debug, info, warning, error or off",
       value_of(o.log_level, "must be one of debug, info, warning, error, off",
                among({"debug", "info", "warning", "error", "off"}))},
      {"log-format", "FORMAT", "text or json, one line per record",
       value_of(o.log_format, "must be one of text, json", among({"text", "json"}))},
      {"seed", "N", "seed of every random draw (the kernel gives one)",
       value_of(o.seed, "must be a number below 2^64, decimal or 0x...", parse_unsigned)},
  };
}

}  // namespace detail

void validate(const app_options& options) {
  app_options copy = options;
  for (const detail::option& each : detail::standard_options(copy)) {
    if (auto shown = each.value.show()) each.read(*shown, each.name + " = " + detail::printable(*shown));
  }
}

}  // namespace skerry
