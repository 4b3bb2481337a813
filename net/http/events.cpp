// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/task/combine.hpp>
#include <skerry/net/http/events.hpp>
#include <skerry/timers/sleep.hpp>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <stdexcept>

#include <fmt/core.h>

namespace skerry::net::http {

namespace {

/// A line for each line of `text`: CR, LF and CRLF all end one for the reader.
void append_lines(std::string& out, std::string_view field, std::string_view text) {
  while (true) {
    const std::size_t end = text.find_first_of("\r\n");
    out.append(field).append(": ").append(text.substr(0, end)).append("\n");
    if (end == std::string_view::npos) return;
    text.remove_prefix(end + (text.substr(end).starts_with("\r\n") ? 2 : 1));
  }
}

void append_line(std::string& out, std::string_view field, std::string_view value) {
  using namespace std::string_view_literals;
  if (value.find_first_of("\r\n\0"sv) != std::string_view::npos) {
    throw std::invalid_argument(fmt::format("the {} of an event is one line without NUL", field));
  }
  out.append(field).append(": ").append(value).append("\n");
}

task<> produce_all(event_producer& produce, event_writer& out) {
  co_await produce(out);
  co_await out.end();
}

/// Whoever drains cancels what is left in the end, and the page would take that for a failure.
task<> end_in_drain(body_writer& to, event_writer& out) {
  co_await to.draining();
  co_await out.end();
}

task<> break_silence(event_writer& out, clock::duration every) {
  while (true) {
    co_await sleep_for(every);
    if (out.was_used()) continue;
    co_await out.comment("");
    out.was_used();  // by the comment, which is silence, too
  }
}

}  // namespace

task<> event_writer::send(server_event e) {
  std::string text;
  if (!e.name.empty()) append_line(text, "event", e.name);
  if (e.id) append_line(text, "id", *e.id);
  if (e.retry) fmt::format_to(std::back_inserter(text), "retry: {}\n", std::max<std::int64_t>(e.retry->count(), 0));
  if (e.data) append_lines(text, "data", *e.data);
  co_await write(std::move(text.append("\n")));
}

task<> event_writer::comment(std::string_view text) {
  std::string lines;
  append_lines(lines, "", text);
  co_await write(std::move(lines.append("\n")));
}

task<> event_writer::end() {
  end_ = co_await turn_.lock();
  check_whole();
}

task<> event_writer::write(std::string text) {
  const units turn = co_await turn_.lock();
  check_whole();
  used_ = writing_ = true;
  co_await to_.write(text);
  writing_ = false;
}

void event_writer::check_whole() const {
  if (writing_) throw std::runtime_error("a send was cut short, so nothing can follow it");
}

response events(event_producer produce, clock::duration keep_alive) {
  auto write_all = [produce = std::move(produce), keep_alive](body_writer& to) mutable -> task<> {
    event_writer out(to);
    if (keep_alive > clock::duration::zero()) {
      co_await when_any(produce_all(produce, out), end_in_drain(to, out), break_silence(out, keep_alive));
    } else {
      co_await when_any(produce_all(produce, out), end_in_drain(to, out));
    }
  };
  return response::stream("text/event-stream", std::move(write_all)).header("Cache-Control", "no-store");
}

}  // namespace skerry::net::http
