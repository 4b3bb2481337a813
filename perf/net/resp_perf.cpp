// SPDX-License-Identifier: Apache-2.0
// What a pipelined GET or SET costs to parse, and a small reply to write. items_per_second counts commands.
#include <skerry/net/resp/parser.hpp>
#include <skerry/net/resp/writer.hpp>

#include <string>
#include <string_view>
#include <vector>

#include <benchmark/benchmark.h>

namespace {

using skerry::net::resp::request_parser;
using skerry::net::resp::verdict;

void parse_pipeline(benchmark::State& state, std::string_view command) {
  std::string pipeline;
  for (int i = 0; i < 32; ++i) pipeline += command;
  request_parser parser;
  std::vector<std::string_view> arguments;
  for (auto _ : state) {
    std::span<char> window(pipeline);
    arguments.clear();
    while (parser.parse(window, arguments) == verdict::command) window = window.subspan(parser.consumed());
    benchmark::DoNotOptimize(arguments.data());
  }
  state.SetItemsProcessed(state.iterations() * 32);
}

void write_values(benchmark::State& state) {
  skerry::net::resp::reply_buffer out;
  std::string_view value = "0123456789abcdef";
  for (auto _ : state) {
    out.clear();
    for (int i = 0; i < 32; ++i) skerry::net::resp::write_bulk(out, value);
    benchmark::DoNotOptimize(out.data());
  }
  state.SetItemsProcessed(state.iterations() * 32);
}

BENCHMARK_CAPTURE(parse_pipeline, get, "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000012345\r\n");
BENCHMARK_CAPTURE(parse_pipeline, set, "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000012345\r\n$3\r\nxxx\r\n");
BENCHMARK_CAPTURE(parse_pipeline, inline_get, "GET key:000000012345\r\n");
BENCHMARK(write_values);

}  // namespace
