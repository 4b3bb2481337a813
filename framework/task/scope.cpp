// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/task/scope.hpp>

namespace skerry {

void scope::cancel() noexcept {
  if (closing_) return;
  closing_ = true;
  // Cancelling queues tasks but ends none, so the list stays as it is while we walk it.
  tasks_.for_each([](detail::chain& task) { task.cancel(); });
}

}  // namespace skerry
