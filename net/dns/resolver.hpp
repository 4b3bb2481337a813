// SPDX-License-Identifier: Apache-2.0
#pragma once

/// resolver: the addresses of a host name, from the hosts file, from what was learned before, or from name servers.
///
///     std::vector<net::address> there = co_await net::resolve("example.org", 443);
///     net::stream s = co_await net::connect("example.org", 80);          // resolves, then tries them in turn
///     net::dns::resolver_options with_servers;
///     with_servers.servers = {"192.0.2.53", "[2001:db8::53]:5353"};
///     net::dns::resolver own(with_servers);                              // or one with servers of its own
///     co_await own.resolve("db", "postgresql", net::dns::family::v6);
///
/// Questions go out by c-ares: its sockets are polled by the shard's backend, its timeouts are one timer of the wheel,
/// and it runs in the poll phase. There is no thread, and nothing blocks, with one exception: a resolver reads
/// /etc/resolv.conf (c-ares does), /etc/hosts and /etc/services when it is made. So a later change is not seen.
///
///     numeric, localhost -> hosts file -> cache -> question under way? -> place free? -> c-ares: UDP, TCP if truncated
///        '-----------------'-------------'--- at once                '-- share its answer    '-- wait in turn
///
/// Each shard has a resolver, which net::resolve and net::connect use and which is made on first use. To give it other
/// options: `resources().emplace<net::dns::resolver>(options)` before that.
///
/// Order: what name servers say, as RFC 6724 has it for this machine (c-ares sorts); the hosts file in its own order;
///        "localhost" and names below it are ::1 and 127.0.0.1, whoever says otherwise (RFC 6761).
/// Names: with fewer dots than `ndots` of resolv.conf they are tried in its search domains first; a dot at the end
///        forbids that. International ones are given in their ASCII form.
///
/// Affinity:     the shard that made it.
/// Ownership:    a resolver outlives those who wait in it (asserted) and ends before its shard, or is a resource of it.
/// Errors:       resolve_error, whose text names host and cause, and whose code is a resolve_errc; of these timed_out
///               is also std::errc::timed_out. std::system_error if c-ares cannot be set up.
/// Cancellation: at once. A question that others wait for goes on; when nobody waits any more all are given up, and
///               their sockets close once the kernel has let go.
/// Limits:       resolver_options. Waiting for a place takes a frame, whose number the frame pool bounds. All in all a
///               question takes c-ares `timeout`, doubled each time, for each server, try and search domain: a caller
///               with less patience says with_timeout.
/// Units:        a TTL in whole seconds, as DNS has it.
/// Source:       RFC 1035, 2308, 6724, 6761.

#include <skerry/framework/clock.hpp>
#include <skerry/framework/task/task.hpp>
#include <skerry/net/address.hpp>
#include <skerry/net/dns/host_tables.hpp>
#include <skerry/toolkit/observe/home_stamp.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace skerry::net::dns {

enum class family : std::uint8_t { any, v4, v6 };

enum class resolve_errc {
  not_found = 1,    ///< no such name (NXDOMAIN)
  no_address,       ///< the name is there and has no address of this family
  timed_out,        ///< no server answered
  server_failure,   ///< every server failed, refused or could not be reached
  bad_answer,       ///< a server's answer cannot be read
  bad_name,         ///< no host name: refused without a question
  unknown_service,  ///< not in /etc/services
};
const std::error_category& resolve_category() noexcept;
inline std::error_code make_error_code(resolve_errc code) noexcept {
  return {static_cast<int>(code), resolve_category()};
}

/// A name has no addresses, or nobody knows.
class resolve_error : public std::system_error {
 public:
  resolve_error(std::error_code code, std::string host, const std::string& detail = {});
  const std::string& host() const noexcept { return host_; }

 private:
  std::string host_;
};

/// Has a constructor, so that it is no aggregate (g++ 12 destroys those twice in co_await).
struct resolver_options {
  resolver_options() noexcept {}

