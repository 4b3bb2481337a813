// SPDX-License-Identifier: Apache-2.0
#pragma once

/// server_part: one shard's part of a server: its listeners, its connections, and what it may take in.
///
///     accept loop:   a token? --no--> wait for the timer; clients wait in the kernel
///                        |
///                    accept, no more than there are tokens and places; but one
///                        |
///                    a place? --no--> wait with it in hand until a connection has ended or a place is lent.
///                        |            Or, if that is what the options say, tell it and go on
///                        |
///                    connection_task in the root scope: handler(stream) --end--> leave()
///
/// The connections of a server are tasks of the root scope. A scope of their own would hide them from the end of the
/// app and from /tasks; another hook to find them by would cost each 16 bytes, and a drain that has run out of time may
/// look at all tasks.
///
/// Places: `connections_max` is divided among the shards, and the kernel spreads connections as it likes. A shard that
/// has no place left asks the others one by one; who has some gives half, and who has none remembers who asked, and
/// gives it the next one that becomes free, in turn with its own needs. So a place is on one shard or on its way to
/// one, and a shard waits only if all are taken. Rejected: a counter that all shards share, which would be an atomic
/// that every connection of every shard writes to. A shard that refuses instead of waiting is not remembered; it may do
/// so while the last free places are on their way from one shard to another.
///
/// Where one shard accepts for all (accept_policy), it has all places, and takes one before it chooses a shard:
///
///     starter: accept, place, shard_choice  --descriptors, a batch at a time-->  take(): serve
///              changed(): loads, places     <--ended, free places: batches-----  leave()
///
/// One message each way is under way per shard at most, and whatever comes meanwhile goes with the next. A place comes
/// back with the news of the end, so the starter counts who is served elsewhere (`away_`), and a drain of the app,
/// which asks each shard for itself, waits there for all of them. Once the server ends, nobody is handed over any more.
///
/// A connection that moves takes its place along (moving.hpp): its task here lives on and does not count.
///
/// Affinity:   home shard.
/// Ownership:  server_parts, a resource; it goes after a drain, when nothing of it runs, or with its shard.
/// Invariants: (1) places, connections and places on their way are `connections_max` over all shards; (2) a loop waits
///             only while something is bound to wake it; (3) a part goes after its last refusal, whose words it holds;
///             (4) at most shard_choice::untaken_max connections are on their way to a shard.

#include <skerry/framework/observe/metrics.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/net/detail/address_counts.hpp>
#include <skerry/net/detail/shard_choice.hpp>
#include <skerry/net/server.hpp>
#include <skerry/net/server_options.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/timers/timer.hpp>

#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace skerry::net::detail {

class connection_task;

class server_part final : private drainable, private timers::timer {
 public:
  server_part(server_id id, std::uint16_t number, const server_options& options, connection_handler handler);
  ~server_part();
  server_part(const server_part&) = delete;
  server_part& operator=(const server_part&) = delete;

  server_id id() const noexcept { return id_; }
  std::uint16_t number() const noexcept { return number_; }
  /// Empty before it is published.
  const std::string& name() const noexcept { return name_; }
  /// Under this name, or one like it that no other server has.
  void publish(std::string name);
  void accept_from(listener from);
  const server_stats& stats() const noexcept { return counts_; }

  /// Gives its sockets to a successor, until it ends.
  void keep_hand_over(join_handle<> loop) noexcept { hand_over_ = std::move(loop); }
  /// A descriptor of each listening socket.
  std::vector<unique_fd> share() const;
  /// Another process serves these, too.
  void leave_rest() noexcept;

  /// Some of our places for another shard; none, and it is remembered if it waits for one.
  std::uint32_t lend(shard_id to);
  void receive_places(std::uint32_t count) noexcept;

  /// What the shard that accepts for all has for us.
  void take(std::vector<unique_fd> connections) noexcept;
  /// What `from` has told: so many connections more or fewer, and places that are free again.
  void changed_there(shard_id from, std::int64_t connections, std::uint64_t places) noexcept;

  /// A node for a connection that has moved here, whose handler it will run.
  connection_task* expect(int fd);
  /// It will run none.
  void unexpect(connection_task* node) noexcept;
  /// A connection that has moved here, with its place; and one that has left, whose task lives on.
  void came() noexcept;
  void left() noexcept;
  bool ending() const noexcept { return ending_; }

  /// Ends listening and input.
  void begin_ending() noexcept;
  /// The same, then waits for the connections, cancels those that are left at the limit.
  task<drain_result> drain(clock::duration limit);

 private:
  friend class connection_task;
  class loop_entry;

