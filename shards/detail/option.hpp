// SPDX-License-Identifier: Apache-2.0
#pragma once

/// option: a named value that people type, bound to the variable that it sets.
///
/// It reads a text into the variable or says why not, and shows the variable as a text that it would read. That is all
/// that a command line, an environment variable, a file and the check of what a program set need: a value is valid
/// exactly if it can be read as it is shown.
///
/// The parse functions read strictly: the whole text or nothing, and nothing is skipped, cut or rounded to fit.
///
/// Ownership: an option borrows its variable.
/// Errors:    startup_error that says what would do.
/// Units:     `parse_bytes`: k, m, g, t are powers of 1000 and kb, mb, gb, tb (also kib ...) powers of 1024, as in a
///            Redis configuration. `parse_duration`: ns, us, ms, s, m, h, and a bare 0.

#include <skerry/framework/startup_error.hpp>

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace skerry {
struct app_options;
}

namespace skerry::detail {

/// Decimal, or hexadecimal after 0x. No sign.
std::optional<std::uint64_t> parse_unsigned(std::string_view text);
/// Decimal, fraction and exponent allowed; no infinity, no NaN.
std::optional<double> parse_decimal(std::string_view text);
/// true, on, yes, 1 and false, off, no, 0.
std::optional<bool> parse_switch(std::string_view text);
/// `64mb`, `1.5gb`, `4096`.
std::optional<std::uint64_t> parse_bytes(std::string_view text);
/// `10s`, `1.5s`, `500ms`, `2m`. Never negative.
std::optional<std::chrono::nanoseconds> parse_duration(std::string_view text);

/// The reverse of parse_duration in its largest whole unit: `10s`, `1500ms`.
std::string format_duration(std::chrono::nanoseconds duration);
/// For messages: control characters become '?', and a text over 80 bytes is cut with "...".
std::string printable(std::string_view text);

struct option_value {
  std::function<void(std::string_view)> read;
  std::function<std::optional<std::string>()> show;  ///< nothing: not set
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
template <class Variable, class Parse, class Show>
option_value value_of(Variable& variable, std::string valid, Parse parse, Show show) {
  return {[&variable, valid = std::move(valid), parse = std::move(parse)](std::string_view text) {
            auto parsed = parse(text);
            if (!parsed) throw startup_error(valid);
            variable = Variable(*std::move(parsed));
          },
          [&variable, show]() -> std::optional<std::string> { return show(variable); }};
}

/// A parse function that declines what lies outside.
template <class Limit, class Parse>
auto within(Limit lowest, Limit highest, Parse parse) {
  return [=](std::string_view text) {
    auto parsed = parse(text);
    if (parsed && (*parsed < lowest || *parsed > highest)) parsed.reset();
    return parsed;
  };
}

/// A text that is one of the choices. `valid` may say it better than "must be one of".
option_value one_of(std::string& variable, std::vector<std::string> choices, std::string valid = {});
option_value on_or_off(bool& variable);

/// What every program has: one row each with name, help, limits and texts.
std::vector<option> standard_options(app_options& options);

}  // namespace skerry::detail
