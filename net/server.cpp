// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/framework/task/cancel.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/admin/admin.hpp>
#include <skerry/net/detail/server_part.hpp>
#include <skerry/net/detail/steering.hpp>
#include <skerry/net/hand_over.hpp>
#include <skerry/net/server.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/call_batch.hpp>

#include <exception>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace skerry::net {

namespace detail {

namespace {

/// Where a server's listeners come from.
struct server_plan {
  server_plan(const address& where, const server_options& with) : at(where), options(with), sockets(shard_count()) {}
  address at;
  server_options options;
  std::vector<listener> own;                    ///< this shard's; empty: it opens one like the others
  std::vector<std::vector<unique_fd>> sockets;  ///< by shard; one that has none opens its own
  std::string not_steered;                      ///< why the kernel cannot be told to, or empty
  std::optional<message_listener> name;         ///< where successors ask
  std::optional<message_socket> predecessor;    ///< is told when we serve
  std::optional<socket_file> file;              ///< of a Unix socket that is handed over, if it is new
  std::string path;                             ///< of one that was taken over
};

address accept_from_all(server_id id, const server_options& options, connection_handler handler, address at,
                        std::vector<listener> from) {
  if (!from.empty()) at = from.front().where();
  server_part& here = this_server_parts().make(id, options, handler);
  here.publish(options.name.empty() ? at.text() : options.name);
  for (listener& each : from) here.accept_from(std::move(each));
  return at;
}

/// Drains and forgets, on all shards. None accepts any more before the first waits, and nobody is between two.
task<drain_result> end_server(server_id id, clock::duration limit) {
  const auto begin_here = [](server_id whose) {
    if (server_part* here = this_server_parts().find(whose)) here->begin_ending();
  };
  co_await shielded(skerry::detail::call_everywhere(skerry::detail::handler_scope::root, begin_here, id));
  // Who was handed over is there: by the starter, as this is, and requests of a pair of shards keep their order.
  const auto end_here = [](server_id whose, clock::duration at_most) -> task<drain_result> {
    server_part* here = this_server_parts().find(whose);
    if (here == nullptr) co_return drain_result();
    co_return co_await here->drain(at_most);
  };
  const auto by_shard =
      co_await skerry::detail::call_everywhere(skerry::detail::handler_scope::root, end_here, id, limit);
  // Not before: one that has nothing left may still have places for others.
  co_await skerry::detail::call_everywhere(
      skerry::detail::handler_scope::root, [](server_id whose) { this_server_parts().erase(whose); }, id);
  drain_result all;
  for (const drain_result& each : by_shard) {
    all.finished += each.finished;
    all.cancelled += each.cancelled;
    all.unserved += each.unserved;
  }
  co_return all;
}

/// Ends a server whose start was cancelled.
class half_started {
 public:
  explicit half_started(server_id id) noexcept : id_(id) {}
  ~half_started() {
    if (id_ == 0 || this_shard().root->closing()) return;
    try {
      spawn(end_server(id_, clock::duration(0)), "end of a server");
    } catch (const std::bad_alloc&) {
      log::error("no memory to end a server whose start was cancelled; it serves until the app ends");
    }
  }
  half_started(const half_started&) = delete;
  half_started& operator=(const half_started&) = delete;
  server_id id() const noexcept { return id_; }
  server_id release() noexcept { return std::exchange(id_, 0); }

