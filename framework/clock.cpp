// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/clock.hpp>
#include <skerry/framework/this_shard.hpp>

#include <ctime>

namespace skerry {

namespace {

std::chrono::nanoseconds read_kernel(clockid_t which) noexcept {
  timespec t{};
  clock_gettime(which, &t);
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

class kernel_clock_source final : public clock_source {
 public:
  std::chrono::nanoseconds monotonic() noexcept override { return read_kernel(CLOCK_MONOTONIC); }
  std::chrono::nanoseconds wall() noexcept override { return read_kernel(CLOCK_REALTIME); }
};

clock_source& source() noexcept {
  shard_core* shard = detail::current_shard;
  return shard != nullptr && shard->time != nullptr ? *shard->time : kernel_clock();
}

}  // namespace

clock_source& kernel_clock() noexcept {
  static constinit kernel_clock_source instance;
  return instance;
}

clock::time_point clock::read() noexcept {
  time_point t{source().monotonic()};
  if (on_shard()) this_shard().now = t;
  return t;
}

std::chrono::nanoseconds clock::wall() noexcept { return source().wall(); }

}  // namespace skerry
