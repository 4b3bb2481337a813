// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/shards/configuration_error.hpp>
#include <skerry/shards/detail/option_text.hpp>
#include <skerry/shards/detail/standard_options.hpp>

#include <array>
#include <bit>
#include <limits>

#include <arpa/inet.h>
#include <fmt/core.h>

namespace skerry::detail {

namespace {

using text = std::string_view;
using namespace std::chrono_literals;

/// The backends that are compiled in, with `auto` for the best of them.
constexpr std::array<text, 2> backends{"auto", "io_uring"};
constexpr std::array<text, 5> log_levels{"debug", "info", "warning", "error", "off"};
constexpr std::array<text, 2> log_formats{"text", "json"};
constexpr std::array<text, 3> pin_names{"auto", "on", "off"};  // in the order of pin_mode

constexpr std::uint64_t ring_entries_min = 64;
constexpr std::uint64_t ring_entries_max = 32768;
constexpr std::uint64_t mailbox_capacity_max = 65536;
constexpr std::uint64_t spin_us_max = 1'000'000;
constexpr std::uint64_t budget_us_min = 10;
constexpr std::uint64_t budget_us_max = 1'000'000;
constexpr std::chrono::nanoseconds drain_max = 24h;

template <std::size_t Count>
std::string joined(const std::array<text, Count>& words) {
  std::string out;
  for (text word : words) {
    if (!out.empty()) out += ", ";
    out += word;
  }
  return out;
}

template <std::size_t Count>
std::string not_one_of(text value, const std::array<text, Count>& words) {
  for (text word : words) {
    if (word == value) return {};
  }
  return "must be one of " + joined(words);
}

std::string outside(std::uint64_t value, std::uint64_t lowest, std::uint64_t highest) {
  if (value >= lowest && value <= highest) return {};
  return fmt::format("must be a number from {} to {}", lowest, highest);
}

/// Reads a number of whatever type the field has. What does not fit it is refused with the option's own limits.
template <typename Field>
std::string read_number(Field& into, text from, std::uint64_t lowest, std::uint64_t highest) {
  auto value = parse_unsigned(from);
  if (!value) return fmt::format("must be a number from {} to {}", lowest, highest);
  if (auto why = outside(*value, lowest, highest); !why.empty()) return why;
  into = static_cast<Field>(*value);
  return {};
}

std::string read_text(std::string& into, text from) {
  into = std::string(from);
  return {};
}

std::string shards_problem(std::uint64_t count) {
  if (count == 0) return "there is no work without a shard; use --shards auto";
  if (count > shard_count_max) return fmt::format("must be auto or a number from 1 to {}", shard_count_max);
  return {};
}

std::string read_shards(app_options& options, text from) {
  if (from == "auto") {
    options.shards.reset();
    return {};
  }
  auto count = parse_unsigned(from);
  if (!count) return fmt::format("must be auto or a number from 1 to {}", shard_count_max);
  if (auto why = shards_problem(*count); !why.empty()) return why;
  options.shards = static_cast<unsigned>(*count);
  return {};
}

std::string cpuset_problem(const app_options& options) {
  if (options.cpuset.empty()) return {};
  try {
    parse_cpu_list(options.cpuset);
    return {};
  } catch (const configuration_error& error) {
    return error.what();
  }
}

std::string read_cpuset(app_options& options, text from) {
  if (from.empty()) return "must be a list of CPUs such as 0-3,8";
  return read_text(options.cpuset, from);
}

std::string read_pin(app_options& options, text from) {
  for (std::size_t i = 0; i < pin_names.size(); ++i) {
    if (from != pin_names[i]) continue;
    options.pin = static_cast<pin_mode>(i);
    return {};
  }
  return "must be one of " + joined(pin_names);
}

std::string read_overprovision(app_options& options, text from) {
  auto value = parse_switch(from);
  if (!value) return "must be on or off";
  options.overprovision = *value;
  return {};
}

std::string backend_problem(const app_options& options) {
  if (not_one_of(options.backend, backends).empty()) return {};
  return "is not built into this program; use one of " + joined(backends);
}

std::string ring_entries_problem(const app_options& options) {
  bool good = std::has_single_bit(options.ring_entries) &&
              outside(options.ring_entries, ring_entries_min, ring_entries_max).empty();
  return good ? "" : fmt::format("must be a power of two from {} to {}", ring_entries_min, ring_entries_max);
}

std::string read_ring_entries(app_options& options, text from) {
  auto value = parse_unsigned(from);
  options.ring_entries = value && *value <= ring_entries_max ? static_cast<unsigned>(*value) : 0;
  return ring_entries_problem(options);
}

std::string drain_problem(const app_options& options) {
  bool good = options.drain_timeout >= 0ns && options.drain_timeout <= drain_max;
  return good ? "" : "must be a duration from 0s to 24h, such as 10s, 500ms or 2m";
}

std::string read_drain(app_options& options, text from) {
  options.drain_timeout = parse_duration(from).value_or(-1ns);
  return drain_problem(options);
}

std::string admin_problem(const app_options& options) {
  return options.admin == "off" ? "" : "this version has no admin endpoint; use --admin off";
}

std::string read_seed(app_options& options, text from) {
  auto value = parse_unsigned(from);
  if (!value) return "must be a number below 2^64, decimal or 0x...";
  options.seed = *value;
  return {};
}

std::string bind_problem(const app_options& options) {
  // A zone ("fe80::1%eth0") is for the socket layer to resolve.
  std::string address = options.bind.substr(0, options.bind.find('%'));
  in6_addr parsed{};
  if (inet_pton(AF_INET, address.c_str(), &parsed) == 1 || inet_pton(AF_INET6, address.c_str(), &parsed) == 1) {
    return {};
  }
  return "must be an IP address, such as 127.0.0.1, 0.0.0.0 or ::";
}

std::string read_bind(app_options& options, text from) {
  if (from.size() > 2 && from.front() == '[' && from.back() == ']') from = from.substr(1, from.size() - 2);
  return read_text(options.bind, from);
}

std::string number_text(auto value) { return fmt::format("{}", value); }

/// For fields whose type holds nothing wrong.
std::string always_fine(const app_options&) { return {}; }

constexpr std::array table{
    standard_option{"port", "PORT", "TCP port to listen on; 0 takes a free one", true,
                    [](app_options& o, text t) {
                      std::uint16_t port = 0;
                      auto why = read_number(port, t, 0, std::numeric_limits<std::uint16_t>::max());
                      if (why.empty()) o.port = port;
                      return why;
                    },
                    always_fine, [](const app_options& o) { return o.port ? number_text(*o.port) : ""; }},
    standard_option{"bind", "ADDR", "address to listen on", true, read_bind, bind_problem,
                    [](const app_options& o) { return o.bind; }},
    standard_option{"shards", "N|auto", "how many shards; auto: one per allowed core, within the CPU quota", false,
                    read_shards, [](const app_options& o) { return o.shards ? shards_problem(*o.shards) : ""; },
                    [](const app_options& o) { return o.shards ? number_text(*o.shards) : "auto"; }},
    standard_option{"cpuset", "LIST", "CPUs to use, such as 0-3,8 (all that are allowed)", false, read_cpuset,
                    cpuset_problem, [](const app_options& o) { return o.cpuset; }},
    standard_option{"pin", "auto|on|off",
                    "keep each shard on one CPU; auto: unless a quota alone shares the machine out", false, read_pin,
                    always_fine,
                    [](const app_options& o) { return std::string(pin_names.at(static_cast<std::size_t>(o.pin))); }},
    standard_option{"overprovision", "", "allow more shards than CPUs", false, read_overprovision, always_fine,
                    [](const app_options& o) { return std::string(o.overprovision ? "on" : "off"); }},
    standard_option{"backend", "NAME", "I/O backend: auto or io_uring", false,
                    [](app_options& o, text t) { return read_text(o.backend, t); }, backend_problem,
                    [](const app_options& o) { return o.backend; }},
    standard_option{
        "idle-spin-us", "N", "look for work this long before sleeping, in microseconds", false,
        [](app_options& o, text t) {
          std::int64_t us = o.idle_spin.count();
          auto why = read_number(us, t, 0, spin_us_max);
          o.idle_spin = std::chrono::microseconds{us};
          return why;
        },
        [](const app_options& o) { return outside(static_cast<std::uint64_t>(o.idle_spin.count()), 0, spin_us_max); },
        [](const app_options& o) { return number_text(o.idle_spin.count()); }},
    standard_option{"task-budget-us", "N", "run tasks this long before looking at I/O, in microseconds", false,
                    [](app_options& o, text t) {
                      std::int64_t us = o.task_budget.count();
                      auto why = read_number(us, t, budget_us_min, budget_us_max);
                      o.task_budget = std::chrono::microseconds{us};
                      return why;
                    },
                    [](const app_options& o) {
                      return outside(static_cast<std::uint64_t>(o.task_budget.count()), budget_us_min, budget_us_max);
                    },
                    [](const app_options& o) { return number_text(o.task_budget.count()); }},
    standard_option{"ring-entries", "N", "submission queue of each shard, a power of two", false, read_ring_entries,
                    ring_entries_problem, [](const app_options& o) { return number_text(o.ring_entries); }},
    standard_option{"mailbox-capacity", "N", "messages handed over in one batch between two shards", false,
                    [](app_options& o, text t) { return read_number(o.mailbox_capacity, t, 1, mailbox_capacity_max); },
                    [](const app_options& o) { return outside(o.mailbox_capacity, 1, mailbox_capacity_max); },
                    [](const app_options& o) { return number_text(o.mailbox_capacity); }},
    standard_option{"drain-timeout", "TIME", "how long a graceful stop may take: 10s, 500ms, 2m", false, read_drain,
                    drain_problem, [](const app_options& o) { return format_duration(o.drain_timeout); }},
    standard_option{"admin", "off", "the admin endpoint; this version has none", false,
                    [](app_options& o, text t) { return read_text(o.admin, t); }, admin_problem,
                    [](const app_options& o) { return o.admin; }},
    standard_option{"log-level", "LEVEL", "debug, info, warning, error or off", false,
                    [](app_options& o, text t) { return read_text(o.log_level, t); },
                    [](const app_options& o) { return not_one_of(o.log_level, log_levels); },
                    [](const app_options& o) { return o.log_level; }},
    standard_option{"log-format", "FORMAT", "text or json, one line per record", false,
                    [](app_options& o, text t) { return read_text(o.log_format, t); },
                    [](const app_options& o) { return not_one_of(o.log_format, log_formats); },
                    [](const app_options& o) { return o.log_format; }},
    standard_option{"seed", "N", "seed of every random draw (the kernel gives one)", false, read_seed, always_fine,
                    [](const app_options& o) { return o.seed ? number_text(*o.seed) : ""; }},
};

}  // namespace

std::span<const standard_option> standard_options() noexcept { return table; }

}  // namespace skerry::detail
