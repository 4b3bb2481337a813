// SPDX-License-Identifier: Apache-2.0
#pragma once

/// option: a named value that people type, bound to the variable that it sets: it reads a text into the variable or says
/// why not, and shows the variable as a text that it would read. So a value is valid exactly if it can be read as shown.
///
/// The parse functions read strictly: the whole text or nothing, and nothing is skipped, cut or rounded to fit.
///
/// Ownership: an option borrows its variable.
/// Errors:    startup_error that says what would do.
/// Units:     bytes: k, m, g, t are powers of 1000 and kb, mb, gb, tb (also kib ...) powers of 1024, as in a Redis
///            configuration. Time: ns, us, ms, s, m, h, and a bare 0; microseconds of a `-us` option are bare numbers.

#include <skerry/framework/startup_error.hpp>
#include <skerry/shards/app_options.hpp>

#include <chrono>
#include <concepts>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace skerry::detail {

/// Decimal, or hexadecimal after 0x. No sign.
std::optional<std::uint64_t> parse_unsigned(std::string_view text);
/// true, on, yes, 1 and false, off, no, 0.
std::optional<bool> parse_switch(std::string_view text);
/// `64mb`, `1.5gb`, `4096`.
std::optional<byte_size> parse_bytes(std::string_view text);
/// `10s`, `1.5s`, `500ms`, `2m`. Never negative.
std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text);

inline std::string show(const std::string& value) { return value; }
inline std::string show(std::unsigned_integral auto value) { return std::to_string(value); }
inline std::string show(std::chrono::microseconds value) { return std::to_string(value.count()); }
inline std::string show(bool value) { return value ? "on" : "off"; }
std::string show(pin_mode value);
/// In the largest whole unit: `64mib`, `1500ms`.
std::string show(byte_size value);
std::string show(std::chrono::nanoseconds value);
/// Nothing: not set.
template <class T>
std::optional<std::string> show(const std::optional<T>& value) {
  return value ? std::optional(show(*value)) : std::nullopt;
}

/// For messages: control characters become '?', and a text over 80 bytes is cut with "...".
std::string printable(std::string_view text);

struct option_value {
  std::function<void(std::string_view)> read;
  std::function<std::optional<std::string>()> show;
};

struct option {
  std::string name;        ///< without dashes
  std::string value_name;  ///< for --help; empty for a flag
  std::string help;
  option_value value;

  /// Reads the text; the error of one that is refused begins with how the user wrote it.
  void read(std::string_view text, std::string_view as_written) const;
};

/// `parse` gives an optional of what the variable can be made from; `valid` says what would do.
template <class Variable, class Parse>
option_value value_of(Variable& variable, std::string valid, Parse parse) {
  return {[&variable, valid = std::move(valid), parse = std::move(parse)](std::string_view text) {
            auto parsed = parse(text);
            if (!parsed) throw startup_error(valid);
            variable = Variable(*std::move(parsed));
          },
          [&variable]() -> std::optional<std::string> { return show(variable); }};
}

/// `what` a value is, and its limits.
template <class Limit, class Variable, class Parse>
option_value between(Variable& variable, Limit lowest, Limit highest, std::string what, Parse parse) {
  auto within = [=](std::string_view text) {
    auto parsed = parse(text);
    if (parsed && (*parsed < lowest || *parsed > highest)) parsed.reset();
    return parsed;
  };
  return value_of(variable, "must be " + what + " from " + show(lowest) + " to " + show(highest), within);
}

/// What every program has: one row each with name, help, limits and texts.
std::vector<option> standard_options(app_options& options);

}  // namespace skerry::detail
