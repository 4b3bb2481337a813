// SPDX-License-Identifier: Apache-2.0
#pragma once

/// toolkit_wait_cases: something to wait for of every kind that `toolkit` has, for the matrix that cancels it.

#include <support/channel_cases.hpp>
#include <support/wait_cases.hpp>

namespace skerry::test_support::waits {

struct of_channel_recv : of_sync<channel_recv_case> {};
struct of_channel_end : of_sync<channel_end_case> {};
struct of_channel_send : of_sync<channel_send_case> {};
struct of_channel_refuse : of_sync<channel_refuse_case> {};
struct of_unbounded_send : of_sync<unbounded_send_case> {};
struct of_oneshot : of_sync<oneshot_case> {};
struct of_broadcast : of_sync<broadcast_case> {};
struct of_watch : of_sync<watch_case> {};

}  // namespace skerry::test_support::waits
