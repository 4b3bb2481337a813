// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/this_shard.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/toolkit/pool/threads.hpp>

#include <algorithm>
#include <csignal>
#include <utility>

#include <pthread.h>
#include <sched.h>

namespace skerry {

namespace {

constexpr std::size_t cpus_max = cpu_id_max + 1;

/// As many bits as Linux can have CPUs; cpu_set_t has 1024.
struct cpu_mask {
  cpu_set_t bits[cpus_max / CPU_SETSIZE];
  static constexpr std::size_t bytes = sizeof(bits);
};

void keep_on(const cpu_list& cpus) noexcept {
  if (cpus.empty()) return;
  cpu_mask mask;
  CPU_ZERO_S(cpu_mask::bytes, mask.bits);
  for (unsigned cpu : cpus) CPU_SET_S(cpu, cpu_mask::bytes, mask.bits);
  // Where the system refuses, it costs speed, not correctness.
  [[maybe_unused]] const int refused = ::pthread_setaffinity_np(::pthread_self(), cpu_mask::bytes, mask.bits);
}

}  // namespace

cpu_list cpus_of_all_shards() {
  cpu_list all;
  for (const place& each : this_shard().host->where().shards) {
    if (each.cpus.empty()) return {};
    all.insert(all.end(), each.cpus.begin(), each.cpus.end());
  }
  std::ranges::sort(all);
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

cpu_list cpus_of_this_thread() {
  cpu_mask mask;
  cpu_list found;
  if (::sched_getaffinity(0, cpu_mask::bytes, mask.bits) != 0) return found;
  for (unsigned cpu = 0; cpu < cpus_max; ++cpu) {
    if (CPU_ISSET_S(cpu, cpu_mask::bytes, mask.bits)) found.push_back(cpu);
  }
  return found;
}

std::thread start_pool_thread(const char* name, const cpu_list& cpus, std::function<void()> body) {
  // Signals are the application's, but for those that a thread's own mistake raises.
  sigset_t most, before;
  sigfillset(&most);
  for (int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP}) sigdelset(&most, own);
  struct restore {
    const sigset_t& mask;
    ~restore() { ::pthread_sigmask(SIG_SETMASK, &mask, nullptr); }
  };
  ::pthread_sigmask(SIG_SETMASK, &most, &before);
  const restore afterwards{before};
  return std::thread([name, cpus, run = std::move(body)] {
    ::pthread_setname_np(::pthread_self(), name);
    keep_on(cpus);
    run();
  });
}

}  // namespace skerry
