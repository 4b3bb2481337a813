// SPDX-License-Identifier: Apache-2.0
#pragma once

/// log_sink: where finished log lines go.
///
/// A test or a simulated machine gives its own sink and keeps the lines; a process uses `descriptor_sink`, which may
/// block for as long as the descriptor does, because only the log's own thread and threads that run no shard write.
///
/// Affinity: `write` is called by one thread at a time.
/// Errors:   none reach the caller. A descriptor that fails (closed pipe, full disk) loses these lines, counts their
///           bytes and is tried again with the next ones: logging is no reason to stop.

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace skerry {

class log_sink {
 public:
  /// Takes one or more whole lines, each ended by a line feed. Returns when they are written or lost.
  virtual void write(std::string_view lines) noexcept = 0;

  log_sink(const log_sink&) = delete;
  log_sink& operator=(const log_sink&) = delete;

 protected:
  log_sink() = default;
  ~log_sink() = default;
};

/// Writes to a descriptor that it does not own, blocking or not.
class descriptor_sink final : public log_sink {
 public:
  explicit descriptor_sink(int fd) noexcept : fd_(fd) {}

  void write(std::string_view lines) noexcept override;

  /// Bytes that the descriptor refused. Ask where nobody writes.
  std::uint64_t lost_bytes() const noexcept { return lost_bytes_; }

 private:
  std::size_t write_some(std::string_view bytes) noexcept;

  int fd_;
  bool torn_ = false;  // the last write ended within a line; the next begins with a line feed of its own
  std::uint64_t lost_bytes_ = 0;
};

}  // namespace skerry
