// SPDX-License-Identifier: Apache-2.0
#pragma once

/// threads: how a pool's threads come up: named, without signals, and on CPUs of their own choice, for a thread
/// inherits that of the pinned shard that makes it.
///
/// Errors: std::system_error when the system refuses a thread.

#include <skerry/shards/placement.hpp>

#include <functional>
#include <thread>

namespace skerry {

/// The CPUs of all shards of this host; none where one of them is not kept on any, and its threads are not either.
cpu_list cpus_of_all_shards();
/// The CPUs that the calling thread may use.
cpu_list cpus_of_this_thread();

/// A thread that runs `body` on `cpus`; on those of the calling thread if that names none. `name`: up to 15 characters.
std::thread start_pool_thread(const char* name, const cpu_list& cpus, std::function<void()> body);

}  // namespace skerry
