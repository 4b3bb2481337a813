// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/trace.hpp>
#include <skerry/framework/reactor/run_queue.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/simulation/detail/machine.hpp>
#include <skerry/simulation/detail/network.hpp>
#include <skerry/simulation/detail/world.hpp>

#include <algorithm>
#include <bit>
#include <csignal>
#include <cstring>
#include <limits>
#include <system_error>
#include <utility>

#include <fmt/core.h>

namespace skerry::sim::detail {

namespace {

// Streams of the seed that no shard draws from: shards have theirs from seeds of their machines.
enum stream : std::uint64_t { turns = 1, faults = 2, programs = 3 };

constexpr nanoseconds step_cost{300};                 // of one phase of a loop, without its tasks
constexpr std::size_t trace_capacity = 64;            // the hash is of all events; nobody reads what is kept
constexpr std::uint64_t stall_one_in = 4'096;         // steps, of schedule::adversarial
constexpr std::uint64_t late_mailbox_one_in = 1'024;  // looks that find something

}  // namespace

// --- runners ---

shard_runner::shard_runner(machine& whose, shard_id which, unsigned all) : of(whose), id(which), number(all) {
  own = std::make_unique<fiber>([this] {
    of.run_shard(id);
    now = state::ended;
    of.in().cannot_run(*this);
    of.runner_ended();
  });
}

clock::time_point shard_runner::deadline() noexcept {
  preempt();
  return rang_ ? clock::time_point(held_back_until_) : clock::time_point::max();
}

bool shard_runner::has_work() noexcept {
  preempt();
  return false;
}

void shard_runner::run() {
  skerry::detail::current_shard = std::exchange(core_, nullptr);
  world& in = of.in();
  in.enter(&of);
  in.running_shard_ = this;
  own->resume();
  in.running_shard_ = nullptr;
  core_ = std::exchange(skerry::detail::current_shard, nullptr);
}

void shard_runner::preempt() noexcept {
  if (trace == nullptr) [[unlikely]]
    trace = &this_assembled_shard().start_trace(trace_capacity);
  lose_turn();
}

void shard_runner::lose_turn() noexcept {
  own->yield();
  if (signals.ready() != 0) [[unlikely]]
    of.signals().deliver(*this);
}

void shard_runner::shuffle_tasks() noexcept {
  world& in = of.in();
  if (in.given().shuffled_tasks <= 0 || of.now() == machine::state::dying) return;
  for (unsigned group = 0; group < run_queue::groups_max; ++group) {
    std::vector<run_queue::hook*> tasks;
    while (run_queue::hook* next = skerry::detail::current_shard->ready->pop({group, false})) tasks.push_back(next);
    if (tasks.size() > 1 && in.chance(in.given().shuffled_tasks, "shuffled_tasks")) {
      for (std::size_t left = tasks.size(); left > 1; --left) std::swap(tasks[left - 1], tasks[in.draw(left)]);
    }
    for (run_queue::hook* each : tasks) run_queue::push(*each);
  }
}

void shard_runner::hold_back_a_mailbox() noexcept {
  world& in = of.in();
  if (in.given().order != schedule::adversarial) return;
  doorbell& bell = skerry::detail::current_shard->loop->bell();
  std::uint64_t rung = bell.take();
  if (in.now() >= held_back_until_ || of.now() == machine::state::dying) {
    if (std::exchange(rang_, false)) rung |= held_back_;
    held_back_ = 0;
    const std::uint64_t inboxes = rung >> doorbell::first_inbox << doorbell::first_inbox;
    if (inboxes != 0 && of.now() != machine::state::dying && in.turns_.uniform(late_mailbox_one_in) == 0) {
      held_back_ = inboxes & ~(inboxes - 1);
      held_back_until_ = in.stall_end();
      in.note("late_mailbox", number, held_back_);
    }
  }
  rang_ = rang_ || (rung & held_back_) != 0;
  rung &= ~held_back_;
  // It was taken awake, so there is nobody to wake.
  if (rung != 0) static_cast<void>(bell.ring(rung));
}

void shard_runner::sleep(clock::time_point deadline) noexcept {
  if (woken) return;
  deadline_at = deadline.time_since_epoch();
  // Its clock may be ahead of the world's only while it dies, and then the world does not run it.
  now = state::waiting;
  of.in().cannot_run(*this);
  of.in().consider_deadline(deadline_at);
  own->yield();
  now = state::ready;
  of.signals().deliver(*this);
}

void shard_runner::wake() noexcept {
  woken = true;
  if (now == state::waiting && of.now() != machine::state::dying) of.in().can_run(*this);
}

// --- the world ---

world::world(const options& given)
    : given_(given),
      turns_(given.seed, stream::turns),
      faults_(given.seed, stream::faults),
      programs_(given.seed, stream::programs),
      network_(std::make_unique<network>()) {
  SKERRY_ASSERT(running_ == nullptr, "one simulation at a time runs in a process");
  SKERRY_ASSERT(!on_shard(), "a simulation is started by a thread that runs no shard");
  running_ = this;
  if (!given_.trace_file.empty()) {
    log_ = std::fopen(given_.trace_file.c_str(), "we");
    if (log_ == nullptr) {
      running_ = nullptr;
      throw std::system_error(errno, std::generic_category(), "open the trace file " + given_.trace_file);
    }
  }
}

world::~world() {
  enter(nullptr);
  events_.clear();  // what is under way refers to sockets, and they to the network
  machines_.clear();
  if (log_ != nullptr) std::fclose(log_);
  running_ = nullptr;
}

world& world::current() noexcept {
  SKERRY_ASSERT(running_ != nullptr, "this needs a simulation: call it from what sim::run runs");
  return *running_;
}

bool world::later(const event& a, const event& b) noexcept {
  if (a.when != b.when) return a.when > b.when;
  return a.tie != b.tie ? a.tie > b.tie : a.number > b.number;
}

void world::at(nanoseconds when, std::move_only_function<void()> what) {
  events_.push_back({std::max(when, now_), turns_(), ++events_made_, std::move(what)});
  std::ranges::push_heap(events_, later);
}

bool world::chance(double probability, std::string_view what) noexcept {
  if (probability <= 0) return false;
  // A stream for each kind: leaving out faults of one kind moves no other's.
  auto kind = std::ranges::find(kinds_, what, &fault_kind::name);
  if (kind == kinds_.end()) {
    std::uint64_t name = 0;
    for (const char c : what) name = name * 131 + static_cast<unsigned char>(c);
    kind = kinds_.insert(kind, {std::string(what), random_source(given_.seed, name)});
  }
  // Compared as integers: the same on every machine.
  if ((kind->drawn() >> 11) >= static_cast<std::uint64_t>(probability * 9007199254740992.0)) return false;
  ++faults_drawn_;
  if (given_.only && !given_.only->contains(faults_drawn_)) return false;
  note(what, faults_drawn_);
  return true;
}

nanoseconds world::between(nanoseconds least, nanoseconds most) noexcept {
  if (most <= least) return least;
  return least + nanoseconds(faults_.uniform(static_cast<std::uint64_t>((most - least).count()) + 1));
}

machine& world::add(std::unique_ptr<machine> made) { return *machines_.emplace_back(std::move(made)); }

machine* world::find(std::string_view name) noexcept {
  const auto found = std::ranges::find_if(machines_, [&](const auto& each) { return each->name() == name; });
  return found == machines_.end() ? nullptr : found->get();
}

machine* world::at_address(const ip_number& ip) noexcept {
  const auto found = std::ranges::find_if(machines_, [&](const auto& each) { return each->has(ip); });
  return found == machines_.end() ? nullptr : found->get();
}

void world::can_run(shard_runner& r) noexcept {
  r.now = shard_runner::state::ready;
  if (r.place != 0) return;
  ready_.push_back(&r);
  r.place = ready_.size();
}

void world::cannot_run(shard_runner& r) noexcept {
  if (r.place == 0) return;
  ready_[r.place - 1] = ready_.back();
  ready_[r.place - 1]->place = r.place;
  ready_.pop_back();
  r.place = 0;
}

void world::enter(machine* whose) noexcept {
  if (whose == entered_) return;
  (entered_ != nullptr ? entered_->memory() : outside_).save();
  entered_ = whose;
  (entered_ != nullptr ? entered_->memory() : outside_).load();
}

void world::fold(std::uint64_t value) noexcept { hash_ = std::rotl(hash_, 23) * 0x9e3779b97f4a7c15 + value; }

void world::note(std::string_view what, std::uint64_t a, std::uint64_t b) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, what.data(), std::min(what.size(), sizeof word));
  fold(word * 0x8ebc6af09c88c6e3 + a * 0xa0761d6478bd642f + b * 0xe7037ed1a0b428db);
  if (log_ != nullptr) {
    fmt::print(log_, "{:>10} {:>16} {} {} {}\n", steps_, now_.count(), what, a, b);
  }
}

