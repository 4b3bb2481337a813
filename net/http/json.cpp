// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/http/json.hpp>

#include <algorithm>
#include <cmath>

#include <fmt/core.h>

namespace skerry::net::http::detail {

namespace {

/// "[json.exception.out_of_range.403] key 'name' not found": without the part that only nlohmann's manual explains.
std::string_view without_tag(std::string_view what) {
  const std::size_t tag = what.starts_with("[json.") ? what.find("] ") : what.npos;
  if (tag != what.npos) what.remove_prefix(tag + 2);
  return what;
}

}  // namespace

void require_json(const request& r) {
  std::string_view type = r.header("Content-Type").value_or("");
  type = type.substr(0, type.find(';'));
  type = type.substr(0, type.find_last_not_of(" \t") + 1);
  constexpr std::string_view suffix = "+json";
  const bool ends_so = type.size() > suffix.size() && same_name(type.substr(type.size() - suffix.size()), suffix);
  if (!ends_so && !same_name(type, "application/json")) throw http_error(415, "body: Content-Type is application/json");
}

void refuse_json(std::string_view text, std::size_t byte) {
  const std::string_view before = text.substr(0, byte == 0 ? 0 : byte - 1);  // nlohmann counts from 1
  const auto line = 1 + std::ranges::count(before, '\n');
  const std::size_t column = before.size() - (before.rfind('\n') + 1) + 1;
  throw http_error(400, fmt::format("body: is no JSON from line {}, column {} on", line, column));
}

void refuse_json(std::string_view what) { throw http_error(400, fmt::format("body: {}", without_tag(what))); }

std::uint64_t whole_number(const nlohmann::json& from, std::int64_t least, std::uint64_t most) {
  using json = nlohmann::json;
  constexpr const char* out_of_range = "is out of range";
  if (from.is_number_unsigned()) {
    const auto number = from.get_ref<const json::number_unsigned_t&>();
    require_kind(number <= most, out_of_range);
    return number;
  }
  if (from.is_number_integer()) {  // below 0: nlohmann keeps others without a sign
    const auto number = from.get_ref<const json::number_integer_t&>();
    require_kind(number >= 0 || least < 0, "is no whole number from 0 on");
    require_kind(number >= least, out_of_range);
    return static_cast<std::uint64_t>(number);
  }
  constexpr double beyond = 9.2e18;  // a whole number that 64 bits cannot hold comes as a double
  require_kind(!from.is_number_float() || std::abs(from.get<double>()) < beyond, out_of_range);
  throw json_mismatch("", "is no whole number");
}

double number(const nlohmann::json& from, double most) {
  require_kind(from.is_number(), "is no number");
  const auto number = from.get<double>();
  require_kind(std::abs(number) <= most, "is out of range");
  return number;
}

const nlohmann::json& field_of(const nlohmann::json& from, const char* name) {
  require_kind(from.is_object(), "is no object");
  const auto found = from.find(name);
  if (found == from.end()) throw json_mismatch(name, "is missing");
  return *found;
}

void require_kind(bool is_one, const char* complaint) {
  if (!is_one) throw json_mismatch("", complaint);
}

void throw_again_at(const std::string& place) {
  try {
    throw;
  } catch (const json_mismatch& inner) {
    const bool joins = inner.place().empty() || inner.place().starts_with('[');
    throw json_mismatch(fmt::format("{}{}{}", place, joins ? "" : ".", inner.place()), inner.complaint());
  } catch (const nlohmann::json::exception& error) {
    throw json_mismatch(place, std::string(without_tag(error.what())));
  }
}

/// A client's key is repeated to him, within limits.
std::string place_of(std::string_view key) { return key.size() <= 60 ? std::string(key) : "(a long key)"; }
std::string place_of(std::size_t index) { return fmt::format("[{}]", index); }

}  // namespace skerry::net::http::detail
