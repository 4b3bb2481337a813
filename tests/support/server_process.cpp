// SPDX-License-Identifier: Apache-2.0
#include <csignal>
#include <cstdlib>
#include <stdexcept>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <support/server_process.hpp>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace skerry::test {

namespace {

pid_t start(const std::string& program, std::vector<std::string> arguments, int& read_end, bool output_too) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  arguments.insert(arguments.begin(), program);
  std::vector<char*> argv;
  for (std::string& a : arguments) argv.push_back(a.data());
  argv.push_back(nullptr);
  pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(ends[1], 2);
    if (output_too) ::dup2(ends[1], 1);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  read_end = ends[0];
  return pid;
}

int wait_for(pid_t pid) {
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/// Appends what comes; false at the end.
bool read_more(int fd, std::string& text) {
  char bytes[4096];
  ssize_t got = ::read(fd, bytes, sizeof bytes);
  if (got <= 0) return false;
  text.append(bytes, static_cast<std::size_t>(got));
  return true;
}

}  // namespace

server_process::server_process(const std::string& program, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), {"--port", "0"});
  pid_ = start(program, std::move(arguments), error_fd_, false);
  constexpr std::string_view mark = "listening on 127.0.0.1:";
  while (true) {
    std::size_t at = log_.find(mark);
    if (at != std::string::npos && log_.find('\n', at) != std::string::npos) {
      port_ = static_cast<std::uint16_t>(std::atoi(log_.c_str() + at + mark.size()));
      return;
    }
    if (!read_more(error_fd_, log_)) throw std::runtime_error("the server ended before it listened: " + log_);
  }
}

server_process::~server_process() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    wait_for(pid_);
  }
  ::close(error_fd_);
}

void server_process::signal(int number) const { ::kill(pid_, number); }

int server_process::wait() {
  while (read_more(error_fd_, log_)) {
  }
  int status = wait_for(pid_);
  pid_ = -1;
  return status;
}

finished_program run_program(const std::string& program, std::vector<std::string> arguments) {
  finished_program done{};
  int fd = -1;
  pid_t pid = start(program, std::move(arguments), fd, true);
  while (read_more(fd, done.output)) {
  }
  ::close(fd);
  done.status = wait_for(pid);
  return done;
}

blocking_client::blocking_client(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) throw std::runtime_error("connect");
}

blocking_client::~blocking_client() { ::close(fd_); }

void blocking_client::send(std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) throw std::runtime_error("send");
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

std::string blocking_client::receive(std::size_t most) {
  std::string bytes(most, '\0');
  ssize_t got = ::recv(fd_, bytes.data(), most, 0);
  bytes.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return bytes;
}

std::string blocking_client::receive_exactly(std::size_t size) {
  std::string bytes;
  while (bytes.size() < size) {
    std::string more = receive(size - bytes.size());
    if (more.empty()) break;
    bytes += more;
  }
  return bytes;
}

void blocking_client::shutdown_output() { ::shutdown(fd_, SHUT_WR); }

}  // namespace skerry::test
