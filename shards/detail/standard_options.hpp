// SPDX-License-Identifier: Apache-2.0
#pragma once

/// standard_options: the table of options that every program has. `command_line` reads it to offer them, `validate` to
/// check them, so that an option cannot be parsed and not checked, or described and not parsed.

#include <skerry/shards/app_options.hpp>

#include <span>
#include <string>
#include <string_view>

namespace skerry::detail {

struct standard_option {
  const char* name;        ///< without dashes
  const char* value_name;  ///< for --help; empty for a flag
  const char* help;
  bool listens;  ///< only for programs with a port
  /// Reads the text into the options. Returns what is wrong with it, or nothing.
  std::string (*read)(app_options& options, std::string_view text);
  /// What is wrong with the field, or nothing.
  std::string (*problem)(const app_options& options);
  /// The field as `read` would take it; empty if it is not set.
  std::string (*show)(const app_options& options);
};

std::span<const standard_option> standard_options() noexcept;

}  // namespace skerry::detail
