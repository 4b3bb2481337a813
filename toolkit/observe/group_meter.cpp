// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/random.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/scope.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/toolkit/observe/group_meter.hpp>

#include <cstdint>
#include <new>

namespace skerry {

group_meter::group_meter(std::chrono::milliseconds period) : period_(period) {
  SKERRY_ASSERT(period.count() > 0, "probes are some time apart");
  arm();
}

group_meter::~group_meter() { timers::this_timers().cancel(*this); }

const observe::histogram* group_meter::waits_of(scheduling_group group) const noexcept {
  const auto& found = groups_[static_cast<std::size_t>(group)];
  return found != nullptr ? &found->waits : nullptr;
}

void group_meter::arm() noexcept {
  // At random, or what happens at fixed distances would be met always or never.
  const auto most = static_cast<std::uint64_t>(2 * period_.count());
  const std::chrono::milliseconds pause(1 + static_cast<std::int64_t>(this_shard().random->uniform(most)));
  timers::this_timers().arm(*this, clock::now() + pause);
}

void group_meter::expired() noexcept {
  probe();
  arm();
}

void group_meter::probe() noexcept {
  const run_queue& ready = *this_shard().ready;
  if (this_shard().root->closing()) return;
  for (unsigned i = 0; i < run_queue::groups_max; ++i) {
    const auto group = static_cast<scheduling_group>(i);
    if (*ready.name(group) == '\0') continue;
    try {
      std::unique_ptr<meter>& m = groups_[i];
      if (m == nullptr) {
        m = std::make_unique<meter>();
        m->shown = this_shard().metrics->add(m->waits, {.name = "skerry_group_wait_seconds",
                                                        .help = "How long a task that is ready waits for the CPU.",
                                                        .unit = observe::unit::nanoseconds,
                                                        .labels = {{"group", ready.name(group)}}});
      }
      if (m->under_way) continue;
      spawn(end_at_once(m.get(), clock::read()), "group meter", group);
      m->under_way = true;
    } catch (const std::bad_alloc&) {
      continue;  // no room for a probe: this moment is left out
    }
  }
}

task<> group_meter::end_at_once(meter* of, clock::time_point ready_since) {
  of->waits.record(static_cast<std::uint64_t>((clock::read() - ready_since).count()));
  of->under_way = false;
  co_return;
}

task<> meter_groups(std::chrono::milliseconds period) {
  const auto make = [](std::chrono::milliseconds given) {
    if (resources().find<group_meter>() == nullptr) resources().emplace<group_meter>(given);
  };
  for (shard_id s = 0; s < shard_count(); ++s) co_await submit_to(s, make, period);
}

}  // namespace skerry
