// SPDX-License-Identifier: Apache-2.0
#pragma once

/// app_options: every knob of an application, with its default. One plain struct for the builder and the command line.
///
/// A program may set any of them before it starts; `command_line` then lets the user override all but the last two. The
/// comment at a field is also the reference for `--its-name`.
///
/// Limits: stated at each field and checked by `validate`, whoever set it.
/// Errors: startup_error naming the option and its valid values.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace skerry {

/// Pairs of shards have queues and tables of their own.
inline constexpr unsigned shard_count_max = 1024;

/// Whether each shard stays on one CPU; `automatic` is `--pin auto`, see the rules in placement.hpp.
enum class pin_mode : std::uint8_t { automatic, on, off };

/// A number of bytes, written `64mb`, `1.5gb` or `4096`; k is 1000 and kb 1024.
struct byte_size {
  std::uint64_t bytes = 0;
  auto operator<=>(const byte_size&) const = default;
};

struct app_options {
  app_options() {}  // no aggregate: g++ 12 destroys an aggregate temporary inside a co_await operand twice

  std::optional<unsigned> shards;               ///< 1 to shard_count_max; empty is `auto`, as many as fit
  std::string cpuset;                           ///< CPUs to use, as in placement.hpp; empty for all that are allowed
  pin_mode pin = pin_mode::automatic;           ///< whether each shard stays on one CPU
  bool smt = false;                             ///< `auto` counts hardware threads, not cores
  bool overprovision = false;                   ///< allow more shards than CPUs
  std::string backend = "auto";                 ///< auto, io_uring or epoll; `auto`: io_uring where it works
  std::chrono::microseconds idle_spin{0};       ///< look for work this long before sleeping; up to 1 s
  std::chrono::microseconds task_budget{500};   ///< run tasks this long before looking at I/O; 10 us to 1 s
  unsigned ring_entries = 512;                  ///< submission queue of each shard; a power of two, 64 to 32768
  std::chrono::milliseconds sqpoll_idle{0};     ///< a thread of the kernel's submits, asleep after so long; up to 10 s
  std::chrono::microseconds napi_busy_poll{0};  ///< poll the network so long before sleeping; up to 1 s
  std::uint32_t send_zc_bytes = 0;              ///< send without copying from so many bytes on, up to 64 KiB; 0: never
  unsigned mailbox_capacity = 128;              ///< messages handed over in one batch per pair of shards; 1 to 65536
  std::chrono::nanoseconds drain_timeout = std::chrono::seconds(10);  ///< how long a stop may take; up to 24 h
  std::string admin = "auto";         ///< the admin endpoint: ADDR:PORT, off, or 127.0.0.1:9180 if that is free
  std::string log_level = "info";     ///< debug, info, warning, error or off
  std::string log_format = "text";    ///< text or json
  std::optional<std::uint64_t> seed;  ///< of every random draw; empty: the kernel gives one
  std::optional<std::uint16_t> port;  ///< where to listen, 0 for any free one; empty: the program's own default
  std::string bind = "127.0.0.1";     ///< address to listen on, v4 or v6

  bool thread_names = true;  ///< name threads after their shards; builder only
  bool park = true;          ///< sleep in the kernel when idle; false burns the CPU for latency; builder only
};

/// Throws startup_error for the first field outside its limits.
void validate(const app_options& options);

}  // namespace skerry
