// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/net/detail/watched_descriptor.hpp>
#include <skerry/net/process/child.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/topology.hpp>
#include <skerry/timers/timer.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <memory>
#include <string_view>
#include <system_error>

#include <fcntl.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace skerry::net {

namespace {

[[noreturn]] void fail(int error, const std::string& what) {
  throw std::system_error(error, std::generic_category(), what);
}

// glibc 2.36 has functions for them, which C++ cannot call: their header gives them names of C++.
int open_pidfd(pid_t of) noexcept { return static_cast<int>(::syscall(SYS_pidfd_open, of, 0)); }
long send_by_pidfd(int fd, int number) noexcept { return ::syscall(SYS_pidfd_send_signal, fd, number, nullptr, 0); }

void require(int result, const char* call) {
  if (result != 0) fail(result, call);
}

/// What posix_spawn is told about descriptors, in the order in which the child does it.
class file_actions {
 public:
  file_actions() { require(::posix_spawn_file_actions_init(&actions_), "posix_spawn_file_actions_init"); }
  file_actions(const file_actions&) = delete;
  file_actions& operator=(const file_actions&) = delete;
  ~file_actions() { ::posix_spawn_file_actions_destroy(&actions_); }

  void put(int from, int to) {
    require(::posix_spawn_file_actions_adddup2(&actions_, from, to), "posix_spawn_file_actions_adddup2");
  }
  void change_directory(int fd) {
    require(::posix_spawn_file_actions_addfchdir_np(&actions_, fd), "posix_spawn_file_actions_addfchdir_np");
  }
  /// A library of ours may have opened something without O_CLOEXEC.
  void close_all_from(int fd) {
    require(::posix_spawn_file_actions_addclosefrom_np(&actions_, fd), "posix_spawn_file_actions_addclosefrom_np");
  }
  const posix_spawn_file_actions_t* get() const noexcept { return &actions_; }

 private:
  posix_spawn_file_actions_t actions_;
};

class attributes {
 public:
  explicit attributes(bool own_group) {
    require(::posix_spawnattr_init(&attributes_), "posix_spawnattr_init");
    sigset_t none, broken_pipe;
    ::sigemptyset(&none);
    ::sigemptyset(&broken_pipe);
    ::sigaddset(&broken_pipe, SIGPIPE);
    ::posix_spawnattr_setsigmask(&attributes_, &none);
    // What others have told this process to ignore (nohup), the child ignores as well.
    ::posix_spawnattr_setsigdefault(&attributes_, &broken_pipe);
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    if (own_group) flags |= POSIX_SPAWN_SETPGROUP;  // number 0: its own
    ::posix_spawnattr_setflags(&attributes_, flags);
  }
  attributes(const attributes&) = delete;
  attributes& operator=(const attributes&) = delete;
  ~attributes() { ::posix_spawnattr_destroy(&attributes_); }
  const posix_spawnattr_t* get() const noexcept { return &attributes_; }

 private:
  posix_spawnattr_t attributes_;
};

/// A child starts on the CPUs that its parent's thread may use: for that long, all of this process.
class on_all_cpus {
 public:
  on_all_cpus() : own_(this_shard().host->where().shards[this_shard_id()]) {
    if (own_.cpus.empty()) return;
    place all;
    for (const place& each : this_shard().host->where().shards) {
      all.cpus.insert(all.cpus.end(), each.cpus.begin(), each.cpus.end());
    }
    std::sort(all.cpus.begin(), all.cpus.end());
    all.cpus.erase(std::unique(all.cpus.begin(), all.cpus.end()), all.cpus.end());
    place_this_thread(all);
  }
  on_all_cpus(const on_all_cpus&) = delete;
  on_all_cpus& operator=(const on_all_cpus&) = delete;
  ~on_all_cpus() {
    try {
      if (!own_.cpus.empty()) place_this_thread(own_);
    } catch (const std::exception& error) {
      log::warning("the shard is not pinned any more: {}", error.what());
    }
  }

