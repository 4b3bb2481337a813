// SPDX-License-Identifier: Apache-2.0
/// What the parts of a server tell each other of their connections: those that one shard accepts for all, and those
/// that move.
#include <skerry/framework/assert.hpp>
#include <skerry/framework/random.hpp>
#include <skerry/net/detail/server_part.hpp>
#include <skerry/shards/submit_to.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

namespace skerry::net::detail {

// --- one shard accepts for all ---

bool server_part::is_handed_connections() const noexcept {
  return accepts_for_all(options_.accept) && !accepts_for_others();
}

std::optional<shard_id> server_part::where_to_serve() noexcept {
  if (!choice_) return this_shard_id();
  std::optional<shard_id> where = this_shard_id();
  if (ending_) {
    choice_->change(*where, 1);
  } else if ((where = choice_->next(*this_shard().random)) == this_shard_id()) {
    choice_->taken(*where, 1);
  }
  return where;
}

void server_part::hand_over(shard_id to, unique_fd fd) noexcept {
  const int number = fd.get();
  try {
    waiting_[to].push_back(std::move(fd));
    ++away_;
    if (!sending_[to]) spawn(send_waiting(to), "hand-over");
  } catch (const std::bad_alloc&) {
    ++counts_.refused_memory;
    reset_at_close(number);
    if (fd.get() < 0) {
      waiting_[to].pop_back();
      --away_;
    }
    choice_->taken(to, 1);
    choice_->change(to, -1);
    ++places_;
    settle_places();
  }
}

/// Until nobody waits for it any more.
task<> server_part::send_waiting(shard_id to) {
  struct under_way {
    under_way(server_part& of, shard_id there) noexcept : part(of), shard(there) {
      part.sending_[shard] = true;
      ++part.senders_;
    }
    ~under_way() {
      part.sending_[shard] = false;
      --part.senders_;
      part.changed();
      part.home_.drain_progressed();
    }
    under_way(const under_way&) = delete;
    under_way& operator=(const under_way&) = delete;
    server_part& part;
    shard_id shard;
  } const sending(*this, to);
  const auto deliver = [](server_id whose, std::vector<unique_fd> connections) {
    server_part* there = this_server_parts().find(whose);
    const bool takes = there != nullptr && !this_shard().root->closing();
    if (takes) there->take(std::move(connections));
    return takes;
  };
  while (!waiting_[to].empty()) {
    std::vector<unique_fd> batch = std::exchange(waiting_[to], {});
    const std::size_t size = batch.size();
    bool taken = true;
    if (ending_) {
      choice_->change(this_shard_id(), static_cast<std::int64_t>(size));
      for (unique_fd& each : batch) serve(std::move(each));
      taken = false;
    } else {
      taken = co_await submit_to(to, deliver, id_, std::move(batch));
    }
    choice_->taken(to, size);
    if (!taken) {
      choice_->change(to, -static_cast<std::int64_t>(size));
      away_ -= static_cast<std::int64_t>(size);
    }
    changed();
  }
}

void server_part::take(std::vector<unique_fd> connections) noexcept {
  for (unique_fd& each : connections) serve(std::move(each));
}

/// One message at a time; what changes meanwhile goes with the next.
void server_part::tell_starter() noexcept {
  if (telling_) return;
  try {
    spawn(tell_changes(), "hand-over");
    telling_ = true;
  } catch (const std::bad_alloc&) {
    // The next change tries again, and tells all.
  }
}

task<> server_part::tell_changes() {
  const auto deliver = [](server_id whose, shard_id from, std::int64_t connections, std::uint64_t places) {
    if (server_part* there = this_server_parts().find(whose)) there->changed_there(from, connections, places);
  };
  const server_id id = id_;
  server_part* here = this;
  while (here != nullptr && (here->change_ != 0 || here->free_places_ != 0)) {
    const std::int64_t connections = std::exchange(here->change_, 0);
    const std::uint64_t places = std::exchange(here->free_places_, 0);
    co_await submit_to(starter_of(id), deliver, id, this_shard_id(), connections, places);
    here = this_server_parts().find(id);  // it goes when the starter knows of the last end
  }
  if (here != nullptr) here->telling_ = false;
}

void server_part::changed_there(shard_id from, std::int64_t connections, std::uint64_t places) noexcept {
  choice_->change(from, connections);
  away_ -= static_cast<std::int64_t>(places);
  places_ += places;
  changed();
  home_.drain_progressed();
}

// --- connections that move ---

connection_task* server_part::expect(int fd) {
  peer_key peer = nobody;
  if (options_.connections_per_address_max != server_options::unlimited) {
    try {
      peer = peer_of(peer_address(fd));
    } catch (const std::system_error&) {
      // It has left already, and counts for no address.
    }
  }
  auto made = std::make_unique<connection_task>(*this, peer);
  // It is served already: no limit of its address refuses it.
  if (peer != nobody) by_address_.enter(peer, server_options::unlimited);
  return made.release();
}

void server_part::unexpect(connection_task* node) noexcept {
  if (node->peer() != nobody) by_address_.leave(node->peer());
  delete node;
}

void server_part::came() noexcept {
  ++counts_.connections;
  if (is_handed_connections()) {
    ++change_;
    tell_starter();
  } else if (choice_) {
    choice_->change(this_shard_id(), 1);
    --away_;
  }
}

void server_part::left() noexcept {
  --counts_.connections;
  if (is_handed_connections()) {
    --change_;
    tell_starter();
  } else if (choice_) {
    choice_->change(this_shard_id(), -1);
    ++away_;
  }
  changed();
}

}  // namespace skerry::net::detail
