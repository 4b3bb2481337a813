// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/toolkit/flow/service_group.hpp>

#include <fmt/core.h>

namespace skerry::detail {

namespace {

/// The task that waits for `task`, as far as anybody can tell; null at the end.
const chain* waits_for(const chain& task, bool& by_join) noexcept {
  if (task.parent() != nullptr) return task.parent();
  const auto* spawned = dynamic_cast<const spawned_base*>(&task);
  if (spawned == nullptr || spawned->joined_by() == nullptr) return nullptr;
  by_join = true;
  return spawned->joined_by();
}

/// Visits `task` and those that wait for it, until `visit` says so: true. Tasks that wait for each other in a ring are
/// walked twice at most: the one behind goes half as fast, and is met.
template <class Visit>
bool find_upwards(const chain* task, bool& by_join, Visit visit) noexcept {
  bool behind_steps = false, ignored = false;
  for (const chain* behind = task; task != nullptr; behind_steps = !behind_steps) {
    if (visit(*task)) return true;
    task = waits_for(*task, by_join);
    if (behind_steps) behind = waits_for(*behind, ignored);
    if (task == behind) return false;
  }
  return false;
}

}  // namespace

path_of_task::path_of_task(const call_path& path) noexcept : task_(this_shard().current), path_(&path) {
  path_of_task*& first = group_table::here().running_[group_table::bucket_of(*task_)];
  next_ = std::exchange(first, this);
}

path_of_task::~path_of_task() {
  path_of_task** at = &group_table::here().running_[group_table::bucket_of(*task_)];
  while (*at != this) at = &(*at)->next_;
  *at = next_;
}

call_under_way::call_under_way(group_table& groups, const service_group& group, shard_id target)
    : task_(this_shard().current) {
  bool by_join = false;
  path_ = {&group, this_shard_id(), target, groups.current_path(by_join)};
  require_climb(path_);
  if (by_join && path_.caller != nullptr) {
    for (const call_path* each = path_.caller; each != nullptr; each = each->caller) copied_.push_back(*each);
    for (std::size_t i = 0; i + 1 < copied_.size(); ++i) copied_[i].caller = &copied_[i + 1];
    path_.caller = copied_.data();
  }
  groups.add(*this);
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

const call_path* group_table::current_path(bool& by_join) const noexcept {
  const call_path* found = nullptr;
  find_upwards(this_shard().current, by_join, [&](const chain& task) {
    for (const path_of_task* each = running_[bucket_of(task)]; each != nullptr; each = each->next_) {
      if (each->task_ == &task) found = each->path_;
    }
    return found != nullptr;
  });
  return found;
}

void group_table::before_join(const chain& task) {
  const group_table& groups = here();
  if (groups.under_way_.empty()) return;
  bool ignored = false;
  const call_path* caller = groups.current_path(ignored);
  if (caller == nullptr) return;
  groups.under_way_.for_each([&](const call_under_way& call) {
    if (!find_upwards(&call.task(), ignored, [&task](const chain& each) { return &each == &task; })) return;
    call_path joined = call.path();
    joined.caller = caller;
    require_climb(joined);
  });
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
