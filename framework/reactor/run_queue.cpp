// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/framework/reactor/run_queue.hpp>

#include <algorithm>
#include <bit>

namespace skerry {

run_queue::run_queue() noexcept { add_group("main", 1000); }

run_queue::~run_queue() { SKERRY_ASSERT(empty(), "a shard ends after its last task"); }

scheduling_group run_queue::add_group(const char* name, unsigned shares, std::chrono::nanoseconds ahead) noexcept {
  SKERRY_ASSERT(group_count_ < groups_max, "there are at most 16 scheduling groups");
  SKERRY_ASSERT(shares > 0, "a scheduling group needs at least one share");
  unsigned index = group_count_++;
  groups_[index].name = name;
  groups_[index].weight = (std::uint64_t{1000} << 16) / shares;
  groups_[index].ahead = (static_cast<std::uint64_t>(ahead.count()) * groups_[index].weight) >> 16;
  return static_cast<scheduling_group>(index);
}

void run_queue::push_to_other(hook& task) noexcept {
  group& g = *task.group_;
  g.tasks.push(task);
  if (g.active) return;
  g.virtual_runtime = std::max(g.virtual_runtime, reached_ - std::min(reached_, g.ahead));
  active_ |= 1u << (&g - groups_.data());
  g.active = true;
  if (running_ == nullptr) running_ = &g;
  if (g.ahead != 0) interrupt();
}

/// Of those that have tasks.
unsigned run_queue::least_used() const noexcept {
  auto best = static_cast<unsigned>(std::countr_zero(active_));
  for (unsigned mask = active_ & (active_ - 1); mask != 0; mask &= mask - 1) {
    auto other = static_cast<unsigned>(std::countr_zero(mask));
    if (groups_[other].virtual_runtime < groups_[best].virtual_runtime) best = other;
  }
  return best;
}

run_queue::turn run_queue::next_turn() noexcept {
  SKERRY_ASSERT(!empty(), "somebody must be ready");
  interrupted_ = express_.head != nullptr;
  if (interrupted_ && (active_ == 0 || express_run_ < express_run_max)) {
    ++express_run_;
    return {0, true};
  }
  express_run_ = 0;
  const turn next{least_used(), false};
  running_ = &groups_[next.group];
  reached_ = std::max(reached_, running_->virtual_runtime);
  return next;
}

void run_queue::charge(turn t, std::chrono::nanoseconds used) noexcept {
  group& g = groups_[t.group];
  g.cpu_time += used;
  g.virtual_runtime += (static_cast<std::uint64_t>(std::max<std::int64_t>(used.count(), 0)) * g.weight) >> 16;
}

}  // namespace skerry
