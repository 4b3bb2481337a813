// SPDX-License-Identifier: Apache-2.0
#pragma once
// The one argument of every peer server, and what it says when it accepts.
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace peers {

inline std::uint16_t port_argument(int argc, char** argv) {
  const int port = argc == 2 ? std::atoi(argv[1]) : 0;
  if (port > 0 && port <= 65535) return static_cast<std::uint16_t>(port);
  std::fprintf(stderr, "usage: %s PORT      (1 to 65535, on 127.0.0.1)\n", argv[0]);
  std::exit(1);
}

/// The kernel queues connections from here on. SIGTERM ends a peer the way it ends any program without a handler.
inline void say_listening() {
  std::puts("listening");
  std::fflush(stdout);
}

}  // namespace peers
