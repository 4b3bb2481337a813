// SPDX-License-Identifier: Apache-2.0
#pragma once

/// server_process: a program of ours as a child process, on a port of its own choice, and a blocking client for it.
///
/// Waits for the line "listening on …:PORT" on the child's standard error, never for time. The destructor kills what is
/// still running.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace skerry::test {

class server_process {
 public:
  /// Starts `program` with `--port 0` and `arguments`.
  server_process(const std::string& program, std::vector<std::string> arguments);
  ~server_process();
  server_process(const server_process&) = delete;
  server_process& operator=(const server_process&) = delete;

  std::uint16_t port() const noexcept { return port_; }
  pid_t pid() const noexcept { return pid_; }
  void signal(int number) const;
  /// Waits for the end; the exit status, or -n for death by signal n.
  int wait();
  /// What it has written to standard error so far and until its end.
  const std::string& log() const noexcept { return log_; }

 private:
  pid_t pid_ = -1;
  int error_fd_ = -1;
  std::uint16_t port_ = 0;
  std::string log_;
};

/// Runs a program to its end; its status and what it wrote to standard output and error.
struct finished_program {
  int status;
  std::string output;
};
finished_program run_program(const std::string& program, std::vector<std::string> arguments);

/// A blocking connection to 127.0.0.1.
class blocking_client {
 public:
  explicit blocking_client(std::uint16_t port);
  ~blocking_client();
  blocking_client(const blocking_client&) = delete;
  blocking_client& operator=(const blocking_client&) = delete;

  void send(std::string_view bytes);
  /// Up to `most` bytes; empty at the end of the stream or a reset.
  std::string receive(std::size_t most = 65536);
  /// Exactly `size` bytes, or fewer at the end of the stream.
  std::string receive_exactly(std::size_t size);
  void shutdown_output();
  int fd() const noexcept { return fd_; }

 private:
  int fd_;
};

}  // namespace skerry::test