void world::violate(std::string what) {
  if (!violation_.empty()) return;
  violation_ = fmt::format("{}\n  seed {}, step {}, {} ns of virtual time", what, given_.seed, steps_, now_.count());
  note("violate", 0);
}

task<> checked_to_its_end(std::function<task<>()> fn) {
  struct end_of_checks {
    ~end_of_checks() { world::current().end_checks(); }
  };
  const end_of_checks at_the_end;
  co_await fn();
}

void world::always(std::string name, std::function<bool()> holds) {
  invariants_.push_back({std::move(name), std::move(holds)});
}

bool world::cut(const machine& from, const machine& to, bool v4) const noexcept {
  return std::ranges::any_of(cuts_, [&](const broken_way& each) {
    return each.from == &from && each.to == &to && each.what != (v4 ? protocol::ipv6 : protocol::ipv4);
  });
}

void world::cut_off(const machine& from, const machine& to, protocol what) { cuts_.push_back({&from, &to, what}); }

/// Whoever's time has come can run. Few shards wait, so all are looked at; and only when the earliest may be due.
void world::look_at_deadlines() noexcept {
  next_look_ = nanoseconds::max();
  for (const auto& m : machines_) {
    m->each_runner([this](shard_runner& r) {
      if (r.place != 0 || r.now == shard_runner::state::ended || r.of.now() == machine::state::dying) return;
      const nanoseconds due = r.now == shard_runner::state::stalled ? r.stalled_until_ : r.deadline_at;
      if (due <= now_) {
        can_run(r);
      } else {
        next_look_ = std::min(next_look_, due);
      }
    });
  }
}

