// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/detail/steering.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <system_error>

#include <linux/filter.h>
#include <sched.h>
#include <sys/socket.h>

namespace skerry::net::detail {

namespace {

std::vector<sock_filter> table(const std::vector<std::optional<unsigned>>& cpus) {
  const auto current_cpu = static_cast<std::uint32_t>(SKF_AD_OFF + SKF_AD_CPU);
  const auto shards = static_cast<std::uint32_t>(cpus.size());
  std::vector<sock_filter> program;
  program.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, current_cpu));
  for (std::uint32_t shard = 0; shard < shards; ++shard) {
    program.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, *cpus[shard], 0, 1));
    program.push_back(BPF_STMT(BPF_RET | BPF_K, shard));
  }
  program.push_back(BPF_STMT(BPF_RET | BPF_K, shards));
  return program;
}

}  // namespace

std::optional<unsigned> cpu_of_this_shard() {
  constexpr std::size_t cpus_max = 8192;  // Linux has no more
  std::array<cpu_set_t, cpus_max / CPU_SETSIZE> set{};
  if (::sched_getaffinity(0, sizeof set, set.data()) != 0) return std::nullopt;
  if (CPU_COUNT_S(sizeof set, set.data()) != 1) return std::nullopt;
  unsigned cpu = 0;
  while (!CPU_ISSET_S(cpu, sizeof set, set.data())) ++cpu;
  return cpu;
}

std::string steer(int listening, const std::vector<std::optional<unsigned>>& cpus) {
  if (cpus.size() > steered_shards_max) return "there are more than " + std::to_string(steered_shards_max) + " shards";
  const auto free = std::ranges::find_if(cpus, [](const auto& cpu) { return !cpu.has_value(); });
  if (free != cpus.end()) {
    return "shard " + std::to_string(free - cpus.begin()) + " is not pinned to one CPU (--pin on pins it)";
  }
  std::vector<std::optional<unsigned>> sorted = cpus;
  std::ranges::sort(sorted);
  const auto twice = std::ranges::adjacent_find(sorted);
  if (twice != sorted.end()) {
    return "two shards share CPU " + std::to_string(**twice) + " (fewer --shards, or a larger --cpuset)";
  }
  std::vector<sock_filter> program = table(cpus);
  const sock_fprog attached{static_cast<unsigned short>(program.size()), program.data()};
  if (::setsockopt(listening, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &attached, sizeof attached) == 0) return "";
  return "SO_ATTACH_REUSEPORT_CBPF: " + std::generic_category().message(errno);
}

}  // namespace skerry::net::detail
