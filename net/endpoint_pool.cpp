// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/net/acceptor.hpp>
#include <skerry/net/detail/freed_descriptors.hpp>
#include <skerry/net/detail/moving.hpp>
#include <skerry/net/detail/zero_copy_send.hpp>
#include <skerry/net/endpoint.hpp>
#include <skerry/net/socket.hpp>

#include <cstdint>

namespace skerry::net {

endpoint_pool::endpoint_pool(shard& home)
    : home_(home),
      bytes_(this_bytes()),
      buffers_(resource<buffer_pool>()),
      freed_descriptors_(detail::this_freed_descriptors()),
      kernel_(home.loop().kernel()) {
  publish();
  home_.loop().add(*this);
  try {
    home_.add_drainable(*this);  // last: whoever knows a pool must not find it gone
  } catch (...) {
    home_.loop().remove(*this);
    throw;
  }
}

endpoint_pool::~endpoint_pool() {
  SKERRY_ASSERT(stats_.endpoints == 0, "a shard ends after its last connection");
  if (armed()) timers::this_timers().cancel(*this);
  home_.remove_drainable(*this);
  home_.loop().remove(*this);
}

void endpoint_pool::publish() {
  observe::registry& metrics = *this_shard().metrics;
  published_.push_back(metrics.add_gauge([this] { return static_cast<std::int64_t>(stats_.endpoints); },
                                         {"skerry_net_connections", "Open connections, closing ones included."}));
  auto count = [&](const std::uint64_t& value, const char* name, const char* help) {
    published_.push_back(metrics.add_counter([&value] { return value; }, {name, help}));
  };
  count(stats_.accept_failures, "skerry_net_accept_failures_total",
        "Times accepting had to pause, mostly for lack of descriptors.");
  count(stats_.rests_dropped, "skerry_net_rests_dropped_total", "Closed connections whose peer did not take the rest.");
  count(stats_.zero_copy_sends, "skerry_net_zero_copy_sends_total", "Sends that left their memory to the kernel.");
  count(stats_.zero_copy_copied, "skerry_net_zero_copy_copied_total", "Of these, copied by the kernel after all.");
  count(stats_.lingers_passed, "skerry_net_lingers_passed_total",
        "Closed connections whose peer did not end its side in time.");
}

endpoint* endpoint_pool::adopt(int fd, bool accepted, std::uint16_t server, bool draining) {
  unique_fd owned(fd);
  auto* made = new endpoint(*this, fd, accepted, server);
  owned.release();
  all_.push_back(*made);
  ++stats_.endpoints;
  if (accepted) ++accepted_;
  if (draining || (accepted && home_.draining())) {
    made->begin_drain();
    if (ending_soon_ != 0) look_soon();
  }
  return made;
}

endpoint* endpoint_pool::adopt(detail::parcel& from, std::uint16_t server, bool draining) {
  auto* made = new endpoint(*this, from, server);
  made->fd_ = from.fd.release();
  all_.push_back(*made);
  ++stats_.endpoints;
  if (made->accepted()) ++accepted_;
  if (made->wants_input()) made->arm_recv();
  if (draining || from.draining || (made->accepted() && home_.draining())) {
    made->begin_drain(true);
    if (ending_soon_ != 0) look_soon();
  }
  return made;
}

void endpoint_pool::want_flush(endpoint& e) {
  if (e.to_flush_) return;
  to_flush_.push_back(&e);
  e.to_flush_ = true;
}

void endpoint_pool::flush() noexcept {
  for (endpoint* e : to_flush_) {
    e->to_flush_ = false;
    e->send_pending();
  }
  to_flush_.clear();
}

/// Deadlines are looked at all together, this often, while somebody is closing or about to end.
void endpoint_pool::look_soon() noexcept {
  const bool often = home_.draining() || ending_soon_ != 0;
  const clock::time_point when = clock::now() + (often ? endpoint::drain_look : endpoint::linger);
  if (armed() && next_look_ <= when) return;
  if (armed()) timers::this_timers().cancel(*this);
  next_look_ = when;
  timers::this_timers().arm(*this, when);
}

void endpoint_pool::expired() noexcept {
  clock::time_point now = clock::now();
  all_.for_each([&](endpoint& e) { e.check_deadline(now); });
  if (closing_ != 0 || ending_soon_ != 0) look_soon();
}

void endpoint_pool::freed(endpoint& e) noexcept {
  if (--closing_ == 0 && ending_soon_ == 0 && armed()) timers::this_timers().cancel(*this);  // an idle shard sleeps
  gone(e);
  freed_descriptors_.closed();
}

void endpoint_pool::gone(endpoint& e) noexcept {
  static_cast<skerry::detail::list_hook<pool_tag>&>(e).unlink();
  --stats_.endpoints;
  if (e.accepted()) --accepted_;
  delete &e;
  home_.drain_progressed();
}

void endpoint_pool::begin_drain() noexcept {
  acceptors_.for_each([](acceptor& a) {
    if (!a.goes_on_in_drain()) a.end();
  });
  all_.for_each([](endpoint& e) {
    if (e.accepted()) e.begin_drain();
  });
  if (closing_ != 0 || ending_soon_ != 0) look_soon();
}

void endpoint_pool::begin_drain_of(std::uint16_t server) noexcept {
  all_.for_each([&](endpoint& e) {
    if (e.server() == server) e.begin_drain();
  });
  if (closing_ != 0 || ending_soon_ != 0) look_soon();
}

bool endpoint_pool::drained() const noexcept {
  bool taken = true;
  acceptors_.for_each([&](const acceptor& a) { taken = taken && a.drained(); });
  return taken && accepted_ == 0;
}
bool endpoint_pool::empty() const noexcept { return stats_.endpoints == 0 && acceptors_.empty() && held_.empty(); }

endpoint_pool& this_endpoints() {
  endpoint_pool* found = resources().find<endpoint_pool>();
  return found != nullptr ? *found : resources().emplace<endpoint_pool>(this_assembled_shard());
}

}  // namespace skerry::net
