// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/random.hpp>
#include <skerry/framework/this_shard.hpp>
#include <skerry/net/http/middleware.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <algorithm>
#include <exception>
#include <iterator>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <utility>

#include <fmt/core.h>

namespace skerry::net::http {

namespace {

bool is_letter_or_digit(char c) noexcept {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_request_id(std::string_view text) noexcept {
  return !text.empty() && text.size() <= 128 && std::ranges::all_of(text, [](char c) {
    return is_letter_or_digit(c) || std::string_view("-_.:+/=").find(c) != std::string_view::npos;
  });
}

void log_access(const request& r, unsigned status, clock::time_point begun) {
  log::info("{} {} {} {} us", r.head().method_text, r.path(), status,
            std::chrono::duration_cast<std::chrono::microseconds>(clock::read() - begun).count());
}

}  // namespace

middleware request_id() {
  return [](request& r, next go_on) -> task<response> {
    std::string id(r.header("X-Request-Id").value_or(""));
    if (!is_request_id(id)) {
      random_source& random = *this_shard().random;
      const std::uint64_t high = random();
      id = fmt::format("{:016x}{:016x}", high, random());
    }
    response made = co_await go_on(r);
    made.header("X-Request-Id", id);
    co_return made;
  };
}

middleware access_log() {
  return [](request& r, next go_on) -> task<response> {
    const clock::time_point begun = clock::read();
    try {
      response made = co_await go_on(r);
      log_access(r, made.status(), begun);
      co_return made;
    } catch (const http_error& error) {
      log_access(r, error.status(), begun);
      throw;
    } catch (...) {
      log_access(r, 500, begun);
      throw;
    }
  };
}

middleware exceptions_to_problems() {
  return [](request& r, next go_on) -> task<response> {
    std::string what;
    try {
      co_return co_await go_on(r);
    } catch (const http_error& error) {
      co_return problem(error.status(), error.what());
    } catch (const std::exception& error) {
      what = error.what();
    } catch (...) {
      what = "what is thrown is no std::exception";
    }
    log::error("{} {}: {}", r.head().method_text, r.path(), what);
    co_return problem(500, "the handler failed");
  };
}

middleware time_limit(clock::duration limit) {
  return [limit](request& r, next go_on) -> task<response> {
    try {
      co_return co_await with_timeout(limit, go_on(r));
    } catch (const timeout_error&) {
    }
    co_return problem(503, "the answer took too long");
  };
}

// ---- CORS ----

namespace {

constexpr std::string_view any_origin = "*";

std::string joined(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& each : names) list.append(list.empty() ? "" : ", ").append(each);
  return list;
}

/// The fields of a preflight and of an ordinary response, written once.
class cors_fields {
 public:
  explicit cors_fields(cors_options options)
      : origins_(std::move(options.origins)),
        headers_(joined(options.headers)),
        exposed_(joined(options.exposed)),
        age_(std::to_string(options.preflight_age.count())),
        credentials_(options.credentials),
        every_origin_(std::ranges::find(origins_, any_origin) != origins_.end()) {
    if (every_origin_ && credentials_) {
      throw std::invalid_argument(
          "cors: credentials for every origin would let any page act as the user; name origins");
    }
    for (const method each : options.methods) {
      methods_.append(methods_.empty() ? "" : ", ").append(to_string(each));
    }
    response probe;  // refuses here what HTTP cannot carry
    probe.header("X", headers_).header("X", exposed_);
  }

  static bool is_preflight(const request& r) noexcept {
    return r.method() == method::options && r.header("Origin") && r.header("Access-Control-Request-Method");
  }

  /// What every response has. False when this origin gets no more.
  bool add_origin(const request& r, response& made) const {
    if (!every_origin_) made.header("Vary", "Origin");
    const auto origin = r.header("Origin");
    if (!origin || !(every_origin_ || std::ranges::find(origins_, *origin) != origins_.end())) return false;
    made.header("Access-Control-Allow-Origin", every_origin_ ? any_origin : *origin);
    if (credentials_) made.header("Access-Control-Allow-Credentials", "true");
    return true;
  }
  void add(const request& r, response& made) const {
    if (add_origin(r, made) && !exposed_.empty()) made.header("Access-Control-Expose-Headers", exposed_);
  }
  response preflight(const request& r) const {
    response made(204);
    if (!add_origin(r, made)) return made;
    made.header("Access-Control-Allow-Methods", methods_);
    if (!headers_.empty()) made.header("Access-Control-Allow-Headers", headers_);
    made.header("Access-Control-Max-Age", age_);
    return made;
  }

