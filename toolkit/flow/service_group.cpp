// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/toolkit/flow/service_group.hpp>

#include <fmt/format.h>

namespace skerry::detail {

path_of_task::path_of_task(const call_path& path) noexcept : task_(this_shard().current), path_(&path) {
  path_of_task*& first = group_table::here().running_[group_table::bucket_of(*task_)];
  next_ = std::exchange(first, this);
}

path_of_task::~path_of_task() {
  path_of_task** at = &group_table::here().running_[group_table::bucket_of(*task_)];
  while (*at != this) at = &(*at)->next_;
  *at = next_;
}

group_credits::group_credits(const service_group& of, shard_id targets) : group(&of) {
  SKERRY_ASSERT(of.credits() > 0, "a group without credits could call nobody");
  for (shard_id target = 0; target < targets; ++target) credits.push_back(std::make_unique<semaphore>(of.credits()));
  observe::registry* metrics = this_shard().metrics;
  if (metrics == nullptr) return;
  auto info = [&of](const char* name, const char* help) {
    observe::metric_info of_group{.name = name, .help = help};
    of_group.labels.push_back({"group", of.name()});
    return of_group;
  };
  published.push_back(metrics->add_gauge([this] { return in_flight(); },
                                         info("skerry_group_calls", "Calls of a service group that are not back.")));
  published.push_back(metrics->add(waiting, info("skerry_group_waiting", "Callers that wait for a credit.")));
}

std::int64_t group_credits::in_flight() const noexcept {
  std::uint64_t held = 0;
  for (const auto& each : credits) held += group->credits() - each->available();
  return static_cast<std::int64_t>(held);
}

group_table& group_table::here() {
  if (auto* found = resources().find<group_table>()) return *found;
  return resources().emplace<group_table>();
}

group_credits& group_table::of(const service_group& group) {
  for (auto& each : groups_) {
    if (each->group == &group) return *each;
  }
  return *groups_.emplace_back(std::make_unique<group_credits>(group, shard_count()));
}

std::size_t group_table::bucket_of(const chain& task) noexcept { return task.id() % buckets; }

const call_path* group_table::current_path() const noexcept {
  for (const chain* task = this_shard().current; task != nullptr; task = task->parent()) {
    for (const path_of_task* each = running_[bucket_of(*task)]; each != nullptr; each = each->next_) {
      if (each->task_ == task) return each->path_;
    }
  }
  return nullptr;
}

void require_climb(const call_path& next) {
  if (next.caller == nullptr || next.group->level() > next.caller->group->level()) return;
  std::string chain;
  bool comes_back = false;
  for (const call_path* each = &next; each != nullptr; each = each->caller) {
    chain.insert(
        0, fmt::format("{} (shard {} to {}){}", each->group->name(), each->from, each->to, each == &next ? "" : ", "));
    comes_back |= each != &next && each->group == next.group;
  }
  throw group_reentered(fmt::format(
      "a call chain {} service group \"{}\" of level {}: {}; under load such calls wait for each other for ever. Make "
      "the inner call in a group of a level above {}",
      comes_back ? "comes back into" : "does not climb to", next.group->name(), next.group->level(), chain,
      next.caller->group->level()));
}

task<units> take_credit(group_credits& from, shard_id target) {
  SKERRY_ASSERT(target < from.credits.size(), "there is no such shard; shard numbers run from 0 to shard_count() - 1");
  if (auto free = from.to(target).try_acquire()) co_return std::move(*free);
  struct counted {
    std::int64_t& waiting;
    explicit counted(std::int64_t& count) noexcept : waiting(count) { ++waiting; }
    ~counted() { --waiting; }
  };
  const counted meanwhile(from.waiting);
  co_return co_await from.to(target).acquire();
}

}  // namespace skerry::detail