 private:
  const place& own_;
};

unique_fd duplicate_above_standard(int fd, const std::string& program) {
  unique_fd made(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (made.get() < 0) fail(errno, "start " + program + ": descriptor " + std::to_string(fd));
  return made;
}

unique_fd open_or_fail(const char* path, int flags, const std::string& what) {
  unique_fd made(::open(path, flags | O_CLOEXEC));
  if (made.get() < 0) fail(errno, what);
  return made;
}

void require_no_nul(const std::string& text, const std::string& program) {
  if (text.find('\0') == text.npos) return;
  fail(EINVAL,
       "start " + std::string(program.c_str()) + ": an argument has a NUL in it, where the program would see its end");
}

std::vector<char*> pointers_to(const std::string* first, const std::vector<std::string>& texts) {
  std::vector<char*> all;
  all.reserve(texts.size() + 2);
  if (first != nullptr) all.push_back(const_cast<char*>(first->c_str()));
  for (const std::string& each : texts) all.push_back(const_cast<char*>(each.c_str()));
  all.push_back(nullptr);
  return all;
}

/// What stands in the way, and what helps.
std::string explain(int error, const std::string& program) {
  const bool path = program.find('/') != program.npos;
  switch (error) {
    case ENOENT:
      return path ? "there is no such file, or the interpreter that its first line names is missing"
                  : "no directory of PATH has it: install it, or say where it is";
    case EACCES:
      return "it may not be executed: chmod +x, or its file system is mounted noexec, or a directory on the way is "
             "closed to this user";
    case E2BIG:
      return "arguments and environment are longer than the kernel passes on (one of them 128 KiB, together a quarter "
             "of ulimit -s): hand them over in a file or by standard input";
    case ENOEXEC: return "it is no program of this machine; a script's first line is to be #!/path/of/interpreter";
    case EAGAIN:
      return "this user or group of processes may have no more (ulimit -u, TasksMax= in a systemd unit, --pids-limit "
             "of "
             "a container)";
    default: return "the kernel refuses it";
  }
}

/// Without a record of a child's end nobody can tell how it was.
void require_children_to_be_kept(const std::string& program) {
  struct sigaction now{};
  ::sigaction(SIGCHLD, nullptr, &now);
  if (now.sa_handler != SIG_IGN && (now.sa_flags & SA_NOCLDWAIT) == 0) return;
  fail(ECHILD, "start " + program +
                   ": SIGCHLD is ignored in this process, perhaps by whoever started it, so the kernel "
                   "forgets how children end: signal(SIGCHLD, SIG_DFL) at the start of main");
}

}  // namespace

namespace detail {

class child_state final : public watched_descriptor {
 public:
  explicit child_state(const child_options& options)
      : watched_descriptor(unique_fd()), grace_time_(options.grace), own_group_(options.own_group) {}

  /// Starts the program and gives our ends of its pipes, in the order of its standard descriptors.
  std::vector<unique_fd> start(const std::string& program, const std::vector<std::string>& arguments,
                               const child_options& options);
  bool ended() const noexcept { return ended_; }
  child_end how() const {
    if (error_ != 0) {
      fail(error_, "wait for child " + std::to_string(pid_) + ": another part of this process has waited for it");
    }
    return end_;
  }
  void wait(child_awaiter* waiter) noexcept {
    SKERRY_ASSERT(waiter == nullptr || waiter_ == nullptr, "one task at a time waits for a child");
    waiter_ = waiter;
  }
  /// An errno.
  int send(int number) noexcept {
    const long sent = own_group_ ? ::kill(-pid_, number) : send_by_pidfd(fd(), number);
    return sent == 0 ? 0 : errno;
  }
  pid_t pid() const noexcept { return pid_; }

 private:
  struct killing final : timers::timer {
    explicit killing(child_state& of) noexcept : owner(of) {}
    void expired() noexcept override { owner.send(SIGKILL); }
    child_state& owner;
  };

  ~child_state() override { SKERRY_ASSERT(waiter_ == nullptr, "nobody waits for a child that is gone"); }

  /// Looks whether it has ended, and with `reap` has the kernel forget it.
  siginfo_t look(bool reap) noexcept {
    siginfo_t seen{};
    int waited = 0;
    do {
      waited = ::waitid(P_PIDFD, static_cast<id_t>(fd()), &seen, WEXITED | WNOHANG | (reap ? 0 : WNOWAIT));
    } while (waited != 0 && errno == EINTR);
    if (waited != 0) error_ = errno;
    return seen;
  }

  bool noticed() noexcept override {
    // Whoever is left of its group goes while its number cannot be another's.
    if (dropped_ && own_group_ && look(false).si_pid != 0) send(SIGKILL);
    const siginfo_t seen = look(true);
    if (seen.si_pid == 0 && error_ == 0) return true;
    end_ = seen.si_code == CLD_EXITED ? child_end{.status = seen.si_status} : child_end{.signal = seen.si_status};
    ended_ = true;
    if (kill_.armed()) timers::this_timers().cancel(kill_);
    if (waiter_ != nullptr) std::exchange(waiter_, nullptr)->wake();
    close_early();
    return false;
  }

  void let_go() noexcept override {
    dropped_ = true;
    if (pid_ <= 0 || ended_) return;
    if (grace_time_ <= std::chrono::nanoseconds::zero()) {
      send(SIGKILL);
      return;
    }
    send(SIGTERM);
    timers::this_timers().arm(kill_, timers::saturating_add(clock::now(), grace_time_));
  }

