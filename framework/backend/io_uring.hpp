// SPDX-License-Identifier: Apache-2.0
#pragma once

/// io_uring backend: one ring per shard, entered once per batch.
///
/// All rings of a process are made at once, before any shard runs, so that their size is chosen once from
/// RLIMIT_MEMLOCK and a refusal is found before the first listener opens. A ring is made disabled; the shard's thread
/// enables it and becomes its single issuer.
///
///     flags                     why
///     SINGLE_ISSUER             the kernel skips locking; a ring has one owner anyway
///     DEFER_TASKRUN             completions run inside our entries only, never in the middle of a task
///     COOP_TASKRUN              the fallback where DEFER_TASKRUN is unknown
///     TASKRUN_FLAG              the ring says in memory that completions wait: no entry to find out
///     SUBMIT_ALL                one bad submission does not hold up the rest of the batch
///     CQSIZE                    at least four completions per submission: overflow is slow
///
/// A sleeping neighbour is woken by MSG_RING, which rides in the entry that the sender makes anyway. Rejected: its
/// eventfd, a system call more per wake-up; it serves threads that run no shard, and where MSG_RING fails.
///
/// Affinity:  make and destroy on one thread; everything in between on the shard's.
/// Errors:    startup_error where the kernel refuses; the text names the limit or the setting.
/// Limits:    submissions 64 to 32768 per entry, completions 4 to 16 times that.

#include <skerry/framework/backend/backend.hpp>

#include <cstddef>
#include <memory>
#include <vector>

namespace skerry {

/// One backend for each of `shards`, all of one size: `entries` submissions (a power of two), halved until
/// RLIMIT_MEMLOCK allows it. The first is started, under whatever sandbox is in force, so the caller's thread must be
/// its shard's. Throws startup_error.
std::vector<std::unique_ptr<backend>> make_io_uring_backends(std::size_t shards, unsigned entries);

}  // namespace skerry
