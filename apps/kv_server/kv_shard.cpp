// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/resources.hpp>
#include <skerry/net/endpoint.hpp>
#include <skerry/net/server.hpp>

#include <algorithm>
#include <deque>

#include <kv_server/kv_shard.hpp>

namespace kv_server {

namespace {
constexpr std::size_t maintenance_budget = 256;  // keys per turn: some ten microseconds

std::int64_t milliseconds(std::chrono::nanoseconds t) noexcept { return t.count() / 1'000'000; }
}  // namespace

kv_shard::kv_shard(std::uint64_t memory_max)
    : input_max(std::max(memory_max / input_share, input_min)),
      wall_minus_monotonic_ms_(milliseconds(skerry::clock::wall()) -
                               milliseconds(skerry::clock::now().time_since_epoch())),
      keys_(memory_max, now_ms()) {}

kv_shard::~kv_shard() {
  if (armed()) skerry::timers::this_timers().cancel(*this);
}

std::uint64_t kv_shard::now_ms() const noexcept {
  return static_cast<std::uint64_t>(milliseconds(skerry::clock::now().time_since_epoch()) + wall_minus_monotonic_ms_);
}

void kv_shard::execute(batch_slice& slice) {
  commands += slice.execute(keys_, now_ms(), slice_reply_bytes);
  schedule_maintenance();
}

void kv_shard::schedule_maintenance() noexcept {
  std::optional<std::uint64_t> due = keys_.next_maintenance();
  if (!due) return;
  std::uint64_t at = std::max(*due, now_ms());
  if (armed()) {
    if (armed_for_ms_ <= at) return;
    skerry::timers::this_timers().cancel(*this);
  }
  armed_for_ms_ = at;
  skerry::clock::duration wait = std::chrono::milliseconds(std::min<std::uint64_t>(at - now_ms(), 86'400'000));
  skerry::timers::this_timers().arm(*this, skerry::clock::now() + wait);
}

void kv_shard::expired() noexcept {
  keys_.maintain(now_ms(), maintenance_budget);
  schedule_maintenance();
}

shard_report kv_shard::report() const noexcept {
  const skerry::net::server_stats server = skerry::net::stats_of_this_shards_servers();
  return {keys_.size(),
          keys_.expiring(),
          commands,
          keys_.expired_total(),
          keys_.memory_used(),
          connections,
          connections_total,
          skerry::net::this_endpoints().stats().accept_failures,
          server.refused_connections + server.refused_address + server.refused_memory};
}

namespace {

/// One message per shard that lent values.
class pins_on_their_way {
 public:
  explicit pins_on_their_way(std::unique_ptr<command_batch> batch) : batch_(std::move(batch)) {
    for (std::uint32_t shard : batch_->shards()) {
      if (batch_->slice(shard).has_pins()) messages_.emplace_back(shard, *this);
    }
    left_ = messages_.size();
  }

  static void send(std::unique_ptr<command_batch> batch) {
    auto* all = new pins_on_their_way(std::move(batch));
    std::size_t count = all->left_;
    if (count == 0) return delete all;
    // The last one may come home, and end all of this, within its send.
    for (std::size_t i = 0; i < count; ++i) skerry::detail::this_mailboxes().send(all->messages_[i]);
  }

 private:
  class pin_message final : public skerry::detail::message {
   public:
    pin_message(skerry::shard_id target, pins_on_their_way& owner) noexcept : message(target), owner_(owner) {}
    void run_here() noexcept override {
      owner_.batch_->slice(skerry::this_shard_id()).release_pins(skerry::resource<kv_shard>().keys());
      skerry::detail::this_mailboxes().reply(*this);
    }
    void cancel_here() noexcept override {}
    void come_home() noexcept override {
      if (--owner_.left_ == 0) delete &owner_;
    }

   private:
    pins_on_their_way& owner_;
  };

  std::unique_ptr<command_batch> batch_;
  std::deque<pin_message> messages_;
  std::size_t left_ = 0;
};

}  // namespace

void return_pins(std::unique_ptr<command_batch> batch) { pins_on_their_way::send(std::move(batch)); }

}  // namespace kv_server
