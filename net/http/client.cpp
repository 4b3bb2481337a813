// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/random.hpp>
#include <skerry/framework/this_shard.hpp>
#include <skerry/net/dns/resolver.hpp>
#include <skerry/net/http/chunked_decoder.hpp>
#include <skerry/net/http/client.hpp>
#include <skerry/net/http/date.hpp>
#include <skerry/net/http/detail/connection_pool.hpp>
#include <skerry/net/http/detail/trailer_section.hpp>
#include <skerry/net/http/detail/url.hpp>
#include <skerry/net/http/response_parser.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <exception>
#include <iterator>
#include <stdexcept>

#include <fmt/core.h>

namespace skerry::net::http {

namespace {

// A body up to this size travels with its head.
constexpr std::size_t copied_body_max = 16 * 1024;
// The write limit is for so many bytes.
constexpr std::size_t write_slice = 64 * 1024;
// Interim responses to one request.
constexpr unsigned interim_max = 16;
// Of a redirect's body, read so that the connection can be kept.
constexpr std::size_t dropped_body_max = 64 * 1024;

constexpr std::array<std::string_view, 5> fields_of_client{"content-length", "transfer-encoding", "connection",
                                                           "expect", "upgrade"};
constexpr std::array<std::string_view, 4> fields_of_origin{"authorization", "cookie", "host", "proxy-authorization"};
constexpr std::array<std::string_view, 4> fields_of_body{"content-type", "content-encoding", "content-language",
                                                         "content-location"};

bool is_one_of(std::string_view name, std::span<const std::string_view> names) {
  return std::ranges::any_of(names, [name](std::string_view each) { return same_name(each, name); });
}
std::string_view name_of(std::string_view line) noexcept { return line.substr(0, line.find(':')); }

bool is_idempotent(method m) noexcept { return m != method::post && m != method::patch; }

}  // namespace

outgoing::outgoing(http::method method, std::string url) : method_(method), url_(std::move(url)) {
  if (method == method::connect || method == method::other) {
    throw std::invalid_argument("a client asks with the methods of RFC 9110 but for CONNECT, and with PATCH");
  }
}

outgoing& outgoing::header(std::string_view name, std::string_view value) & {
  if (is_one_of(name, fields_of_client)) {
    throw std::invalid_argument("the client adds the fields of framing and connection");
  }
  std::string line;
  append_field(line, name, value);
  lines_.push_back(std::move(line));
  return *this;
}

outgoing& outgoing::body(std::string_view type, std::string bytes) & {
  header("Content-Type", type);
  body_ = std::move(bytes);
  return *this;
}

outgoing& outgoing::stream(std::string_view type, producer write_body) & {
  header("Content-Type", type);
  body_ = std::move(write_body);
  return *this;
}

void outgoing::become_get() {
  method_ = method::get;
  body_ = std::string();
  forget_fields(fields_of_body);
}

void outgoing::forget_fields(std::span<const std::string_view> names) {
  std::erase_if(lines_, [names](const std::string& line) { return is_one_of(name_of(line), names); });
}

namespace detail {

/// A request and its response: bytes, deadlines, and the connection until the response has been read.
class client_exchange final : body_writer {
  static constexpr const char* response_is = "an HTTP response";

 public:
  client_exchange(connection_pool& pool, const url& to, clock::time_point deadline)
      : options_(pool.options), lease_(pool, to), parser_(options_.head), deadline_(deadline) {}
  ~client_exchange() { home_.check(response_is); }

  task<> connect(bool fresh) { co_await with_deadline(within(options_.connect_timeout), lease_.connect(fresh)); }
  task<> send(outgoing& request, const url& to);
  task<> read_head(method asked);
  task<buffer> next();
  /// Reads the rest of a body that is short.
  task<> drop_body();
  void close() noexcept;

  const response_head& head() const noexcept { return parser_.head(); }
  std::span<const field> trailers() const noexcept {
    return body_ == body_state::done ? trailers_.fields() : std::span<const field>();
  }
  /// Whether asking again on another connection is as good: this one had served before, and nothing has come.
  bool was_stale() const noexcept { return lease_.reused() && !answered_; }
  /// Whether the answer came instead of "100 Continue".
  bool kept_body_back() const noexcept { return kept_body_back_; }
  /// Whether the server knows no expectations; then the request does not have it any more.
  bool refuses_expectation(outgoing& request) const noexcept {
    if (!kept_body_back_ || head().status != 417) return false;
    request.expects_continue_ = false;
    return true;
  }

