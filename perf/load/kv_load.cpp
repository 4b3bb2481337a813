// SPDX-License-Identifier: Apache-2.0
// Load for a key-value server that speaks RESP2, or with --memcached the text protocol of memcached. In closed loop
// every connection sends --pipeline commands, waits for all their replies, and sends the next batch; in open loop a
// command goes out when it is due. The loops, and what holds for all generators: engine.hpp.
//
//     build/release/perf/kv_load 6379 --op fill --keys 100000 --value 64       each key once
//     build/release/perf/kv_load 6379 --op get --connections 8 --pipeline 32 --seconds 3
//     {"commands": 3456789, "seconds": 3.000051, "p50_us": 210.2, "p99_us": 350.1, "p999_us": 402.7}
//
// A value starts with the number of its key, so a reply that answers another command is noticed. A reply of another
// shape is an error at its first byte.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include <load/engine.hpp>

namespace {

constexpr unsigned digits = 12;  // of a key's number, in the key and at the start of its value
const std::string number_goes_here(digits, '#');

/// Text in which the number of a key stands at known places.
class phrase {
 public:
  explicit phrase(std::string text) : text_(std::move(text)) {
    for (std::size_t at = text_.find(number_goes_here); at != std::string::npos;
         at = text_.find(number_goes_here, at + digits))
      places_.push_back(at);
  }
  const std::string& with(std::uint32_t key) {
    for (std::size_t place : places_) {
      std::uint32_t rest = key;
      for (unsigned i = digits; i-- > 0; rest /= 10) text_[place + i] = static_cast<char>('0' + rest % 10);
    }
    return text_;
  }
  std::size_t size() const { return text_.size(); }

 private:
  std::string text_;
  std::vector<std::size_t> places_{};
};

struct dialogue {
  phrase command, reply;
};

dialogue resp(bool get, const std::string& value) {
  const std::string key = "$16\r\nkey:" + number_goes_here + "\r\n";
  const std::string bulk = "$" + std::to_string(value.size()) + "\r\n" + value + "\r\n";
  if (get) return {phrase("*2\r\n$3\r\nGET\r\n" + key), phrase(bulk)};
  return {phrase("*3\r\n$3\r\nSET\r\n" + key + bulk), phrase("+OK\r\n")};
}

// `mg`, not `get`: memcached sends the answers to one batch of `mg` together, and those to `get` one by one (three
// times the time per command).
dialogue memcached(bool get, const std::string& value) {
  const std::string key = "key:" + number_goes_here, size = std::to_string(value.size());
  if (get) return {phrase("mg " + key + " v\r\n"), phrase("VA " + size + "\r\n" + value + "\r\n")};
  return {phrase("set " + key + " 0 0 " + size + "\r\n" + value + "\r\n"), phrase("STORED\r\n")};
}

class key_value {
 public:
  key_value(dialogue how, bool fill, std::uint32_t keys, unsigned connections)
      : bytes_max(std::max(how.command.size(), how.reply.size())),
        how_(std::move(how)),
        fill_(fill),
        keys_(keys),
        connections_(connections) {}

  void ask(std::uint32_t number, std::string& out) {
    const std::uint32_t key = choose_key();
    connections_[number].asked.push_back(key);
    out += how_.command.with(key);
  }

  unsigned answered(std::uint32_t number, std::string_view bytes) {
    connection& c = connections_[number];
    unsigned complete = 0;
    for (; !bytes.empty(); ++complete) {
      if (c.asked.empty()) load::fail("a reply that nobody asked for");
      const std::string_view expected = std::string_view(how_.reply.with(c.asked.front())).substr(c.seen);
      const std::size_t size = std::min(expected.size(), bytes.size());
      if (bytes.substr(0, size) != expected.substr(0, size))
        load::fail("the reply for key " + std::to_string(c.asked.front()) + " is not as it was set, from its byte " +
                   std::to_string(c.seen) + " on (--op fill sets all): " +
                   std::string(bytes.substr(0, std::min<std::size_t>(80, bytes.find('\r')))));
      bytes.remove_prefix(size);
      c.seen += size;
      if (size < expected.size()) break;
      c.seen = 0;
      c.asked.pop_front();
    }
    return complete;
  }

  const std::size_t bytes_max;

 private:
  struct connection {
    std::deque<std::uint32_t> asked{};  // the keys of commands without a reply, in order
    std::size_t seen = 0;               // of the first one's reply
  };

  std::uint32_t choose_key() {
    if (fill_) return next_key_++;
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    return static_cast<std::uint32_t>(random_ % keys_);
  }

  dialogue how_;
  bool fill_;
  std::uint32_t keys_, next_key_ = 0;
  std::uint64_t random_ = 88172645463325252ull;
  std::vector<connection> connections_;
};

}  // namespace

int main(int argc, char** argv) {
  load::program = "kv_load";
  load::options wanted{.connections = 8, .depth = 32, .in_batches = true};
  unsigned keys = 100'000, value = 64;
  std::string op = "get";
  bool text = false;
  load::parse(
      {argv, static_cast<std::size_t>(argc)},
      "kv_load PORT --op get|set|fill [--memcached] [--connections N] [--pipeline N] [--keys N] [--value BYTES] "
      "[--seconds S] [--rate COMMANDS_PER_SECOND]",
      wanted,
      {{"--op", &op},
       {"--memcached", &text},
       {"--connections", &wanted.connections},
       {"--pipeline", &wanted.depth},
       {"--keys", &keys},
       {"--value", &value},
       {"--seconds", &wanted.seconds},
       {"--rate", &wanted.rate}});
  if (op != "get" && op != "set" && op != "fill") load::fail("--op is get, set or fill");
  if (keys == 0) load::fail("--keys starts at 1");
  if (value < digits || value > 1'000'000) load::fail("--value is 12 to 1000000");
  const bool fill = op == "fill";
  if (fill && wanted.rate > 0) load::fail("--op fill sets each key once; it has no --rate");
  if (fill) wanted.total = keys;
  const std::string content = number_goes_here + std::string(value - digits, 'x');
  key_value protocol(text ? memcached(op == "get", content) : resp(op == "get", content), fill, keys,
                     wanted.connections);
  load::engine engine(wanted, protocol);
  engine.run();
  engine.print("commands");
}
