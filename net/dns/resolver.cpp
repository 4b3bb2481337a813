// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/resources.hpp>
#include <skerry/framework/sync/event.hpp>
#include <skerry/net/dns/detail/channel.hpp>
#include <skerry/net/dns/resolver.hpp>
#include <skerry/timers/timer.hpp>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <fstream>
#include <new>
#include <optional>
#include <utility>

#include <ares.h>
#include <fmt/core.h>

namespace skerry::net::dns {

namespace {

class category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "resolve"; }
  std::string message(int code) const override {
    switch (static_cast<resolve_errc>(code)) {
      case resolve_errc::not_found: return "there is no such name (NXDOMAIN)";
      case resolve_errc::no_address: return "the name has no address of the wanted family";
      case resolve_errc::timed_out: return "the name servers are silent";
      case resolve_errc::server_failure: return "every name server failed, refused or cannot be reached (SERVFAIL)";
      case resolve_errc::bad_answer: return "the name server's answer cannot be read";
      case resolve_errc::bad_name: return "this is no host name";
      case resolve_errc::unknown_service: return "there is no such TCP service";
    }
    return "unknown error";
  }
  std::error_condition default_error_condition(int code) const noexcept override {
    if (static_cast<resolve_errc>(code) == resolve_errc::timed_out) return std::errc::timed_out;
    return {code, *this};
  }
};

std::error_code error_of(int status) noexcept {
  switch (status) {
    case ARES_ENOTFOUND: return resolve_errc::not_found;
    case ARES_ENODATA: return resolve_errc::no_address;
    case ARES_ETIMEOUT: return resolve_errc::timed_out;
    case ARES_EBADNAME: return resolve_errc::bad_name;
    case ARES_ENOMEM: return std::make_error_code(std::errc::not_enough_memory);
    case ARES_ECANCELLED:
    case ARES_EDESTRUCTION: return std::make_error_code(std::errc::operation_canceled);
    case ARES_EBADRESP:
    case ARES_EFORMERR: return resolve_errc::bad_answer;
    default: return resolve_errc::server_failure;
  }
}

/// At most 16 MiB; nothing if it cannot be read.
std::string contents_of(const std::string& path) {
  constexpr std::streamsize most = 16 << 20;
  std::ifstream from(path, std::ios::binary);
  std::string text;
  for (char piece[65536]; from && static_cast<std::streamsize>(text.size()) < most;) {
    from.read(piece, sizeof piece);
    text.append(piece, static_cast<std::size_t>(from.gcount()));
  }
  return text;
}

bool of_family(const address& each, family wanted) noexcept {
  return wanted == family::any || each.family() == (wanted == family::v4 ? AF_INET : AF_INET6);
}

bool can_be_a_name(std::string_view host) noexcept {
  constexpr std::size_t bytes_max = 253;
  const std::string_view name = host.ends_with('.') ? host.substr(0, host.size() - 1) : host;
  return !name.empty() && name.size() <= bytes_max && std::ranges::all_of(name, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
           c == '.';
  });
}

}  // namespace

const std::error_category& resolve_category() noexcept {
  static const category one;
  return one;
}

resolve_error::resolve_error(std::error_code code, std::string host, const std::string& detail)
    : std::system_error(code, fmt::format("resolve {}{}", host, detail)), host_(std::move(host)) {}

resolver_stats stats() noexcept { return detail::this_part().stats; }

/// One question to the servers and those who wait for its answer.
class resolver::question final : public detail::answer_to {
 public:
  question(resolver& of, std::string as, std::string host, family asked_for)
      : key(std::move(as)), name(std::move(host)), wanted(asked_for), of_(of) {}

  void answered(int status, const ares_addrinfo* found) noexcept override {
    if (status == ARES_SUCCESS) {
      take(*found);
    } else {
      error = error_of(status);
    }
    of_.answered(*this);
  }

