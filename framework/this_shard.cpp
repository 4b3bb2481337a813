// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/this_shard.hpp>

namespace skerry::detail {

constinit thread_local shard_core* current_shard = nullptr;

}  // namespace skerry::detail
