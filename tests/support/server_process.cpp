// SPDX-License-Identifier: Apache-2.0
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include <arpa/inet.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <support/server_process.hpp>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

namespace skerry::test {

namespace {

/// As fork(), into a PID namespace of its own; users other than root need a user namespace around it.
pid_t fork_into_namespace() {
  unsigned long flags = CLONE_NEWPID | SIGCHLD;
  if (::geteuid() != 0) flags |= CLONE_NEWUSER;
  return static_cast<pid_t>(::syscall(SYS_clone, flags, nullptr, nullptr, nullptr, nullptr));
}

void become(uid_t user) {
  if (::setgroups(0, nullptr) == 0 && ::setresgid(user, user, user) == 0 && ::setresuid(user, user, user) == 0) return;
  ::_exit(126);
}

pid_t start(const std::string& program, std::vector<std::string> arguments, int& read_end, bool output_too,
            const launch& how) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe");
  arguments.insert(arguments.begin(), program);
  std::vector<char*> argv;
  for (std::string& a : arguments) argv.push_back(a.data());
  argv.push_back(nullptr);
  // Opened here: the other user may not be allowed to walk down to it.
  int file = ::open(program.c_str(), O_RDONLY | O_CLOEXEC);
  pid_t pid = how.own_pid_namespace ? fork_into_namespace() : ::fork();
  if (pid < 0) throw std::runtime_error("fork");
  if (pid == 0) {
    ::dup2(ends[1], 2);
    if (output_too) ::dup2(ends[1], 1);
    for (const std::string& variable : how.environment) ::putenv(const_cast<char*>(variable.c_str()));
    if (how.before_exec) how.before_exec();
    if (how.user != 0 && ::geteuid() == 0) {
      become(how.user);
      ::fexecve(file, argv.data(), environ);
    } else {
      ::execv(argv[0], argv.data());
    }
    ::_exit(127);
  }
  ::close(file);
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

std::string pid_namespace_refusal() {
  pid_t pid = fork_into_namespace();
  if (pid == 0) ::_exit(0);
  if (pid < 0) return std::string("clone(CLONE_NEWPID): ") + std::strerror(errno);
  wait_for(pid);
  return {};
}

server_process::server_process(const std::string& program, std::vector<std::string> arguments, const launch& how) {
  if (how.any_port) arguments.insert(arguments.begin(), {"--port", "0"});
  pid_ = start(program, std::move(arguments), error_fd_, false, how);
  // "listening on 127.0.0.1:6379" or "[::1]:6379", then the end of the line or of the JSON string.
  std::size_t at = std::string::npos;
  std::size_t end = std::string::npos;
  while (end == std::string::npos) {
    if (at == std::string::npos) at = log_.find("listening on ");
    if (at != std::string::npos) end = log_.find_first_of("\"\n", at);
    if (end == std::string::npos && !read_more(error_fd_, log_)) {
      int status = wait();
      throw std::runtime_error("ended with " + std::to_string(status) + " before it listened: " + log_);
    }
  }
  port_ = static_cast<std::uint16_t>(std::atoi(log_.c_str() + log_.rfind(':', end) + 1));
}

bool server_process::wait_for_log(std::string_view text) {
  while (log_.find(text) == std::string::npos) {
    if (!read_more(error_fd_, log_)) return false;
  }
  return true;
}

server_process::~server_process() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    wait_for(pid_);
  }
  if (error_fd_ >= 0) ::close(error_fd_);
}

void server_process::close_log() {
  ::close(error_fd_);
  error_fd_ = -1;
}

void server_process::signal(int number) const { ::kill(pid_, number); }

int server_process::wait() {
  while (read_more(error_fd_, log_)) {
  }
  return wait_unread();
}

int server_process::wait_unread() {
  int status = wait_for(pid_);
  pid_ = -1;
  return status;
}

finished_program run_program(const std::string& program, std::vector<std::string> arguments, const launch& how) {
  finished_program done{};
  int fd = -1;
  pid_t pid = start(program, std::move(arguments), fd, true, how);
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
  // A request sent in pieces would wait for acknowledgements, which the kernel delays by 40 ms.
  int on = 1;
  ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

blocking_client::blocking_client(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  path.copy(to.sun_path, sizeof to.sun_path - 1);
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) throw std::runtime_error("connect");
}

blocking_client::~blocking_client() {
  if (fd_ >= 0) ::close(fd_);
}

void blocking_client::send(std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) throw std::runtime_error("send");
    bytes.remove_prefix(static_cast<std::size_t>(sent));
  }
}

std::string blocking_client::receive(std::size_t most) {
  std::string bytes(most, '\0');
  ssize_t got = 0;
  while ((got = ::recv(fd_, bytes.data(), most, 0)) < 0 && errno == EINTR) errno = 0;  // a machine that stood still
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

void blocking_client::reset_after(std::string_view bytes) {
  send(bytes);
  receive(1);
  // The server's next read or write of it fails: closing with data unread or with linger 0 sends a reset.
  linger at_once{1, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  ::close(fd_);
  fd_ = -1;
}

void blocking_client::shutdown_output() { ::shutdown(fd_, SHUT_WR); }

}  // namespace skerry::test
