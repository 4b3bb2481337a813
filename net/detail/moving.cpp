// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/this_shard.hpp>
#include <skerry/net/detail/moving.hpp>
#include <skerry/net/detail/server_part.hpp>
#include <skerry/net/stream.hpp>
#include <skerry/shards/submit_to.hpp>

#include <exception>

namespace skerry::net::detail {

namespace {

/// The task that counts for this connection, if the running one is that or a branch of it.
connection_task* counted_for(const endpoint& e) noexcept {
  if (e.server() == 0) return nullptr;
  for (skerry::detail::chain* each = this_shard().current; each != nullptr; each = each->parent()) {
    auto* found = dynamic_cast<connection_task*>(each);
    if (found != nullptr && found->has_connection() && found->server().number() == e.server()) return found;
  }
  return nullptr;
}

}  // namespace

// --- on the source ---

departure::departure(endpoint& leaving) : leaving_(leaving), counted_(counted_for(leaving)) {
  leaving_.begin_leaving();
}

parcel& departure::pack() {
  parcel& packed = packed_.emplace(leaving_.pack());
  if (leaving_.server() != 0) {
    // It need not be there any more.
    const server_part* of = this_server_parts().find_numbered(leaving_.server());
    if (of != nullptr) packed.server = of->id();
    packed.has_place = counted_ != nullptr;
  }
  return packed;
}

departure::~departure() {
  if (packed_ && packed_->opened()) {
    if (packed_->counted) counted_->connection_left();
    leaving_.leave();
  } else {
    leaving_.come_back(packed_ ? std::move(packed_->fd) : unique_fd());
    leaving_.release();
  }
}

// --- on the target ---

connection_start::connection_start(server_part* counts_for, int fd)
    : node_(counts_for != nullptr ? counts_for->expect(fd) : nullptr) {}

connection_start::~connection_start() {
  if (node_ != nullptr) node_->server().unexpect(node_);
}

void connection_start::begin(task<> body) {
  if (node_ == nullptr) {
    spawn(std::move(body), "connection");
    return;
  }
  node_->server().came();
  std::exchange(node_, nullptr)->begin(std::move(body));
}

arrival::arrival(parcel& from)
    : from_(from),
      part_(from.server != 0 ? this_server_parts().find(from.server) : nullptr),
      sender_waits_(this_assembled_shard().draining() || (part_ != nullptr && part_->ending())) {
  if (this_shard().root->closing()) std::rethrow_exception(skerry::detail::target_stopping());
  if (!sender_waits_) start_.emplace(from.has_place ? part_ : nullptr, from.fd.get());
}

stream arrival::open() {
  const std::uint16_t server = part_ != nullptr ? part_->number() : std::uint16_t{0};
  return stream(this_endpoints().adopt(from_, server, part_ != nullptr && part_->ending()));
}

void arrival::begin(task<> body) {
  SKERRY_ASSERT(!sender_waits_, "whoever waits for the end awaits the handler itself");
  start_->begin(std::move(body));
  from_.counted = from_.has_place && part_ != nullptr;
}

// --- on one shard ---

change_of_task::change_of_task(endpoint& e) : counted_(counted_for(e)) {
  const server_part* part = this_server_parts().find_numbered(e.server());
  const bool waits = this_assembled_shard().draining() || (part != nullptr && part->ending());
  if (!waits) start_.emplace(counted_ != nullptr ? &counted_->server() : nullptr, e.fd());
}

void change_of_task::begin(task<> body) {
  start_->begin(std::move(body));
  if (counted_ != nullptr) counted_->connection_left();
}

}  // namespace skerry::net::detail
