// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/random.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/net/detail/server_part.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <new>
#include <span>
#include <system_error>
#include <utility>

namespace skerry::net::detail {

namespace {

constexpr std::uint64_t without_limit = std::uint64_t{1} << 62;
constexpr std::chrono::seconds error_lines_apart{10};

std::uint64_t places_of_this_shard(std::uint32_t max, accept_policy how, server_id id) {
  if (accepts_for_all(how) && this_shard_id() != starter_of(id)) return 0;
  if (max == server_options::unlimited) return without_limit;
  if (accepts_for_all(how)) return max;
  return max / shard_count() + (this_shard_id() < max % shard_count() ? 1 : 0);
}

/// What ends connections all the time, and is nobody's mistake here.
bool is_the_peers(const std::error_code& code) noexcept {
  return code == std::errc::connection_reset || code == std::errc::broken_pipe || code == std::errc::timed_out ||
         code == std::errc::connection_aborted || code == std::errc::not_connected;
}

task<> send_place(server_id id, shard_id to) {
  const auto deliver = [](server_id whose) {
    if (server_part* there = this_server_parts().find(whose)) there->receive_places(1);
  };
  co_await submit_to(to, deliver, id);
}

}  // namespace

void connection_task::begin(task<>&& body) noexcept {
  scope& root = *this_shard().root;
  ++server().tasks_;
  root.add(*this);
  start(std::move(body).release(result_));
  if (root.closing()) cancel();
}

void connection_task::connection_left() noexcept {
  SKERRY_ASSERT(!gone_, "a connection leaves its task once");
  gone_ = true;
  server().left();
}

skerry::detail::chain* connection_task::ended() noexcept {
  if (const std::exception_ptr error = result_.take_error(); error != nullptr) server().failed(error);
  server().leave(peer_, was_cancelled(), gone_);  // may spawn, so before the root scope may be empty
  this_shard().root->remove(*this);
  delete this;
  return nullptr;
}

/// A listener that is being accepted from, from the making of its loop on: a drain may come before the first step.
class server_part::loop_entry {
 public:
  loop_entry(server_part& of, listener&& from) : of_(of), from_(std::make_unique<listener>(std::move(from))) {
    of_.loops_.push_back(from_.get());
    if (of_.ending_) from_->end();
  }
  loop_entry(loop_entry&& other) noexcept = default;
  ~loop_entry() {
    if (from_ == nullptr) return;
    std::erase(of_.loops_, from_.get());
    of_.home_.drain_progressed();
    of_.changed();
  }
  loop_entry& operator=(loop_entry&&) = delete;
  listener& from() const noexcept { return *from_; }

