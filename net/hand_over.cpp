// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/net/detail/server_part.hpp>
#include <skerry/net/hand_over.hpp>
#include <skerry/shards/call_batch.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <iterator>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <sys/stat.h>
#include <unistd.h>

namespace skerry::net::detail {

namespace {

constexpr std::string_view sockets_word = "skerry 1 sockets ";  // and their number
constexpr std::string_view serving_word = "skerry 1 serving";

bool is_ours(const message_socket& line) { return peer_credentials(line.fd()).uid == ::geteuid(); }

[[noreturn]] void refuse_strange(const address& at) {
  throw startup_error("the process that has " + at.text() +
                      " hands its sockets over in a way that this version does not know\nstop that process first");
}

/// How many sockets this message says there are.
std::size_t sockets_in(const message& said, const address& at) {
  const std::string_view text = said.bytes;
  std::size_t count = 0;
  if (!text.starts_with(sockets_word)) refuse_strange(at);
  const char* number = text.data() + sockets_word.size();
  const auto [end, error] = std::from_chars(number, text.data() + text.size(), count);
  const bool sensible =
      error == std::errc() && end == text.data() + text.size() && count >= 2 && count <= hand_over_sockets_max + 1;
  if (!sensible) refuse_strange(at);
  return count;
}

/// All of them, the name socket first; none if the process went away meanwhile.
task<std::vector<unique_fd>> receive_sockets(message_socket& line, address at) {
  std::vector<unique_fd> taken;
  std::size_t in_all = 1;
  while (taken.size() < in_all) {
    std::optional<message> said = co_await line.receive();
    if (!said) co_return std::vector<unique_fd>();
    in_all = sockets_in(*said, at);
    if (said->descriptors.empty()) refuse_strange(at);
    std::ranges::move(said->descriptors, std::back_inserter(taken));
  }
  if (taken.size() != in_all) refuse_strange(at);
  co_return taken;
}

predecessor checked(message_socket line, std::vector<unique_fd> taken, const address& at) {
  predecessor old{std::move(line), std::move(taken.front()), {}};
  for (unique_fd& each : std::span(taken).subspan(1)) {
    require_listening(each.get());
    const address has = local_address(each.get());
    const bool same_file = !at.path().empty() && !has.path().empty();  // which the name was made from
    if (!same_file && has.text() != at.text()) {
      throw startup_error("the process that was to hand over " + at.text() + " gave a socket of " + has.text() +
                          " instead\nstop that process first");
    }
    old.listening.push_back(std::move(each));
  }
  return old;
}

task<std::optional<predecessor>> ask_until_answered(address at) {
  while (true) {
    const std::optional<address> name = hand_over_name(at);
    if (!name) co_return std::nullopt;
    std::optional<message_socket> line;
    try {
      line.emplace(co_await message_socket::connect(*name, message_kind::packets, hand_over_line()));
    } catch (const std::system_error& refused) {
      if (refused.code() == std::errc::connection_refused) co_return std::nullopt;
      throw;
    }
    if (!is_ours(*line)) {
      throw startup_error(
          "another user's process has the name " + name->text() +
          ", so nothing can be taken over from it\nss -lxp shows which; stop it, or choose another --port");
    }
    std::vector<unique_fd> taken;
    try {
      taken = co_await receive_sockets(*line, at);
    } catch (const std::system_error& ended) {
      if (ended.code() != std::errc::connection_reset) throw;
    }
    if (!taken.empty()) co_return checked(std::move(*line), std::move(taken), at);
    // It ended, or began a drain, between two lines or with us still in its queue; whoever has the name now is asked.
  }
}

/// Whether the asking process serves now.
task<bool> give(message_socket& asking, int name, server_id whose) {
  const auto share = [](server_id id) {
    server_part* here = this_server_parts().find(id);
    return here != nullptr ? here->share() : std::vector<unique_fd>();
  };
  std::vector<unique_fd> given;
  given.push_back(duplicate(name));
  auto by_shard = co_await skerry::detail::call_everywhere(skerry::detail::handler_scope::root, share, whose);
  for (auto& some : by_shard) std::ranges::move(some, std::back_inserter(given));
  const std::string text = std::string(sockets_word) + std::to_string(given.size());
  std::vector<int> numbers;
  for (const unique_fd& each : given) numbers.push_back(each.get());
  for (std::span<const int> rest(numbers); !rest.empty();) {
    const std::span<const int> some = rest.first(std::min(rest.size(), message_socket::descriptors_limit));
    co_await asking.send(text, some);
    rest = rest.subspan(some.size());
  }
  const std::optional<message> said = co_await asking.receive();
  co_return said.has_value() && said->bytes == serving_word;
}

}  // namespace

message_options hand_over_line() {
  message_options options;
  options.descriptors_max = message_socket::descriptors_limit;
  return options;
}

std::optional<address> hand_over_name(const address& at) {
  std::string what = at.text();
  if (!at.path().empty()) {
    struct stat file{};
    if (::lstat(std::string(at.path()).c_str(), &file) != 0 || !S_ISSOCK(file.st_mode)) return std::nullopt;
    what = "file " + std::to_string(file.st_dev) + ' ' + std::to_string(file.st_ino);
  }
  const std::optional<address> name = address::unix_socket("@skerry hand-over of " + what);
  if (!name) throw startup_error("an address that long has no name to hand over by: " + at.text());
  return name;
}

task<std::optional<predecessor>> take_over(address at) {
  try {
    co_return co_await with_timeout(hand_over_wait, ask_until_answered(at));
  } catch (const timeout_error&) {
    throw startup_error("the process that has " + at.text() + " does not hand it over: no answer within " +
                        std::to_string(hand_over_wait.count()) + " s\nif it hangs (ss -ltnp shows it), stop it first");
  }
}

task<> say_serving(message_socket line) {
  try {
    co_await line.send(serving_word);
  } catch (const std::system_error& gone) {
    log::debug("the process that handed its sockets over has ended already: {}", gone.what());
  }
}

task<> give_to_successor(message_listener name, server_id whose, std::shared_ptr<hand_over_outcome> outcome) {
  struct told_at_the_end {
    explicit told_at_the_end(hand_over_outcome& of) noexcept : outcome(of) {}
    ~told_at_the_end() {
      outcome.file.reset();
      outcome.over.set();
    }
    told_at_the_end(const told_at_the_end&) = delete;
    told_at_the_end& operator=(const told_at_the_end&) = delete;
    hand_over_outcome& outcome;
  } const ending(*outcome);
  while (true) {
    std::optional<message_socket> asking = co_await name.accept();
    if (!asking) co_return;
    const credentials who = peer_credentials(asking->fd());
    if (who.uid != ::geteuid()) {
      log::warning("process {} of another user asked for our sockets, and got none", who.pid);
      continue;
    }
    bool serves = false;
    try {
      serves = co_await with_timeout(hand_over_wait, give(*asking, name.fd(), whose));
    } catch (const std::system_error& refused) {
      log::warning("our sockets could not be handed over to process {}: {}", who.pid, refused.what());
      continue;
    }
    if (!serves) {
      log::warning("process {} took our sockets and did not serve; going on", who.pid);
      continue;
    }
    const auto leave = [](server_id id) {
      if (server_part* here = this_server_parts().find(id)) here->leave_rest();
    };
    co_await skerry::detail::call_everywhere(skerry::detail::handler_scope::root, leave, whose);
    log::info("process {} serves from our sockets now", who.pid);
    if (outcome->file) outcome->file->leave();
    outcome->handed = true;
    co_return;
  }
}

}  // namespace skerry::net::detail
