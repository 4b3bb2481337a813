// SPDX-License-Identifier: Apache-2.0
// Load for an HTTP server: GET of one path on connections that stay open. Every answer must be a 200 with a body as
// long as the first one's. The loops, and what holds for all generators: engine.hpp.
//
//     build/release/perf/http_load 8080 --connections 64 --depth 1 --path / --seconds 3 --rate 20000
//     {"requests": 60000, "seconds": 3.000051, "p50_us": 61.2, "p99_us": 98.4, "p999_us": 131.0, "body_bytes": 13}
//
// Limits: HTTP/1.1 answers with a Content-Length and at most 16 KiB of head; a path of at most 8 KiB.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include <load/engine.hpp>
#include <strings.h>

namespace {

constexpr std::size_t head_bytes_max = 16384, path_bytes_max = 8192;

class http {
 public:
  http(const std::string& path, unsigned connections) : connections_(connections) {
    request_ = "GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
    bytes_max = request_.size();
  }

  void ask(std::uint32_t /*connection*/, std::string& out) { out += request_; }

  unsigned answered(std::uint32_t number, std::string_view bytes) {
    connection& c = connections_[number];
    unsigned complete = 0;
    while (!bytes.empty()) {
      if (c.body_left == 0) {
        if (!take_head(c, bytes)) break;
        c.body_left = body_bytes_;
      }
      const std::size_t body = std::min<std::uint64_t>(c.body_left, bytes.size());
      bytes.remove_prefix(body);
      c.body_left -= body;
      if (c.body_left == 0) ++complete;
    }
    return complete;
  }

  std::uint64_t body_bytes() const { return body_bytes_ == UINT64_MAX ? 0 : body_bytes_; }

  std::size_t bytes_max = 0;

 private:
  struct connection {
    std::string head{};  // the beginning of an answer's head that a buffer's end has cut
    std::uint64_t body_left = 0;
  };

  /// Of a head that ends in an empty line; fails unless it is a 200.
  static std::uint64_t checked_length(std::string_view head) {
    if (!head.starts_with("HTTP/1.1 200 ")) load::fail("not a 200: " + std::string(head.substr(0, head.find('\r'))));
    constexpr std::string_view name = "content-length:";
    for (std::size_t line = head.find("\r\n") + 2; line < head.size(); line = head.find("\r\n", line) + 2) {
      if (head.size() - line <= name.size() || strncasecmp(head.data() + line, name.data(), name.size()) != 0) continue;
      return std::strtoull(head.data() + line + name.size(), nullptr, 10);  // ends at the line's end
    }
    load::fail("an answer without Content-Length: " + std::string(head));
  }

  /// Takes a head off the front of `bytes`, or keeps all for later when its end is missing. True when it had one.
  bool take_head(connection& c, std::string_view& bytes) {
    if (c.head.empty() && !known_head_.empty() && bytes.starts_with(known_head_)) {
      bytes.remove_prefix(known_head_.size());
      return true;
    }
    const std::size_t before = c.head.size();
    c.head += bytes;
    const std::size_t end = c.head.find("\r\n\r\n");
    if (end == std::string::npos) {
      if (c.head.size() > head_bytes_max) load::fail("an answer's head does not end");
      bytes = {};
      return false;
    }
    c.head.resize(end + 4);
    bytes.remove_prefix(c.head.size() - before);
    const std::uint64_t length = checked_length(c.head);
    if (body_bytes_ == UINT64_MAX) body_bytes_ = length;
    if (length != body_bytes_)
      load::fail("a body of " + std::to_string(length) + " B after " + std::to_string(body_bytes_));
    known_head_.swap(c.head);
    c.head.clear();
    return true;
  }

  std::string request_{};
  std::string known_head_{};  // was found to be good: servers send the same one for a second
  std::uint64_t body_bytes_ = UINT64_MAX;
  std::vector<connection> connections_;
};

}  // namespace

int main(int argc, char** argv) {
  load::program = "http_load";
  load::options wanted;
  std::string path = "/";
  load::parse({argv, static_cast<std::size_t>(argc)},
              "http_load PORT [--connections N] [--depth N] [--path P] [--seconds S] [--rate REQUESTS_PER_SECOND]",
              wanted,
              {{"--connections", &wanted.connections},
               {"--depth", &wanted.depth},
               {"--path", &path},
               {"--seconds", &wanted.seconds},
               {"--rate", &wanted.rate}});
  if (!path.starts_with('/') || path.size() > path_bytes_max)
    load::fail("--path starts with / and has at most 8192 bytes");
  http protocol(path, wanted.connections);
  load::engine engine(wanted, protocol);
  engine.run();
  engine.print("requests", ", \"body_bytes\": " + std::to_string(protocol.body_bytes()));
}
