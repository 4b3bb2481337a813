// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/resources.hpp>
#include <skerry/net/process/shutdown.hpp>
#include <skerry/shards/shard.hpp>

#include <cstddef>

namespace skerry::net {

namespace detail {

/// Those of one shard that wait for its drain, or hold it up.
class shutdown_watch final : public drainable {
 public:
  shutdown_watch() : home_(this_assembled_shard()) { home_.add_drainable(*this); }
  ~shutdown_watch() {
    SKERRY_ASSERT(holds_ == 0, "a shard ends after the last who holds up its drain");
    home_.remove_drainable(*this);
  }

  bool begun() const noexcept { return home_.draining(); }
  void add(shutdown_awaiter& waiting) noexcept { waiting_.push_back(waiting); }
  void hold() noexcept { ++holds_; }
  void let_pass() noexcept {
    --holds_;
    home_.drain_progressed();
  }

  void begin_drain() noexcept override {
    while (!waiting_.empty()) {
      shutdown_awaiter& next = waiting_.pop_front();
      next.holds_ = true;
      hold();
      next.wake();
    }
  }
  bool drained() const noexcept override { return holds_ == 0; }
  bool empty() const noexcept override { return holds_ == 0; }

 private:
  shard& home_;
  skerry::detail::intrusive_list<shutdown_awaiter, shutdown_awaiter> waiting_;
  std::size_t holds_ = 0;
};

}  // namespace detail

shutdown_hold::~shutdown_hold() {
  if (held_ != nullptr) held_->let_pass();
}

shutdown_awaiter::~shutdown_awaiter() {
  if (holds_) watch_.let_pass();
}

bool shutdown_awaiter::await_ready() noexcept {
  if (!watch_.begun()) return false;
  watch_.hold();
  holds_ = true;
  return true;
}

void shutdown_awaiter::await_suspend(std::coroutine_handle<> resume_point) noexcept {
  suspend(resume_point);
  watch_.add(*this);
}

shutdown_hold shutdown_awaiter::await_resume() noexcept {
  holds_ = false;
  return shutdown_hold(&watch_);
}

void shutdown_awaiter::let_go() noexcept {
  unlink();
  wake();
}

shutdown_awaiter shutdown_signal() {
  auto* found = resources().find<detail::shutdown_watch>();
  return shutdown_awaiter(found != nullptr ? *found : resources().emplace<detail::shutdown_watch>());
}

}  // namespace skerry::net
