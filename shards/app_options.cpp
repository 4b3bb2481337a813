// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/shards/app_options.hpp>
#include <skerry/shards/detail/option.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include <arpa/inet.h>
#include <fmt/core.h>

namespace skerry {

// Not an aggregate on purpose: g++ 12 destroys an aggregate temporary inside a co_await operand twice.
app_options::app_options() = default;

namespace detail {

namespace {

using text = std::string_view;
using namespace std::chrono_literals;

constexpr std::array<const char*, 3> pin_names{"auto", "on", "off"};  // in the order of pin_mode

std::optional<pin_mode> parse_pin(text from) {
  auto at = std::ranges::find(pin_names, from);
  if (at == pin_names.end()) return std::nullopt;
  return static_cast<pin_mode>(at - pin_names.begin());
}

std::optional<std::string> parse_address(text from) {
  if (from.size() > 2 && from.front() == '[' && from.back() == ']') from = from.substr(1, from.size() - 2);
  // A zone ("fe80::1%eth0") is for the socket layer to resolve.
  std::string address(from.substr(0, from.find('%')));
  in6_addr parsed;
  if (inet_pton(AF_INET, address.c_str(), &parsed) != 1 && inet_pton(AF_INET6, address.c_str(), &parsed) != 1)
    return {};
  return std::string(from);
}

option_value shards_value(std::optional<unsigned>& shards) {
  return {[&shards](text from) {
            std::optional<std::uint64_t> count = parse_unsigned(from);
            if (count == 0u) throw startup_error("there is no work without a shard; use --shards auto");
            if (from != "auto" && (!count || *count > shard_count_max)) {
              throw startup_error(fmt::format("must be auto or a number from 1 to {}", shard_count_max));
            }
            shards = count;
          },
          [&shards] { return shards ? fmt::format("{}", *shards) : "auto"; }};
}

option_value cpuset_value(std::string& cpuset) {
  return {[&cpuset](text from) {
            parse_cpu_list(from);
            cpuset = from;
          },
          [&cpuset] { return cpuset.empty() ? std::nullopt : std::optional(cpuset); }};
}

std::optional<std::chrono::nanoseconds> parse_threshold(text from) {
  if (from == "0" || from == "0s") return 0ns;
  return within<std::chrono::nanoseconds>(1ms, 1h, parse_duration)(from);
}

std::optional<std::uint64_t> parse_ring_entries(text from) {
  auto count = within(64u, 32768u, parse_unsigned)(from);
  return count && std::has_single_bit(*count) ? count : std::nullopt;
}

}  // namespace

std::vector<option> standard_options(app_options& o) {
  auto number = [](auto& field, std::uint64_t lowest, std::uint64_t highest, auto show) {
    return value_of(field, fmt::format("must be a number from {} to {}", lowest, highest),
                    within(lowest, highest, parse_unsigned), show);
  };
  auto plain = [](auto count) { return fmt::format("{}", count); };
  auto microseconds = [](auto time) { return fmt::format("{}", time.count()); };
  auto if_set = [](auto value) { return value ? std::optional(fmt::format("{}", *value)) : std::nullopt; };
  return {
      {"port", "PORT", "TCP port to listen on; 0 takes a free one", number(o.port, 0, 65535, if_set)},
      {"bind", "ADDR", "address to listen on",
       value_of(o.bind, "must be an IP address, such as 127.0.0.1, 0.0.0.0 or ::", parse_address, std::identity())},
      {"shards", "N|auto", "how many shards; auto: one per allowed core, within the CPU quota", shards_value(o.shards)},
      {"cpuset", "LIST", "CPUs to use, such as 0-3,8 (all that are allowed)", cpuset_value(o.cpuset)},
      {"pin", "auto|on|off", "keep each shard on one CPU; auto: unless a quota alone shares the machine out",
       value_of(o.pin, "must be one of auto, on, off", parse_pin,
                [](pin_mode pin) { return pin_names.at(static_cast<std::size_t>(pin)); })},
      {"overprovision", "", "allow more shards than CPUs", on_or_off(o.overprovision)},
      {"backend", "NAME", "I/O backend: auto or io_uring",
       one_of(o.backend, {"auto", "io_uring"}, "is not built into this program; use one of auto, io_uring")},
      {"idle-spin-us", "N", "look for work this long before sleeping, in microseconds",
       number(o.idle_spin, 0, 1'000'000, microseconds)},
      {"task-budget-us", "N", "run tasks this long before looking at I/O, in microseconds",
       number(o.task_budget, 10, 1'000'000, microseconds)},
      {"ring-entries", "N", "submission queue of each shard, a power of two",
       value_of(o.ring_entries, "must be a power of two from 64 to 32768", parse_ring_entries, plain)},
      {"mailbox-capacity", "N", "messages handed over in one batch between two shards",
       number(o.mailbox_capacity, 1, 65536, plain)},
      {"drain-timeout", "TIME", "how long a graceful stop may take: 10s, 500ms, 2m",
       value_of(o.drain_timeout, "must be a duration from 0s to 24h, such as 10s, 500ms or 2m",
                within<std::chrono::nanoseconds>(0s, 24h, parse_duration), format_duration)},
      {"stall-threshold", "TIME", "log a task that keeps its CPU longer than this in one step; 0 turns it off",
       value_of(o.stall_threshold, "must be 0 or a duration from 1ms to 1h, such as 25ms", parse_threshold,
                format_duration)},
      {"admin", "off", "the admin endpoint; this version has none",
       one_of(o.admin, {"off"}, "this version has no admin endpoint; use --admin off")},
      {"log-level", "LEVEL", "debug, info, warning, error or off",
       one_of(o.log_level, {"debug", "info", "warning", "error", "off"})},
      {"log-format", "FORMAT", "text or json, one line per record", one_of(o.log_format, {"text", "json"})},
      {"seed", "N", "seed of every random draw (the kernel gives one)",
       value_of(o.seed, "must be a number below 2^64, decimal or 0x...", parse_unsigned, if_set)},
  };
}

}  // namespace detail

void validate(const app_options& options) {
  SKERRY_ASSERT(options.pin <= pin_mode::off, "a pin_mode is one of its three values");
  app_options copy = options;
  for (const detail::option& each : detail::standard_options(copy)) {
    if (auto shown = each.value.show()) each.read(*shown, each.name + " = " + detail::printable(*shown));
  }
}

placement_request to_placement_request(const app_options& options) {
  placement_request request;
  request.shards = options.shards;
  if (!options.cpuset.empty()) request.cpuset = parse_cpu_list(options.cpuset);
  request.pin = options.pin;
  request.overprovision = options.overprovision;
  return request;
}

}  // namespace skerry