  const std::string key, name;
  const family wanted;
  skerry::event done{"dns answer"};
  std::size_t waiters = 0;
  bool under_way = false;
  std::vector<address> addresses;
  std::error_code error;
  std::chrono::seconds ttl = std::chrono::seconds::max();
  clock::time_point asked{};

 private:
  void take(const ares_addrinfo& found) noexcept {
    try {
      for (const auto* each = found.nodes; each != nullptr; each = each->ai_next) {
        if (each->ai_family != AF_INET && each->ai_family != AF_INET6) continue;
        sockaddr_storage storage{};
        std::memcpy(&storage, each->ai_addr, std::min<std::size_t>(each->ai_addrlen, sizeof storage));
        addresses.push_back(address::from_kernel(&storage, static_cast<socklen_t>(each->ai_addrlen)));
        ttl = std::min(ttl, std::chrono::seconds(each->ai_ttl));
      }
      for (const auto* each = found.cnames; each != nullptr; each = each->next) {
        ttl = std::min(ttl, std::chrono::seconds(each->ttl));
      }
      if (addresses.empty()) error = resolve_errc::no_address;
    } catch (const std::bad_alloc&) {
      error = std::make_error_code(std::errc::not_enough_memory);
    }
  }

  resolver& of_;
};

/// Somebody's wait for a question.
class resolver::place_in {
 public:
  place_in(resolver& of, std::shared_ptr<question> waited_for) noexcept : of_(of), question_(std::move(waited_for)) {
    ++question_->waiters;
    ++of_.waiters_;
  }
  place_in(const place_in&) = delete;
  place_in& operator=(const place_in&) = delete;
  ~place_in() {
    --of_.waiters_;
    --question_->waiters;
    of_.leave(*question_);
  }
  question& operator*() const noexcept { return *question_; }
  question* operator->() const noexcept { return question_.get(); }

 private:
  resolver& of_;
  std::shared_ptr<question> question_;
};

resolver::resolver(const resolver_options& options)
    : options_(options),
      hosts_(contents_of(options.hosts_file)),
      services_(contents_of(options.services_file)),
      shard_(detail::this_part()),
      channel_(std::make_unique<detail::channel>(options, shard_)) {}

resolver::~resolver() {
  home_.check("a resolver");
  SKERRY_ASSERT(waiters_ == 0, "a resolver outlives those who wait in it");
}

void resolver::forget() noexcept {
  home_.check("a resolver");
  cache_index_.clear();
  cache_.clear();
}

std::vector<address> resolver::known(const std::string& host, family wanted) const {
  std::vector<address> found;
  if (const auto numeric = address::parse(host, 0)) {
    found.push_back(*numeric);
  } else if (!can_be_a_name(host)) {
    throw resolve_error(resolve_errc::bad_name, host);
  } else if (const std::string name = canonical_name(host); name == "localhost" || name.ends_with(".localhost")) {
    found = {*address::parse("::1", 0), *address::parse("127.0.0.1", 0)};
  } else {
    found = hosts_.find(name);
  }
  if (found.empty()) return found;
  std::erase_if(found, [wanted](const address& each) { return !of_family(each, wanted); });
  if (found.empty()) throw resolve_error(resolve_errc::no_address, host);
  return found;
}

const resolver::entry* resolver::cached(const std::string& key) {
  const auto found = cache_index_.find(key);
  if (found == cache_index_.end()) return nullptr;
  const entries::iterator at = found->second;
  if (at->until <= clock::now()) {
    cache_index_.erase(found);
    cache_.erase(at);
    return nullptr;
  }
  cache_.splice(cache_.begin(), cache_, at);
  return &*at;
}

