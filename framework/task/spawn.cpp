// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/task/spawn.hpp>

namespace skerry::detail {

void spawned_base::ended() noexcept {
  home_.remove(*this);
  if (joiner_ != nullptr) {
    std::exchange(joiner_, nullptr)->task_ended();
  } else if (!handle_held_) {
    dispose();
  }
}

void spawned_base::report_unseen() const noexcept {
  if (std::exception_ptr unseen = error(); unseen != nullptr) current_shard->loop->report_unseen(name(), unseen);
}

}  // namespace skerry::detail