 private:
  enum class body_state : std::uint8_t { reading, done, failed };

  clock::time_point within(std::chrono::milliseconds limit) const noexcept {
    return std::min(deadline_, timers::saturating_add(clock::now(), limit));
  }
  task<> send_all(outgoing& request, const url& to);
  task<> put(std::string_view text);
  task<> write(std::span<const std::byte> bytes) override;
  task<> flush() override;
  void add_trailer(std::string_view line) override { append_trailer(trailer_lines_, line); }
  task<bool> receive(clock::time_point by);
  task<> read_one_head(method asked);
  task<bool> is_body_wanted(method asked);
  task<buffer> next_piece();
  void end_body();

  const client_options& options_;
  connection_pool::lease lease_;
  response_parser parser_;
  chunked_decoder chunks_;
  trailer_section trailers_;    // of the response
  std::string trailer_lines_;   // of the request
  std::string joined_;          // a head that came in pieces
  buffer head_bytes_;           // where the head's views point, unless in joined_
  buffer bytes_;                // received last
  std::span<const char> rest_;  // of it, not looked at yet
  const clock::time_point deadline_;
  std::uint64_t body_bytes_ = 0;
  body_state body_ = body_state::reading;
  bool answered_ = false;        // a byte has come
  bool broken_ = false;          // while sending
  bool kept_body_back_ = false;  // so the head of the answer is there, and the connection of no further use
  [[no_unique_address]] home_stamp home_;
};

void client_exchange::close() noexcept {
  lease_.close();
  if (body_ == body_state::reading) body_ = body_state::failed;
}

/// A server may answer and close before it has read everything; so a connection that breaks is read from all the same.
task<> client_exchange::send(outgoing& request, const url& to) {
  try {
    co_await send_all(request, to);
  } catch (const std::system_error&) {
    if (!broken_) throw;
  }
}

task<> client_exchange::send_all(outgoing& request, const url& to) {
  auto* producer = std::get_if<outgoing::producer>(&request.body_);
  const auto* bytes = std::get_if<std::string>(&request.body_);
  std::string out;
  if (options_.proxy) {
    out = fmt::format("{} http://{}{} HTTP/1.1\r\n", to_string(request.method_), to.authority, to.target);
    if (!options_.proxy_authorization.empty()) append_field(out, "Proxy-Authorization", options_.proxy_authorization);
  } else {
    out = fmt::format("{} {} HTTP/1.1\r\n", to_string(request.method_), to.target);
  }
  const auto has = [&request](std::string_view name) {
    return std::ranges::any_of(request.lines_, [name](const std::string& l) { return same_name(name_of(l), name); });
  };
  if (!has("Host")) append_field(out, "Host", to.authority);
  if (has("TE")) out.append("Connection: TE\r\n");  // it is for the next one only (RFC 9110 section 10.1.4)
  for (const std::string& line : request.lines_) out.append(line);
  const bool may_have_body =
      request.method_ == method::post || request.method_ == method::put || request.method_ == method::patch;
  if (producer != nullptr) {
    out.append("Transfer-Encoding: chunked\r\n");
  } else if (may_have_body || !bytes->empty()) {
    fmt::format_to(std::back_inserter(out), "Content-Length: {}\r\n", bytes->size());
  }
  const bool asks_first = request.expects_continue_ && (producer != nullptr || !bytes->empty());
  if (asks_first) out.append("Expect: 100-continue\r\n");
  out.append("\r\n");
  if (asks_first) {
    co_await put(std::exchange(out, std::string()));
    const bool wanted = co_await is_body_wanted(request.method_);
    kept_body_back_ = !wanted;
    if (!wanted) co_return;
  }
  if (producer != nullptr) {
    co_await put(out);
    co_await (*producer)(*this);
    co_await put(trailer_lines_.insert(0, "0\r\n").append("\r\n"));
    co_return;
  }
  const bool copied = bytes->size() <= copied_body_max;
  if (copied) out.append(*bytes);
  co_await put(out);
  if (!copied) co_await put(*bytes);
}

task<> client_exchange::put(std::string_view text) {
  std::span<const std::byte> bytes = std::as_bytes(std::span(text));
  try {
    bytes = bytes.subspan(lease_.stream().try_write(bytes));
    while (!bytes.empty()) {
      const auto slice = bytes.first(std::min(bytes.size(), write_slice));
      co_await with_deadline(within(options_.write_timeout), lease_.stream().write(slice));
      bytes = bytes.subspan(slice.size());
    }
  } catch (const timeout_error&) {
    throw;
  } catch (const std::system_error&) {
    broken_ = true;
    throw;
  }
}

task<> client_exchange::write(std::span<const std::byte> bytes) {
  if (bytes.empty()) co_return;  // an empty chunk would be the last
  std::array<char, 20> size;
  const auto end = fmt::format_to_n(size.data(), size.size(), "{:x}\r\n", bytes.size());
  co_await put({size.data(), end.size});
  co_await put({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  co_await put("\r\n");
}

task<> client_exchange::flush() { co_await with_deadline(within(options_.write_timeout), lease_.stream().flush()); }

/// False at the end of the stream.
task<bool> client_exchange::receive(clock::time_point by) {
  rest_ = {};
  bytes_ = buffer();  // back to the kernel first
  bytes_ = co_await with_deadline(by, lease_.stream().read());
  rest_ = std::span(reinterpret_cast<const char*>(bytes_.data()), bytes_.size());
  co_return !bytes_.empty();
}

/// False when the head of the answer has come instead.
task<bool> client_exchange::is_body_wanted(method asked) {
  const clock::time_point by = within(options_.continue_timeout);
  for (unsigned interim = 0; interim <= interim_max; ++interim) {
    try {
      if (rest_.empty()) co_await receive(by);
    } catch (const timeout_error&) {
      co_return true;
    }
    co_await read_one_head(asked);
    if (head().status == 100) co_return true;
    if (head().status >= 200 || head().status == 101) co_return false;
  }
  throw protocol_error("too many interim responses");
}

/// Up to the head of the response that is meant.
task<> client_exchange::read_head(method asked) {
  for (unsigned interim = 0; interim <= interim_max; ++interim) {
    if (!kept_body_back_) co_await read_one_head(asked);
    if (head().status == 101) throw protocol_error("the server changes the protocol, which nobody asked for");
    if (head().status < 200) continue;
    const bool empty = head().framing == framing::length && head().content_length == 0;
    if (empty || head().framing == framing::none) end_body();
    co_return;
  }
  throw protocol_error("too many interim responses");
}

task<> client_exchange::read_one_head(method asked) {
  parser_.reset(asked);
  joined_.clear();
  if (rest_.empty()) {
    const bool more = co_await receive(within(options_.response_timeout));
    if (!more) {
      const auto code = std::make_error_code(std::errc::connection_reset);
      throw std::system_error(code, "the server closed the connection instead of an answer");
    }
  }
  answered_ = true;
  const clock::time_point by = within(options_.head_timeout);
  verdict seen = parser_.parse(rest_);
  if (seen == verdict::need_more) joined_.assign(rest_.data(), rest_.size());
  while (seen == verdict::need_more) {
    const bool more = co_await receive(by);
    if (!more) throw protocol_error("the head of the response ended early");
    joined_.append(rest_.data(), rest_.size());
    seen = parser_.parse(joined_);
  }
  if (seen == verdict::error) throw protocol_error("a response is refused: " + std::string(parser_.error_text()));
  head_bytes_ = joined_.empty() ? bytes_ : buffer();
  // Everything before the last read was of this head.
  rest_ = joined_.empty() ? rest_.subspan(parser_.consumed()) : rest_.last(joined_.size() - parser_.consumed());
}

task<buffer> client_exchange::next() {
  home_.check(response_is);
  if (body_ == body_state::failed) {
    throw std::system_error(std::make_error_code(std::errc::not_connected), "the response has failed before");
  }
  try {
    co_return co_await next_piece();
  } catch (...) {
    close();
    throw;
  }
}

task<buffer> client_exchange::next_piece() {
  const framing how = head().framing;
  while (body_ == body_state::reading) {
    if (rest_.empty()) {
      const bool more = co_await receive(within(options_.body_timeout));
      if (!more) {
        if (how != framing::until_close) throw protocol_error("the body of the response ended early");
        end_body();
        break;
      }
    }
    const auto offset = static_cast<std::size_t>(rest_.data() - reinterpret_cast<const char*>(bytes_.data()));
    buffer piece;
    bool ended = false;
    if (how == framing::chunked) {
      const verdict seen = chunks_.decode(rest_);
      if (seen == verdict::error) throw protocol_error("a body is refused: " + std::string(chunks_.error_text()));
      if (const std::size_t size = chunks_.trailer_bytes(); size != 0) {
        trailers_.add(rest_.first(chunks_.consumed()).last(size));
      }
      if (seen == verdict::complete) trailers_.end();
      if (const auto data = chunks_.data(); !data.empty()) {
        piece = bytes_.slice(offset + static_cast<std::size_t>(data.data() - rest_.data()), data.size());
      }
      rest_ = rest_.subspan(chunks_.consumed());
      ended = seen == verdict::complete;
    } else {
      const std::uint64_t missing = head().content_length - body_bytes_;
      piece =
          bytes_.slice(offset, how == framing::length ? std::min<std::uint64_t>(missing, rest_.size()) : rest_.size());
      rest_ = rest_.subspan(piece.size());
      body_bytes_ += piece.size();
      ended = how == framing::length && body_bytes_ == head().content_length;
    }
    if (ended) end_body();
    if (!piece.empty()) co_return piece;
  }
  co_return buffer();
}

void client_exchange::end_body() {
  body_ = body_state::done;
  const bool in_order = head().keep_alive && rest_.empty() && !broken_ && !kept_body_back_;
  rest_ = {};
  bytes_ = buffer();
  in_order ? lease_.give_back() : lease_.close();
}

task<> client_exchange::drop_body() {
  std::size_t dropped = 0;
  try {
    while (body_ == body_state::reading && dropped < dropped_body_max) {
      const buffer piece = co_await next();
      dropped += piece.size();
    }
  } catch (const std::system_error&) {
    // The connection is closed; nobody wanted the body.
  }
}

namespace {

/// Sends a request and reads the head of its response; twice where the first connection was stale. `sent` when a byte
/// may have gone out.
task<std::unique_ptr<client_exchange>> ask(connection_pool& pool, outgoing& request, const url& to, bool repeatable,
                                           clock::time_point deadline, bool& sent) {
  for (bool fresh = false;; fresh = true) {
    auto exchange = std::make_unique<client_exchange>(pool, to, deadline);
    co_await exchange->connect(fresh);
    sent = true;
    try {
      co_await exchange->send(request, to);
      co_await exchange->read_head(request.method());
      if (!exchange->refuses_expectation(request)) co_return exchange;
    } catch (const timeout_error&) {
      throw;
    } catch (const std::system_error&) {
      if (!repeatable || !exchange->was_stale()) throw;
    }
  }
}

/// Whether a failure may be gone after a while.
bool may_pass(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const protocol_error&) {
    return false;
  } catch (const dns::resolve_error& unknown) {
    return unknown.code() == dns::resolve_errc::timed_out || unknown.code() == dns::resolve_errc::server_failure;
  } catch (...) {
    return true;
  }
}

bool may_pass(unsigned status) noexcept { return status == 429 || (status >= 502 && status <= 504); }

/// How long a server asks its clients to stay away: a number of seconds, or a date (RFC 9110 section 10.2.3).
std::chrono::milliseconds wanted_pause(const response_head& head) {
  const std::string_view text = find(head.fields, "Retry-After").value_or("");
  std::uint32_t seconds = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error == std::errc() && end == text.data() + text.size()) return std::chrono::seconds(seconds);
  const std::chrono::sys_seconds now(std::chrono::duration_cast<std::chrono::seconds>(clock::wall()));
  return std::max(parse_date(text, now).value_or(now) - now, std::chrono::seconds(0));
}

/// The pauses between the attempts of one request.
class patience {
 public:
  patience(const client_options& options, clock::time_point deadline) noexcept
      : options_(options), deadline_(deadline), next_(std::min(options.retry_delay, options.retry_delay_max)) {}

  bool is_over() const noexcept { return used_ == options_.retries_max; }
  /// How long to wait before the next attempt; nothing when that would be too long.
  std::optional<std::chrono::nanoseconds> next(std::chrono::milliseconds wanted) {
    if (wanted > options_.retry_delay_max) return std::nullopt;
    ++used_;
    const auto most = static_cast<std::uint64_t>(next_.count());
    next_ = std::min<std::chrono::nanoseconds>(2 * next_, options_.retry_delay_max);
    const std::chrono::nanoseconds drawn(most - this_shard().random->uniform(most / 2 + 1));
    const auto pause = std::max<std::chrono::nanoseconds>(drawn, wanted);
    if (timers::saturating_add(clock::now(), pause) >= deadline_) return std::nullopt;
    return pause;
  }

 private:
  const client_options& options_;
  clock::time_point deadline_;
  std::chrono::nanoseconds next_;
  std::uint32_t used_ = 0;
};

/// Asks until there is an answer to be given, or no use in asking again.
task<std::unique_ptr<client_exchange>> ask_patiently(connection_pool& pool, outgoing& request, const url& to,
                                                     bool repeatable, patience& left, clock::time_point deadline) {
  while (true) {
    std::unique_ptr<client_exchange> exchange;
    std::exception_ptr failure;
    bool sent = false;
    try {
      exchange = co_await ask(pool, request, to, repeatable, deadline, sent);
    } catch (const std::system_error&) {
      failure = std::current_exception();
    }
    std::optional<std::chrono::nanoseconds> pause;
    if (!left.is_over() && (repeatable || !sent)) {
      if (failure && may_pass(failure)) pause = left.next(std::chrono::seconds(0));
      if (exchange && may_pass(exchange->head().status)) pause = left.next(wanted_pause(exchange->head()));
    }
    if (!pause && failure) std::rethrow_exception(failure);
    if (!pause) co_return exchange;
    if (exchange) co_await exchange->drop_body();
    exchange.reset();
    co_await sleep_for(*pause);
  }
}

/// Where a response sends its reader.
std::optional<std::string> redirection(const response_head& head) {
  switch (head.status) {
    case 301:
    case 302:
    case 303:
    case 307:
    case 308: break;
    default: return std::nullopt;
  }
  const auto found = find(head.fields, "Location");
  return found ? std::optional<std::string>(*found) : std::nullopt;
}

}  // namespace

}  // namespace detail

client_response::client_response(std::unique_ptr<detail::client_exchange> exchange) noexcept
    : exchange_(std::move(exchange)) {}
client_response::client_response(client_response&&) noexcept = default;
client_response& client_response::operator=(client_response&&) noexcept = default;
client_response::~client_response() = default;

const response_head& client_response::head() const noexcept { return exchange_->head(); }

std::span<const field> client_response::trailers() const noexcept { return exchange_->trailers(); }

task<buffer> client_response::read() { return exchange_->next(); }

task<std::string> client_response::read_all(std::uint64_t bytes_max) {
  std::string all;
  const bool sized = head().framing == framing::length;
  bool fits = !sized || head().content_length <= bytes_max;
  if (sized && fits) all.reserve(std::min<std::uint64_t>(head().content_length, 64 * 1024));
  while (fits) {
    const buffer piece = co_await read();
    if (piece.empty()) co_return all;
    fits = piece.size() <= bytes_max - all.size();
    if (fits) all.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  }
  exchange_->close();
  throw std::system_error(std::make_error_code(std::errc::message_size),
                          fmt::format("the body of the response has more than {} bytes", bytes_max));
}

client::client(const client_options& options) : pool_(std::make_unique<detail::connection_pool>(options)) {}
client::~client() = default;

task<client_response> client::send(outgoing request) {
  detail::connection_pool& pool = *pool_;
  pool.check_home();
  const auto whole = pool.options.request_timeout;
  const clock::time_point deadline = whole ? timers::saturating_add(clock::now(), *whole) : clock::time_point::max();
  detail::url to = detail::parse_url(request.url_);
  detail::patience left(pool.options, deadline);
  for (std::uint32_t redirects = 0;; ++redirects) {
    const bool streamed = std::holds_alternative<outgoing::producer>(request.body_);
    const bool repeatable = is_idempotent(request.method_) && !streamed;
    auto exchange = co_await detail::ask_patiently(pool, request, to, repeatable, left, deadline);
    const unsigned status = exchange->head().status;
    const auto location = detail::redirection(exchange->head());
    const bool as_get =
        (status == 303 && request.method_ != method::head) || (status <= 302 && request.method_ == method::post);
    const bool can_send_again = !streamed || exchange->kept_body_back();
    const bool follow = location && pool.options.redirects_max != 0 && (as_get || can_send_again);
    if (!follow) co_return client_response(std::move(exchange));
    if (redirects == pool.options.redirects_max) {
      throw std::system_error(std::make_error_code(std::errc::too_many_symbolic_link_levels),
                              fmt::format("{} was redirected more than {} times", request.url_, redirects));
    }
    co_await exchange->drop_body();
    exchange.reset();
    detail::url next = detail::resolve(to, *location);
    if (next.origin != to.origin) request.forget_fields(fields_of_origin);
    if (as_get) request.become_get();
    to = std::move(next);
  }
}

}  // namespace skerry::net::http