 private:
  server_id id_;
};

task<address> open_all(server_plan& plan, server_id id, connection_handler handler, part_opener open) {
  address at = plan.at;
  const bool for_all = accepts_for_all(plan.options.accept);
  for (shard_id s = 0; s < shard_count(); ++s) {
    if (s == this_shard_id() && for_all) continue;
    if (s == this_shard_id() && !plan.own.empty()) {
      at = accept_from_all(id, plan.options, handler, at, std::move(plan.own));
    } else {
      at = co_await open(s, id, plan.options, at, std::move(plan.sockets[s]));
    }
  }
  // Who accepts for all begins when all are there to be handed somebody.
  if (for_all) at = accept_from_all(id, plan.options, handler, at, std::move(plan.own));
  co_return at;
}

/// Has the kernel choose by the CPU, or tells the log why not.
task<> steer_if_wanted(const server_plan& plan, server_id id) {
  if (plan.options.accept != accept_policy::steered) co_return;
  std::string refusal = plan.not_steered;
  if (refusal.empty()) {
    const auto ask = [] { return cpu_of_this_shard(); };
    const auto cpus = co_await skerry::detail::call_everywhere(skerry::detail::handler_scope::root, ask);
    server_part* here = this_server_parts().find(id);
    const auto share = here != nullptr ? here->share() : std::vector<unique_fd>();
    refusal = share.empty() ? "the server ends" : steer(share.front().get(), cpus);
  }
  if (!refusal.empty()) {
    log::warning("{}: connections are spread by the kernel's hash, not by CPU: {}", plan.at.text(), refusal);
  }
}

/// Tells whom we took over from, and offers the sockets to the next.
task<std::shared_ptr<hand_over_outcome>> offer(server_plan& plan, server_id id, address at) {
  std::shared_ptr<hand_over_outcome> outcome;
  if (!plan.options.hand_over) co_return outcome;
  outcome = std::make_shared<hand_over_outcome>();
  if (plan.file) outcome->file.emplace(std::move(*plan.file));
  if (!plan.name) {
    const std::optional<address> name = hand_over_name(at);
    if (!name)
      throw startup_error("the file of " + at.text() + " has gone\nleave it where it is while a server has it");
    try {
      plan.name.emplace(*name, message_kind::packets, hand_over_line());
    } catch (const std::system_error& taken) {
      throw startup_error("cannot offer the sockets of " + at.text() + " to a successor: " + taken.what() +
                          "\nanother process has that name: ss -lxp shows which");
    }
  }
  auto offering = spawn(give_to_successor(std::move(*plan.name), id, outcome), "hand-over");
  this_server_parts().find(id)->keep_hand_over(std::move(offering));
  if (plan.predecessor) {
    co_await say_serving(std::move(*plan.predecessor));
    // From now on the file goes with us, not with our predecessor; unless we are ending already.
    if (!plan.path.empty() && !outcome->over.is_set()) outcome->file.emplace(plan.path);
  }
  co_return outcome;
}

/// All shards accept from one socket.
server_plan plan_shared(listener first, const server_options& options) {
  server_plan plan(first.where(), options);
  plan.not_steered = "all shards accept from one socket";
  for (shard_id s = 0; s < shard_count() && !accepts_for_all(options.accept); ++s) {
    if (s != this_shard_id()) plan.sockets[s].push_back(duplicate(first.fd()));
  }
  plan.own.push_back(std::move(first));
  return plan;
}

task<server_plan> plan_server(listener first, server_options options) {
  if (options.hand_over) {
    throw startup_error("a socket that was given to this process is its giver's to hand over: " + first.where().text() +
                        "\nleave out the hand-over: systemd keeps such sockets open between two processes");
  }
  co_return plan_shared(std::move(first), options);
}

/// Its file is not the listener's, but goes when the hand-over is over.
server_plan plan_unix(const address& at, const server_options& options, std::optional<predecessor> old) {
  if (old) {  // all that it gave are descriptors of one socket
    server_plan plan = plan_shared(listener(std::move(old->listening.front())), options);
    plan.path = at.path();
    plan.name.emplace(std::move(old->name), hand_over_line());
    plan.predecessor.emplace(std::move(old->line));
    return plan;
  }
  try {
    listening_socket made = listen_on_path(at, listener::backlog);
    server_plan plan = plan_shared(listener(std::move(made.fd)), options);
    plan.file.emplace(std::move(made.name));
    return plan;
  } catch (const std::system_error& refused) {
    explain_refusal(at, refused);
  }
}

server_plan plan_taken_over(const address& at, const server_options& options, predecessor old) {
  server_plan plan(at, options);
  plan.name.emplace(std::move(old.name), hand_over_line());
  plan.not_steered = "the sockets come from another process, and their order is not known";
  for (std::size_t i = 0; i < old.listening.size(); ++i) {
    if (accepts_for_all(options.accept)) {
      plan.own.emplace_back(std::move(old.listening[i]));
    } else {
      plan.sockets[i % shard_count()].push_back(std::move(old.listening[i]));
    }
  }
  plan.predecessor.emplace(std::move(old.line));
  return plan;
}

task<server_plan> plan_server(address at, server_options options) {
  if (at.is_unix() && !options.hand_over) {
    co_return plan_shared(listen_or_explain(at, in_drain::finishes), options);
  }
  if (options.hand_over && (at.is_unix() || at.port() != 0)) {
    std::optional<predecessor> old = co_await take_over(at);
    if (at.is_unix()) co_return plan_unix(at, options, std::move(old));
    if (old) co_return plan_taken_over(at, options, std::move(*old));
  }
  co_await until_port_is_free(at);
  server_plan plan(at, options);
  if (accepts_for_all(options.accept)) {
    plan.own.push_back(listen_or_explain(at, in_drain::finishes));
    plan.at = plan.own.front().where();
  }
  co_return plan;
}

task<server> start_planned(task<server_plan> planning, connection_handler handler, part_opener open) {
  co_await admin::begin_listening();
  server_plan plan = co_await std::move(planning);
  half_started started(this_server_parts().new_id());
  std::exception_ptr failed;
  std::shared_ptr<hand_over_outcome> outcome;
  try {
    plan.at = co_await open_all(plan, started.id(), handler, open);
    co_await steer_if_wanted(plan, started.id());
    outcome = co_await offer(plan, started.id(), plan.at);
  } catch (...) {
    failed = std::current_exception();
  }
  if (failed != nullptr) {
    co_await end_server(started.id(), clock::duration(0));
    started.release();
    std::rethrow_exception(failed);
  }
  log::info("listening on {}", plan.at.text());
  co_await admin::end_listening();
  co_return server(started.release(), plan.at, std::move(outcome));
}

}  // namespace

address open_part(server_id id, const server_options& options, connection_handler handler, const address& at,
                  std::vector<unique_fd> sockets) {
  std::vector<listener> from;
  for (unique_fd& each : sockets) from.emplace_back(std::move(each));
  if (from.empty() && !accepts_for_all(options.accept)) from.push_back(listen_or_explain(at, in_drain::finishes));
  return accept_from_all(id, options, handler, at, std::move(from));
}

task<server> start_at(address at, server_options options, connection_handler handler, part_opener open) {
  return start_planned(plan_server(at, std::move(options)), handler, open);
}

task<server> start_from(listener first, server_options options, connection_handler handler, part_opener open) {
  return start_planned(plan_server(std::move(first), std::move(options)), handler, open);
}

/// These two are no members: the handle may move meanwhile.
task<server_stats> stats_of(server_id of) {
  const auto ask = [](server_id id) {
    server_part* here = this_server_parts().find(id);
    return here != nullptr ? here->stats() : server_stats();
  };
  const auto by_shard = co_await skerry::detail::call_everywhere(skerry::detail::handler_scope::root, ask, of);
  server_stats all;
  for (const server_stats& each : by_shard) all += each;
  co_return all;
}

task<bool> until_handed_over(std::shared_ptr<hand_over_outcome> outcome) {
  co_await outcome->over.wait();
  co_return outcome->handed;
}

}  // namespace detail

task<drain_result> server::drain(clock::duration limit) {
  SKERRY_ASSERT(id_ != 0, "a server is drained once, by its only handle");
  return detail::end_server(std::exchange(id_, 0), limit);
}

task<bool> server::handed_over() const {
  SKERRY_ASSERT(hand_over_ != nullptr, "only a server with the option hand_over is handed over");
  return detail::until_handed_over(hand_over_);
}

task<server_stats> server::stats() const { return detail::stats_of(id_); }

void shut_down_when_handed_over(const server& s) {
  if (!s.hands_over()) return;
  const auto wait = [](task<bool> over) -> task<> {
    const bool handed = co_await std::move(over);
    if (handed) app::shutdown();
  };
  spawn(wait(s.handed_over()), "hand-over");
}

server_stats stats_of_this_shards_servers() { return detail::this_server_parts().stats(); }

server_stats& server_stats::operator+=(const server_stats& other) noexcept {
  connections += other.connections;
  accepted += other.accepted;
  errors += other.errors;
  refused_connections += other.refused_connections;
  refused_address += other.refused_address;
  refused_memory += other.refused_memory;
  waits_for_place += other.waits_for_place;
  waits_for_token += other.waits_for_token;
  return *this;
}

}  // namespace skerry::net
