// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include <fmt/core.h>
#include <skerry_doctor/report.hpp>

namespace skerry_doctor {

namespace {

/// A value as people write it: words without quotes, lists with commas, yes and no.
std::string plain(const json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_null()) return "none";
  if (!value.is_array()) return value.dump();
  std::string text;
  for (const json& each : value) text += (text.empty() ? "" : ", ") + plain(each);
  return text.empty() ? "none" : text;
}

}  // namespace

bool report::starts_here() const {
  return std::ranges::none_of(advices, [](const advice& each) { return each.how_bad == weight::problem; });
}

std::string as_text(const report& found) {
  std::string text;
  for (const auto& [section, values] : found.sections.items()) {
    text += section + '\n';
    for (const auto& [name, value] : values.items()) text += fmt::format("  {:<22}{}\n", name, plain(value));
  }
  text += found.starts_here() ? "Skerry starts here.\n" : "Skerry does not start here.\n";
  for (const report::advice& each : found.advices) {
    const char* mark = each.how_bad == report::weight::problem ? "PROBLEM" : "hint";
    text += fmt::format("{}: {}\n  fix: {}\n", mark, each.what, each.fix);
  }
  return text;
}

std::string as_json(const report& found) {
  json all = found.sections;
  all["advice"] = json::array();
  for (const report::advice& each : found.advices) {
    const char* mark = each.how_bad == report::weight::problem ? "problem" : "hint";
    all["advice"].push_back({{"weight", mark}, {"what", each.what}, {"fix", each.fix}});
  }
  all["starts_here"] = found.starts_here();
  // What other processes call themselves may be no UTF-8.
  return all.dump(2, ' ', false, json::error_handler_t::replace) + '\n';
}

}  // namespace skerry_doctor