  killing kill_{*this};
  const std::chrono::nanoseconds grace_time_;
  pid_t pid_ = 0;
  child_awaiter* waiter_ = nullptr;
  child_end end_;
  int error_ = 0;
  const bool own_group_;
  bool ended_ = false;
  bool dropped_ = false;
};

std::vector<unique_fd> child_state::start(const std::string& program, const std::vector<std::string>& arguments,
                                          const child_options& options) {
  require_children_to_be_kept(program);
  const std::string at_start = "start " + program + ": ";
  std::vector<unique_fd> ours;
  file_actions actions;
  std::vector<unique_fd> theirs;  // all of them above 2, so that none is overwritten before its turn
  theirs.reserve(5);
  // Also when nothing needs it: what is closed before the pidfd is opened leaves room for that.
  theirs.push_back(duplicate_above_standard(open_or_fail("/dev/null", O_RDWR, at_start + "/dev/null").get(), program));
  const int null = theirs.back().get();
  const redirect wanted[] = {options.input, options.output, options.error};
  for (int number = 0; number < 3; ++number) {
    const redirect& to = wanted[number];
    switch (to.kind_) {
      case redirect::kind::inherit: break;
      case redirect::kind::null: actions.put(null, number); break;
      case redirect::kind::pipe: {
        auto [out, in] = make_pipe();
        unique_fd& its = number == 0 ? out : in;
        theirs.push_back(duplicate_above_standard(its.get(), program));
        actions.put(theirs.back().get(), number);
        ours.push_back(std::move(number == 0 ? in : out));
        break;
      }
      case redirect::kind::descriptor:
        theirs.push_back(duplicate_above_standard(to.fd_, program));
        actions.put(theirs.back().get(), number);
        break;
      case redirect::kind::as_output:
        if (number != 2) fail(EINVAL, at_start + "redirect::as_output is for the child's standard error alone");
        actions.put(1, 2);
        break;
    }
    if (ours.size() == static_cast<std::size_t>(number)) ours.emplace_back();  // no pipe
  }
  if (!options.directory.empty()) {
    theirs.push_back(open_or_fail(options.directory.c_str(), O_PATH | O_DIRECTORY,
                                  at_start + "child_options::directory " + options.directory));
    actions.change_directory(theirs.back().get());
  }
  actions.close_all_from(3);
  const attributes born_with(own_group_);
  const std::vector<char*> argv = pointers_to(&program, arguments);
  const std::vector<char*> given =
      options.environment ? pointers_to(nullptr, *options.environment) : std::vector<char*>();
  {
    const on_all_cpus spread;
    pid_t started = 0;
    const int refused = ::posix_spawnp(&started, program.c_str(), actions.get(), born_with.get(), argv.data(),
                                       options.environment ? given.data() : ::environ);
    if (refused != 0) fail(refused, at_start + explain(refused, program));
    pid_ = started;
  }
  theirs.clear();
  unique_fd seen_by(open_pidfd(pid_));
  if (seen_by.get() < 0) {
    const int error = errno;
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid_ = 0;
    fail(error, at_start + "it was killed, as there is no descriptor to see its end by (ulimit -n)");
  }
  opened(std::move(seen_by));
  return ours;
}

}  // namespace detail

// --- awaiter ---

child_awaiter::child_awaiter(detail::child_state& of) noexcept : of_(of) { of_.use(); }
child_awaiter::~child_awaiter() { of_.leave(); }
bool child_awaiter::await_ready() const noexcept { return of_.ended(); }
void child_awaiter::await_suspend(std::coroutine_handle<> resume_point) noexcept {
  of_.wait(this);
  suspend(resume_point);
}
child_end child_awaiter::await_resume() { return of_.how(); }
void child_awaiter::let_go() noexcept {
  of_.wait(nullptr);
  wake();
}

// --- values ---

std::string child_end::text() const {
  if (signal == 0) return "exit status " + std::to_string(status);
  const char* name = ::strsignal(signal);
  return "signal " + std::to_string(signal) + " (" + (name != nullptr ? name : "?") + ')';
}

// --- the handle ---

child& child::operator=(child&& other) noexcept {
  child taken(std::move(other));
  std::swap(state_, taken.state_);
  std::swap(streams_, taken.streams_);
  std::swap(errors_, taken.errors_);
  return *this;
}

child::~child() {
  if (state_ != nullptr) state_->release();
}

bool child::signal(int number) {
  if (state().ended()) return false;
  const int error = state().send(number);
  if (error == ESRCH) return false;
  if (error != 0) fail(error, "send signal " + std::to_string(number) + " to child " + std::to_string(pid()));
  return true;
}

pid_t child::pid() const noexcept { return state().pid(); }

child start_child(std::string program, std::vector<std::string> arguments, const child_options& options) {
  require_no_nul(program, program);
  require_no_nul(options.directory, program);
  for (const std::string& each : arguments) require_no_nul(each, program);
  if (options.environment) {
    for (const std::string& each : *options.environment) require_no_nul(each, program);
  }
  const auto drop = [](detail::child_state* made) { made->release(); };
  std::unique_ptr<detail::child_state, decltype(drop)> state(new detail::child_state(options), drop);
  pipe_stream streams{unique_fd()};
  pipe_stream errors{unique_fd()};
  std::vector<unique_fd> ours = state->start(program, arguments, options);
  state->watch();
  streams = pipe_stream(std::move(ours[1]), std::move(ours[0]));
  errors = pipe_stream(std::move(ours[2]));
  return child(state.release(), std::move(streams), std::move(errors));
}

}  // namespace skerry::net
