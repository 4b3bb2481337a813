// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace skerry {

/// Whether the running task should let others go first: its slice is over, a message or a completion waits. A few
/// loads; every 16th call reads the clock. Affinity: any task.
bool need_preempt() noexcept;

}  // namespace skerry
