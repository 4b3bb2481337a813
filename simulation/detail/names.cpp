// SPDX-License-Identifier: Apache-2.0
#include <skerry/simulation/detail/machine.hpp>
#include <skerry/simulation/detail/names.hpp>
#include <skerry/simulation/detail/world.hpp>

#include <algorithm>
#include <cctype>
#include <memory>
#include <string_view>
#include <utility>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/time.h>

namespace skerry::sim::detail {

namespace {

// Of c-ares, where nothing else is asked for.
constexpr std::chrono::milliseconds timeout_default(5000);
constexpr int tries_default = 4;

constexpr place name_server{ip_number::v4(10u << 24 | 255u << 16 | 255u << 8 | 53), 53};

/// What such a list is made of; the list is its first part, so that who has the one has the other.
struct address_list {
  ares_addrinfo list{};
  struct entry {
    ares_addrinfo_node node{};
    sockaddr_storage address{};
  };
  entry entries[2];
  int count = 0;

  void add(const ip_number& ip, int ttl) noexcept {
    entry& made = entries[count];
    const int family = ip.is_v4() ? AF_INET : AF_INET6;
    made.node.ai_addrlen = sizeof made.address;
    made.node.ai_addr = reinterpret_cast<sockaddr*>(&made.address);
    write_name({ip, 0}, family, made.node.ai_addr, &made.node.ai_addrlen);
    made.node.ai_ttl = ttl;
    made.node.ai_family = family;
    made.node.ai_socktype = SOCK_STREAM;
    (count == 0 ? list.nodes : entries[count - 1].node.ai_next) = &made.node;
    ++count;
  }
};

bool same_name(std::string_view host, std::string_view asked) noexcept {
  if (asked.ends_with('.')) asked.remove_suffix(1);
  return std::ranges::equal(host, asked,
                            [](unsigned char a, unsigned char b) { return std::tolower(a) == std::tolower(b); });
}

}  // namespace

name_client::name_client(machine& of, const ares_options& given, int which) noexcept
    : of_(of),
      wants_((which & ARES_OPT_SOCK_STATE_CB) != 0 ? given.sock_state_cb : nullptr),
      wants_data_(given.sock_state_cb_data),
      timeout_((which & ARES_OPT_TIMEOUTMS) != 0 ? std::chrono::milliseconds(given.timeout) : timeout_default),
      tries_((which & ARES_OPT_TRIES) != 0 ? given.tries : tries_default) {}

name_client::~name_client() { cancel_all(ARES_EDESTRUCTION); }

world& name_client::in() const noexcept { return of_.in(); }

void name_client::use(const ares_socket_functions& calls, void* data) noexcept {
  calls_ = &calls;
  calls_data_ = data;
}

void name_client::ask(const char* name, int family, ares_addrinfo_callback callback, void* data) {
  const int fd = calls_ != nullptr ? calls_->asocket(AF_INET, SOCK_DGRAM, 0, calls_data_) : -1;
  const auto socket = std::dynamic_pointer_cast<udp_socket>(of_.find(fd));
  if (fd < 0 || socket == nullptr) return callback(data, ARES_ECONNREFUSED, 0, nullptr);
  const auto made = questions_.emplace(++asked_, question{name, family, callback, data, fd, socket}).first;
  if (wants_ != nullptr) wants_(wants_data_, fd, 1, 0);
  send(made->second);
}

/// An answer is a datagram in the socket: how the server finds the name.
void name_client::send(question& which) {
  world& w = in();
  const name_options& names = w.given().names;
  which.deadline = of_.monotonic() + timeout_ * (1 << std::min(which.tries++, 10));
  if (w.chance(names.unanswered, "name_unanswered")) return;
  const int status = w.chance(names.failed, "name_failed")     ? ARES_ESERVFAIL
                     : w.chance(names.unknown, "name_unknown") ? ARES_ENOTFOUND
                                                               : ARES_SUCCESS;
  w.after(w.between(names.latency_min, names.latency_max), [to = which.socket, status] {
    if (const auto socket = to.lock()) socket->come({name_server, std::string(1, static_cast<char>(status))});
  });
}

void name_client::end(questions::iterator which, int status, int timeouts) {
  const question ended = std::move(which->second);
  questions_.erase(which);
  if (wants_ != nullptr) wants_(wants_data_, ended.fd, 0, 0);
  calls_->aclose(ended.fd, calls_data_);
  ares_addrinfo* found = status == ARES_SUCCESS ? addresses_of(ended, status) : nullptr;
  in().note("name", static_cast<std::uint64_t>(status), of_.ip());
  ended.callback(ended.data, status, timeouts, found);  // may ask again
}

ares_addrinfo* name_client::addresses_of(const question& which, int& status) const {
  const auto& all = in().machines();
  const auto found = std::ranges::find_if(all, [&](const auto& each) { return same_name(each->name(), which.name); });
  if (found == all.end()) {
    status = ARES_ENOTFOUND;
    return nullptr;
  }
  auto made = std::make_unique<address_list>();
  const auto ttl = static_cast<int>(in().given().names.ttl.count());
  if (which.family != AF_INET) made->add((*found)->ip6(), ttl);
  if (which.family != AF_INET6) made->add(ip_number::v4((*found)->ip()), ttl);
  return &made.release()->list;
}

/// What has come on that socket, and whose time is over.
void name_client::process(int fd) {
  const auto asked = std::ranges::find_if(questions_, [&](const auto& each) { return each.second.fd == fd; });
  if (asked != questions_.end()) {
    const auto socket = asked->second.socket.lock();
    const std::string came = socket != nullptr ? socket->take() : std::string();
    if (!came.empty()) end(asked, came.front(), asked->second.tries - 1);
  }
  const std::chrono::nanoseconds now = of_.monotonic();
  const std::uint64_t last = asked_;  // not those that are asked meanwhile
  for (auto each = questions_.begin(); each != questions_.end() && each->first <= last;) {
    const std::uint64_t number = each->first;
    if (each->second.deadline > now) {
      ++each;
      continue;
    }
    each->second.tries < tries_ ? send(each->second) : end(each, ARES_ETIMEOUT, each->second.tries);
    each = questions_.upper_bound(number);
  }
}

void name_client::cancel_all(int status) {
  const std::uint64_t last = asked_;
  while (!questions_.empty() && questions_.begin()->first <= last) end(questions_.begin(), status, 0);
}

bool name_client::next_deadline(std::chrono::nanoseconds& left) const noexcept {
  const auto first = std::ranges::min_element(questions_, {}, [](const auto& each) { return each.second.deadline; });
  if (first == questions_.end()) return false;
  left = std::max(first->second.deadline - of_.monotonic(), std::chrono::nanoseconds(0));
  return true;
}

}  // namespace skerry::sim::detail