 private:
  server_part& of_;
  std::unique_ptr<listener> from_;
};

server_part::server_part(server_id id, std::uint16_t number, const server_options& options, connection_handler handler)
    : id_(id),
      number_(number),
      options_(options),
      handler_(handler),
      home_(this_assembled_shard()),
      places_(places_of_this_shard(options.connections_max, options.accept, id)),
      by_address_((*this_shard().random)()) {
  const bool sensible = std::min({options_.connections_max, options_.connections_per_address_max,
                                  options_.accepts_per_second, options_.accepts_at_once}) != 0;
  SKERRY_ASSERT(sensible, "a limit of a server is at least 1");
  if (accepts_for_all(options_.accept) && this_shard_id() == starter_of(id)) {
    choice_.emplace(options_.accept, shard_count());
    waiting_.resize(shard_count());
    sending_.resize(shard_count());
  }
  home_.add_drainable(*this);
  if (home_.draining()) begin_drain();
}

server_part::~server_part() {
  SKERRY_ASSERT(empty(), "a server goes after its last connection");
  if (armed()) timers::this_timers().cancel(*this);
  home_.remove_drainable(*this);
}

void server_part::publish(std::string name) {
  std::string free = name;
  for (unsigned n = 2; this_server_parts().has_name(free); ++n) free = name + " (" + std::to_string(n) + ")";
  name_ = free;
  observe::registry& metrics = *this_shard().metrics;
  const auto info = [&](const char* metric, const char* help) {
    observe::metric_info about;
    about.name = metric;
    about.help = help;
    about.labels.push_back({"server", name_});
    return about;
  };
  published_.push_back(metrics.add_gauge([this] { return static_cast<std::int64_t>(counts_.connections); },
                                         info("skerry_server_connections", "Connections that a server serves.")));
  published_.push_back(
      metrics.add(counts_.accepted, info("skerry_server_accepted_total", "Connections that were served.")));
  published_.push_back(metrics.add(
      counts_.errors, info("skerry_server_errors_total", "Connections whose handler ended with an exception.")));
  const auto by = [&](const std::uint64_t& count, const char* metric, const char* help, const char* key,
                      const char* value) {
    observe::metric_info about = info(metric, help);
    about.labels.push_back({key, value});
    published_.push_back(metrics.add(count, std::move(about)));
  };
  const auto* refusals = "skerry_server_refused_total";
  by(counts_.refused_connections, refusals, "Connections that were not served.", "reason", "connections");
  by(counts_.refused_address, refusals, "Connections that were not served.", "reason", "address");
  by(counts_.refused_memory, refusals, "Connections that were not served.", "reason", "memory");
  const auto* waits = "skerry_server_accept_waits_total";
  by(counts_.waits_for_place, waits, "Times accepting paused, and clients waited in the kernel.", "for", "place");
  by(counts_.waits_for_token, waits, "Times accepting paused, and clients waited in the kernel.", "for", "token");
}

// --- accepting ---

void server_part::accept_from(listener from) { spawn(accept_loop(loop_entry(*this, std::move(from))), "accept"); }

task<> server_part::accept_loop(loop_entry entry) {
  listener& from = entry.from();
  while (!gives_up_) {
    if (tokens() == 0) {
      from.want(0);
      co_await until_token();
    }
    // Without a place one is taken all the same: only who has a client asks other shards for a place.
    from.want(refuses() ? tokens() : std::min(tokens(), std::max<std::uint64_t>(places_, 1)));
    unique_fd fd = co_await from.accept_fd();
    if (fd.get() < 0) co_return;
    spend_token();
    if (places_ == 0 && refuses()) {
      if (!accepts_for_others()) co_await ask_for_places();
      if (places_ == 0 && !gives_up_) {
        ++counts_.refused_connections;
        refuse(std::move(fd));
        continue;
      }
    } else if (places_ == 0) {
      from.want(0);
      co_await until_place();
    }
    std::optional<shard_id> where;
    // Meanwhile another loop may have taken the place.
    while (!gives_up_ && (places_ == 0 || !(where = where_to_serve()))) {
      changed_.reset();
      co_await changed_.wait();
    }
    if (gives_up_) {
      ++drain_result_.unserved;
      reset_at_close(fd.get());
      continue;
    }
    --places_;
    *where == this_shard_id() ? serve(std::move(fd)) : hand_over(*where, std::move(fd));
  }
  drain_result_.unserved += from.queued();
}

/// The bucket holds `accepts_at_once` tokens, and is full when `next_accept_` is now or before.
std::uint64_t server_part::tokens() const noexcept {
  if (!limits_rate()) return without_limit;
  const std::chrono::nanoseconds each(1'000'000'000 / options_.accepts_per_second);
  const clock::duration missing = std::max(next_accept_ - clock::now(), clock::duration(0));
  const clock::duration full = each * options_.accepts_at_once;
  return missing >= full ? 0 : static_cast<std::uint64_t>((full - missing) / each);
}

void server_part::spend_token() noexcept {
  if (!limits_rate()) return;
  const std::chrono::nanoseconds each(1'000'000'000 / options_.accepts_per_second);
  next_accept_ = std::max(next_accept_, clock::now()) + each;
}

task<> server_part::until_token() {
  ++counts_.waits_for_token;
  while (!gives_up_ && tokens() == 0) {
    const std::chrono::nanoseconds each(1'000'000'000 / options_.accepts_per_second);
    if (!armed()) timers::this_timers().arm(*this, next_accept_ - each * (options_.accepts_at_once - 1));
    changed_.reset();
    co_await changed_.wait();
  }
}

task<> server_part::until_place() {
  struct counted {
    explicit counted(std::size_t& to) noexcept : loops(to) { ++loops; }
    ~counted() { --loops; }
    counted(const counted&) = delete;
    counted& operator=(const counted&) = delete;
    std::size_t& loops;
  } const waiting(loops_waiting_);
  ++counts_.waits_for_place;
  while (!gives_up_ && places_ == 0) {
    if (others_know_ || accepts_for_others()) {
      changed_.reset();
      co_await changed_.wait();
    } else {
      co_await ask_for_places();
    }
  }
}

void server_part::serve(unique_fd fd) noexcept {
  peer_key peer = nobody;
  try {
    if (options_.connections_per_address_max != server_options::unlimited) {
      const peer_key known = peer_of(peer_address(fd.get()));
      if (known != nobody && !by_address_.enter(known, options_.connections_per_address_max)) {
        ++counts_.refused_address;
        refuse(std::move(fd));
        return give_place_back();
      }
      peer = known;
    }
    auto made = std::make_unique<connection_task>(*this, peer);
    task<> body = handler_(stream::adopt_for(number_, fd.release(), ending_));
    ++counts_.accepted;
    ++counts_.connections;
    return made.release()->begin(std::move(body));
  } catch (const std::bad_alloc&) {
    ++counts_.refused_memory;
  } catch (...) {
    failed(std::current_exception());  // a peer that has left already has no address any more
  }
  if (fd.get() >= 0) reset_at_close(fd.get());
  if (peer != nobody) by_address_.leave(peer);
  give_place_back();
}

void server_part::refuse(unique_fd fd) noexcept {
  if (refuses() && refusals_ < refusals_at_once) {
    try {
      auto made = std::make_unique<connection_task>(*this, refused_peer);
      task<> body = tell_refusal(stream::adopt_for(number_, fd.release(), ending_));
      ++refusals_;
      return made.release()->begin(std::move(body));
    } catch (const std::bad_alloc&) {
      // Reset, like those that are too many.
    }
  }
  if (fd.get() >= 0) reset_at_close(fd.get());
}

/// A client that keeps its side open past the time for it is left to the closing order of its endpoint.
task<> server_part::tell_refusal(stream client) {
  const clock::time_point until = clock::now() + refusal_max;
  const auto question = [](stream& from) -> task<> { co_await from.readable(); };
  const auto rest = [](stream& from) -> task<> {
    while (true) {
      const buffer bytes = co_await from.read();
      if (bytes.empty()) co_return;
    }
  };
  try {
    try {
      if (options_.refusal_after_question) co_await with_deadline(until, question(client));
    } catch (const timeout_error&) {
      // It is told all the same.
    }
    client.try_write(std::as_bytes(std::span(options_.refusal)));
    client.shutdown_output();
    co_await with_deadline(until, rest(client));
  } catch (const std::system_error& gone) {
    log::debug("{}: refused connection: {}", name_, gone.what());
  }
}

/// To whoever hands them out.
void server_part::give_place_back() noexcept {
  if (is_handed_connections()) {
    --change_;
    ++free_places_;
    tell_starter();
    return changed();
  }
  if (choice_) choice_->change(this_shard_id(), -1);
  ++places_;
  settle_places();
}

void server_part::leave(peer_key peer, bool cancelled, bool gone) noexcept {
  --tasks_;
  if (peer == refused_peer) {
    --refusals_;
    return changed();
  }
  if (peer != nobody) by_address_.leave(peer);
  if (gone) return changed();
  --counts_.connections;
  if (ending_) ++(cancelled ? drain_result_.cancelled : drain_result_.finished);
  give_place_back();
}

void server_part::failed(const std::exception_ptr& error) noexcept {
  ++counts_.errors;
  std::string_view what = "something that is no exception";
  try {
    std::rethrow_exception(error);
  } catch (const std::system_error& broken) {
    if (is_the_peers(broken.code())) return log::debug("{}: connection: {}", name_, broken.what());
    what = broken.what();
  } catch (const std::exception& thrown) {
    what = thrown.what();
  } catch (...) {
    // Said below.
  }
  if (clock::now() < next_error_line_) return;
  log::warning("{}: connection: {} ({} ended with an exception since the last such line)", name_, what,
               counts_.errors - std::exchange(errors_told_, counts_.errors));
  next_error_line_ = clock::now() + error_lines_apart;
}

// --- places ---

task<> server_part::ask_for_places() {
  const auto ask = [](server_id whose, shard_id who) -> std::uint32_t {
    server_part* there = this_server_parts().find(whose);
    return there != nullptr ? there->lend(who) : 0;
  };
  others_know_ = !refuses();  // unless a place comes meanwhile: whoever sent it has forgotten us
  for (shard_id step = 1; step < shard_count(); ++step) {
    const shard_id s = (this_shard_id() + step) % shard_count();
    const std::uint32_t lent = co_await submit_to(s, ask, id_, this_shard_id());
    places_ += lent;
    if (places_ == 0) continue;
    others_know_ = false;
    co_return changed();
  }
}

std::uint32_t server_part::lend(shard_id to) {
  if (places_ == 0) {
    if (!refuses() && std::ranges::find(asked_us_, to) == asked_us_.end()) asked_us_.push_back(to);
    return 0;
  }
  const auto lent = static_cast<std::uint32_t>(std::min<std::uint64_t>((places_ + 1) / 2, server_options::unlimited));
  places_ -= lent;
  return lent;
}

void server_part::receive_places(std::uint32_t count) noexcept {
  others_know_ = false;
  places_ += count;
  settle_places();
}

/// What is free goes to those who asked, in turn with loops that wait here.
void server_part::settle_places() noexcept {
  while (places_ != 0 && !asked_us_.empty()) {
    if (places_ <= loops_waiting_ && std::exchange(own_turn_, !own_turn_)) break;
    try {
      spawn(send_place(id_, asked_us_.front()), "place");
    } catch (const std::bad_alloc&) {
      break;  // stays here; the next one that ends tries again
    }
    asked_us_.pop_front();
    --places_;
  }
  changed();
}

// --- the end ---

std::vector<unique_fd> server_part::share() const {
  std::vector<unique_fd> shared;
  for (const listener* each : loops_) shared.push_back(duplicate(each->fd()));
  return shared;
}

void server_part::leave_rest() noexcept {
  for (listener* each : loops_) each->leave_rest();
}

void server_part::begin_ending() noexcept {
  if (std::exchange(ending_, true)) return;
  hand_over_.abort();
  for (listener* each : loops_) each->end();
  this_endpoints().begin_drain_of(number_);
  changed();
}

task<> server_part::until_idle() {
  while (!empty() || away_ != 0) {
    changed_.reset();
    co_await changed_.wait();
  }
}

task<drain_result> server_part::drain(clock::duration limit) {
  begin_ending();
  try {
    co_await with_timeout(limit, until_idle());
  } catch (const timeout_error&) {
    gives_up_ = true;
    this_shard().root->for_each([this](skerry::detail::chain& each) {
      auto* connection = dynamic_cast<connection_task*>(&each);
      if (connection != nullptr && &connection->server() == this) connection->cancel();
    });
    changed();
  }
  co_await until_idle();
  co_return drain_result_;
}

// --- all of a shard ---

server_part& server_parts::make(server_id id, const server_options& options, connection_handler handler) {
  SKERRY_ASSERT(made_ != UINT16_MAX, "a shard starts at most 65535 servers in its life");
  return *all_.emplace_back(std::make_unique<server_part>(id, ++made_, options, handler));
}

server_part* server_parts::find(server_id id) noexcept {
  const auto at = std::ranges::find_if(all_, [&](const auto& each) { return each->id() == id; });
  return at == all_.end() ? nullptr : at->get();
}

server_part* server_parts::find_numbered(std::uint16_t number) noexcept {
  const auto at = std::ranges::find_if(all_, [&](const auto& each) { return each->number() == number; });
  return at == all_.end() ? nullptr : at->get();
}

void server_parts::erase(server_id id) noexcept {
  std::erase_if(all_, [&](const auto& each) { return each->id() == id; });
}

bool server_parts::has_name(const std::string& name) const noexcept {
  return std::ranges::any_of(all_, [&](const auto& each) { return each->name() == name; });
}

server_stats server_parts::stats() const noexcept {
  server_stats all;
  for (const auto& each : all_) all += each->stats();
  return all;
}

server_id server_parts::new_id() noexcept { return server_id{this_shard_id()} << 32 | ++started_; }

server_parts& this_server_parts() {
  server_parts* found = resources().find<server_parts>();
  return found != nullptr ? *found : resources().emplace<server_parts>();
}

}  // namespace skerry::net::detail