  /// "127.0.0.1:5353", "[::1]"; empty: those of resolv.conf.
  std::vector<std::string> servers;
  std::string resolv_conf = "/etc/resolv.conf";
  std::string hosts_file = "/etc/hosts";        ///< empty, or not there: no such names; the first 16 MiB count
  std::string services_file = "/etc/services";  ///< likewise
  std::chrono::milliseconds timeout{2000};      ///< of the first try
  unsigned tries = 3;                           ///< of each server
  std::size_t questions_max = 256;              ///< under way at a time; the rest waits in turn
  std::size_t cache_entries_max = 4096;         ///< beyond, what was used least recently goes; 0: no cache
  std::chrono::seconds ttl_min{0};              ///< what servers say is kept at least so long
  std::chrono::seconds ttl_max{3600};           ///< and at most
  /// That a name or its addresses are not there is kept so long. (The zone's own figure c-ares does not tell.)
  std::chrono::seconds negative_ttl{5};
};

/// What the resolvers of this shard have done since its start.
struct resolver_stats {
  using crosses_shards = resolver_stats;
  std::uint64_t queries = 0;     ///< questions that went to servers; one for both families
  std::uint64_t cache_hits = 0;  ///< answered from the cache, also that there is nothing
  std::uint64_t failures = 0;    ///< questions without an address for an answer
  std::uint64_t shared = 0;      ///< answered by a question that was under way
  std::size_t sockets = 0;       ///< open now, closing ones included
};
resolver_stats stats() noexcept;

namespace detail {
class channel;
struct shard_part;
}  // namespace detail

class resolver {
 public:
  explicit resolver(const resolver_options& options = resolver_options());
  resolver(const resolver&) = delete;
  resolver& operator=(const resolver&) = delete;
  ~resolver();

  /// The addresses of `host`, at least one, in the order in which to try them.
  task<std::vector<address>> resolve(std::string host, std::uint16_t port, family wanted = family::any);
  /// The same with the name of a TCP service, or a number.
  task<std::vector<address>> resolve(std::string host, std::string service, family wanted = family::any);

  std::size_t cached() const noexcept { return cache_.size(); }
  /// What was learned is asked for again.
  void forget() noexcept;

 private:
  class question;
  class place_in;
  struct entry {
    std::string key;
    std::vector<address> addresses;
    std::error_code error;
    clock::time_point until;
  };
  using entries = std::list<entry>;

  /// Nothing where a question has to be asked. Throws.
  std::vector<address> known(const std::string& host, family wanted) const;
  const entry* cached(const std::string& key);
  task<std::vector<address>> ask(const std::string& host, const std::string& key, family wanted);
  void start_queued() noexcept;
  void leave(question& left) noexcept;
  void answered(question& which) noexcept;
  void remember(const question& of);

  const resolver_options options_;
  hosts_table hosts_;
  services_table services_;
  detail::shard_part& shard_;
  entries cache_;  // what was used last comes first
  std::map<std::string, entries::iterator, std::less<>> cache_index_;
  std::map<std::string, std::shared_ptr<question>, std::less<>> questions_;  // under way or waiting for a place
  std::deque<question*> queued_;
  std::size_t waiters_ = 0;
  std::size_t asked_ = 0;  // of the questions, under way
  bool starting_ = false;
  [[no_unique_address]] home_stamp home_;
  std::unique_ptr<detail::channel> channel_;  // goes first: its callbacks use the rest
};

/// This shard's resolver; made on first use.
resolver& this_resolver();

}  // namespace skerry::net::dns

template <>
struct std::is_error_code_enum<skerry::net::dns::resolve_errc> : std::true_type {};

namespace skerry::net {

/// By this shard's resolver.
inline task<std::vector<address>> resolve(std::string host, std::uint16_t port, dns::family wanted = dns::family::any) {
  return dns::this_resolver().resolve(std::move(host), port, wanted);
}
inline task<std::vector<address>> resolve(std::string host, std::string service,
                                          dns::family wanted = dns::family::any) {
  return dns::this_resolver().resolve(std::move(host), std::move(service), wanted);
}

}  // namespace skerry::net
