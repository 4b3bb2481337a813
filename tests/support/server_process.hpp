// SPDX-License-Identifier: Apache-2.0
#pragma once

/// server_process: a program of ours as a child process, on a port of its own choice, and a blocking client for it.
///
/// Waits for the line "listening on …:PORT" on the child's standard error, never for time. The destructor kills what is
/// still running.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace skerry::test {

/// How a child is started; by default like any child of this process.
struct launch {
  launch() {}

  std::vector<std::string> environment;  ///< "NAME=value", on top of ours
  bool any_port = true;                  ///< a server is given --port 0
  bool own_pid_namespace = false;        ///< it is process 1 there; see pid_namespace_refusal()
  std::function<void()> before_exec;     ///< runs in the child while it is still root
  uid_t user = 0;                        ///< run as this one, without any capability; only where we are root
};

/// Why this system makes no PID namespaces for us; empty if it does.
std::string pid_namespace_refusal();

class server_process {
 public:
  /// Starts `program` with `--port 0` and `arguments`. Throws if it ends before it listens, with what it wrote.
  server_process(const std::string& program, std::vector<std::string> arguments, const launch& how = {});
  ~server_process();
  server_process(const server_process&) = delete;
  server_process& operator=(const server_process&) = delete;

  std::uint16_t port() const noexcept { return port_; }
  pid_t pid() const noexcept { return pid_; }
  void signal(int number) const;
  /// Waits for the end; the exit status, or -n for death by signal n.
  int wait();
  /// The same, and nobody reads its standard error meanwhile.
  int wait_unread();
  /// Reads its standard error until `text` has come; false if it ended before.
  bool wait_for_log(std::string_view text);
  /// From here on its writes to standard error fail.
  void close_log();
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
finished_program run_program(const std::string& program, std::vector<std::string> arguments, const launch& how = {});

/// A blocking connection to 127.0.0.1, or to a Unix socket.
class blocking_client {
 public:
  explicit blocking_client(std::uint16_t port);
  explicit blocking_client(const std::string& path);
  ~blocking_client();
  blocking_client(const blocking_client&) = delete;
  blocking_client& operator=(const blocking_client&) = delete;

  void send(std::string_view bytes);
  /// Up to `most` bytes; empty at the end of the stream or a reset.
  std::string receive(std::size_t most = 65536);
  /// Exactly `size` bytes, or fewer at the end of the stream.
  std::string receive_exactly(std::size_t size);
  void shutdown_output();
  /// Sends, reads one byte back, and resets the connection.
  void reset_after(std::string_view bytes);
  int fd() const noexcept { return fd_; }

 private:
  int fd_;
};

}  // namespace skerry::test
