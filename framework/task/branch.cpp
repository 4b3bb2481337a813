// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/task/branch.hpp>

namespace skerry::detail {

void report_unseen(const std::exception_ptr& error) noexcept {
  const shard_core& shard = *current_shard;
  shard.loop->report_unseen(shard.current->name(), error);
}

void joint_fork::fail(std::exception_ptr error) noexcept {
  if (failure_ != nullptr) return report_unseen(error);
  failure_ = std::move(error);
  let_go();
}

}  // namespace skerry::detail
