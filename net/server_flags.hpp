// SPDX-License-Identifier: Apache-2.0
#pragma once

/// server_flags: what an operator decides about a server, as options of the program's command line.
///
///     skerry::app app("hello_server", "says hello", "1.0", 7000);
///     net::server_flags flags(app.options());
///     const int status = app.run(argc, argv, [&] { return serve(flags.options()); });
///
///     --max-connections N               server_options::connections_max
///     --max-connections-per-address N   server_options::connections_per_address_max
///     --accepts-per-second N            server_options::accepts_per_second
///     --accept POLICY                   server_options::accept: reuseport, steered, round-robin or least-loaded
///     --hand-over                       server_options::hand_over, where the program offers it
///
/// A program whose shards hold what its clients have stored does not offer --hand-over: what passes to the next process
/// are sockets, and clients would find it empty.
///
/// Affinity:   the thread that starts the process.
/// Ownership:  the command line refers to it, so it stays until the options have been read.
/// Errors:     `options()` throws startup_error for a policy that there is not.
/// Units:      connections; 0 is no limit.

#include <skerry/net/server_options.hpp>
#include <skerry/shards/command_line.hpp>

#include <cstdint>
#include <string>

namespace skerry::net {

/// Whether a program can be exchanged for its next version while it serves.
enum class hot_restart : std::uint8_t { offered, none };

class server_flags {
 public:
  explicit server_flags(command_line& line, hot_restart restart = hot_restart::offered);
  server_flags(const server_flags&) = delete;
  server_flags& operator=(const server_flags&) = delete;

  /// What was asked for, in place of what `given` has of it, once the command line has been read.
  server_options options(server_options given = server_options()) const;

 private:
  std::uint64_t connections_ = 0;
  std::uint64_t per_address_ = 0;
  std::uint64_t per_second_ = 0;
  std::string policy_;  // empty: the program's
  bool hand_over_ = false;
};

}  // namespace skerry::net
