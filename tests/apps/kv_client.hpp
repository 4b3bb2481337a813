// SPDX-License-Identifier: Apache-2.0
#pragma once

/// kv_client: requests in RESP, and what is asked of a key-value server that runs as a process.

#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <support/server_process.hpp>
#include <sys/types.h>

namespace kv_test {

using skerry::test::blocking_client;
using skerry::test::server_process;

inline const std::vector<std::string> four_shards{"--shards", "4", "--overprovision"};

/// A length or count line. Appended piece by piece: g++ 12 warns of `"…" + std::to_string(…)` without cause.
inline std::string line(char type, std::size_t number) {
  std::string out(1, type);
  out += std::to_string(number);
  out += "\r\n";
  return out;
}

inline std::string bulk(const std::string& text) {
  std::string out = line('$', text.size());
  out += text;
  out += "\r\n";
  return out;
}

inline std::string command(const std::vector<std::string>& words) {
  std::string out = line('*', words.size());
  for (const std::string& word : words) out += bulk(word);
  return out;
}

inline std::string ask(blocking_client& client, const std::vector<std::string>& words, const std::string& expected) {
  client.send(command(words));
  return client.receive_exactly(expected.size());
}

/// Everything until the server closes the connection.
inline std::string receive_all(blocking_client& client) {
  std::string all;
  while (true) {
    std::string more = client.receive();
    if (more.empty()) return all;
    all += more;
  }
}

/// What a SCAN answers.
struct scan_step {
  std::string cursor;
  std::vector<std::string> keys;
  std::size_t bytes = 0;  ///< of the whole answer
};

inline scan_step scan(blocking_client& client, const std::string& cursor, const std::string& count) {
  client.send(command({"SCAN", cursor, "COUNT", count}) + command({"PING"}));
  std::string text;
  while (!text.ends_with("+PONG\r\n")) {
    const std::string more = client.receive();
    if (more.empty()) throw std::runtime_error("the server has closed the connection");
    text += more;
  }
  // *2 $n cursor *m ($n key)…: every second line from the fifth on is a key.
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find("\r\n", at);
    lines.push_back(text.substr(at, end - at));
    at = end + 2;
  }
  scan_step step{lines[2], {}, text.size()};
  for (std::size_t i = 5; i + 1 < lines.size(); i += 2) step.keys.push_back(lines[i]);
  return step;
}

/// A number that INFO tells.
inline std::uint64_t info(blocking_client& client, std::string_view name) {
  client.send(command({"INFO"}) + command({"PING"}));
  std::string text;
  while (!text.ends_with("+PONG\r\n")) text += client.receive();
  const std::size_t at = text.find("\n" + std::string(name) + ":");
  return at == std::string::npos ? UINT64_MAX : std::stoull(text.substr(at + name.size() + 2));
}

/// A line of /proc/PID/status, in bytes: VmRSS is resident now, VmHWM was at most.
inline std::size_t memory_of(pid_t pid, std::string_view what) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string text; std::getline(status, text);) {
    if (text.starts_with(what)) return std::stoull(text.substr(what.size() + 1)) * 1024;
  }
  return 0;
}

}  // namespace kv_test
