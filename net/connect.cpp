// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/io/readiness.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/framework/task/cancel.hpp>
#include <skerry/framework/task/combine.hpp>
#include <skerry/framework/task/group.hpp>
#include <skerry/net/connect.hpp>
#include <skerry/net/dns/resolver.hpp>
#include <skerry/net/socket.hpp>
#include <skerry/timers/sleep.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <utility>

namespace skerry::net {

namespace {

/// Owns the socket until the connection stands, so that a cancelled connect closes it after the kernel's answer.
class connect_operation final : public skerry::detail::single_operation {
 public:
  connect_operation(const address& to, const std::optional<address>& from)
      : to_(to), fd_(make_stream_socket(to.family())) {
    if (from) bind_to(fd_.get(), *from);
  }
  void await_suspend(std::coroutine_handle<> resume_point) noexcept {
    prepare::connect(begin(resume_point), fd_.get(), to_.data(), to_.size());
  }
  /// The connected socket; -1 if a signal broke off.
  int await_resume() {
    if (result_ == -EINTR) return -1;
    if (result_ < 0) throw std::system_error(-result_, std::generic_category(), "connect to " + to_.text());
    set_no_delay(fd_.get());
    return fd_.release();
  }
  const char* describe() const noexcept override { return "connect"; }

 private:
  address to_;
  unique_fd fd_;
};

/// What the attempts of one connect have come to.
struct race {
  std::optional<stream> winner;
  std::vector<connect_error::failure> failures;
  auto_reset_event decided;  // somebody has won, or failed
  cancel_source over;
};

/// On a new socket where a signal broke off: the old one goes on connecting, and asking again would say so.
task<stream> attempt(address to, std::optional<address> from) {
  while (true) {
    connect_operation connecting(to, from);
    const int fd = co_await connecting;
    if (fd >= 0) co_return stream::adopt(fd, false);
  }
}

task<> run(race& all, address to, const std::optional<address>& from) {
  try {
    stream s = co_await with_cancel(all.over.token(), attempt(to, from));
    // Of two that connect in one turn, the second is closed.
    if (!all.winner) all.winner.emplace(std::move(s));
  } catch (const std::system_error& failed) {
    if (!all.over.cancelled()) all.failures.push_back({to, failed.code()});
  }
  all.decided.set();
}

std::string text_of(const std::vector<connect_error::failure>& failures) {
  if (failures.empty()) return "there is no address to connect to";
  std::string text = "connect to ";
  for (const connect_error::failure& each : failures) {
    if (&each != &failures.front()) text += ", ";
    text += each.to.text();
    if (&each != &failures.back()) text += " (" + each.why.message() + ')';
  }
  return text;
}

}  // namespace

connect_error::connect_error(std::vector<failure> failures)
    : std::system_error(
          failures.empty() ? std::make_error_code(std::errc::destination_address_required) : failures.back().why,
          text_of(failures)),
      failures_(std::move(failures)) {}

std::vector<address> detail::in_turns(std::vector<address> addresses) {
  for (std::size_t at = 1; at < addresses.size(); ++at) {
    const auto here = addresses.begin() + static_cast<std::ptrdiff_t>(at);
    const int last = addresses[at - 1].family();
    const auto other =
        std::find_if(here, addresses.end(), [last](const address& each) { return each.family() != last; });
    if (other != addresses.end()) std::rotate(here, other, other + 1);
  }
  return addresses;
}

task<stream> connect(address to) { return attempt(std::move(to), std::nullopt); }

task<stream> connect(std::vector<address> to, connect_options options) {
  to = detail::in_turns(std::move(to));
  race all;
  auto start_all = [&](group& attempts) -> task<> {
    for (std::size_t next = 0; !all.winner && all.failures.size() < to.size();) {
      if (next == to.size()) {
        co_await all.decided.wait();
        continue;
      }
      attempts.spawn(run(all, to[next++], options.from), "connect");
      co_await select(on(all.decided.wait(), [] {}), on(sleep_for(options.stagger), [] {}));
    }
    all.over.cancel();
  };
  co_await with_group(start_all);
  if (!all.winner) throw connect_error(std::move(all.failures));
  co_return std::move(*all.winner);
}

task<stream> connect(std::string host, std::uint16_t port, connect_options options) {
  std::vector<address> to = co_await resolve(std::move(host), port);
  co_return co_await connect(std::move(to), std::move(options));
}

}  // namespace skerry::net
