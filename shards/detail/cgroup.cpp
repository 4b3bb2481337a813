// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/shards/detail/cgroup.hpp>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <string_view>
#include <vector>

namespace skerry::detail {

namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    auto end = std::min(text.find(separator), text.size());
    if (end > 0) parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

bool has_word(std::string_view list, std::string_view word) {
  auto words = split(list, ',');
  return std::find(words.begin(), words.end(), word) != words.end();
}

/// mountinfo writes blanks and backslashes in paths as \040 and \134.
std::string unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\' || i + 3 >= text.size()) {
      out += text[i];
      continue;
    }
    unsigned code = 0;
    std::from_chars(text.data() + i + 1, text.data() + i + 4, code, 8);
    out += static_cast<char>(code);
    i += 3;
  }
  return out;
}

struct mount {
  std::string root;   ///< which group the mount shows at its top
  std::string point;  ///< where
  bool version2;
  std::string options;  ///< version 1: names the controllers
};

std::vector<mount> read_mounts(const std::string& root) {
  std::vector<mount> mounts;
  std::string text = read_text_file(root + "/proc/self/mountinfo").value_or("");
  for (std::string_view line : split(text, '\n')) {
    auto dash = line.find(" - ");
    if (dash == line.npos) continue;
    auto left = split(line.substr(0, dash), ' ');
    auto right = split(line.substr(dash + 3), ' ');
    if (left.size() < 5 || right.size() < 3) continue;
    if (right[0] != "cgroup" && right[0] != "cgroup2") continue;
    mounts.push_back({unescaped(left[3]), unescaped(left[4]), right[0] == "cgroup2", std::string(right[2])});
  }
  return mounts;
}

bool is_below(std::string_view path, std::string_view top) {
  return top == "/" || path == top || (path.starts_with(top) && path[top.size()] == '/');
}

/// A group's directories, its own first, then each parent up to the mount point.
std::vector<std::string> directories(const std::string& root, const std::vector<mount>& mounts, std::string_view path,
                                     std::string_view controller) {
  const mount* best = nullptr;
  for (const mount& m : mounts) {
    bool fits = controller.empty() ? m.version2 : !m.version2 && has_word(m.options, controller);
    if (!fits) continue;
    bool better = best == nullptr ||
                  (is_below(path, m.root) && (!is_below(path, best->root) || m.root.size() > best->root.size()));
    if (better) best = &m;
  }
  std::vector<std::string> out;
  if (best == nullptr) return out;
  // A path that the mount does not show (another namespace's) leaves its top, which still limits us.
  std::string_view below;
  if (is_below(path, best->root) && path.find("..") == path.npos) {
    below = path.substr(best->root == "/" ? 0 : best->root.size());
  }
  while (!below.empty() && below.back() == '/') below.remove_suffix(1);
  while (!below.empty()) {
    SKERRY_ASSERT(below.front() == '/', "a group's path starts at a slash");
    out.push_back(root + best->point + std::string(below));
    below = below.substr(0, below.rfind('/'));
  }
  out.push_back(root + best->point);
  return out;
}

template <typename Number>
std::optional<Number> number(std::string_view text) {
  Number value{};
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{}) return std::nullopt;
  return value;
}

template <typename Number>
std::optional<Number> number_in(const std::string& path) {
  return number<Number>(read_text_file(path).value_or(""));
}

template <typename Value>
void tighten(std::optional<Value>& limit, Value found) {
  if (!limit || found < *limit) limit = found;
}

void tighten_cpus(cgroup_limits& limits, std::optional<double> quota_us, std::optional<double> period_us) {
  // Version 1 writes -1 for no quota, version 2 the word "max".
  if (quota_us && period_us && *quota_us > 0 && *period_us > 0) tighten(limits.cpus, *quota_us / *period_us);
}

void read_version2(cgroup_limits& limits, const std::string& directory) {
  std::string text = read_text_file(directory + "/cpu.max").value_or("");
  auto words = split(text, ' ');
  if (words.size() == 2) tighten_cpus(limits, number<double>(words[0]), number<double>(words[1]));
  if (auto bytes = number_in<std::uint64_t>(directory + "/memory.max")) tighten(limits.memory_bytes, *bytes);
}

void read_version1_cpu(cgroup_limits& limits, const std::string& directory) {
  tighten_cpus(limits, number_in<double>(directory + "/cpu.cfs_quota_us"),
               number_in<double>(directory + "/cpu.cfs_period_us"));
}

void read_version1_memory(cgroup_limits& limits, const std::string& directory) {
  constexpr std::uint64_t unlimited = std::uint64_t{1} << 62;  // the kernel writes the largest multiple of a page
  auto bytes = number_in<std::uint64_t>(directory + "/memory.limit_in_bytes");
  if (bytes && *bytes < unlimited) tighten(limits.memory_bytes, *bytes);
}

}  // namespace

std::optional<std::string> read_text_file(const std::string& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

cgroup_limits read_cgroup_limits(const std::string& root) {
  cgroup_limits limits;
  auto mounts = read_mounts(root);
  std::string groups = read_text_file(root + "/proc/self/cgroup").value_or("");
  for (std::string_view line : split(groups, '\n')) {
    // id:controllers:path, where controllers is empty for version 2.
    auto first = line.find(':');
    auto second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    auto controllers = line.substr(first + 1, second - first - 1);
    auto path = line.substr(second + 1);
    if (controllers.empty()) {
      for (const auto& directory : directories(root, mounts, path, "")) read_version2(limits, directory);
    }
    if (has_word(controllers, "cpu")) {
      for (const auto& directory : directories(root, mounts, path, "cpu")) read_version1_cpu(limits, directory);
    }
    if (has_word(controllers, "memory")) {
      for (const auto& directory : directories(root, mounts, path, "memory")) read_version1_memory(limits, directory);
    }
  }
  SKERRY_ASSERT(!limits.cpus || *limits.cpus > 0, "a quota of no time at all does not exist");
  return limits;
}

}  // namespace skerry::detail
