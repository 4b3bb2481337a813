// SPDX-License-Identifier: Apache-2.0
#pragma once

/// connection: one client of a server, from its first request to its last.
///
/// Written against byte_stream. What it holds while it is idle is small: the parser and the bytes that are being
/// answered live in an `exchange`, which a connection takes from its shard's stock with the first byte of a request and
/// gives back when the answer is with the stream and no further request is there.
///
///     read: bytes -> parser -> head --------> handler -> response -> out -> stream
///              '-> body bytes -> next() ------^
///
/// Affinity:   home shard.
/// Invariants: (1) a head's views stay valid until its response is written: the buffer that holds them is kept, or they
///             are in `joined`; (2) at most one response is begun and not ended; (3) nothing is parsed before the body
///             in front of it has been read to its end.

#include <skerry/framework/detail/intrusive_list.hpp>
#include <skerry/framework/io/byte_stream.hpp>
#include <skerry/framework/observe/histogram.hpp>
#include <skerry/framework/observe/metrics.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/net/http/chunked_decoder.hpp>
#include <skerry/net/http/detail/request_examples.hpp>
#include <skerry/net/http/detail/trailer_section.hpp>
#include <skerry/net/http/server.hpp>
#include <skerry/net/watchdog.hpp>
#include <skerry/toolkit/observe/home_stamp.hpp>

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace skerry::net::http::detail {

struct server_tag;

/// What a shard counts of one server; found by `for_each_server`.
class connection_counters : public skerry::detail::list_hook<server_tag> {
 public:
  explicit connection_counters(const std::string& server);
  ~connection_counters() { unlink(); }

  const std::string name;

  std::int64_t connections = 0;
  std::int64_t handling = 0;                 ///< requests in the hands of handlers
  std::array<std::uint64_t, 6> responses{};  ///< by class; [0] is unused
  std::uint64_t timeouts = 0;
  std::uint64_t refused = 0;  ///< requests that broke the protocol or a limit
  observe::histogram seconds;
  request_examples examples;

 private:
  std::vector<observe::registration> shown_;
};

/// The servers of one shard.
struct server_list {
  skerry::detail::intrusive_list<connection_counters, server_tag> all;
};
template <class Visit>
void for_each_server(Visit visit) {
  if (auto* servers = resources().find<server_list>()) servers->all.for_each(visit);
}

/// What a connection needs while somebody is being answered.
struct exchange {
  explicit exchange(const head_limits& limits) : parser(limits) {}
  request_parser parser;
  chunked_decoder chunks;
  trailer_section trailers;  // of the chunked body that was read last
  std::string joined;        // a head that came in pieces
  std::string out;           // a response's head and a small body; then its trailers
};

/// The exchanges that nobody uses, and the date, of one shard.
class exchange_stock {
 public:
  static constexpr std::size_t kept_max = 64;
  static constexpr std::size_t bytes_kept_max = 16 * 1024;

  exchange_stock() { idle_.reserve(kept_max); }
  std::unique_ptr<exchange> take(const head_limits& limits);
  void give_back(std::unique_ptr<exchange> used) noexcept;
  /// "Date: …\r\n", made anew when the second changes.
  std::string_view date_line();

 private:
  std::vector<std::unique_ptr<exchange>> idle_;
  std::array<char, 40> date_{};
  std::size_t date_size_ = 0;
  clock::time_point date_until_{};
};

/// Appends the head of a response, and its body if it is given.
void write_head(std::string& out, const response& answer, std::string_view date_line, std::string_view framing,
                std::string_view connection);

template <byte_stream Stream>
class connection final : body_source, body_writer {
 public:
  connection(site& here, Stream&& client);
  ~connection();

  task<> serve();

 private:
  enum class stage : std::uint8_t { idle, head, handler, body, write };
  enum class body_state : std::uint8_t { unread, reading, done };

  task<> serve_requests();
  task<bool> read_head();
  task<bool> read_more();
  task<> handle();
  task<response> ask_handler(request& asked);
  void count(clock::duration took, const response& made);
  task<> answer(response& made);
  task<> drop_body();
  task<> send(std::string_view bytes);
  task<> stream_body(response::producer& write_body);
  void answer_late();
  void wait_at(stage where) noexcept;
  void begin_body() noexcept;

  task<buffer> next() override;
  void limit(std::uint64_t bytes_max) noexcept override { body_bytes_max_ = bytes_max; }
  std::span<const field> trailers() const noexcept override;
  task<> write(std::span<const std::byte> bytes) override;
  task<> flush() override;
  void add_trailer(std::string_view line) override;
  task<> draining() override;

  site& site_;
  Stream stream_;
  exchange_stock& stock_;
  std::unique_ptr<exchange> at_work_;
  buffer bytes_;                // read last
  std::span<const char> rest_;  // of it, not looked at yet
  buffer head_bytes_;           // where the head's views point, unless in at_work_->joined
  watchdog dog_;
  clock::time_point body_began_{};
  std::uint64_t body_bytes_ = 0;
  std::uint64_t body_bytes_max_ = 0;
  std::uint64_t promised_ = 0;  // bytes of a streamed body that are still to come; the most there is where none are
  std::uint32_t requests_ = 0;
  stage stage_ = stage::idle;
  body_state body_ = body_state::done;
  [[no_unique_address]] home_stamp home_;
  bool closing_ = false;
  bool response_begun_ = false;  // to the request that was read last, if not ended by now
  bool chunked_out_ = false;
  bool open_ended_ = false;  // a body is under way that ends with the connection: what is cut must not look whole
};

}  // namespace skerry::net::http::detail
