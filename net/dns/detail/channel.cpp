// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/net/dns/detail/channel.hpp>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <new>
#include <optional>
#include <system_error>

#include <ares.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

namespace skerry::net::dns::detail {

shard_part::shard_part() : kernel(this_shard().loop->kernel()), home_(this_assembled_shard()) {
  observe::registry& metrics = *this_shard().metrics;
  published_.push_back(
      metrics.add(stats.queries, {.name = "skerry_dns_queries_total", .help = "Questions sent to name servers."}));
  published_.push_back(
      metrics.add(stats.cache_hits, {.name = "skerry_dns_cache_hits_total", .help = "Names answered from the cache."}));
  published_.push_back(metrics.add(
      stats.shared, {.name = "skerry_dns_shared_total", .help = "Names answered by a question that was under way."}));
  published_.push_back(metrics.add(
      stats.failures, {.name = "skerry_dns_failures_total", .help = "Questions that ended without an address."}));
  home_.add_drainable(*this);  // last: whoever knows it must not find it gone
}

shard_part::~shard_part() {
  SKERRY_ASSERT(stats.sockets == 0, "a shard ends after the last socket of its resolvers");
  home_.remove_drainable(*this);
}

shard_part& this_part() {
  auto* found = resources().find<shard_part>();
  return found != nullptr ? *found : resources().emplace<shard_part>();
}

/// A socket of c-ares and the poll on it. Frees itself.
class polled_socket final : public operation {
 public:
  polled_socket(channel& of, int fd) noexcept : part_(of.part_), of_(&of), fd_(fd) { ++part_.stats.sockets; }

  void want(std::uint32_t events) noexcept {
    if (std::exchange(wanted_, events) != events && in_flight()) part_.kernel.cancel(*this);
  }
  /// Polls if something is wanted and no poll is under way.
  void arm() noexcept {
    if (wanted_ != 0 && !in_flight()) prepare::poll(part_.kernel.submit(*this), fd_, wanted_);
  }
  /// What is ready of what is wanted; an error is for c-ares to find.
  std::uint32_t take_ready() noexcept {
    const std::uint32_t events = std::exchange(ready_, 0);
    return (events & (POLLERR | POLLHUP | POLLNVAL)) != 0 ? wanted_ : events & wanted_;
  }
  /// c-ares is done with it.
  void close() noexcept {
    of_ = nullptr;
    if (in_flight()) return part_.kernel.cancel(*this);
    ::close(fd_);
    --part_.stats.sockets;
    part_.home_.drain_progressed();
    delete this;
  }

  void complete(std::int32_t result, std::uint32_t) noexcept override {
    if (of_ == nullptr) return close();
    if (result != -ECANCELED) ready_ |= result < 0 ? POLLERR : static_cast<std::uint32_t>(result);
    of_->something_ready_ = true;
  }

 private:
  ~polled_socket() = default;

  shard_part& part_;
  channel* of_;  // null when c-ares is done
  int fd_;
  std::uint32_t wanted_ = 0;
  std::uint32_t ready_ = 0;
};

struct channel::calls {
  static channel& of(void* data) noexcept { return *static_cast<channel*>(data); }

