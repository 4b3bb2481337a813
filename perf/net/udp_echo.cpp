// SPDX-License-Identifier: Apache-2.0
// What is measured beside limits/udp_mmsg.cpp: datagrams are sent back, each batch that has come as a batch.
//
//     build/release/perf/udp_echo --port 7777 --shards 1
#include <skerry/net/datagram.hpp>
#include <skerry/shards/app.hpp>

#include <optional>
#include <system_error>
#include <utility>
#include <vector>

namespace {

using namespace skerry;

constexpr std::size_t batch_max = 64;

/// Ends when the app drains.
task<> send_back(net::datagram_socket socket) {
  std::vector<net::datagram> come;
  std::vector<net::outgoing> answers;
  come.reserve(batch_max);
  answers.reserve(batch_max);
  while (std::optional<net::datagram> next = co_await socket.receive()) {
    for (; next; next = come.size() < batch_max ? socket.try_receive() : std::nullopt) {
      answers.push_back({.to = next->from(), .bytes = next->bytes()});
      come.push_back(std::move(*next));
    }
    try {
      co_await socket.send_batch(answers);
    } catch (const std::system_error&) {
      // One of them cannot be reached.
    }
    answers.clear();
    come.clear();
  }
}

task<> run() {
  const app_options& options = app::running_options();
  const std::optional<net::address> at = net::address::parse(options.bind, *options.port);
  co_await net::bind_on_all_shards(*at, [](net::datagram_socket socket) { return send_back(std::move(socket)); });
}

}  // namespace

int main(int argc, char** argv) {
  return skerry::app("udp_echo", "sends datagrams back", "1.0", 7777).run(argc, argv, run);
}
