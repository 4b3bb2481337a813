// SPDX-License-Identifier: Apache-2.0
// What the head of a browser's request costs to parse, beside http_parser (Node's until 2019, C) and Boost.Beast. All
// three check it and leave its fields where a program can use them. bytes_per_second is the figure.
#include <skerry/net/http/chunked_decoder.hpp>
#include <skerry/net/http/request_parser.hpp>

#include <array>
#include <string>
#include <string_view>

#include <benchmark/benchmark.h>
#include <boost/beast/http.hpp>
#include <http_parser.h>

namespace {

constexpr std::string_view browser =
    "GET /articles/2024/05/thread-per-core?ref=frontpage&page=2 HTTP/1.1\r\n"
    "Host: www.example.com\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    "Accept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Referer: https://www.example.com/articles/\r\n"
    "Connection: keep-alive\r\n"
    "Cookie: session=9f86d081884c7d659a2feaa0c55ad015; theme=dark; consent=all.2024-05-01T10:00:00Z; "
    "_ga=GA1.2.1234567890.1714550400\r\n"
    "Upgrade-Insecure-Requests: 1\r\n"
    "Sec-Fetch-Dest: document\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "Sec-Fetch-Site: same-origin\r\n"
    "If-None-Match: \"5e1f-18a3c9\"\r\n"
    "\r\n";
constexpr std::string_view shortest = "GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n";

void skerry_head(benchmark::State& state, std::string_view bytes) {
  using namespace skerry::net::http;
  request_parser parser;
  for (auto _ : state) {
    if (parser.parse({bytes.data(), bytes.size()}) != verdict::complete) state.SkipWithError("refused");
    benchmark::DoNotOptimize(parser.head().fields.data());
    parser.reset();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes.size()));
}

/// Keeps views of the fields, as every user of http_parser must.
struct seen {
  std::array<std::string_view, 200> views;
  std::size_t count = 0;
  static int keep(http_parser* parser, const char* at, std::size_t size) {
    auto& self = *static_cast<seen*>(parser->data);
    self.views[self.count++] = {at, size};
    return 0;
  }
};

void http_parser_head(benchmark::State& state, std::string_view bytes) {
  http_parser_settings settings;
  http_parser_settings_init(&settings);
  settings.on_url = settings.on_header_field = settings.on_header_value = seen::keep;
  seen fields;
  http_parser parser;
  parser.data = &fields;
  for (auto _ : state) {
    fields.count = 0;
    http_parser_init(&parser, HTTP_REQUEST);
    if (http_parser_execute(&parser, &settings, bytes.data(), bytes.size()) != bytes.size()) {
      state.SkipWithError("refused");
    }
    benchmark::DoNotOptimize(fields.views.data());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes.size()));
}

/// Beast's parser without its container, which would copy every field.
class beast_parser : public boost::beast::http::basic_parser<true> {
 public:
  std::array<std::string_view, 200> views;
  std::size_t count = 0;

 private:
  using error_code = boost::beast::error_code;
  using text = boost::beast::string_view;
  void on_request_impl(boost::beast::http::verb, text, text target, int, error_code&) override { keep(target); }
  void on_response_impl(int, text, int, error_code&) override {}
  void on_field_impl(boost::beast::http::field, text name, text value, error_code&) override {
    keep(name);
    keep(value);
  }
  void on_header_impl(error_code&) override {}
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(text body, error_code&) override { return body.size(); }
  void on_chunk_header_impl(std::uint64_t, text, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, text body, error_code&) override { return body.size(); }
  void on_finish_impl(error_code&) override {}
  void keep(text view) { views[count++] = {view.data(), view.size()}; }
};

void beast_head(benchmark::State& state, std::string_view bytes) {
  for (auto _ : state) {
    beast_parser parser;
    boost::beast::error_code error;
    parser.put(boost::asio::buffer(bytes.data(), bytes.size()), error);
    if (error || !parser.is_header_done()) state.SkipWithError("refused");
    benchmark::DoNotOptimize(parser.views.data());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes.size()));
}

void chunked_body(benchmark::State& state) {
  using namespace skerry::net::http;
  std::string bytes;
  for (int i = 0; i < 16; ++i) bytes += "400\r\n" + std::string(1024, 'x') + "\r\n";
  bytes += "0\r\n\r\n";
  chunked_decoder decoder;
  for (auto _ : state) {
    std::span<const char> input = bytes;
    while (decoder.decode(input) == verdict::need_more) input = input.subspan(decoder.consumed());
    benchmark::DoNotOptimize(input.data());
    decoder.reset();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes.size()));
}

BENCHMARK_CAPTURE(skerry_head, browser, browser);
BENCHMARK_CAPTURE(http_parser_head, browser, browser);
BENCHMARK_CAPTURE(beast_head, browser, browser);
BENCHMARK_CAPTURE(skerry_head, shortest, shortest);
BENCHMARK_CAPTURE(http_parser_head, shortest, shortest);
BENCHMARK_CAPTURE(beast_head, shortest, shortest);
BENCHMARK(chunked_body);

}  // namespace