void resolver::remember(const question& of) {
  const bool nothing = of.error == resolve_errc::not_found || of.error == resolve_errc::no_address;
  if (of.error && !nothing) return;
  const std::chrono::seconds kept =
      nothing ? options_.negative_ttl : std::min(std::max(of.ttl, options_.ttl_min), options_.ttl_max);
  if (kept <= std::chrono::seconds::zero() || options_.cache_entries_max == 0) return;
  if (cached(of.key) != nullptr) return;
  if (cache_.size() >= options_.cache_entries_max) {
    cache_index_.erase(cache_.back().key);
    cache_.pop_back();
  }
  cache_.push_front({of.key, of.addresses, of.error, timers::saturating_add(clock::now(), kept)});
  cache_index_.emplace(of.key, cache_.begin());
}

void resolver::answered(question& which) noexcept {
  const auto place = questions_.find(which.key);
  const std::shared_ptr<question> kept = std::move(place->second);
  questions_.erase(place);
  --asked_;
  if (which.error) ++shard_.stats.failures;
  try {
    remember(which);
  } catch (const std::bad_alloc&) {
    // It is asked again next time.
  }
  which.done.set();
  if (which.error != std::errc::operation_canceled) start_queued();
}

void resolver::start_queued() noexcept {
  // A question may be answered at once, and come back here.
  if (std::exchange(starting_, true)) return;
  while (asked_ < options_.questions_max && !queued_.empty()) {
    question& next = *queued_.front();
    queued_.pop_front();
    next.under_way = true;
    next.asked = clock::now();
    ++asked_;
    ++shard_.stats.queries;
    channel_->ask(next.name, next.wanted, next);
  }
  starting_ = false;
}

void resolver::leave(question& left) noexcept {
  if (left.waiters == 0 && !left.under_way) {
    std::erase(queued_, &left);
    questions_.erase(left.key);
  }
  if (waiters_ == 0 && asked_ != 0) channel_->cancel_all();
}

task<std::vector<address>> resolver::ask(const std::string& host, const std::string& key, family wanted) {
  auto found = questions_.find(key);
  if (found == questions_.end()) {
    auto made = std::make_shared<question>(*this, key, host, wanted);
    queued_.push_back(made.get());
    found = questions_.emplace(key, std::move(made)).first;
  } else {
    ++shard_.stats.shared;
  }
  const place_in place(*this, found->second);
  start_queued();
  co_await place->done.wait();
  if (!place->error) co_return place->addresses;
  std::string detail;
  if (place->error == resolve_errc::timed_out) {
    const std::chrono::duration<double> waited = clock::now() - place->asked;
    detail = fmt::format(": no answer within {:.1f} s", waited.count());
  }
  throw resolve_error(place->error, host, detail);
}

task<std::vector<address>> resolver::resolve(std::string host, std::uint16_t port, family wanted) {
  home_.check("a resolver");
  std::vector<address> addresses = known(host, wanted);
  if (addresses.empty()) {
    std::string key(1, static_cast<char>('0' + static_cast<int>(wanted)));
    key += canonical_name(host);
    if (host.ends_with('.')) key += '.';  // not looked for in search domains
    if (const entry* hit = cached(key)) {
      ++shard_.stats.cache_hits;
      if (hit->error) throw resolve_error(hit->error, host);
      addresses = hit->addresses;
    } else {
      addresses = co_await ask(host, key, wanted);
    }
  }
  for (address& each : addresses) each.set_port(port);
  co_return addresses;
}

task<std::vector<address>> resolver::resolve(std::string host, std::string service, family wanted) {
  home_.check("a resolver");
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(service.data(), service.data() + service.size(), port);
  std::optional<std::uint16_t> found = port;
  if (error != std::errc() || end != service.data() + service.size()) found = services_.find(service);
  if (!found) throw resolve_error(resolve_errc::unknown_service, host, ", service " + service);
  return resolve(std::move(host), *found, wanted);
}

resolver& this_resolver() {
  auto* found = resources().find<resolver>();
  return found != nullptr ? *found : resources().emplace<resolver>();
}

}  // namespace skerry::net::dns