  task<> accept_loop(loop_entry entry);
  /// How many connections may be accepted now.
  std::uint64_t tokens() const noexcept;
  bool limits_rate() const noexcept { return options_.accepts_per_second != server_options::unlimited && !ending_; }
  void spend_token() noexcept;
  /// Until there is one, or a drain's limit has passed.
  task<> until_token();
  task<> until_place();
  task<> ask_for_places();
  void settle_places() noexcept;
  /// One that has a place.
  void serve(unique_fd fd) noexcept;
  void give_place_back() noexcept;
  /// Whether those for whom there is no place are told so.
  bool refuses() const noexcept { return !options_.refusal.empty(); }
  void refuse(unique_fd fd) noexcept;
  task<> tell_refusal(stream client);
  /// A connection's task has ended; `gone`: not here.
  void leave(peer_key peer, bool cancelled, bool gone) noexcept;

  bool accepts_for_others() const noexcept { return choice_.has_value(); }
  bool is_handed_connections() const noexcept;
  /// Nothing while no shard has room.
  std::optional<shard_id> where_to_serve() noexcept;
  void hand_over(shard_id to, unique_fd fd) noexcept;
  task<> send_waiting(shard_id to);
  void tell_starter() noexcept;
  task<> tell_changes();
  void failed(const std::exception_ptr& error) noexcept;
  task<> until_idle();
  void changed() noexcept { changed_.set(); }

  void begin_drain() noexcept override { begin_ending(); }
  bool drained() const noexcept override { return loops_.empty() && away_ == 0; }
  bool empty() const noexcept override { return loops_.empty() && tasks_ == 0 && senders_ == 0; }
  void expired() noexcept override { changed(); }

  const server_id id_;
  const std::uint16_t number_;  // of its endpoints
  const server_options options_;
  const connection_handler handler_;
  shard& home_;
  std::string name_;
  std::uint64_t places_;  // for connections that are not there yet
  std::deque<shard_id> asked_us_;
  bool others_know_ = false;       // every other shard remembers that we ask
  bool own_turn_ = false;          // the next free place is ours, if others want it, too
  std::size_t loops_waiting_ = 0;  // for a place, each with a client
  std::uint32_t refusals_ = 0;     // being told
  std::vector<listener*> loops_;
  std::size_t tasks_ = 0;                        // of connections, also that have left or are refused
  std::optional<shard_choice> choice_;           // where this shard accepts for all
  std::vector<std::vector<unique_fd>> waiting_;  // there: by shard, for the message under way to come back
  std::vector<bool> sending_;                    // there: whether one is
  std::size_t senders_ = 0;
  std::int64_t away_ = 0;    // there: places that are with other shards
  std::int64_t change_ = 0;  // elsewhere: what the starter does not know yet
  std::uint64_t free_places_ = 0;
  bool telling_ = false;
  clock::time_point next_accept_{};  // the token bucket, as the time at which it is full again
  address_counts by_address_;
  event changed_{"change of a server"};
  bool ending_ = false;
  bool gives_up_ = false;  // the drain's limit has passed
  server_stats counts_;
  drain_result drain_result_;  // since it began to end
  clock::time_point next_error_line_{};
  std::uint64_t errors_told_ = 0;
  join_handle<> hand_over_;
  std::vector<observe::registration> published_;
};

/// In the place of a peer: a connection that is refused, and counted nowhere else.
inline constexpr peer_key refused_peer = nobody - 1;

/// One connection: what `spawn` makes, but that it tells its server of the end.
class connection_task final : public skerry::detail::chain, public skerry::detail::pooled {
 public:
  connection_task(server_part& of, peer_key peer) noexcept
      : chain(peer == refused_peer ? "refusal" : "connection", &of), peer_(peer) {
    charge_as_current();
  }

  void begin(task<>&& body) noexcept;
  server_part& server() const noexcept { return *static_cast<server_part*>(owner()); }
  /// Its connection counts elsewhere now.
  void connection_left() noexcept;
  bool has_connection() const noexcept { return !gone_; }
  peer_key peer() const noexcept { return peer_; }

 private:
  chain* ended() noexcept override;

  bool gone_ = false;  // fills the chain's padding
  const peer_key peer_;
  skerry::detail::result_slot<void> result_;
};
static_assert(sizeof(connection_task) <= sizeof(skerry::detail::spawned<void>), "idle connections are many");

/// The parts of one shard.
class server_parts {
 public:
  server_parts() { this_endpoints(); }  // made before, so destroyed after

  server_part& make(server_id id, const server_options& options, connection_handler handler);
  server_part* find(server_id id) noexcept;
  server_stats stats() const noexcept;
  server_part* find_numbered(std::uint16_t number) noexcept;
  void erase(server_id id) noexcept;
  bool has_name(const std::string& name) const noexcept;
  /// Of a server that this shard starts.
  server_id new_id() noexcept;

 private:
  std::vector<std::unique_ptr<server_part>> all_;
  std::uint16_t made_ = 0;
  std::uint32_t started_ = 0;
};
server_parts& this_server_parts();

}  // namespace skerry::net::detail
