// SPDX-License-Identifier: Apache-2.0
// Load for an echo server: messages of --size bytes, and every byte that comes back is compared with the one that went
// out. The loops, and what holds for all generators: engine.hpp.
//
//     build/release/perf/echo_load 7777 --connections 64 --size 64 --depth 1 --seconds 3
//     build/release/perf/echo_load 7777 --rate 20000      open loop
//     build/release/perf/echo_load 7777 --short           a connection for each message: connect, one message, close
//     {"messages": 612345, "seconds": 3.000051, "p50_us": 210.2, "p99_us": 350.1, "p999_us": 402.7}
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <load/engine.hpp>

namespace {

constexpr std::uint64_t pattern_period = 251;  // prime: a shifted or repeated piece never matches
constexpr unsigned size_max = 1 << 20;

/// Byte p of a connection's stream is a function of p and of the connection.
class echo {
 public:
  echo(unsigned size, unsigned connections) : bytes_max(size), positions_(connections) {
    pattern_.resize(size_max + pattern_period);
    for (std::size_t i = 0; i < pattern_.size(); ++i)
      pattern_[i] = static_cast<char>(i % pattern_period * 7 % pattern_period);
  }

  void ask(std::uint32_t connection, std::string& out) {
    std::uint64_t& asked = positions_[connection].asked;
    out.append(at(connection, asked), bytes_max);
    asked += bytes_max;
  }

  unsigned answered(std::uint32_t connection, std::string_view bytes) {
    position& p = positions_[connection];
    if (p.received + bytes.size() > p.asked) load::fail("more bytes came back than went out");
    if (std::memcmp(bytes.data(), at(connection, p.received), bytes.size()) != 0)
      load::fail("connection " + std::to_string(connection) + " got other bytes than it sent");
    const std::uint64_t before = p.received / bytes_max;
    p.received += bytes.size();
    return static_cast<unsigned>(p.received / bytes_max - before);
  }

  const std::size_t bytes_max;

 private:
  struct position {
    std::uint64_t asked = 0, received = 0;
  };
  const char* at(std::uint32_t connection, std::uint64_t offset) const {
    return pattern_.data() + (offset + connection) % pattern_period;
  }
  std::string pattern_{};
  std::vector<position> positions_;
};

}  // namespace

int main(int argc, char** argv) {
  load::program = "echo_load";
  load::options wanted;
  unsigned size = 64;
  load::parse({argv, static_cast<std::size_t>(argc)},
              "echo_load PORT [--connections N] [--size BYTES] [--depth N] [--seconds S] [--rate MESSAGES_PER_SECOND] "
              "[--short]",
              wanted,
              {{"--connections", &wanted.connections},
               {"--size", &size},
               {"--depth", &wanted.depth},
               {"--seconds", &wanted.seconds},
               {"--rate", &wanted.rate},
               {"--short", &wanted.short_connections}});
  if (size == 0 || size > size_max) load::fail("--size is 1 to 1048576");
  echo protocol(size, wanted.connections);
  load::engine engine(wanted, protocol);
  engine.run();
  engine.print("messages");
}
