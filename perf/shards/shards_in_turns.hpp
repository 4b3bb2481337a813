// SPDX-License-Identifier: Apache-2.0
#pragma once
// Two shards in one thread, each as a host puts it together, that take their turns by a rule: shard 1, then shard 0,
// and a shard with nothing ready only when its doorbell was rung, as one that spins. So what they execute for each
// other is the same every time; with two threads it depends on who looks when. What is missing is what a sleeper costs.
#include <skerry/framework/backend/backend.hpp>
#include <skerry/framework/clock.hpp>
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/framework/this_shard.hpp>
#include <skerry/shards/app_options.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/mailbox.hpp>
#include <skerry/shards/placement.hpp>
#include <skerry/shards/shard.hpp>

#include <array>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include <framework/no_kernel.hpp>

namespace perf {

class shards_in_turns {
 public:
  static constexpr skerry::shard_id count = 2;

  explicit shards_in_turns(skerry::clock_source& time)
      : owner_(options(), places(), time, no_kernels(count)),
        kernels_(no_kernels(count)),
        queues_(skerry::detail::make_queue_matrix(count, options().mailbox_capacity)) {
    std::vector<skerry::reactor*> loops;
    for (skerry::shard_id id = 0; id < count; ++id) {
      all_[id].whole = std::make_unique<skerry::shard>(owner_, id, count, *kernels_[id], time, *options().seed,
                                                       skerry::reactor_options{});
      loops.push_back(&all_[id].whole->loop());
    }
    for (one& each : all_) each.whole->connect(*queues_, loops);
    for (skerry::shard_id id = 0; id < count; ++id) {
      all_[id].whole->start(owner_.log().channel(id));
      all_[id].core = std::exchange(skerry::detail::current_shard, nullptr);
    }
  }
  shards_in_turns(const shards_in_turns&) = delete;
  shards_in_turns& operator=(const shards_in_turns&) = delete;
  ~shards_in_turns() {
    for (one& each : all_) {
      skerry::detail::current_shard = each.core;
      each.whole->stop();
    }
  }

  /// Runs `main` as a task of shard 0 to its end.
  void run(const std::function<skerry::task<>()>& main) {
    skerry::detail::current_shard = all_[0].core;
    {
      auto handle = skerry::spawn(main());
      all_[0].more = true;
      while (!handle.is_finished()) {
        take_turn(all_[1]);
        take_turn(all_[0]);
      }
    }
    skerry::detail::current_shard = nullptr;
  }

 private:
  struct one {
    std::unique_ptr<skerry::shard> whole;
    skerry::shard_core* core = nullptr;
    bool more = false;
  };

  static skerry::app_options options() {
    skerry::app_options made;
    made.shards = count;
    made.seed = 1;
    made.log_level = "error";
    return made;
  }
  static skerry::placement places() {
    skerry::placement where;
    where.shards.resize(count);
    where.count_reason = "in turns";
    return where;
  }

  static void take_turn(one& whose) {
    skerry::detail::current_shard = whose.core;
    skerry::reactor& loop = whose.whole->loop();
    if (whose.more || loop.bell().rung()) whose.more = loop.run_once();
  }

  skerry::host owner_;  // of the log; its own shards never run
  std::vector<std::unique_ptr<skerry::backend>> kernels_;
  std::shared_ptr<skerry::detail::queue_matrix> queues_;
  std::array<one, count> all_;
};

}  // namespace perf
