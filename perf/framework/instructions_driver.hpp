// SPDX-License-Identifier: Apache-2.0
#pragma once
// What perf/instructions counts, in files by what is used: g++ inlines less in a file that grows, and then operations
// that nobody touched would change.
#include <skerry/framework/clock.hpp>
#include <skerry/framework/task/task.hpp>

#include <chrono>
#include <span>
#include <string_view>

namespace perf {

/// 1 us from one reading to the next: what 64 steps of a short task take.
class stepping_clock final : public skerry::clock_source {
 public:
  std::chrono::nanoseconds monotonic() noexcept override { return passed_ += std::chrono::microseconds(1); }
  std::chrono::nanoseconds wall() noexcept override { return passed_; }

 private:
  std::chrono::nanoseconds passed_ = std::chrono::hours(1);
};

/// Makes the compiler believe that somebody reads the value.
template <class T>
void keep(const T& value) {
  asm volatile("" : : "r,m"(value) : "memory");
}

/// Runs one task to its end on the only shard.
void on_one_shard(skerry::task<> (*operation)(int count), int count);

/// N times an operation that is a task of one shard.
template <skerry::task<> (*Operation)(int count)>
void repeat(int count) {
  on_one_shard(Operation, count);
}

struct counted {
  std::string_view name;
  void (*run)(int count);
};
std::span<const counted> counted_tasks();
std::span<const counted> counted_messages();
std::span<const counted> counted_bytes();

}  // namespace perf
