// SPDX-License-Identifier: Apache-2.0
#include <skerry/net/connect.hpp>
#include <skerry/net/http/detail/connection_pool.hpp>

#include <algorithm>
#include <charconv>
#include <iterator>

#include <sys/socket.h>

namespace skerry::net::http::detail {

namespace {

/// Nothing has come while nobody asked: no bytes, no end.
bool silent(stream& s) noexcept { return !s.readable().await_ready(); }

/// `origin`, a name and a port, where there is no address.
task<stream> connect_to(const std::string& origin, const address& to) {
  if (to.family() != AF_UNSPEC) return net::connect(to);
  const std::size_t colon = origin.rfind(':');
  std::uint16_t port = 0;
  std::from_chars(origin.data() + colon + 1, origin.data() + origin.size(), port);
  return net::connect(origin.substr(0, colon), port);
}

}  // namespace

connection_pool::~connection_pool() {
  timers::this_timers().cancel(*this);
  for (const auto& [name, each] : hosts_) SKERRY_ASSERT(each.leases == 0, "a client outlives its responses");
}

void connection_pool::make_room() noexcept {
  if (open_ < options.connections_max) return;
  auto oldest = hosts_.end();
  for (auto at = hosts_.begin(); at != hosts_.end(); ++at) {
    if (at->second.idle.empty()) continue;
    if (oldest == hosts_.end() || at->second.idle.front().until < oldest->second.idle.front().until) oldest = at;
  }
  SKERRY_ASSERT(oldest != hosts_.end(), "who has one of all places finds room, or somebody idle");
  oldest->second.idle.pop_front();
  --open_;
  if (oldest->second.idle.empty() && oldest->second.leases == 0) hosts_.erase(oldest);
}

void connection_pool::keep(host& of, stream&& s) {
  const clock::time_point until = timers::saturating_add(clock::now(), options.idle_timeout);
  of.idle.push_back({std::move(s), until});
  if (!armed()) timers::this_timers().arm(*this, until);
}

void connection_pool::expired() noexcept {
  clock::time_point earliest = clock::time_point::max();
  for (auto at = hosts_.begin(); at != hosts_.end();) {
    host& each = at->second;
    for (; !each.idle.empty() && each.idle.front().until <= clock::now(); --open_) each.idle.pop_front();
    if (!each.idle.empty()) earliest = std::min(earliest, each.idle.front().until);
    at = each.idle.empty() && each.leases == 0 ? hosts_.erase(at) : std::next(at);
  }
  if (earliest != clock::time_point::max()) timers::this_timers().arm(*this, earliest);
}

connection_pool::lease::lease(connection_pool& pool, const url& to) : pool_(&pool) {
  const address at = pool.options.proxy.value_or(to.to);
  const std::string name = pool.options.proxy ? at.text() : to.origin;
  at_ = pool.hosts_.try_emplace(name, at, pool.options.connections_per_host_max).first;
  ++at_->second.leases;
}

task<> connection_pool::lease::connect(bool fresh) {
  host& here = at_->second;
  place_ = co_await here.places.acquire();
  place_of_all_ = co_await pool_->places_.acquire();
  while (!fresh && !here.idle.empty()) {
    net::stream s = std::move(here.idle.back().s);
    here.idle.pop_back();
    if (silent(s)) {
      stream_.emplace(std::move(s));
      open_ = reused_ = true;
      co_return;
    }
    --pool_->open_;
  }
  pool_->make_room();
  ++pool_->open_;
  open_ = true;
  net::stream s = co_await connect_to(at_->first, here.to);
  stream_.emplace(std::move(s));
}

void connection_pool::lease::give_back() {
  host& here = at_->second;
  if (here.idle.size() < pool_->options.idle_per_host_max && silent(*stream_)) {
    pool_->keep(here, std::move(*stream_));
    open_ = false;  // counted as idle
  }
  close();
}

void connection_pool::lease::close() noexcept {
  if (pool_ == nullptr) return;
  stream_.reset();
  if (open_) --pool_->open_;
  place_of_all_ = units();
  place_ = units();
  host& here = at_->second;
  if (--here.leases == 0 && here.idle.empty()) pool_->hosts_.erase(at_);
  pool_ = nullptr;
}

}  // namespace skerry::net::http::detail