nanoseconds world::stall_end() noexcept {
  return now_ + nanoseconds(turns_.uniform(static_cast<std::uint64_t>(given_.system.stall_max.count()) + 1));
}

void world::stall_somebody() noexcept {
  if (ready_.empty() || turns_.uniform(stall_one_in) != 0) return;
  const nanoseconds end = stall_end();
  ready_[turns_.uniform(ready_.size())]->stall_until(end);
}

std::size_t turn_explorer::choose(std::size_t width) noexcept {
  if (depth == path.size()) {
    path.push_back(0);
    widths.push_back(static_cast<std::uint16_t>(width));
  }
  SKERRY_ASSERT(widths[depth] == width, "an explored program takes the same turns up to the choice that differs");
  return path[depth++];
}

bool turn_explorer::advance() noexcept {
  while (!path.empty() && path.back() + 1u == widths.back()) {
    path.pop_back();
    widths.pop_back();
  }
  depth = 0;
  preemptions = 0;
  if (path.empty()) return false;
  ++path.back();
  return true;
}

/// Which of those that can run, or, past them, the event that is due.
std::size_t world::choose_turn(std::size_t choices) noexcept {
  if (choices == 1) return 0;
  if (explorer_ == nullptr) return turns_.uniform(choices);
  // By number, whoever ran last first: the list's own order changes with who waited when.
  std::vector<std::size_t> order(ready_.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::ranges::sort(order, {}, [&](std::size_t i) { return std::pair(ready_[i] != last_shard_, ready_[i]->number); });
  if (choices > order.size()) order.push_back(order.size());
  const bool goes_on = !ready_.empty() && ready_[order[0]] == last_shard_;
  if (explorer_->on == 0 || (goes_on && explorer_->preemptions == explorer_->preemptions_max)) return order[0];
  const std::size_t chosen = explorer_->choose(choices);
  explorer_->preemptions += goes_on && chosen != 0;
  return order[chosen];
}

void world::step() {
  ++steps_;
  if (steps_ == given_.until) ::raise(SIGTRAP);
  if (steps_ > given_.steps_max) return violate("it does not end: options::steps_max steps have gone by");
  if (now_ >= next_look_) look_at_deadlines();
  if (given_.order == schedule::adversarial) stall_somebody();
  const bool due = !events_.empty() && events_.front().when <= now_;
  const std::size_t choices = ready_.size() + due;
  if (choices == 0) {
    const nanoseconds next = std::min(events_.empty() ? nanoseconds::max() : events_.front().when, next_look_);
    if (next == nanoseconds::max()) return violate("nothing can ever happen again: everybody waits for somebody else");
    if (next - std::chrono::hours(1) > given_.time_max) {
      return violate("it does not end: options::time_max of virtual time have gone by");
    }
    now_ = std::max(now_, next);
    return;
  }
  const std::size_t chosen = choose_turn(choices);
  if (chosen == ready_.size()) {
    std::ranges::pop_heap(events_, later);
    auto what = std::move(events_.back().what);
    events_.pop_back();
    what();
  } else {
    shard_runner& r = *ready_[chosen];
    last_shard_ = &r;
    if (r.stalled_until_ > now_) {
      cannot_run(r);
      r.now = shard_runner::state::stalled;
      return consider_deadline(r.stalled_until_);
    }
    now_ += step_cost;
    fold(static_cast<std::uint64_t>(now_.count()) << 8 | r.number);
    r.run();
    if (log_ != nullptr) {
      fmt::print(log_, "{:>10} {:>16} turn of {} shard {}\n", steps_, now_.count(), r.of.name(), r.id);
    }
  }
  for (const invariant& each : invariants_) {
    if (!each.holds()) return violate("invariant does not hold: " + each.name);
  }
}

void world::end_all() {
  for (const auto& m : machines_) {
    if (m->now() == machine::state::running) m->crash();
  }
  const auto off = [](const auto& m) { return m->now() == machine::state::off; };
  while (!violated() && !std::ranges::all_of(machines_, off)) step();
}

report world::run(machine& first) {
  bool over = false;
  first.when_off([&over] { over = true; });
  try {
    while (!over && !violated()) step();
    if (!violated()) end_all();
  } catch (const std::exception& thrown) {
    violate(fmt::format("an event of the world threw: {}", thrown.what()));
  }
  if (violated()) {
    for (const auto& m : machines_) m->abandon();
  }
  report made;
  made.seed = given_.seed;
  made.steps = steps_;
  made.virtual_time = now_ - std::chrono::hours(1);
  made.trace_hash = hash_ ^ hash_ >> 32;
  made.faults = faults_drawn_;
  made.violation = violation_;
  return made;
}

}  // namespace skerry::sim::detail
