// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/scope.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/detail/freed_descriptors.hpp>
#include <skerry/shards/call_batch.hpp>

#include <algorithm>
#include <new>
#include <system_error>

namespace skerry::net::detail {

namespace {

/// True while a task runs.
class under_way {
 public:
  explicit under_way(bool& flag) noexcept : flag_(flag) { flag_ = true; }
  ~under_way() { flag_ = false; }
  under_way(const under_way&) = delete;
  under_way& operator=(const under_way&) = delete;

 private:
  bool& flag_;
};

}  // namespace

freed_descriptors::freed_descriptors() : knows_(shard_count()) { knows_[this_shard_id()] = true; }

void freed_descriptors::pause(descriptor_waiter& who) noexcept {
  paused_.push_back(who);
  try {
    remember(this_shard_id());
    if (announcing_ || all_know() || this_shard().root->closing()) return;
    spawn(announce(), "wait for a descriptor");
    announcing_ = true;
  } catch (const std::bad_alloc&) {
    // Its pause ends all the same.
  }
}

task<> freed_descriptors::announce() {
  const under_way now(announcing_);
  const auto wait_there = [](shard_id who) { this_freed_descriptors().remember(who); };
  while (!all_know()) {
    call_batch<std::remove_const_t<decltype(wait_there)>, shard_id> calls(shard_count());
    for (shard_id each = 0; each < shard_count(); ++each) {
      if (knows_[each]) continue;
      calls.add(each, wait_there, this_shard_id());
      knows_[each] = true;
    }
    co_await calls.all();
  }
  while (!paused_.empty() && look() != descriptor_use::none_left) continue;
}

void freed_descriptors::remember(shard_id who) {
  if (std::ranges::find(waiting_, who) == waiting_.end()) waiting_.push_back(who);
}

/// For one descriptor.
descriptor_use freed_descriptors::look() noexcept {
  while (!paused_.empty()) {
    descriptor_waiter& next = paused_.pop_front();
    const descriptor_use use = next.use_descriptor();
    if (use == descriptor_use::none_left) paused_.push_back(next);
    if (use != descriptor_use::no_use) return use;
  }
  return descriptor_use::no_use;
}

void freed_descriptors::closed() noexcept {
  if ((waiting_.empty() && !passing_) || this_shard().root->closing()) return;
  ++closed_;
  if (passing_) return;
  if (waiting_.size() == 1 && waiting_.front() == this_shard_id()) {
    closed_ = 0;
    if (look() == descriptor_use::no_use) waiting_.clear();
    return;
  }
  try {
    spawn(pass_on(), "pass a descriptor on");
    passing_ = true;
  } catch (const std::bad_alloc&) {
    // The next close tries again, and tells of both.
  }
}

task<> freed_descriptors::pass_on() {
  const under_way now(passing_);
  const auto use_there = [](shard_id teller) {
    freed_descriptors& there = this_freed_descriptors();
    const descriptor_use use = there.look();
    if (use == descriptor_use::no_use) there.knows_[teller] = false;
    return use;
  };
  for (; closed_ != 0; --closed_) {
    auto use = descriptor_use::no_use;
    for (std::size_t left = waiting_.size(); left != 0 && !waiting_.empty() && use == descriptor_use::no_use; --left) {
      const shard_id next = waiting_.front();
      waiting_.erase(waiting_.begin());
      if (next == this_shard_id()) {
        use = look();
      } else {
        use = co_await submit_to(next, use_there, this_shard_id());
      }
      if (use != descriptor_use::no_use) remember(next);
    }
  }
}

freed_descriptors& this_freed_descriptors() {
  freed_descriptors* found = resources().find<freed_descriptors>();
  return found != nullptr ? *found : resources().emplace<freed_descriptors>();
}

void descriptor_closed() noexcept {
  if (!on_shard() || this_shard().resources == nullptr) return;
  if (freed_descriptors* here = resources().find<freed_descriptors>()) here->closed();
}

}  // namespace skerry::net::detail
