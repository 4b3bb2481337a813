// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/toolkit/flow/service_group.hpp>

#include <new>

#include <fmt/core.h>

namespace skerry::detail {

namespace {

/// The task that waits for `task`, as far as anybody can tell; null at the end.
const chain* waits_for(const chain& task, bool& by_join) noexcept {
  if (task.parent() != nullptr) return task.parent();
  const chain* joiner = task.joined_by();
  by_join |= joiner != nullptr;
  return joiner;
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

/// The calls that led to the running task; null if it began them. `by_join`: to one that waits for it by joining, and
/// may stop that.
const call_origin* current_origin(bool& by_join) noexcept {
  const call_origin* found = nullptr;
  find_upwards(this_shard().current, by_join, [&](const chain& task) {
    found = task.origin();
    return found != nullptr;
  });
  return found;
}

/// The last call with a group, `path` or before it; null without one.
const call_origin* last_in_group(const call_origin* path) noexcept {
  while (path != nullptr && path->group == nullptr) path = path->caller;
  return path;
}

/// Throws unless `next` climbs.
void require_climb(const call_origin& next) {
  const call_origin* before = last_in_group(next.caller);
  if (before == nullptr || next.group->level() > before->group->level()) return;
  std::string chain;
  bool comes_back = false;
  for (const call_origin* each = &next; each != nullptr; each = each->caller) {
    chain.insert(0, fmt::format("{} (shard {} to {}){}", each->group != nullptr ? each->group->name() : "no group",
                                each->from, each->to, each == &next ? "" : ", "));
    comes_back |= each != &next && each->group == next.group;
  }
  throw group_reentered(fmt::format(
      "a call chain {} service group \"{}\" of level {}: {}; under load such calls wait for each other for ever. Make "
      "the inner call in a group of a level above {}",
      comes_back ? "comes back into" : "does not climb to", next.group->name(), next.group->level(), chain,
      before->group->level()));
}

/// Makes the target's table.
class table_maker final : public message, public pooled {
 public:
  explicit table_maker(shard_id target) noexcept : message(target) {}
  void run_here() noexcept override {
    group_table::here();
    this_mailboxes().reply(*this);
  }
  void cancel_here() noexcept override {}
  void come_home() noexcept override { delete this; }
};

}  // namespace

call_path::call_path(const service_group* of, shard_id target) : call_origin(of, target) {
  bool by_join = false;
  caller = current_origin(by_join);
  if (!by_join || caller == nullptr) return;
  for (const call_origin* each = caller; each != nullptr; each = each->caller) copied.push_back(*each);
  for (std::size_t i = 0; i + 1 < copied.size(); ++i) copied[i].caller = &copied[i + 1];
  caller = copied.data();
}

call_under_way::call_under_way(group_table& groups, const service_group& group, shard_id target)
    : groups_(groups), task_(this_shard().current), path_(&group, target) {
  require_climb(path_);
  groups.reach(target);
  groups.add(*this);
}

call_under_way::~call_under_way() { groups_.remove(*this); }

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

void group_table::reach(shard_id target) {
  reached_.resize(shard_count());
  if (target >= shard_count() || target == this_shard_id() || reached_[target]) return;
  this_mailboxes().send(*new table_maker(target));
  reached_[target] = true;
}

call_origin* group_table::call_begins(shard_id target) noexcept {
  if (sent_ != nullptr) return std::exchange(sent_, nullptr);
  bool ignored = false;
  if (current_origin(ignored) == nullptr) return nullptr;
  try {
    reach(target);
    return new plain_call_path(nullptr, target);
  } catch (const std::bad_alloc&) {
    return nullptr;  // begins a chain
  }
}

void group_table::call_ended(call_origin& origin) noexcept {
  if (origin.group == nullptr) delete static_cast<plain_call_path*>(&origin);
}

void group_table::before_join(const chain& task) {
  if (under_way_.empty()) return;
  bool ignored = false;
  const call_origin* caller = current_origin(ignored);
  if (caller == nullptr) return;
  under_way_.for_each([&](call_under_way& call) {
    if (!find_upwards(&call.task(), ignored, [&task](const chain& each) { return &each == &task; })) return;
    call_origin joined = call.path();
    joined.caller = caller;
    require_climb(joined);
  });
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
