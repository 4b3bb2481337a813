// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/framework/observe/log_settings.hpp>

#include <array>
#include <cstddef>

namespace skerry {

namespace {

constexpr std::array<std::string_view, 5> level_names = {"debug", "info", "warning", "error", "off"};
constexpr std::array<std::string_view, 2> format_names = {"text", "json"};

template <typename Value, std::size_t N>
std::optional<Value> find(const std::array<std::string_view, N>& names, std::string_view name) noexcept {
  for (std::size_t i = 0; i < N; ++i) {
    if (names[i] == name) return static_cast<Value>(i);
  }
  return std::nullopt;
}

}  // namespace

std::string_view name_of(log_level level) noexcept {
  const auto index = static_cast<std::size_t>(level);
  SKERRY_ASSERT(index < level_names.size(), "this is no log level");
  return level_names[index];
}

std::string_view name_of(log_format format) noexcept {
  const auto index = static_cast<std::size_t>(format);
  SKERRY_ASSERT(index < format_names.size(), "this is no log format");
  return format_names[index];
}

std::optional<log_level> parse_log_level(std::string_view name) noexcept { return find<log_level>(level_names, name); }

std::optional<log_format> parse_log_format(std::string_view name) noexcept {
  return find<log_format>(format_names, name);
}

}  // namespace skerry
