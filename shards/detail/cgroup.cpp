// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/shards/detail/cgroup.hpp>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string_view>
#include <vector>

namespace skerry::detail {

namespace {

struct mount {
  std::string top;          ///< which group the mount shows at its top; empty: the root of all
  std::string point;        ///< where
  std::string controllers;  ///< and other words, between commas: ",rw,cpu,cpuacct,"; of version 2 ",,"
};

/// mountinfo writes blanks and backslashes in paths as \040 and \134.
std::string unescaped(std::string text) {
  for (auto at = text.find('\\'); at != text.npos; at = text.find('\\', at + 1)) {
    text.replace(at, 4, 1, static_cast<char>(std::strtoul(text.substr(at + 1, 3).c_str(), nullptr, 8)));
  }
  return text;
}

std::vector<mount> read_mounts(const std::string& root) {
  std::vector<mount> mounts;
  std::ifstream file(root + "/proc/self/mountinfo");
  for (std::string line; std::getline(file, line);) {
    auto dash = line.find(" - cgroup");
    if (dash == line.npos) continue;
    std::string skipped, top, point, type, options;
    std::istringstream(line) >> skipped >> skipped >> skipped >> top >> point;
    std::istringstream(line.substr(dash + 3)) >> type >> skipped >> options;
    if (options.empty()) continue;  // malformed
    if (type == "cgroup2") options.clear();
    mounts.push_back({top == "/" ? "" : unescaped(top), root + unescaped(point), ',' + options + ','});
  }
  return mounts;
}

template <typename Value>
void tighten(std::optional<Value>& limit, Value found) {
  if (!limit || found < *limit) limit = found;
}

/// Reads what numbers the file holds, if it holds these and nothing else.
template <typename... Numbers>
bool read_numbers(const std::string& path, Numbers&... numbers) {
  std::ifstream file(path);
  return (file >> ... >> numbers) && (file >> std::ws).eof();
}

/// A group has files of one version; those of the other are missing.
void tighten_by_group(cgroup_limits& limits, const std::string& directory) {
  double quota = 0, period = 0;  // no quota is the word "max" in version 2 and -1 in version 1
  bool timed =
      read_numbers(directory + "/cpu.max", quota, period) ||
      (read_numbers(directory + "/cpu.cfs_quota_us", quota) && read_numbers(directory + "/cpu.cfs_period_us", period));
  if (timed && quota > 0 && period > 0) tighten(limits.cpus, quota / period);

  constexpr std::uint64_t unlimited = std::uint64_t{1} << 62;  // version 1 writes the largest multiple of a page
  std::uint64_t bytes = 0;
  bool bounded =
      read_numbers(directory + "/memory.max", bytes) || read_numbers(directory + "/memory.limit_in_bytes", bytes);
  if (bounded && bytes < unlimited) tighten(limits.memory_bytes, bytes);
}

/// Applies the limits of a group and of those above it.
void tighten_by_path(cgroup_limits& limits, const std::vector<mount>& mounts, const std::string& controllers,
                     const std::string& path) {
  auto of_this_tree = [&](const mount& m) {
    return std::ranges::any_of(std::array{",,", ",cpu,", ",memory,"}, [&](const char* word) {
      return controllers.find(word) != controllers.npos && m.controllers.find(word) != m.controllers.npos;
    });
  };
  auto shows_us = [&](const mount& m) {
    return of_this_tree(m) && (path + '/').starts_with(m.top + '/') && path.find("..") == path.npos;
  };
  bool shown = std::ranges::any_of(mounts, shows_us);
  for (const mount& m : mounts) {
    if (shown ? !shows_us(m) : !of_this_tree(m)) continue;
    std::string below = shown ? path.substr(m.top.size()) : "";
    for (; !below.empty(); below.resize(below.rfind('/'))) tighten_by_group(limits, m.point + below);
    tighten_by_group(limits, m.point);
  }
}

}  // namespace

cgroup_limits read_cgroup_limits(const std::string& root) {
  cgroup_limits limits;
  std::vector<mount> mounts = read_mounts(root);
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    // id:controllers:path, where controllers is empty for version 2.
    auto first = line.find(':');
    auto second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    std::string path = line.substr(second + 1);
    while (path.ends_with('/')) path.pop_back();
    tighten_by_path(limits, mounts, ',' + line.substr(first + 1, second - first - 1) + ',', path);
  }
  SKERRY_ASSERT(!limits.cpus || *limits.cpus > 0, "a quota of no time at all does not exist");
  return limits;
}

}  // namespace skerry::detail