  static ares_socket_t socket(int domain, int type, int protocol, void* data) {
    channel& self = of(data);
    const int fd = ::socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
    if (fd < 0) return -1;
    try {
      self.sockets_.emplace(fd, new polled_socket(self, fd));
    } catch (const std::bad_alloc&) {
      ::close(fd);
      errno = ENOMEM;
      return -1;
    }
    return fd;
  }
  static int close(ares_socket_t fd, void* data) {
    const auto found = of(data).sockets_.find(fd);
    polled_socket* closed = found->second;
    of(data).sockets_.erase(found);
    closed->close();
    return 0;
  }
  static int connect(ares_socket_t fd, const sockaddr* to, ares_socklen_t bytes, void*) {
    return ::connect(fd, to, bytes);
  }
  static ares_ssize_t receive(ares_socket_t fd, void* into, std::size_t bytes, int flags, sockaddr* from,
                              ares_socklen_t* from_bytes, void*) {
    return ::recvfrom(fd, into, bytes, flags, from, from_bytes);
  }
  static ares_ssize_t send(ares_socket_t fd, const iovec* pieces, int count, void*) {
    msghdr message{};
    message.msg_iov = const_cast<iovec*>(pieces);
    message.msg_iovlen = static_cast<std::size_t>(count);
    return ::sendmsg(fd, &message, MSG_NOSIGNAL);
  }
  static void wants(void* data, ares_socket_t fd, int to_read, int to_write) {
    const std::uint32_t events = (to_read != 0 ? POLLIN : 0u) | (to_write != 0 ? POLLOUT : 0u);
    const auto found = of(data).sockets_.find(fd);
    if (found != of(data).sockets_.end()) found->second->want(events);
  }
  static void answered(void* who, int status, int, ares_addrinfo* found) {
    static_cast<answer_to*>(who)->answered(status, found);
    if (found != nullptr) ares_freeaddrinfo(found);
  }
};

namespace {

void require(int status, const char* call) {
  if (status == ARES_SUCCESS) return;
  if (status == ARES_ENOMEM) throw std::bad_alloc();
  throw std::system_error(std::make_error_code(std::errc::invalid_argument),
                          std::string(call) + ": " + ares_strerror(status));
}

std::string comma_separated(const std::vector<std::string>& words) {
  std::string list;
  for (const std::string& each : words) list += (list.empty() ? "" : ",") + each;
  return list;
}

}  // namespace

channel::channel(const resolver_options& options, shard_part& part) : part_(part) {
  static const int library = ares_library_init(ARES_LIB_INIT_ALL);  // counts without a lock, so once for all shards
  require(library, "set up c-ares");
  char from_servers_only[] = "b";  // the hosts file is read here, once; c-ares would for every question
  std::string resolv_conf = options.resolv_conf;
  ares_options given{};
  given.lookups = from_servers_only;
  given.timeout = static_cast<int>(options.timeout.count());
  given.tries = static_cast<int>(options.tries);
  given.sock_state_cb = &calls::wants;
  given.sock_state_cb_data = this;
  given.resolvconf_path = resolv_conf.data();
  constexpr int which =
      ARES_OPT_LOOKUPS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB | ARES_OPT_RESOLVCONF;
  require(ares_init_options(&ares_, &given, which), "set up the resolver");
  static constexpr ares_socket_functions functions{&calls::socket, &calls::close, &calls::connect, &calls::receive,
                                                   &calls::send};
  ares_set_socket_functions(ares_, &functions, this);
  if (options.servers.empty()) return;
  const std::string servers = comma_separated(options.servers);
  const int status = ares_set_servers_ports_csv(ares_, servers.c_str());
  if (status == ARES_SUCCESS) return;
  ares_destroy(ares_);
  require(status, ("use the name servers " + servers).c_str());
}

channel::~channel() {
  ares_destroy(ares_);
  wait_on();
  timers::this_timers().cancel(*this);
  if (is_poller_) this_shard().loop->remove(*this);
}

void channel::ask(const std::string& name, family wanted, answer_to& who) noexcept {
  ares_addrinfo_hints hints{};
  hints.ai_family = wanted == family::any ? AF_UNSPEC : wanted == family::v4 ? AF_INET : AF_INET6;
  hints.ai_socktype = SOCK_STREAM;
  ares_getaddrinfo(ares_, name.c_str(), nullptr, &hints, &calls::answered, &who);
  wait_on();
}

void channel::cancel_all() noexcept {
  ares_cancel(ares_);
  wait_on();
}

void channel::poll() noexcept {
  if (!std::exchange(something_ready_, false)) return;
  ready_.clear();
  for (const auto& [fd, each] : sockets_) {
    if (const std::uint32_t events = each->take_ready(); events != 0) ready_.emplace_back(fd, events);
  }
  if (std::exchange(due_, false)) ares_process_fd(ares_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
  for (const auto& [fd, events] : ready_) {
    // One that c-ares has closed meanwhile it does not find. A new one of that number, at worst, it looks at in vain.
    ares_process_fd(ares_, (events & POLLIN) != 0 ? fd : ARES_SOCKET_BAD,
                    (events & POLLOUT) != 0 ? fd : ARES_SOCKET_BAD);
  }
  wait_on();
}

void channel::wait_on() noexcept {
  for (const auto& [fd, each] : sockets_) each->arm();
  timers::timer_service& wheel = timers::this_timers();
  wheel.cancel(*this);
  timeval left{};
  if (!sockets_.empty() && ares_timeout(ares_, nullptr, &left) != nullptr) {
    wheel.arm(*this, clock::now() + std::chrono::seconds(left.tv_sec) + std::chrono::microseconds(left.tv_usec));
  }
  // Stays one to its end: a poller must not go while pollers are polled, and an idle one costs a look at a flag.
  if (!sockets_.empty() && !std::exchange(is_poller_, true)) this_shard().loop->add(*this);
}

}  // namespace skerry::net::dns::detail