 private:
  std::vector<std::string> origins_;
  std::string methods_;
  std::string headers_;
  std::string exposed_;
  std::string age_;
  bool credentials_;
  bool every_origin_;
};

}  // namespace

middleware cors(cors_options options) {
  return [fields = cors_fields(std::move(options))](request& r, next go_on) -> task<response> {
    if (cors_fields::is_preflight(r)) co_return fields.preflight(r);
    response made = co_await go_on(r);
    fields.add(r, made);
    co_return made;
  };
}

// ---- authentication ----

namespace {

/// What stands behind `scheme` in Authorization.
std::optional<std::string_view> credentials_of(const request& r, std::string_view scheme) noexcept {
  const auto found = r.header("Authorization");
  if (!found || found->size() <= scheme.size() || (*found)[scheme.size()] != ' ') return std::nullopt;
  if (!same_name(found->substr(0, scheme.size()), scheme)) return std::nullopt;
  const std::size_t begin = found->find_first_not_of(' ', scheme.size());
  if (begin == std::string_view::npos) return std::nullopt;
  return found->substr(begin);
}

/// Base64 with its padding (RFC 4648), or nothing.
std::optional<std::string> base64_decode(std::string_view text) {
  constexpr std::string_view digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.size() % 4 != 0) return std::nullopt;
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  text.remove_suffix(padding);
  std::string out;
  std::uint32_t bits = 0;
  unsigned held = 0;
  for (const char c : text) {
    const std::size_t digit = digits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    held += 6;
    if (held < 8) continue;
    held -= 8;
    out += static_cast<char>(bits >> held & 0xff);
  }
  if ((bits & ((1U << held) - 1)) != 0) return std::nullopt;  // two texts for the same bytes
  return out;
}

/// The challenge of a 401. Throws std::invalid_argument for a realm that cannot be quoted.
std::string challenge(std::string_view scheme, std::string_view realm, std::string_view more) {
  const bool quotable =
      std::ranges::all_of(realm, [](char c) { return c >= ' ' && c < 0x7f && c != '"' && c != '\\'; });
  if (!quotable) throw std::invalid_argument("a realm is printable ASCII without '\"' and '\\'");
  return fmt::format("{} realm=\"{}\"{}", scheme, realm, more);
}

response unauthorized(std::string_view challenge) {
  return problem(401, "credentials are needed").header("WWW-Authenticate", challenge);
}

}  // namespace

bool same_secret(std::string_view given, std::string_view expected) noexcept {
  // volatile, or the compiler may leave the loop at the first difference.
  volatile std::size_t difference = given.size() ^ expected.size();
  for (std::size_t i = 0; i < given.size(); ++i) {
    const char other = expected.empty() ? '\0' : expected[i % expected.size()];
    difference = difference | static_cast<unsigned char>(given[i] ^ other);
  }
  return difference == 0;
}

middleware basic_auth(std::string_view realm, password_check check) {
  return [asks = challenge("Basic", realm, ", charset=\"UTF-8\""), check = std::move(check)](
             request& r, next go_on) mutable -> task<response> {
    if (const auto sent = credentials_of(r, "Basic")) {
      const std::optional<std::string> pair = base64_decode(*sent);
      const std::size_t colon = pair ? pair->find(':') : std::string::npos;
      if (colon != std::string::npos) {
        const std::string_view user = std::string_view(*pair).substr(0, colon);
        const bool known = co_await check(user, std::string_view(*pair).substr(colon + 1));
        if (known) co_return co_await go_on(r);
      }
    }
    co_return unauthorized(asks);
  };
}

middleware bearer_auth(std::string_view realm, token_check check) {
  return [asks = challenge("Bearer", realm, ""), refuses = challenge("Bearer", realm, ", error=\"invalid_token\""),
          check = std::move(check)](request& r, next go_on) mutable -> task<response> {
    const auto token = credentials_of(r, "Bearer");
    if (!token) co_return unauthorized(asks);
    const bool known = co_await check(*token);
    if (!known) co_return unauthorized(refuses);
    co_return co_await go_on(r);
  };
}

// ---- rates ----

namespace {

/// When each key's bucket will be full again; one that is full is as good as unknown.
class rate_table {
 public:
  explicit rate_table(const rate_options& options) : keys_max_(options.keys_max) {
    // Within a nanosecond and a month, so that no sum below overflows.
    const bool sensible = options.per_second >= 1e-6 && options.per_second <= 1e9 && options.burst >= 1 &&
                          options.burst / options.per_second <= 2.6e6 && options.keys_max >= 1;
    if (!sensible) throw std::invalid_argument("rate_limit: per_second, burst and keys_max are above 0");
    cost_ = clock::duration(static_cast<clock::rep>(1e9 / options.per_second));
    depth_ = cost_ * options.burst;
  }

  /// Takes a token and returns nothing, or returns how long the next will take.
  std::optional<clock::duration> take(std::string_view key) {
    key = key.substr(0, key_bytes_max);
    const clock::time_point now = clock::now();
    const auto known = by_key_.find(key);
    const clock::time_point full_at = known == by_key_.end() ? now : std::max(known->second->full_at, now);
    const clock::duration over = full_at + cost_ - now - depth_;
    if (known != by_key_.end()) by_use_.splice(by_use_.end(), by_use_, known->second);
    if (over > clock::duration::zero()) return over;
    if (known != by_key_.end()) {
      known->second->full_at = full_at + cost_;
    } else {
      remember(key, full_at + cost_);
    }
    return std::nullopt;
  }

 private:
  static constexpr std::size_t key_bytes_max = 128;
  struct bucket {
    std::string key;
    clock::time_point full_at;
  };

  void remember(std::string_view key, clock::time_point full_at) {
    if (by_key_.size() == keys_max_) {
      by_key_.erase(by_use_.front().key);
      by_use_.pop_front();
    }
    by_use_.push_back({std::string(key), full_at});
    by_key_.emplace(by_use_.back().key, std::prev(by_use_.end()));
  }

  clock::duration cost_;   // of one request
  clock::duration depth_;  // of a whole bucket
  const std::size_t keys_max_;
  std::list<bucket> by_use_;  // the one used longest ago first
  // A tree: the keys are the peer's choice, and could all be made to meet in one bucket of a hash table.
  std::map<std::string_view, std::list<bucket>::iterator> by_key_;
};

}  // namespace

middleware rate_limit(rate_options options, rate_key key) {
  return [table = std::make_unique<rate_table>(options), key = std::move(key)](request& r,
                                                                               next go_on) mutable -> task<response> {
    if (const auto wait = table->take(key(r))) {
      const auto seconds = std::chrono::ceil<std::chrono::seconds>(*wait).count();
      co_return problem(429, "too many requests").header("Retry-After", std::to_string(seconds));
    }
    co_return co_await go_on(r);
  };
}

}  // namespace skerry::net::http