// --- the calls of c-ares that net makes ---

namespace {

using skerry::sim::detail::name_client;
using skerry::sim::detail::world;

/// Whose turn it is; null outside of simulations, where the calls are c-ares'.
skerry::sim::machine* here() noexcept {
  world* in = world::running();
  return in != nullptr && in->running_shard() != nullptr ? &in->running_shard()->of : nullptr;
}

name_client& ours(ares_channel channel) noexcept { return *reinterpret_cast<name_client*>(channel); }

}  // namespace

// NOLINTBEGIN(bugprone-reserved-identifier): the linker makes these names.
extern "C" {

int __real_ares_init_options(ares_channel*, ares_options*, int);
int __wrap_ares_init_options(ares_channel* made, ares_options* given, int which) {
  skerry::sim::machine* m = here();
  if (m == nullptr) return __real_ares_init_options(made, given, which);
  *made = reinterpret_cast<ares_channel>(new name_client(*m, *given, which));
  return ARES_SUCCESS;
}

void __real_ares_destroy(ares_channel);
void __wrap_ares_destroy(ares_channel channel) {
  if (here() == nullptr) return __real_ares_destroy(channel);
  delete &ours(channel);
}

void __real_ares_set_socket_functions(ares_channel, const ares_socket_functions*, void*);
void __wrap_ares_set_socket_functions(ares_channel channel, const ares_socket_functions* calls, void* data) {
  if (here() == nullptr) return __real_ares_set_socket_functions(channel, calls, data);
  ours(channel).use(*calls, data);
}

// Whoever is asked, the answer is the same.
int __real_ares_set_servers_ports_csv(ares_channel, const char*);
int __wrap_ares_set_servers_ports_csv(ares_channel channel, const char* servers) {
  return here() == nullptr ? __real_ares_set_servers_ports_csv(channel, servers) : ARES_SUCCESS;
}

void __real_ares_getaddrinfo(ares_channel, const char*, const char*, const ares_addrinfo_hints*, ares_addrinfo_callback,
                             void*);
void __wrap_ares_getaddrinfo(ares_channel channel, const char* name, const char* service,
                             const ares_addrinfo_hints* hints, ares_addrinfo_callback callback, void* data) {
  if (here() == nullptr) return __real_ares_getaddrinfo(channel, name, service, hints, callback, data);
  ours(channel).ask(name, hints->ai_family, callback, data);
}

void __real_ares_freeaddrinfo(ares_addrinfo*);
void __wrap_ares_freeaddrinfo(ares_addrinfo* list) {
  if (here() == nullptr) return __real_ares_freeaddrinfo(list);
  delete reinterpret_cast<skerry::sim::detail::address_list*>(list);
}

void __real_ares_cancel(ares_channel);
void __wrap_ares_cancel(ares_channel channel) {
  if (here() == nullptr) return __real_ares_cancel(channel);
  ours(channel).cancel_all(ARES_ECANCELLED);
}

void __real_ares_process_fd(ares_channel, ares_socket_t, ares_socket_t);
void __wrap_ares_process_fd(ares_channel channel, ares_socket_t to_read, ares_socket_t to_write) {
  if (here() == nullptr) return __real_ares_process_fd(channel, to_read, to_write);
  ours(channel).process(to_read);
}

timeval* __real_ares_timeout(ares_channel, timeval*, timeval*);
timeval* __wrap_ares_timeout(ares_channel channel, timeval* most, timeval* left) {
  if (here() == nullptr) return __real_ares_timeout(channel, most, left);
  std::chrono::nanoseconds until{0};
  if (!ours(channel).next_deadline(until)) return most;
  const auto whole = std::chrono::ceil<std::chrono::microseconds>(until);
  *left = {whole.count() / 1'000'000, whole.count() % 1'000'000};
  return left;
}

}  // extern "C"
// NOLINTEND(bugprone-reserved-identifier)
