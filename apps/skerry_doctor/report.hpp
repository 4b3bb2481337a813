// SPDX-License-Identifier: Apache-2.0
#pragma once

/// report: what was found out, as names and values in sections, and what to do about it; one content, two renderings.

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace skerry_doctor {

/// Keeps names in the order in which they were put in.
using json = nlohmann::ordered_json;

struct report {
  /// problem: Skerry does not start here. hint: it starts, but something will be slower or smaller than it could be.
  enum class weight { hint, problem };
  struct advice {
    weight how_bad;
    std::string what;  ///< the cause, with the value found
    std::string fix;   ///< a command, flag or setting
  };

  json sections = json::object();  ///< section -> name -> value
  std::vector<advice> advices;     ///< problems first, each kind in the order found

  void hint(std::string what, std::string fix) { advices.push_back({weight::hint, std::move(what), std::move(fix)}); }
  void problem(std::string what, std::string fix) {
    const auto first_hint = std::ranges::find(advices, weight::hint, &advice::how_bad);
    advices.insert(first_hint, {weight::problem, std::move(what), std::move(fix)});
  }
  bool starts_here() const;
};

/// For people: a block per section, then the advice.
std::string as_text(const report& found);
/// For programs: the sections as objects, `advice` as a list, and `starts_here`.
std::string as_json(const report& found);

}  // namespace skerry_doctor
