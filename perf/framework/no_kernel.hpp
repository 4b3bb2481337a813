// SPDX-License-Identifier: Apache-2.0
#pragma once
// A backend of which nothing is asked. Counted are operations that need no kernel, and how often a loop looks at its
// backend differs between io_uring and epoll: of the latter a yield would take 71 instructions instead of 64.
#include <skerry/framework/assert.hpp>
#include <skerry/framework/backend/backend.hpp>
#include <skerry/framework/clock.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace perf {

class no_kernel final : public skerry::backend {
 public:
  no_kernel() : backend(64) { kernel_flags_ = &no_flags_; }

  void start() override {}
  void stop() noexcept override {}
  void submit_and_reap() noexcept override {}
  void wait(skerry::clock::time_point /*deadline*/) noexcept override {}
  void wake(backend& /*target*/) noexcept override {}
  void wake_from_outside() noexcept override {}
  skerry::backend_capabilities capabilities() const noexcept override { return {.name = "none"}; }
  int register_buffer(unsigned /*slot*/, const iovec& /*memory*/) noexcept override { return -ENOSYS; }

 private:
  void make_room() noexcept override { SKERRY_ASSERT(false, "an operation here goes to no kernel"); }

  const std::uint32_t no_flags_ = 0;
};

inline std::vector<std::unique_ptr<skerry::backend>> no_kernels(std::size_t shards) {
  std::vector<std::unique_ptr<skerry::backend>> all(shards);
  for (auto& each : all) each = std::make_unique<no_kernel>();
  return all;
}

}  // namespace perf
