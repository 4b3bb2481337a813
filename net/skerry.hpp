// SPDX-License-Identifier: Apache-2.0
#pragma once

/// All of Skerry in one include.

#include <skerry/framework/assert.hpp>
#include <skerry/framework/clock.hpp>
#include <skerry/framework/io/buffer_pool.hpp>
#include <skerry/framework/io/byte_stream.hpp>
#include <skerry/framework/io/readiness.hpp>
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/observe/metrics.hpp>
#include <skerry/framework/observe/trace.hpp>
#include <skerry/framework/random.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/sync/mutex.hpp>
#include <skerry/framework/task/cancel.hpp>
#include <skerry/framework/task/combine.hpp>
#include <skerry/framework/task/group.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/framework/this_shard.hpp>
#include <skerry/net/activation.hpp>
#include <skerry/net/address.hpp>
#include <skerry/net/connect.hpp>
#include <skerry/net/datagram.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/net/file/whole_file.hpp>
#include <skerry/net/io/buffered_reader.hpp>
#include <skerry/net/io/buffered_writer.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/shards/call_batch.hpp>
#include <skerry/shards/command_line.hpp>
#include <skerry/shards/foreign_ptr.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/shards/shard_map.hpp>
#include <skerry/shards/sharded.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/shards/transferable.hpp>
#include <skerry/timers/retry.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>
