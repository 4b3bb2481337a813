// SPDX-License-Identifier: Apache-2.0
// Channels: senders on two to four shards, through mailboxes of one to four entries, to one receiver; with rings of one
// to eight items, pauses anywhere, sends and receives that are given up, senders that close or just go, a receiver that
// has enough at times. Beside it a local channel with several tasks on both ends.
//
// What must hold: a send that said yes is received once, unless the receiver closed first; one that was given up or
// said no is never received; the items of a sender come in its order; the end comes when the last sender has gone, and
// not before; every item is destroyed once; and nobody waits for ever.
#include <skerry/framework/task/cancel.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>
#include <skerry/toolkit/channel/channel.hpp>
#include <skerry/toolkit/channel/shard_channel.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include <simulation/scenarios.hpp>

namespace scenarios {

namespace {

using namespace skerry;
using namespace std::chrono_literals;

/// What has been sent and received, on all shards, by sender.
struct ledger {
  std::vector<std::vector<std::uint64_t>> sent;  // those of which `send` said yes
  std::vector<std::vector<std::uint64_t>> received;
  std::int64_t alive = 0;
};

ledger* seen = nullptr;

struct item {
  using crosses_shards = item;
  item(std::uint64_t by, std::uint64_t which) noexcept : sender(by), number(which) { ++seen->alive; }
  item(item&& other) noexcept : sender(other.sender), number(other.number) { ++seen->alive; }
  item& operator=(item&& other) noexcept = default;
  ~item() { --seen->alive; }
  std::uint64_t sender;
  std::uint64_t number;
};

task<> pause() {
  const std::uint64_t how = sim::draw(12);
  if (how == 0) co_await sleep_for(std::chrono::microseconds(sim::draw(3'000)));
  if (how < 4) co_await yield();
}

/// Whether it was sent before its patience was over. What is cut short has sent nothing.
template <class Channel>
task<bool> send_with_patience(Channel& to, item what) {
  try {
    const auto send = [&to, &what]() -> task<bool> { co_return co_await to.send(std::move(what)); };
    co_return co_await with_timeout(std::chrono::microseconds(sim::draw(2'000)), send());
  } catch (const timeout_error&) {
    co_return false;
  }
}

/// `closed`: whether somebody has closed it.
template <class Channel>
task<> send_some(Channel& to, std::uint64_t me, std::uint64_t count, const bool& closed) {
  for (std::uint64_t n = 0; n < count; ++n) {
    bool sent = false;
    switch (sim::draw(4)) {
      case 0: sent = to.try_send(item(me, n)); break;
      case 1: sent = co_await send_with_patience(to, item(me, n)); break;
      default:
        sent = co_await to.send(item(me, n));
        if (sent && closed) sim::fail("a closed sender sent");
    }
    if (sent) seen->sent[me].push_back(n);
    co_await pause();
  }
}

/// Takes items until there are no more, or it has enough.
template <class Channel>
task<> receive_until(Channel& from, std::uint64_t enough) {
  for (std::uint64_t taken = 0; taken < enough;) {
    std::optional<item> got;
    bool ended = false;
    switch (sim::draw(3)) {
      case 0: got = from.try_recv(); break;
      case 1:
        try {
          const auto receive = [&from]() -> task<std::optional<item>> { co_return co_await from.recv(); };
          got = co_await with_timeout(std::chrono::microseconds(sim::draw(2'000)), receive());
          ended = !got;
        } catch (const timeout_error&) {
          got.reset();
        }
        break;
      default: got = co_await from.recv(); ended = !got;
    }
    if (ended) co_return;
    if (got) {
      seen->received[got->sender].push_back(got->number);
      ++taken;
    }
    co_await pause();
  }
}

void compare(bool to_the_end) {
  for (std::size_t sender = 0; sender < seen->sent.size(); ++sender) {
    const auto& sent = seen->sent[sender];
    auto received = seen->received[sender];
    if (received.size() > sent.size()) return sim::fail("more was received than sent");
    if (to_the_end && received.size() != sent.size()) return sim::fail("what was sent was not received");
    for (std::size_t i = 0; i < received.size(); ++i) {
      if (received[i] != sent[i]) return sim::fail("a sender's items came out of order, or others than it sent");
    }
  }
}

task<> ended(join_handle<>& one) {
  try {
    co_await one;
  } catch (const std::system_error& given_up) {
    if (given_up.code() != std::errc::operation_canceled) throw;
  }
}

constexpr auto send_there = [](channel_sender<item> to, std::uint64_t me, std::uint64_t count) -> task<> {
  co_await pause();
  bool closed = false;
  auto close_early = spawn([&to, &closed]() -> task<> {
    co_await sleep_for(std::chrono::microseconds(sim::draw(40'000)));
    to.close();
    closed = true;
  });
  co_await send_some(to, me, count, closed);
  close_early.abort();
  co_await ended(close_early);
  if (sim::draw(2) == 0) {
    to.close();
    if (to.try_send(item(me, count))) sim::fail("a closed sender sent");
    co_await pause();
  }
};

task<> between_shards() {
  const std::uint64_t senders = 1 + sim::draw(5);
  const std::uint64_t each = 1 + sim::draw(30);
  const bool to_the_end = sim::draw(3) != 0;
  seen->sent.assign(senders, {});
  seen->received.assign(senders, {});
  std::vector<join_handle<>> sending;
  {
    mpsc_channel<item> all(1 + sim::draw(8));
    for (std::uint64_t me = 0; me < senders; ++me) {
      const auto where = static_cast<shard_id>(sim::draw(shard_count()));
      const auto send = [](shard_id there, channel_sender<item> to, std::uint64_t who, std::uint64_t count) -> task<> {
        co_await submit_to(there, send_there, std::move(to), who, count);
      };
      sending.push_back(spawn(send(where, all.sender(), me, each), "sender"));
    }
    const std::uint64_t enough = to_the_end ? senders * each + 1 : sim::draw(senders * each);
    co_await receive_until(all, enough);
    if (!to_the_end && sim::draw(2) == 0) all.close();
    if (to_the_end && all.try_recv()) sim::fail("an item came after the end");
  }
  for (auto& each_sender : sending) co_await each_sender;
  compare(to_the_end);
}

/// Several receivers, which note what they got in any order: each item came to one of them, once.
task<> on_one_shard() {
  const std::uint64_t senders = 1 + sim::draw(3);
  const std::uint64_t receivers = 1 + sim::draw(3);
  seen->sent.assign(senders, {});
  seen->received.assign(senders, {});
  channel<item> all(1 + sim::draw(4));
  const bool closed = false;
  std::vector<join_handle<>> sending;
  std::vector<join_handle<>> receiving;
  for (std::uint64_t me = 0; me < senders; ++me) sending.push_back(spawn(send_some(all, me, 10, closed), "sender"));
  for (std::uint64_t r = 0; r < receivers; ++r) receiving.push_back(spawn(receive_until(all, ~0ull), "receiver"));
  for (auto& each : sending) co_await each;
  all.close();
  for (auto& each : receiving) co_await each;
  for (auto& each : seen->received) std::ranges::sort(each);
  compare(true);
}

task<> test_channels() {
  ledger all;
  seen = &all;
  const auto forget = [] { seen = nullptr; };
  const auto work = []() -> task<> {
    for (int i = 0; i < 3; ++i) {
      co_await between_shards();
      co_await on_one_shard();
    }
  };
  co_await work();
  // What is on the way home may take a moment.
  for (int waits = 0; all.alive != 0; ++waits) {
    if (waits == 1'000) sim::fail("an item was not destroyed, or twice");
    co_await sleep_for(1ms);
  }
  forget();
}

}  // namespace

sim::test_case channels() {
  const auto configure = [](sim::options& o) {
    o.shards = 2 + static_cast<unsigned>(o.seed % 3);
    o.settings = [seed = o.seed](app_options& settings) { settings.mailbox_capacity = 1 + seed / 3 % 4; };
    o.all_faults();
  };
  return {"channels", configure, test_channels};
}

}  // namespace scenarios
