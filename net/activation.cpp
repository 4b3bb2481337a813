// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/startup_error.hpp>
#include <skerry/net/activation.hpp>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace skerry::net {

namespace {

constexpr int first_descriptor = 3;

std::optional<int> number_in(const char* variable) {
  const char* value = std::getenv(variable);
  if (value == nullptr) return std::nullopt;
  const std::string_view text(value);
  int number = 0;
  const auto [end, error] = std::from_chars(text.begin(), text.end(), number);
  if (error == std::errc() && end == text.end() && number >= 0) return number;
  throw startup_error(std::string(variable) + " is no number: " + value +
                      "\nwhoever starts this program with sockets sets it; without them, unset it");
}

/// The next name of those between colons.
std::string next_name(std::string_view& names) {
  const std::size_t colon = names.find(':');
  const std::string_view name = names.substr(0, colon);
  names.remove_prefix(colon == names.npos ? names.size() : colon + 1);
  return std::string(name.empty() ? "unknown" : name);
}

}  // namespace

std::vector<activated_socket> take_activated_sockets() {
  std::vector<activated_socket> taken;
  if (number_in("LISTEN_PID") != ::getpid()) return taken;
  const int count = number_in("LISTEN_FDS").value_or(0);
  if (count > activated_sockets_max) {
    throw startup_error("LISTEN_FDS is " + std::to_string(count) + ": a program takes at most " +
                        std::to_string(activated_sockets_max) + " sockets");
  }
  const char* given = std::getenv("LISTEN_FDNAMES");
  std::string_view names(given != nullptr ? given : "");
  taken.reserve(static_cast<std::size_t>(count));
  for (int fd = first_descriptor; fd < first_descriptor + count; ++fd) {
    // They come without FD_CLOEXEC. What has it is not from outside: it was taken before, or opened since.
    const int flags = ::fcntl(fd, F_GETFD);
    if (flags < 0 || (flags & FD_CLOEXEC) != 0) {
      throw startup_error("LISTEN_FDS is " + std::to_string(count) + ", but descriptor " + std::to_string(fd) +
                          (flags < 0 ? " is not open" : " was not handed to this process, or was taken before") +
                          "\nstart this program by systemd-socket-activate, or unset LISTEN_FDS");
    }
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    taken.push_back({unique_fd(fd), next_name(names)});
  }
  return taken;
}

}  // namespace skerry::net
