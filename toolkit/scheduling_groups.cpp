// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/cancel.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/toolkit/flow/everywhere.hpp>
#include <skerry/toolkit/scheduling_groups.hpp>
#include <skerry/toolkit/sync/mutex.hpp>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace skerry {

namespace {

/// On shard 0, where all groups are made one after the other, so that each has one number on all shards.
struct groups_being_made {
  mutex one_at_a_time;
};

constexpr auto add_here = [](static_name name, unsigned shares, std::chrono::microseconds first_for) {
  return this_shard().ready->add_group(name.text(), shares, first_for);
};

constexpr auto create = [](static_name name, unsigned shares,
                           std::chrono::microseconds first_for) -> task<scheduling_group> {
  auto* making = resources().find<groups_being_made>();
  if (making == nullptr) making = &resources().emplace<groups_being_made>();
  const auto held = co_await making->one_at_a_time.lock();
  for (unsigned i = 0;; ++i) {
    if (i == run_queue::groups_max) {
      throw std::length_error("there are 16 scheduling groups already: let kinds of work share one");
    }
    const std::string_view there = this_shard().ready->name(static_cast<scheduling_group>(i));
    if (there.empty()) break;
    if (there == name.text()) {
      throw std::invalid_argument("there is a scheduling group \"" + std::string(there) +
                                  "\" already: keep the one that was made first, or choose another name");
    }
  }
  const std::vector<scheduling_group> made = co_await shielded(map_all(add_here, name, shares, first_for));
  SKERRY_ASSERT(std::ranges::count(made, made.front()) == std::ssize(made),
                "a scheduling group has one number on all shards: make all by create_scheduling_group");
  co_return made.front();
};

}  // namespace

task<scheduling_group> create_scheduling_group(static_name name, unsigned shares, std::chrono::microseconds first_for) {
  if (*name.text() == '\0') throw std::invalid_argument("a scheduling group needs a name");
  if (shares == 0) throw std::invalid_argument("a scheduling group needs at least one share; main has 1000");
  if (first_for.count() < 0) throw std::invalid_argument("a group goes first for some time, or 0 for never");
  co_return co_await submit_to(0, create, name, shares, first_for);
}

}  // namespace skerry
