// SPDX-License-Identifier: Apache-2.0
#pragma once

/// channel_cases: for each local channel something to wait for that is not there yet. `wait()` is the awaitable, and
/// `serve()` lets at least one waiter pass.

#include <skerry/toolkit/channel/broadcast.hpp>
#include <skerry/toolkit/channel/channel.hpp>
#include <skerry/toolkit/channel/oneshot.hpp>

#include <list>
#include <optional>

namespace skerry::test_support {

struct channel_recv_case {
  channel<int> c{4};
  auto wait() { return c.recv(); }
  void serve() { (void)c.try_send(1); }
};

struct channel_end_case {
  channel<int> c{4};
  auto wait() { return c.recv(); }
  void serve() { c.close(); }
};

struct channel_send_case {
  channel<int> c{1};
  bool filled = c.try_send(0);
  auto wait() { return c.send(1); }
  void serve() { (void)c.try_recv(); }
};

struct channel_refuse_case : channel_send_case {
  void serve() { c.close(); }
};

/// The shard's limit is two items, and another channel has them.
struct unbounded_send_case {
  unbounded_channels& limit = small_limit();
  channel<int> other{unbounded};
  channel<int> c{unbounded};
  bool filled = other.try_send(0) && other.try_send(0);
  auto wait() { return c.send(1); }
  void serve() {
    if (!other.try_recv()) (void)c.try_recv();
  }
  static unbounded_channels& small_limit() { return resources().emplace<unbounded_channels>(2 * sizeof(int)); }
};

struct oneshot_case {
  oneshot<int> o;
  std::optional<oneshot_sender<int>> sender{o.sender()};
  auto wait() { return o.recv(); }
  void serve() {
    if (!o.is_finished()) sender->send(1);
  }
};

struct oneshot_without_value_case : oneshot_case {
  void serve() { sender.reset(); }
};

/// Receivers that were there before anything was sent, one for each wait.
template <class Source>
struct receivers {
  explicit receivers(Source& from) {
    for (int i = 0; i < 20; ++i) unused.emplace_back(from);
  }
  auto& next() {
    used.splice(used.end(), unused, unused.begin());
    return used.back();
  }
  std::list<typename Source::receiver> unused, used;
};

struct broadcast_case {
  broadcast<int> b{2};
  receivers<broadcast<int>> each{b};
  auto wait() { return each.next().recv(); }
  void serve() { b.send(1); }
};

struct watch_case {
  watch<int> w{0};
  receivers<watch<int>> each{w};
  auto wait() { return each.next().changed(); }
  void serve() { w.set(1); }
};

}  // namespace skerry::test_support
