// SPDX-License-Identifier: Apache-2.0
#pragma once

/// requests: heads that must be accepted or refused, for the tests of the parser and its comparison with others.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace skerry::test {

inline std::uint64_t seed() {
  const char* given = std::getenv("SKERRY_TEST_SEED");
  std::uint64_t made = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::printf("seed: SKERRY_TEST_SEED=%llu\n", static_cast<unsigned long long>(made));
  return made;
}

struct refused_head {
  unsigned status;
  std::string bytes;
};

inline const std::vector<std::string>& accepted_heads() {
  static const std::vector<std::string> heads = {
      "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
      "GET / HTTP/1.0\r\n\r\n",
      "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
      "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
      "GET /a/b%20c?x=1&y=/?z HTTP/1.1\r\nhost:example.com:8080\r\nAccept: */*\r\n\r\n",
      "POST /submit HTTP/1.1\r\nHost: [2001:db8::1]:80\r\nContent-Length: 12\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0012\r\n\r\n",
      "POST / HTTP/1.0\r\nContent-Length: 0\r\n\r\n",
      "PUT / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:\t CHUNKED\r\nExpect: 100-Continue\r\n\r\n",
      "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
      "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n",
      "OPTIONS /x HTTP/1.1\r\nHost: a\r\n\r\n",
      "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
      "CONNECT a.example:443 HTTP/1.1\r\nHost: A.example\r\n\r\n",
      "CONNECT [::1]:443 HTTP/1.0\r\n\r\n",
      "GET http://Example.com:80/x?y HTTP/1.1\r\nHost: example.COM\r\n\r\n",
      "GET HTTPS://example.com?q HTTP/1.1\r\nHost: example.com:443\r\n\r\n",
      "GET http://example.com HTTP/1.0\r\n\r\n",
      "DELETE /a HTTP/1.1\r\nHost: a%41b\r\nConnection: close\r\n\r\n",
      "PROPFIND /a HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nConnection: , upgrade,\tClose ,\r\n\r\n",
      "M-SEARCH /a HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
      "get / HTTP/1.1\r\nHost: a\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Blank: \t \r\nX!#$%&'*+-.^_`|~9: \xc3\xa9\ttab : colon\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nAccept-Sixteen-By: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789\r\n"
      "A_name_of_more_than_thirty_two_bytes_in_all: x\r\nUpgrade-Insecure-Requests: 1\r\n\r\n",
  };
  return heads;
}

