// SPDX-License-Identifier: Apache-2.0
#include <skerry/backends/choose.hpp>
#include <skerry/backends/detail/ring_trial.hpp>
#include <skerry/framework/startup_error.hpp>

#include <system_error>
#include <utility>

#include <fmt/core.h>

namespace skerry {

namespace {

void require_napi(backend& on, std::chrono::microseconds busy_poll) {
  const int error = detail::register_napi(on.capabilities().ring, busy_poll);
  if (error == 0) return;
  throw startup_error(
      fmt::format("--napi-busy-poll-us is refused by the kernel: {}\n"
                  "it needs Linux 6.9 or newer, built with CONFIG_NET_RX_BUSY_POLL; leave it out (0)",
                  std::generic_category().message(error)));
}

void require_zero_copy(backend& on) {
  if (detail::zero_copy_works(on)) return;
  throw startup_error(
      "--send-zc-bytes is refused: over loopback, the kernel did not send without copying and tell when it had\n"
      "it needs Linux 6.2 or newer; leave it out (0)");
}

std::string described(std::string_view why, const io_uring_extras& extras) {
  std::string text = fmt::format("backend io_uring: {}", why);
  if (extras.sqpoll_idle.count() != 0) {
    text += fmt::format(", a thread of the kernel's submits (idle after {} ms)", extras.sqpoll_idle.count());
  }
  if (extras.napi_busy_poll.count() != 0) {
    text += fmt::format(", waits poll the network for {} us", extras.napi_busy_poll.count());
  }
  if (extras.zero_copy_from != 0) text += fmt::format(", no copies of sends from {} bytes on", extras.zero_copy_from);
  return text;
}

}  // namespace

chosen_backends make_backends(std::string_view name, std::size_t shards, unsigned entries,
                              const io_uring_extras& extras) {
  const char* asked = extras.asked();
  if (name == "epoll" && asked != nullptr) {
    throw startup_error(fmt::format("{} is for io_uring, and --backend epoll leaves that out\nuse one of them", asked));
  }
  if (name == "epoll") return {make_epoll_backends(shards, entries), "backend epoll: it was asked for"};
  if (name != "auto" && name != "io_uring") {
    throw startup_error(fmt::format("there is no backend \"{}\"\nuse auto, io_uring or epoll", name));
  }
  std::vector<std::unique_ptr<backend>> rings;
  try {
    rings = make_io_uring_backends(shards, entries, extras.sqpoll_idle);
  } catch (const startup_error& refusal) {
    const std::string_view text = refusal.what();
    if (asked != nullptr) throw startup_error(fmt::format("{} needs io_uring: {}", asked, text));
    if (name == "io_uring") throw;
    return {make_epoll_backends(shards, entries), fmt::format("backend epoll: {}", text.substr(0, text.find('\n'))),
            true};
  }
  const bool bundles = detail::bundles_work(*rings.front());
  if (extras.zero_copy_from != 0) require_zero_copy(*rings.front());
  for (auto& each : rings) {
    each->bundles = bundles;
    each->zero_copy_from = extras.zero_copy_from;
    if (extras.napi_busy_poll.count() != 0) require_napi(*each, extras.napi_busy_poll);
  }
  return {std::move(rings), described(name == "auto" ? "it works here" : "it was asked for", extras)};
}

}  // namespace skerry
