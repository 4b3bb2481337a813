// SPDX-License-Identifier: Apache-2.0
#include <skerry/simulation/detail/machine.hpp>
#include <skerry/simulation/detail/signals.hpp>
#include <skerry/simulation/detail/world.hpp>

#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include <fmt/core.h>

namespace skerry::sim::detail {

namespace {

constexpr std::uint64_t bit_of(int number) noexcept { return std::uint64_t{1} << (number - 1); }
constexpr std::uint64_t never_blocked = bit_of(SIGKILL) | bit_of(SIGSTOP);

// A set begins with the bits of the kernel's.
std::uint64_t bits_of(const sigset_t& set) noexcept {
  std::uint64_t bits = 0;
  std::memcpy(&bits, &set, sizeof bits);
  return bits;
}

template <class Fn>
void each_number(std::uint64_t bits, Fn fn) {
  for (; bits != 0; bits &= bits - 1) fn(std::countr_zero(bits) + 1);
}

bool ignored_unless_asked_for(int number) noexcept {
  return number == SIGCHLD || number == SIGURG || number == SIGWINCH || number == SIGCONT;
}

bool suspends(int number) noexcept {
  return number == SIGSTOP || number == SIGTSTP || number == SIGTTIN || number == SIGTTOU;
}

}  // namespace

void process_signals::begin() noexcept {
  actions_ = {};
  actions_[SIGPIPE].sa_handler = SIG_IGN;
  for_anybody_ = 0;
  stopping_ = false;
}

bool process_signals::ends_what_has_not_begun(int number) noexcept {
  return !ignored_unless_asked_for(number) && number != SIGPIPE;
}

process_signals::effect process_signals::effect_of(int number) const noexcept {
  switch (number) {
    case SIGTERM:
    case SIGINT: return effect::graceful_stop;
    case SIGALRM: return effect::overdue_stop;
    default: break;
  }
  const struct sigaction& asked = actions_[static_cast<std::size_t>(number)];
  if (asked.sa_handler == SIG_IGN) return effect::nothing;
  if (asked.sa_handler != SIG_DFL) return effect::handler;
  if (ignored_unless_asked_for(number)) return effect::nothing;
  return suspends(number) ? effect::suspension : effect::end;
}

// --- who gets it ---

void process_signals::arrive(int number) { send(number, {SI_USER, 0}); }

bool process_signals::pending(int number) {
  std::uint64_t all = for_anybody_;
  of_.each_runner([&all](const shard_runner& each) { all |= each.signals.of_process; });
  return (all & bit_of(number)) != 0;
}

void process_signals::send(int number, sender from) {
  world& in = of_.in();
  in.note("signal", of_.ip(), static_cast<std::uint64_t>(number));
  if (effect_of(number) == effect::nothing) return in.note("ignored", of_.ip(), static_cast<std::uint64_t>(number));
  if (pending(number)) return in.note("merged", of_.ip(), static_cast<std::uint64_t>(number));
  senders_[static_cast<std::size_t>(number)] = from;
  assign(number);
}

/// A thread that does not block it takes it, any.
void process_signals::assign(int number) {
  std::vector<shard_runner*> able;
  of_.each_runner([&](shard_runner& each) {
    if (each.now != shard_runner::state::ended && (each.signals.blocked & bit_of(number)) == 0) able.push_back(&each);
  });
  if (able.empty()) {
    for_anybody_ |= bit_of(number);
    return;
  }
  shard_runner& chosen = *able[able.size() == 1 ? 0 : of_.in().draw(able.size())];
  chosen.signals.of_process |= bit_of(number);
  chosen.wake();
}

// --- what is done ---

void process_signals::deliver(shard_runner& to) noexcept {
  while (of_.now() == machine::state::running && to.signals.ready() != 0) {
    const int number = std::countr_zero(to.signals.ready()) + 1;
    std::uint64_t& from = (to.signals.to_it & bit_of(number)) != 0 ? to.signals.to_it : to.signals.of_process;
    from &= ~bit_of(number);
    act(to, number);
  }
}

void process_signals::act(shard_runner& in, int number) {
  switch (effect_of(number)) {
    case effect::nothing: return;
    case effect::handler: return handle(in, number);
    case effect::graceful_stop:
      if (std::exchange(stopping_, true)) return end(in, 128 + number, number);
      return of_.request_stop();
    case effect::overdue_stop: return end(in, 2, number);
    case effect::suspension:
      return of_.in().violate(
          fmt::format("host {}: signal {} would suspend its process, which is not simulated; let its shards stall()",
                      of_.name(), number));
    case effect::end: return end(in, 128 + number, number);
  }
}

void process_signals::handle(shard_runner& in, int number) {
  const struct sigaction asked = actions_[static_cast<std::size_t>(number)];
  of_.in().note("handler", in.number, static_cast<std::uint64_t>(number));
  const std::uint64_t before = in.signals.blocked;
  in.signals.blocked |= (bit_of(number) | bits_of(asked.sa_mask)) & ~never_blocked;
  if ((asked.sa_flags & SA_SIGINFO) != 0) {
    const sender from = senders_[static_cast<std::size_t>(number)];
    siginfo_t told{};
    told.si_signo = number;
    told.si_code = from.code;
    told.si_pid = from.process;
    told.si_uid = machine::user;
    asked.sa_sigaction(number, &told, nullptr);
  } else {
    asked.sa_handler(number);
  }
  in.signals.blocked = before;
}

/// What comes after it in the program never happens: its frames are destroyed with nobody listening.
void process_signals::end(shard_runner& in, int status, int number) {
  of_.end_process(status, number);
  while (of_.now() == machine::state::running) in.own->yield();
}

// --- what programs call ---

int process_signals::kill(shard_runner& by, int number) {
  if (number < 0 || number > last) return -EINVAL;
  if (number == 0) return 0;
  send(number, {SI_USER, of_.process()});
  deliver(by);
  return 0;
}

int process_signals::to_thread(shard_runner& by, shard_runner& target, int number) {
  if (number < 0 || number > last) return -EINVAL;
  if (number == 0) return 0;
  of_.in().note("signal", target.number, static_cast<std::uint64_t>(number));
  if (effect_of(number) == effect::nothing) return 0;
  senders_[static_cast<std::size_t>(number)] = {SI_TKILL, of_.process()};
  target.signals.to_it |= bit_of(number);
  if (&target != &by) target.wake();
  deliver(by);
  return 0;
}

int process_signals::set_action(int number, const struct sigaction* to, struct sigaction* before) {
  if (number < 1 || number > last || number == 32 || number == 33) return -EINVAL;  // the C library's own
  struct sigaction& asked = actions_[static_cast<std::size_t>(number)];
  const struct sigaction wanted = to != nullptr ? *to : asked;
  if (to != nullptr && (number == SIGKILL || number == SIGSTOP)) return -EINVAL;
  if (before != nullptr) *before = asked;
  asked = wanted;
  if (to == nullptr || effect_of(number) != effect::nothing) return 0;
  for_anybody_ &= ~bit_of(number);
  of_.each_runner([number](shard_runner& each) {
    each.signals.to_it &= ~bit_of(number);
    each.signals.of_process &= ~bit_of(number);
  });
  return 0;
}

int process_signals::set_mask(shard_runner& by, int how, const sigset_t* set, sigset_t* before) {
  std::uint64_t& blocked = by.signals.blocked;
  const std::uint64_t was = blocked;
  if (set != nullptr) {
    const std::uint64_t bits = bits_of(*set) & ~never_blocked;
    switch (how) {
      case SIG_BLOCK: blocked |= bits; break;
      case SIG_UNBLOCK: blocked &= ~bits; break;
      case SIG_SETMASK: blocked = bits; break;
      default: return -EINVAL;
    }
  }
  if (before != nullptr) {
    ::sigemptyset(before);
    std::memcpy(before, &was, sizeof was);
  }
  // What it was to take somebody else may, and what nobody could take it can.
  each_number(std::exchange(by.signals.of_process, by.signals.of_process & ~blocked) & blocked,
              [this](int number) { assign(number); });
  each_number(std::exchange(for_anybody_, for_anybody_ & blocked) & ~blocked, [this](int number) { assign(number); });
  deliver(by);
  return 0;
}

}  // namespace skerry::sim::detail
