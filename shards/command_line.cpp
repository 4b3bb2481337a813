// SPDX-License-Identifier: Apache-2.0
#include <skerry/backends/features.hpp>
#include <skerry/framework/assert.hpp>
#include <skerry/shards/command_line.hpp>
#include <skerry/shards/placement.hpp>

#include <algorithm>
#include <bit>
#include <cctype>
#include <charconv>
#include <concepts>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <ranges>
#include <span>
#include <sstream>
#include <type_traits>

#include <CLI/CLI.hpp>
#include <arpa/inet.h>
#include <boost/algorithm/string/case_conv.hpp>
#include <fmt/core.h>

namespace skerry {

namespace {

using detail::option;
using detail::printable;
using std::chrono::microseconds;
using std::chrono::nanoseconds;
using view = std::string_view;
using namespace std::chrono_literals;

// What people type, strictly: the whole text or nothing, and nothing is skipped, cut or rounded to fit. What `show`
// gives, `read` takes.

std::string lower(view from) { return boost::algorithm::to_lower_copy(std::string(from)); }

template <class Number, class... Base>
bool read_number(view from, Number& into, Base... base) {
  auto [end, error] = std::from_chars(from.data(), from.data() + from.size(), into, base...);
  return error == std::errc{} && end == from.data() + from.size();
}

struct unit {
  view name;
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
template <class Count>
bool read_with_unit(view from, Count& into, std::span<const unit> units) {
  view digits = from.substr(0, from.find_first_not_of("0123456789."));
  auto found = std::ranges::find(units, lower(from.substr(digits.size())), &unit::name);
  long double value = 0;  // holds all 64 bits
  if (found == units.end() || !read_number(digits, value)) return false;
  value *= static_cast<long double>(found->size);
  into = value <= static_cast<long double>(std::numeric_limits<Count>::max()) ? static_cast<Count>(value) : 0;
  return static_cast<long double>(into) == value;
}

/// In the largest whole unit: `64mb`, `1500ms`.
template <class Count>
std::string show_with_unit(Count count, std::span<const unit> units) {
  for (const unit& each : units | std::views::reverse) {
    auto size = static_cast<Count>(each.size);
    if (count != 0 && count % size == 0) return fmt::format("{}{}", count / size, each.name);
  }
  return "0";
}

bool read(view from, std::string& into) {
  into = from;
  return true;
}

bool read(view from, std::unsigned_integral auto& into) {
  if (from.starts_with("0x") || from.starts_with("0X")) return read_number(from.substr(2), into, 16);
  return read_number(from, into);
}

bool read(view from, bool& into) {
  std::string word = lower(from);
  into = word == "true" || word == "on" || word == "yes" || word == "1";
  return into || word == "false" || word == "off" || word == "no" || word == "0";
}

constexpr view pin_modes[] = {"auto", "on", "off"};  // in the order of the values

bool read(view from, pin_mode& into) {
  auto found = std::ranges::find(pin_modes, from) - std::begin(pin_modes);
  into = static_cast<pin_mode>(found);
  return found < std::ssize(pin_modes);
}

template <class Unit>  // in the option's name
bool read(view from, std::chrono::duration<std::int64_t, Unit>& into) {
  std::uint32_t count = 0;  // in the limits of every such option
  bool valid = read(from, count);
  into = std::chrono::duration<std::int64_t, Unit>(count);
  return valid;
}

bool read(view from, byte_size& into) { return read_with_unit(from, into.bytes, byte_units); }

bool read(view from, nanoseconds& into) {
  nanoseconds::rep count = 0;
  bool valid = from == "0" || read_with_unit(from, count, time_units);
  into = nanoseconds(count);
  return valid;
}

template <class T>
bool read(view from, std::optional<T>& into) {
  if (from == "auto") {
    into.reset();
    return true;
  }
  return read(from, into.emplace());
}

std::string show(const std::string& value) { return value; }
std::string show(std::unsigned_integral auto value) { return std::to_string(value); }
std::string show(bool value) { return value ? "on" : "off"; }

std::string show(pin_mode value) {
  SKERRY_ASSERT(value <= pin_mode::off, "a pin_mode is one of its three values");
  return std::string(pin_modes[static_cast<std::size_t>(value)]);
}

std::string show(microseconds value) { return std::to_string(value.count()); }
std::string show(std::chrono::milliseconds value) { return std::to_string(value.count()); }
std::string show(byte_size value) { return show_with_unit(value.bytes, byte_units); }
std::string show(nanoseconds value) { return show_with_unit(value.count(), time_units); }

template <class T>
std::string show(const std::optional<T>& value) {
  return value ? show(*value) : "auto";
}

/// `accept` says whether a value will do, and may put it right; `valid` says to people what would do.
template <class T, class Accept>
option checked(view name, view value_name, view help, T& variable, std::string valid, Accept accept) {
  auto read_into = [&variable, valid, accept](view from) {
    T value{};
    if (!read(from, value) || !accept(value)) throw startup_error(valid);
    variable = value;
  };
  return {std::string(name), std::string(value_name), std::string(help), read_into,
          [&variable] { return show(variable); }};
}

/// `what` a value is, and its limits.
template <class T>
option between(view name, view value_name, view help, T& variable, view what, std::type_identity_t<T> lowest,
               std::type_identity_t<T> highest) {
  return checked(name, value_name, help, variable,
                 fmt::format("must be {} from {} to {}", what, show(lowest), show(highest)),
                 [=](const T& value) { return lowest <= value && value <= highest; });
}

constexpr auto any = [](const auto&) { return true; };

auto among(std::vector<view> choices) {
  return [=](view from) { return std::ranges::find(choices, from) != choices.end(); };
}

option flag(view name, view help, bool& variable) {
  return checked(name, "", help, variable, "must be on or off", any);
}

/// An IP address; loses the brackets around it, if it has them.
bool is_address(std::string& from) {
  if (from.size() > 2 && from.front() == '[' && from.back() == ']') from = from.substr(1, from.size() - 2);
  // A zone ("fe80::1%eth0") is for the socket layer to resolve.
  std::string address = from.substr(0, from.find('%'));
  in6_addr parsed;
  return inet_pton(AF_INET, address.c_str(), &parsed) == 1 || inet_pton(AF_INET6, address.c_str(), &parsed) == 1;
}

bool is_shard_count(std::optional<unsigned> count) {
  if (count == 0u) throw startup_error("there is no work without a shard; use --shards auto");
  return !count || *count <= shard_count_max;
}

}  // namespace

std::vector<option> detail::standard_options(app_options& o) {
  return {
      checked("port", "PORT", "TCP port to listen on; 0 takes a free one", o.port, "must be a number from 0 to 65535",
              any),
      checked("bind", "ADDR", "address to listen on", o.bind,
              "must be an IP address, such as 127.0.0.1, 0.0.0.0 or ::", is_address),
      checked("shards", "N|auto", "how many shards; auto: one per allowed core, within the CPU quota", o.shards,
              fmt::format("must be auto or a number from 1 to {}", shard_count_max), is_shard_count),
      checked("cpuset", "LIST", "CPUs to use, such as 0-3,8 (all that are allowed)", o.cpuset, "",
              [](view list) { return list.empty() || !parse_cpu_list(list).empty(); }),
      checked("pin", "auto|on|off", "keep each shard on one CPU; auto: unless a quota alone shares the machine out",
              o.pin, "must be one of auto, on, off", any),
      flag("smt", "auto counts hardware threads, not cores", o.smt),
      flag("overprovision", "allow more shards than CPUs", o.overprovision),
      checked("backend", "NAME", "I/O backend: auto, io_uring or epoll; auto: io_uring where it works", o.backend,
              "is not built into this program; use one of auto, io_uring, epoll", among({"auto", "io_uring", "epoll"})),
      between("idle-spin-us", "N", "look for work this long before sleeping, in microseconds", o.idle_spin, "a number",
              0us, 1s),
      between("task-budget-us", "N", "run tasks this long before looking at I/O, in microseconds", o.task_budget,
              "a number", 10us, 1s),
      checked("ring-entries", "N", "submission queue of each shard, a power of two", o.ring_entries,
              "must be a power of two from 64 to 32768",
              [](unsigned n) { return std::has_single_bit(n) && n >= 64 && n <= 32768; }),
      between("sqpoll-idle-ms", "N", "a kernel thread per shard submits, and sleeps after so long; 0: none",
              o.sqpoll_idle, "a number", 0ms, 10s),
      between("napi-busy-poll-us", "N", "poll the network this long before sleeping; 0: do not", o.napi_busy_poll,
              "a number", 0us, 1s),
      between("send-zc-bytes", "N", "send without copying (SEND_ZC) from so many bytes on; 0: never", o.send_zc_bytes,
              "a number", 0, 65536),
      between("mailbox-capacity", "N", "messages handed over in one batch between two shards", o.mailbox_capacity,
              "a number", 1, 65536),
      between("drain-timeout", "TIME", "how long a graceful stop may take: 10s, 500ms, 2m", o.drain_timeout,
              "a duration such as 10s, 500ms or 2m,", 0s, 24h),
      checked("admin", "ADDR:PORT", "where to see the shards at work (auto: 127.0.0.1:9180 if free)", o.admin,
              "must be ADDR:PORT, off or auto", [](view v) { return v == "off" || v == "auto" || v.contains(':'); }),
      checked("log-level", "LEVEL", "debug, info, warning, error or off", o.log_level,
              "must be one of debug, info, warning, error, off", among({"debug", "info", "warning", "error", "off"})),
      checked("log-format", "FORMAT", "text or json, one line per record", o.log_format, "must be one of text, json",
              among({"text", "json"})),
      checked("seed", "N", "seed of every random draw (the kernel gives one)", o.seed,
              "must be a number below 2^64, decimal or 0x...", any),
  };
}

void option::mention(view text, const std::string& before) {
  if (!as_written.empty()) return;
  mentioned = text;
  as_written = before + printable(text);
}

void option::read_mentioned() const {
  try {
    if (!as_written.empty()) read_into(mentioned);
  } catch (const startup_error& why) {
    throw startup_error(fmt::format("{}: {}", as_written, why.what()));
  }
}

void validate(const app_options& options) {
  app_options copy = options;
  for (option& each : detail::standard_options(copy)) {
    each.mention(each.show(), each.name + " = ");
    each.read_mentioned();
  }
}

command_line::command_line(std::string program, std::string description, std::string version,
                           std::optional<std::uint16_t> default_port)
    : program_(std::move(program)), description_(std::move(description)), version_(std::move(version)) {
  options_.port = default_port;
  all_ = detail::standard_options(options_);
  if (!default_port) std::erase_if(all_, [](const auto& each) { return each.name == "port" || each.name == "bind"; });
  add(checked("config", "FILE", "read options from this file, one name = value per line", config_, "must name a file",
              [](view path) { return !path.empty(); }));
}

void command_line::add(option option) {
  SKERRY_ASSERT(option.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == option.name.npos,
                "an option's name is lower case words joined by dashes");
  SKERRY_ASSERT(find(option.name) == nullptr, "two options cannot share a name");
  const bool is_fixed = option.name == "help" || option.name == "version" || option.name == "io-uring-features";
  SKERRY_ASSERT(!is_fixed, "this name has a fixed meaning");
  all_.push_back(std::move(option));
}

option* command_line::find(view name) {
  auto found = std::ranges::find(all_, name, &option::name);
  return found == all_.end() ? nullptr : &*found;
}

command_line::outcome command_line::parse(int argc, const char* const* argv, app_options defaults) {
  SKERRY_ASSERT(!parsed_, "a command line is parsed once");
  SKERRY_ASSERT(argc >= 1, "the first argument is the program");
  parsed_ = true;
  if (!defaults.port) defaults.port = options_.port;
  options_ = std::move(defaults);
  try {
    validate(options_);
    if (auto text = read_arguments(argc, argv)) return exit_request{0, std::move(*text)};
    read_environment();
    find("config")->read_mentioned();
    if (!config_.empty()) read_config(config_);
    for (const option& each : all_) each.read_mentioned();
    const auto& o = options_;
    if (features_)
      return exit_request{0, as_text(examine_io_uring({o.sqpoll_idle, o.napi_busy_poll, o.send_zc_bytes}))};
    return options_;
  } catch (const startup_error& why) {
    std::string text = fmt::format("{}: {}\n", program_, why.what());
    // The pointer to --help is worth a line only while there is room for it.
    if (std::ranges::count(text, '\n') < 3) text += fmt::format("  {} --help explains all options\n", program_);
    SKERRY_ASSERT(std::ranges::count(text, '\n') <= 3, "a start-up error has at most three lines");
    return exit_request{1, std::move(text)};
  }
}

/// Lets CLI11 split the arguments. Returns the text to print if that is all there is to do.
std::optional<std::string> command_line::read_arguments(int argc, const char* const* argv) {
  CLI::App app(description_, program_);
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.allow_extras();  // refused below, in our own words
  app.set_help_flag("-h,--help", "print this");
  app.set_version_flag("--version", program_ + ' ' + version_, "print the version");
  const auto* features = app.add_flag("--io-uring-features")->description("print what io_uring has and what is used");
  app.footer(
      "Each option can also come from the environment (--idle-spin-us as SKERRY_IDLE_SPIN_US) or the file.\n"
      "The command line beats the environment, the environment beats the file.");
  for (const option& each : all_) {
    bool flag = each.value_name.empty();
    CLI::Option* option = flag ? app.add_flag("--" + each.name) : app.add_option("--" + each.name);
    option->description(each.help);
    if (!flag) option->type_name(each.value_name)->default_str(each.show());
    if (each.name == "config") app.option_defaults()->group("Options of " + program_);  // all that follow
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked) {  // for help or the version
    std::ostringstream text;
    app.exit(asked, text);
    return std::move(text).str();
  } catch (const CLI::ArgumentMismatch& error) {
    view text = error.what();
    throw startup_error(fmt::format("{} needs a value", printable(text.substr(0, text.find(':')))));
  } catch (const CLI::ParseError& error) {
    throw startup_error(printable(error.what()));
  }
  features_ = features->count() > 0;
  for (const CLI::Option* given : app.get_options([&](auto* each) { return each->count() > 0 && each != features; })) {
    const std::string& value = given->results().back();
    // In `--shards --port 1` the parser takes `--port` for the number of shards.
    if (value.starts_with("--") && find(view(value).substr(2, value.find('=') - 2)) != nullptr) {
      throw startup_error(fmt::format("{} needs a value before {}", given->get_name(), printable(value)));
    }
    find(given->get_single_name())->mention(value, given->get_name() + ' ');
  }
  for (const std::string& extra : app.remaining()) {
    if (extra.starts_with('-')) throw unknown(printable(extra));
    throw startup_error(fmt::format("\"{}\" is no option; options start with --", printable(extra)));
  }
  return std::nullopt;
}

void command_line::read_environment() {
  for (option& each : all_) {
    std::string name = "SKERRY_";
    for (char c : each.name) name += c == '-' ? '_' : static_cast<char>(std::toupper(c));
    const char* value = std::getenv(name.c_str());
    if (value != nullptr && *value != '\0') each.mention(value, name + '=');
  }
}

void command_line::read_config(const std::string& path) {
  constexpr std::size_t size_max = 1 << 20;
  std::ifstream file(path, std::ios::binary);
  std::string text(size_max + 1, '\0');
  // A directory opens and fails at the first read.
  if (!file.read(text.data(), std::ssize(text)) && !file.eof()) {
    throw startup_error(fmt::format("cannot read the configuration file {}; use --config FILE", printable(path)));
  }
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (text.size() > size_max) throw startup_error(fmt::format("{} is larger than 1 MiB", printable(path)));

  // The reader would split values at commas, which `cpuset = 0-3,8` must survive; no line contains a line feed.
  CLI::ConfigBase reader;
  reader.arrayDelimiter('\n');
  std::istringstream lines(text);
  std::vector<CLI::ConfigItem> items = reader.from_config(lines);
  for (const CLI::ConfigItem& item : items | std::views::reverse) {  // the last mention wins
    if (!item.parents.empty()) {
      throw startup_error(
          fmt::format("{}: sections such as [{}] have no meaning here; write each option as name = value",
                      printable(path), printable(item.parents.front())));
    }
    option* named = find(item.name);
    if (named == nullptr || item.name == "config") throw unknown(printable(item.name) + " in " + printable(path));
    view value = item.inputs.empty() ? view() : item.inputs.back();  // `name = []` has none
    named->mention(value, fmt::format("{}: {} = ", printable(path), item.name));
  }
}

/// Names the options there are.
startup_error command_line::unknown(const std::string& as_written) const {
  std::string names;
  for (const option& each : all_) names += each.name + ' ';
  return startup_error(fmt::format("unknown option {}\n  valid: {}io-uring-features help version", as_written, names));
}

void command_line::add_option(view name, std::string& value, view help) {
  add(checked(name, "TEXT", help, value, "", any));
}

void command_line::add_option(view name, std::uint64_t& value, view help, std::uint64_t lowest, std::uint64_t highest) {
  add(between(name, "N", help, value, "a number", lowest, highest));
}

void command_line::add_option(view name, byte_size& value, view help, byte_size lowest, byte_size highest) {
  add(between(name, "BYTES", help, value, "a size such as 64mb,", lowest, highest));
}

void command_line::add_option(view name, nanoseconds& value, view help, nanoseconds lowest, nanoseconds highest) {
  add(between(name, "TIME", help, value, "a duration such as 500ms,", lowest, highest));
}

void command_line::add_option(view name, bool& value, view help) { add(flag(name, help, value)); }

}  // namespace skerry
