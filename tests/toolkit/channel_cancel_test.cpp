// SPDX-License-Identifier: Apache-2.0
/// Everything that waits for a local channel is cancelled at each point where it can be suspended: nothing may be lost,
/// and the next waiter is served.

#include <gtest/gtest.h>
#include <support/cancel_at_every_point.hpp>
#include <support/channel_cases.hpp>

namespace skerry {
namespace {

using namespace test_support;

using cases = testing::Types<channel_recv_case, channel_end_case, channel_send_case, channel_refuse_case,
                             unbounded_send_case, oneshot_case, oneshot_without_value_case, broadcast_case, watch_case>;
INSTANTIATE_TYPED_TEST_SUITE_P(channels, cancel_at_every_point, cases);

}  // namespace
}  // namespace skerry