inline const std::vector<refused_head>& refused_heads() {
  auto get = [](std::string_view fields) { return "GET / HTTP/1.1\r\nHost: a\r\n" + std::string(fields) + "\r\n"; };
  auto line = [](std::string_view first) { return std::string(first) + "\r\nHost: a\r\n\r\n"; };
  auto host = [](std::string_view value) { return "GET / HTTP/1.1\r\nHost:" + std::string(value) + "\r\n\r\n"; };
  static const std::vector<refused_head> heads = {
      // how long the body is
      {400, get("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n")},
      {400, get("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n")},
      {400, get("Content-Length: 1\r\nContent-Length: 1\r\n")},
      {400, get("Content-Length: 1\r\nContent-Length: 2\r\n")},
      {400, get("Content-Length: 1, 1\r\n")},
      {400, get("Content-Length: 1,1\r\n")},
      {400, get("Content-Length: +1\r\n")},
      {400, get("Content-Length: -1\r\n")},
      {400, get("Content-Length:\r\n")},
      {400, get("Content-Length: \r\n")},
      {400, get("Content-Length: 0x10\r\n")},
      {400, get("Content-Length: 1 1\r\n")},
      {400, get("Content-Length: 1 \r\n")},
      {400, get("Content-Length: 1\t\r\n")},
      {400, get("Content-Length: 1a\r\n")},
      {400, get("Content-Length: 1.0\r\n")},
      {400, get("Content-Length: 9223372036854775808\r\n")},
      {400, get("Content-Length: 18446744073709551617\r\n")},
      {400, get("Content-Length: 99999999999999999999999999999\r\n")},
      {501, get("Transfer-Encoding: gzip\r\n")},
      {400, get("Transfer-Encoding: chunked\t\r\n")},
      {400, get("Transfer-Encoding: chunked \r\n")},
      {501, get("Transfer-Encoding: gzip, chunked\r\n")},
      {501, get("Transfer-Encoding: identity\r\n")},
      {501, get("Transfer-Encoding: xchunked\r\n")},
      {501, get("Transfer-Encoding: chunke\r\n")},
      {400, get("Transfer-Encoding: chunked, gzip\r\n")},
      {400, get("Transfer-Encoding: chunked, chunked\r\n")},
      {400, get("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")},
      {400, get("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n")},
      {400, get("Transfer-Encoding: chunked,\r\n")},
      {400, get("Transfer-Encoding: ,chunked\r\n")},
      {400, get("Transfer-Encoding: \r\n")},
      {400, get("Transfer-Encoding: chunked;q=1\r\n")},
      {400, get("Transfer-Encoding: \"chunked\"\r\n")},
      {400, get("Transfer-Encoding: chunked chunked\r\n")},
      {400, get("Transfer-Encoding:\vchunked\r\n")},
      {400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"},
      // where a line ends, and where a name
      {400, "GET / HTTP/1.1\nHost: a\n\n"},
      {400, "GET / HTTP/1.1\r\nHost: a\n\r\n"},
      {400, "GET / HTTP/1.1\r\nHost: a\r\n\n"},
      {400, "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "GET / HTTP/1.1\rHost: a\r\n\r\n"},
      {400, get("A: b\rC: d\r\n")},
      {400, get("A: b\r\r\n")},
      {400, get("A: b\r\n folded\r\n")},
      {400, get("A: b\r\n\tfolded\r\n")},
      {400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"},
      {400, get("Content-Length : 1\r\n")},
      {400, get("Content-Length\t: 1\r\n")},
      {400, get("A\r\n")},
      {400, get(": b\r\n")},
      {400, get("A b: c\r\n")},
      {400, get("A(b): c\r\n")},
      {400, get("A/b: c\r\n")},
      {400, get("A\xc3\xa9: c\r\n")},
      {400, get(std::string_view("A: b\0c\r\n", 8))},
      {400, get(std::string_view("A\0b: c\r\n", 8))},
      {400, get("A: \x01\r\n")},
      {400, get("A: \x7f\r\n")},
      {400, get("A: \x1b[2J\r\n")},
      // whom it is for
      {400, "GET / HTTP/1.1\r\n\r\n"},
      {400, get("Host: a\r\n")},
      {400, get("Host: b\r\n")},
      {400, "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"},
      {400, host("")},
      {400, host(" a b")},
      {400, host(" a/b")},
      {400, host(" u@a")},
      {400, host(" a:80:80")},
      {400, host(" a:x")},
      {400, host(" a:65536")},
      {400, host(" a:123456789012")},
      {400, host(" :80")},
      {400, host(" [::1")},
      {400, host(" []")},
      {400, host(" [::1]x")},
      {400, host(" [fe80::1%25eth0]")},
      {400, host(" a%4")},
      {400, host(" a%zz")},
      {400, host(" a\xc3\xa9")},
      {400, host(" a\"")},
      {400, "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n"},
      {400, "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "GET https://a/ HTTP/1.1\r\nHost: a:80\r\n\r\n"},
      {400, "GET http://a/ HTTP/1.1\r\n\r\n"},
      {400, "CONNECT a:443 HTTP/1.1\r\nHost: b:443\r\n\r\n"},
      {400, "CONNECT a:443 HTTP/1.1\r\nHost: a:80\r\n\r\n"},
      {400, "CONNECT a:443 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {400, "CONNECT a:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"},
      // the request line
      {400, line("GET a:80 HTTP/1.1")},
      {400, line("GET a HTTP/1.1")},
      {400, line("CONNECT / HTTP/1.1")},
      {400, line("CONNECT a HTTP/1.1")},
      {400, line("CONNECT a: HTTP/1.1")},
      {400, line("CONNECT http://a/ HTTP/1.1")},
      {400, line("CONNECT u@a:80 HTTP/1.1")},
      {400, line("GET * HTTP/1.1")},
      {400, line("OPTIONS *x HTTP/1.1")},
      {400, line("GET ftp://a/ HTTP/1.1")},
      {400, line("GET http:///x HTTP/1.1")},
      {400, line("GET http://u:p@a/ HTTP/1.1")},
      {400, line("GET http:/a HTTP/1.1")},
      {400, line("GET /#f HTTP/1.1")},
      {400, line("GET /\xc3\xa9 HTTP/1.1")},
      {400, line("GET /\x7f HTTP/1.1")},
      {400, line("GET  / HTTP/1.1")},
      {400, line("GET /  HTTP/1.1")},
      {400, line("GET / HTTP/1.1 ")},
      {400, line(" GET / HTTP/1.1")},
      {400, line("GET\t/ HTTP/1.1")},
      {400, line("GET /\tHTTP/1.1")},
      {400, line("GET /")},
      {400, line("GET / ")},
      {400, line("GET")},
      {400, line("G(T / HTTP/1.1")},
      {400, line("GET / HTTP/1")},
      {400, line("GET / HTTP/1.")},
      {400, line("GET / HTTP/1.1x")},
      {400, line("GET / HTTP/11.1")},
      {400, line("GET / HTTP/1.10")},
      {400, line("GET / http/1.1")},
      {400, line("GET / HTTP/a.b")},
      {400, line("GET / ICY/1.1")},
      {505, line("GET / HTTP/2.0")},
      {505, line("GET / HTTP/0.9")},
      {505, line("GET / HTTP/1.2")},
      {505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
      {400, "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"},
      {400, "\x16\x03\x01\x02"},
      {400, get("Connection: keep alive\r\n")},
      {400, get("Connection: close;now\r\n")},
      // what is not done here
      {417, get("Expect: 200-maybe\r\n")},
      {417, get("Expect: 100-continue, x\r\n")},
      {417, get("Expect:\r\n")},
  };
  return heads;
}

/// A fixture with a few bytes changed, dropped, doubled or swapped for those of another.
inline std::string mutated_head(std::mt19937_64& random) {
  static const std::vector<std::string> fixtures = [] {
    std::vector<std::string> all = accepted_heads();
    for (const refused_head& each : refused_heads()) all.push_back(each.bytes);
    return all;
  }();
  static constexpr std::string_view alphabet = "\r\n :\t,;0123456789ahHTcC/?#*@%[]\0\x7f\x80\xff";
  std::string bytes = fixtures[random() % fixtures.size()];
  for (auto edits = random() % 4; edits-- > 0 && !bytes.empty();) {
    std::size_t at = random() % bytes.size();
    switch (random() % 5) {
      case 0: bytes[at] = alphabet[random() % alphabet.size()]; break;
      case 1: bytes[at] = static_cast<char>(random()); break;
      case 2: bytes.erase(at, 1 + random() % 3); break;
      case 3: bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 20)); break;
      default:
        if (const std::string& other = fixtures[random() % fixtures.size()]; at <= other.size()) {
          bytes.replace(at, bytes.npos, other, at);
        }
        break;
    }
  }
  return bytes;
}

}  // namespace skerry::test
