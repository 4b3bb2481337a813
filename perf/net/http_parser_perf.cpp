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
#include <net/browser_head.hpp>

namespace {

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

BENCHMARK_CAPTURE(skerry_head, browser, perf::browser_head);
BENCHMARK_CAPTURE(http_parser_head, browser, perf::browser_head);
BENCHMARK_CAPTURE(beast_head, browser, perf::browser_head);
BENCHMARK_CAPTURE(skerry_head, shortest, shortest);
BENCHMARK_CAPTURE(http_parser_head, shortest, shortest);
BENCHMARK_CAPTURE(beast_head, shortest, shortest);
BENCHMARK(chunked_body);

}  // namespace
