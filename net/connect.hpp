// SPDX-License-Identifier: Apache-2.0
#pragma once

/// connect: a stream to the first of several addresses that answers.
///
///     std::vector<net::address> there = {*net::address::parse("[::1]:80"), *net::address::parse("127.0.0.1:80")};
///     net::stream s = co_await with_timeout(std::chrono::seconds(5), net::connect(there));
///
/// A server has several addresses, and one of them may lead nowhere, which shows by silence only. So the next one is
/// tried beside it when `stagger` has passed, or at once when the attempt before has failed:
///
///     [2001:db8::1]    ------------------------------------------ cancelled, closed
///     192.0.2.1             stagger --failed
///     [2001:db8::2]                        ----connected: the stream
///
/// Affinity:     the caller's shard.
/// Errors:       connect_error when none answers, with what became of each.
/// Cancellation: all attempts; their sockets close once the kernel has let go.
/// Limits:       as many attempts in flight as there are addresses. No limit of time: with_timeout, or the kernel's
///               own two minutes.
/// Source:       RFC 8305, "Happy Eyeballs Version 2", sections 4 and 5.

#include <skerry/framework/task/task.hpp>
#include <skerry/net/address.hpp>
#include <skerry/net/stream.hpp>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace skerry::net {

struct connect_options {
  connect_options() noexcept {}  // no aggregate: see CONTRIBUTING.md
  /// Between an attempt that has not ended and the next; RFC 8305 wants 100 ms to 2 s.
  std::chrono::milliseconds stagger{250};
  /// Our own address, with port 0 any port. Attempts on addresses of another family fail.
  std::optional<address> from;
};

/// None of the addresses answered. Its code is that of the last attempt to fail, its text names all.
class connect_error : public std::system_error {
 public:
  struct failure {
    address to;
    std::error_code why;
  };
  explicit connect_error(std::vector<failure> failures);
  /// In the order in which they failed.
  const std::vector<failure>& failures() const noexcept { return failures_; }

 private:
  std::vector<failure> failures_;
};

/// Connects to the first of `to` that answers: its order is that of preference, but the families take turns.
task<stream> connect(std::vector<address> to, connect_options options = connect_options());
/// The same for the addresses of a host name, by this shard's resolver (net/dns/resolver.hpp), whose errors it throws.
task<stream> connect(std::string host, std::uint16_t port, connect_options options = connect_options());

namespace detail {
/// The order of attempts: that of the list within a family; the family of the first one begins, and they take turns.
std::vector<address> in_turns(std::vector<address> addresses);
}  // namespace detail

}  // namespace skerry::net
