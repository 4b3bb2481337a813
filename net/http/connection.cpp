// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/net/http/connection.hpp>
#include <skerry/net/http/date.hpp>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <iterator>
#include <stdexcept>
#include <system_error>

#include <fmt/core.h>

namespace skerry::net::http::detail {

connection_counters::connection_counters(const std::string& server) : name(server) {
  auto* servers = resources().find<server_list>();
  if (servers == nullptr) servers = &resources().emplace<server_list>();
  servers->all.push_back(*this);
  observe::registry& registry = *this_shard().metrics;
  const auto labelled = [&](const char* metric, const char* help) {
    return observe::metric_info{.name = metric, .help = help, .labels = {{"server", server}}};
  };
  shown_.push_back(registry.add(connections, labelled("skerry_http_connections", "Open connections.")));
  shown_.push_back(registry.add(handling, labelled("skerry_http_handling", "Requests in the hands of handlers.")));
  shown_.push_back(registry.add(timeouts, labelled("skerry_http_timeouts_total", "Waits that a time limit ended.")));
  shown_.push_back(
      registry.add(refused, labelled("skerry_http_refused_total", "Requests that broke the protocol or a limit.")));
  for (std::size_t i = 1; i < responses.size(); ++i) {
    observe::metric_info info = labelled("skerry_http_responses_total", "Responses, by class of status.");
    info.labels.push_back({"class", fmt::format("{}xx", i)});
    shown_.push_back(registry.add(responses[i], std::move(info)));
  }
  observe::metric_info info = labelled("skerry_http_handler_seconds", "From a head to its response.");
  info.unit = observe::unit::nanoseconds;
  shown_.push_back(registry.add(seconds, std::move(info)));
}

site::site(handler&& made, const server_options& given)
    : handle(std::move(made)), options(given), counters(std::make_unique<connection_counters>(given.name)) {
  if (resources().find<exchange_stock>() == nullptr) resources().emplace<exchange_stock>();
}

site::~site() = default;

std::unique_ptr<exchange> exchange_stock::take(const head_limits& limits) {
  if (idle_.empty()) return std::make_unique<exchange>(limits);
  std::unique_ptr<exchange> taken = std::move(idle_.back());
  idle_.pop_back();
  return taken;
}

void exchange_stock::give_back(std::unique_ptr<exchange> used) noexcept {
  if (idle_.size() == kept_max || used->joined.capacity() + used->out.capacity() > 2 * bytes_kept_max) return;
  used->parser.reset();
  used->joined.clear();
  idle_.push_back(std::move(used));
}

std::string_view exchange_stock::date_line() {
  if (clock::now() >= date_until_) {
    const auto wall = clock::wall();
    const auto second = std::chrono::floor<std::chrono::seconds>(wall);
    date_until_ = clock::now() + (second + std::chrono::seconds(1) - wall);
    const date_text text = to_date(std::chrono::sys_seconds(second));
    date_size_ = fmt::format_to_n(date_.data(), date_.size(), "Date: {}\r\n", std::string_view(text)).size;
  }
  return {date_.data(), date_size_};
}

void write_head(std::string& out, const response& answer, std::string_view date_line, std::string_view framing,
                std::string_view connection) {
  if (answer.status() == 200) {
    out.append("HTTP/1.1 200 OK\r\n");
  } else {
    fmt::format_to(std::back_inserter(out), "HTTP/1.1 {} {}\r\n", answer.status(), reason_of(answer.status()));
  }
  out.append(date_line);
  if (!answer.type().empty()) out.append("Content-Type: ").append(answer.type()).append("\r\n");
  out.append(framing).append(connection).append(answer.field_lines()).append("\r\n");
}

namespace {

// A body up to this size travels with its head.
constexpr std::size_t copied_body_max = 16 * 1024;
// The write limit is for so many bytes.
constexpr std::size_t write_slice = 64 * 1024;
constexpr std::uint64_t unknown_size = UINT64_MAX;

/// Writes the line into the room and returns it.
std::string_view content_length(std::array<char, 40>& room, std::uint64_t bytes) noexcept {
  char* const digits = std::ranges::copy(std::string_view("Content-Length: "), room.data()).out;
  char* const digits_end = std::to_chars(digits, room.data() + room.size() - 2, bytes).ptr;
  return {room.data(), std::ranges::copy(std::string_view("\r\n"), digits_end).out};
}

/// The trace id in a `traceparent`, "00-" 32 hexadecimal digits "-" and more; empty if it is none.
std::string_view trace_id_of(std::string_view traceparent) noexcept {
  if (traceparent.size() < 55 || traceparent[2] != '-' || traceparent[35] != '-') return {};
  const std::string_view id = traceparent.substr(3, 32);
  return id.find_first_not_of("0123456789abcdef") == id.npos ? id : std::string_view();
}

}  // namespace

template <byte_stream Stream>
connection<Stream>::connection(site& here, Stream&& client)
    : site_(here), stream_(std::move(client)), stock_(resource<exchange_stock>()) {
  ++site_.counters->connections;
}

template <byte_stream Stream>
connection<Stream>::~connection() {
  --site_.counters->connections;
  if constexpr (requires { stream_.reset(); }) {
    if (open_ended_) stream_.reset();
  }
  if (at_work_ != nullptr) stock_.give_back(std::move(at_work_));
}

/// Until the client leaves, breaks the protocol, runs into a limit or the app stops.
template <byte_stream Stream>
task<> connection<Stream>::serve() {
  try {
    co_await with_cancel(dog_.token(), serve_requests());
  } catch (const std::system_error& broken) {
    if (!dog_.fired()) log::debug("connection: {}", broken.what());
  }
  if (dog_.fired()) answer_late();
}

template <byte_stream Stream>
task<> connection<Stream>::serve_requests() {
  while (!closing_) {
    const bool asked = co_await read_head();
    if (!asked) break;
    co_await handle();
    if (!closing_) co_await drop_body();
    head_bytes_ = buffer();
  }
}

template <byte_stream Stream>
void connection<Stream>::wait_at(stage where) noexcept {
  const server_options& limits = site_.options;
  stage_ = where;
  switch (where) {
    case stage::idle: return dog_.give(limits.idle_timeout);
    case stage::head: return dog_.give(limits.head_timeout);
    case stage::handler: return dog_.give(limits.handler_timeout);
    case stage::write: return dog_.give(limits.write_timeout);
    case stage::body: break;
  }
  // Silence, or slowness since the body began, whichever ends first.
  const auto earned = std::chrono::milliseconds(body_bytes_ * 1000 / limits.body_bytes_per_second_min);
  const auto since = std::chrono::duration_cast<std::chrono::nanoseconds>(clock::now() - body_began_);
  dog_.give(std::min<std::chrono::nanoseconds>(limits.body_timeout, limits.body_timeout + earned - since));
}

/// False at the end of the stream.
template <byte_stream Stream>
task<bool> connection<Stream>::read_more() {
  bytes_ = buffer();  // back to the kernel first
  bytes_ = co_await stream_.read();
  rest_ = std::span(reinterpret_cast<const char*>(bytes_.data()), bytes_.size());
  co_return !bytes_.empty();
}

/// Reads until the next head is complete. False when there is none: the client has left, or its head was answered.
template <byte_stream Stream>
task<bool> connection<Stream>::read_head() {
  if (rest_.empty()) {
    if (at_work_ != nullptr) stock_.give_back(std::move(at_work_));
    bytes_ = buffer();
    wait_at(stage::idle);
    if constexpr (requires { stream_.readable(); }) co_await stream_.readable();
    const bool more = co_await read_more();
    if (!more) co_return false;
  }
  if (at_work_ == nullptr) at_work_ = stock_.take(site_.options.head);
  wait_at(stage::head);
  response_begun_ = false;
  request_parser& parser = at_work_->parser;
  std::string& joined = at_work_->joined;
  parser.reset();
  joined.clear();
  verdict seen = parser.parse(rest_);
  while (seen == verdict::need_more) {
    joined.append(rest_.data(), rest_.size());
    const bool more = co_await read_more();
    if (!more) co_return false;
    joined.append(rest_.data(), rest_.size());
    seen = parser.parse(joined);
    if (seen == verdict::need_more) joined.resize(joined.size() - rest_.size());
  }
  if (seen == verdict::error) {
    ++site_.counters->refused;
    closing_ = true;
    response refusal = problem(parser.error_status(), parser.error_text());
    co_await answer(refusal);
    co_return false;
  }
  if (joined.empty()) {
    head_bytes_ = bytes_;
    rest_ = rest_.subspan(parser.consumed());
  } else {
    // Everything before the last read was of this head.
    rest_ = rest_.last(joined.size() - parser.consumed());
  }
  begin_body();
  co_return true;
}

template <byte_stream Stream>
void connection<Stream>::begin_body() noexcept {
  const request_head& head = at_work_->parser.head();
  const bool none = head.framing == framing::none || (head.framing == framing::length && head.content_length == 0);
  body_ = none ? body_state::done : body_state::unread;
  body_bytes_ = 0;
  body_bytes_max_ = site_.options.body_bytes_max;
  at_work_->chunks.reset();
}

template <byte_stream Stream>
task<> connection<Stream>::handle() {
  const request_head& head = at_work_->parser.head();
  const clock::time_point began = clock::now();
  connection_counters& counters = *site_.counters;
  closing_ = !head.keep_alive || ++requests_ >= site_.options.requests_per_connection_max;
  struct counted {
    std::int64_t& handling;
    ~counted() { --handling; }
  };
  const bool too_many = counters.handling >= site_.options.requests_max;
  const counted one{++counters.handling};
  if (too_many) {
    ++counters.refused;
    response refusal = problem(503, "too many requests are being handled").header("Retry-After", "1");
    co_await answer(refusal);
    co_return;
  }
  wait_at(stage::handler);
  request asked(head, *this);
  response made = co_await ask_handler(asked);
  count(clock::now() - began, made);
  co_await answer(made);
}

template <byte_stream Stream>
void connection<Stream>::count(clock::duration took, const response& made) {
  connection_counters& counters = *site_.counters;
  const auto took_ns = static_cast<std::uint64_t>(took.count());
  counters.seconds.record(took_ns);
  if (!counters.examples.wants(took_ns)) return;
  const std::chrono::nanoseconds wall = clock::wall();
  const auto traced = find(at_work_->parser.head().fields, "traceparent");
  if (const std::string_view id = trace_id_of(traced.value_or("")); !id.empty()) {
    counters.examples.keep(took_ns, "trace_id", id, wall);
  } else {
    counters.examples.keep(took_ns, "request_id", made.header("X-Request-Id").value_or(""), wall);
  }
}

/// Whatever the handler throws becomes a response.
template <byte_stream Stream>
task<response> connection<Stream>::ask_handler(request& asked) {
  try {
    co_return co_await site_.handle(asked);
  } catch (const http_error& refused) {
    co_return problem(refused.status(), refused.what());
  } catch (const std::exception& failed) {
    log::error("{} {} failed: {}", asked.head().method_text, asked.path(), failed.what());
  } catch (...) {
    log::error("{} {} failed with something that is no std::exception", asked.head().method_text, asked.path());
  }
  co_return problem(500, "the handler of this request failed");
}

/// The next bytes of the request's body.
template <byte_stream Stream>
task<buffer> connection<Stream>::next() {
  home_.check("an HTTP request");
  const request_head& head = at_work_->parser.head();
  const bool sized = head.framing == framing::length;
  if (body_ == body_state::unread) {
    if (sized && head.content_length > body_bytes_max_) {
      closing_ = true;
      throw http_error(
          413, fmt::format("the body has {} bytes, at most {} are taken", head.content_length, body_bytes_max_));
    }
    body_ = body_state::reading;
    body_began_ = clock::now();
    at_work_->trailers.clear();
    if (head.expects_continue && rest_.empty() && !response_begun_) co_await send("HTTP/1.1 100 Continue\r\n\r\n");
  }
  while (body_ != body_state::done) {
    if (rest_.empty()) {
      wait_at(stage::body);
      const bool more = co_await read_more();
      if (!more) {
        closing_ = true;
        if (stream_.ended_by_drain()) throw http_error(503, "the server stops, and did not wait for the whole body");
        throw http_error(400, "the body ended early");
      }
      wait_at(stage::handler);
    }
    const auto offset = static_cast<std::size_t>(rest_.data() - reinterpret_cast<const char*>(bytes_.data()));
    buffer piece;
    if (sized) {
      piece = bytes_.slice(offset, std::min<std::uint64_t>(head.content_length - body_bytes_, rest_.size()));
      rest_ = rest_.subspan(piece.size());
    } else {
      chunked_decoder& chunks = at_work_->chunks;
      const verdict seen = chunks.decode(rest_);
      if (seen == verdict::error) {
        closing_ = true;
        throw http_error(chunks.error_status(), std::string(chunks.error_text()));
      }
      if (const std::size_t size = chunks.trailer_bytes(); size != 0) {
        at_work_->trailers.add(rest_.first(chunks.consumed()).last(size));
      }
      if (seen == verdict::complete) {
        at_work_->trailers.end();
        body_ = body_state::done;
      }
      if (const auto data = chunks.data(); !data.empty()) {
        piece = bytes_.slice(offset + static_cast<std::size_t>(data.data() - rest_.data()), data.size());
      }
      rest_ = rest_.subspan(chunks.consumed());
    }
    body_bytes_ += piece.size();
    if (sized && body_bytes_ == head.content_length) body_ = body_state::done;
    if (body_bytes_ > body_bytes_max_) {
      closing_ = true;
      throw http_error(413, fmt::format("the body has more than {} bytes", body_bytes_max_));
    }
    if (!piece.empty()) co_return piece;
  }
  co_return buffer();
}

template <byte_stream Stream>
std::span<const field> connection<Stream>::trailers() const noexcept {
  const bool read = body_ == body_state::done && at_work_->parser.head().framing == framing::chunked;
  return read ? at_work_->trailers.fields() : std::span<const field>();
}

/// Reads what the handler left of a body, so that the next request can be found; or gives the connection up.
template <byte_stream Stream>
task<> connection<Stream>::drop_body() {
  const request_head& head = at_work_->parser.head();
  if (body_ == body_state::done) co_return;
  const std::uint64_t dropped_max = site_.options.body_dropped_max;
  if (head.framing == framing::length && head.content_length - body_bytes_ > dropped_max) closing_ = true;
  if (closing_) co_return;
  body_bytes_max_ = body_bytes_ + dropped_max;
  if (head.framing == framing::length) body_bytes_max_ = head.content_length;
  try {
    while (body_ != body_state::done) co_await next();
  } catch (const http_error&) {
    closing_ = true;  // its response is out already
  }
}

/// Writes a response whole.
template <byte_stream Stream>
task<> connection<Stream>::answer(response& made) {
  const request_head& head = at_work_->parser.head();
  const bool refused = at_work_->parser.error_status() != 0;  // then there is no head
  // Who waits for 100 Continue may send its body or not: nobody can tell what comes next.
  if (body_ == body_state::unread && !refused && head.expects_continue) closing_ = true;
  if (made.closes() || this_assembled_shard().draining()) closing_ = true;
  const bool bare = is_bodiless(made.status());
  const bool no_body = bare || (!refused && head.method == method::head);
  response::producer* producer = made.streamed();
  const std::optional<std::uint64_t> size = made.streamed_size();
  promised_ = size.value_or(unknown_size);
  chunked_out_ = producer != nullptr && !size && (refused || head.minor_version != 0);
  if (producer != nullptr && !size && !chunked_out_) closing_ = true;
  if (producer != nullptr && !(chunked_out_ && takes_trailers(head.fields))) made.drop_header("Trailer");

  std::array<char, 40> room;
  std::string_view framing;
  if (!bare && chunked_out_) framing = "Transfer-Encoding: chunked\r\n";
  if (!bare && (producer == nullptr || size)) framing = content_length(room, size.value_or(made.bytes().size()));
  std::string_view connection_line = closing_ ? "Connection: close\r\n" : "";
  if (!closing_ && head.minor_version == 0) connection_line = "Connection: keep-alive\r\n";

  ++site_.counters->responses[std::min<std::size_t>(made.status() / 100, site_.counters->responses.size() - 1)];
  response_begun_ = true;
  std::string& out = at_work_->out;
  out.clear();
  write_head(out, made, stock_.date_line(), framing, connection_line);
  std::string_view body = no_body ? std::string_view() : made.bytes();
  if (body.size() <= copied_body_max) {
    out.append(body);
    body = {};
  }
  co_await send(out);
  if (!body.empty()) co_await send(body);
  if (producer != nullptr && !no_body) co_await stream_body(*producer);
  if (closing_ && !open_ended_) stream_.shutdown_output();
}

template <byte_stream Stream>
task<> connection<Stream>::stream_body(response::producer& write_body) {
  wait_at(stage::handler);
  open_ended_ = promised_ == unknown_size && !chunked_out_;
  std::string& trailer_lines = at_work_->out;  // the head is with the stream
  trailer_lines.clear();
  try {
    co_await write_body(*this);
    open_ended_ = false;
    if (chunked_out_) co_await send(trailer_lines.insert(0, "0\r\n").append("\r\n"));
    if (promised_ != 0 && promised_ != unknown_size) {
      closing_ = true;  // nothing stands in for what is missing
      log::error("a response ended {} bytes before its end", promised_);
    }
  } catch (const std::system_error& broken) {
    // Too late for a status: by its length, its last chunk or a reset the peer sees that the body is not whole.
    closing_ = true;
    const bool left = broken.code() == std::errc::broken_pipe || broken.code() == std::errc::connection_reset;
    left ? log::debug("connection: {}", broken.what()) : log::error("a response ended early: {}", broken.what());
  } catch (const std::exception& failed) {
    closing_ = true;
    log::error("a response ended early: {}", failed.what());
  }
}

template <byte_stream Stream>
task<> connection<Stream>::write(std::span<const std::byte> bytes) {
  home_.check("an HTTP response");
  if (bytes.empty()) co_return;  // an empty chunk would be the last
  if (bytes.size() > promised_) throw std::length_error("the body of a response is longer than its handler said");
  if (promised_ != unknown_size) promised_ -= bytes.size();
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::array<char, 20> size;
  if (chunked_out_) {
    const auto end = fmt::format_to_n(size.data(), size.size(), "{:x}\r\n", text.size());
    co_await send({size.data(), end.size});
  }
  co_await send(text);
  if (chunked_out_) co_await send("\r\n");
  wait_at(stage::handler);
}

template <byte_stream Stream>
void connection<Stream>::add_trailer(std::string_view line) {
  if (chunked_out_ && takes_trailers(at_work_->parser.head().fields)) append_trailer(at_work_->out, line);
}

template <byte_stream Stream>
task<> connection<Stream>::flush() {
  wait_at(stage::write);
  co_await stream_.flush();
  wait_at(stage::handler);
}

template <byte_stream Stream>
task<> connection<Stream>::draining() {
  if constexpr (requires { stream_.cut_off(); }) {
    co_await stream_.cut_off();
  } else {
    co_await body_writer::draining();
  }
}

/// With the write limit for each slice, so that a peer may be slow but not stand still.
template <byte_stream Stream>
task<> connection<Stream>::send(std::string_view text) {
  std::span<const std::byte> bytes = std::as_bytes(std::span(text));
  if constexpr (requires { stream_.try_write(bytes); }) bytes = bytes.subspan(stream_.try_write(bytes));
  while (!bytes.empty()) {
    wait_at(stage::write);
    const auto slice = bytes.first(std::min(bytes.size(), write_slice));
    co_await stream_.write(slice);
    bytes = bytes.subspan(slice.size());
  }
}

/// A limit has passed: tells who waits for an answer and has got nothing of it.
template <byte_stream Stream>
void connection<Stream>::answer_late() {
  ++site_.counters->timeouts;
  if (stage_ == stage::idle || response_begun_) return;
  const bool slow_client = stage_ == stage::head || stage_ == stage::body;
  const response late =
      slow_client ? problem(408, "the request did not arrive in time") : problem(503, "the answer took too long");
  ++site_.counters->responses[late.status() / 100];
  const std::string length = fmt::format("Content-Length: {}\r\n", late.bytes().size());
  std::string out;
  write_head(out, late, stock_.date_line(), length, "Connection: close\r\n");
  out.append(late.bytes());
  try {
    if constexpr (requires { stream_.try_write(std::as_bytes(std::span(out))); }) {
      stream_.try_write(std::as_bytes(std::span(out)));  // what does not fit at once is not worth a wait
    }
  } catch (const std::system_error&) {
    // It has left.
  }
}

task<> serve_connection(site& here, stream client) {
  connection<stream> served(here, std::move(client));
  co_await served.serve();
}

}  // namespace skerry::net::http::detail
