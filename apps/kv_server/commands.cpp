// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <charconv>
#include <string>

#include <kv_server/commands.hpp>

namespace kv_server {
namespace {

constexpr std::uint8_t read_fast = flag_readonly | flag_fast;
constexpr std::uint8_t write_fast = flag_write | flag_fast;
constexpr std::uint8_t write_memory = flag_write | flag_denyoom;

using enum command_id;
constexpr std::array table = {
    command_info{"append", append, routing::single_key, 3, write_memory | flag_fast, 1},
    command_info{"client", client, routing::local, -2, 0, 0},
    command_info{"command", command, routing::local, -1, 0, 0},
    command_info{"config", config, routing::local, -2, 0, 0},
    command_info{"dbsize", dbsize, routing::all_shards, 1, read_fast | flag_barrier, 0},
    command_info{"decr", decr, routing::single_key, 2, write_memory | flag_fast, 1},
    command_info{"decrby", decrby, routing::single_key, 3, write_memory | flag_fast, 1},
    command_info{"del", del, routing::multi_key, -2, flag_write, 1},
    command_info{"echo", echo, routing::local, 2, flag_fast, 0},
    command_info{"exists", exists, routing::multi_key, -2, read_fast, 1},
    command_info{"expire", expire, routing::single_key, -3, write_fast, 1},
    command_info{"flushall", flushall, routing::all_shards, -1, flag_write | flag_barrier, 0},
    command_info{"get", get, routing::single_key, 2, read_fast, 1},
    command_info{"getdel", getdel, routing::single_key, 2, write_fast, 1},
    command_info{"getex", getex, routing::single_key, -2, write_fast, 1},
    command_info{"hello", hello, routing::local, -1, flag_fast, 0},
    command_info{"incr", incr, routing::single_key, 2, write_memory | flag_fast, 1},
    command_info{"incrby", incrby, routing::single_key, 3, write_memory | flag_fast, 1},
    command_info{"info", info, routing::all_shards, -1, flag_barrier, 0},
    command_info{"keys", keys, routing::all_shards, 2, flag_readonly | flag_barrier, 0},
    command_info{"mget", mget, routing::multi_key, -2, read_fast, 1},
    command_info{"mset", mset, routing::multi_key, -3, write_memory, 2},
    command_info{"persist", persist, routing::single_key, 2, write_fast, 1},
    command_info{"pexpire", pexpire, routing::single_key, -3, write_fast, 1},
    command_info{"ping", ping, routing::local, -1, flag_fast, 0},
    command_info{"pttl", pttl, routing::single_key, 2, read_fast, 1},
    command_info{"quit", quit, routing::local, -1, flag_fast | flag_barrier, 0},
    command_info{"scan", scan, routing::all_shards, -2, flag_readonly | flag_barrier, 0},
    command_info{"select", select, routing::local, 2, flag_fast, 0},
    command_info{"set", set, routing::single_key, -3, write_memory, 1},
    command_info{"strlen", strlen, routing::single_key, 2, read_fast, 1},
    command_info{"ttl", ttl, routing::single_key, 2, read_fast, 1},
    command_info{"type", type, routing::single_key, 2, read_fast, 1},
};

constexpr std::size_t name_size_max = 8;
constexpr unsigned slot_bits = 8;
constexpr std::uint8_t no_command = 0xff;

constexpr std::uint64_t name_word(std::string_view lower) {
  std::uint64_t word = 0;
  for (std::size_t i = lower.size(); i-- > 0;) word = word << 8 | static_cast<unsigned char>(lower[i]);
  return word;
}

constexpr std::size_t slot_of(std::uint64_t word, std::uint64_t multiplier) {
  return static_cast<std::size_t>(word * multiplier >> (64 - slot_bits));
}

struct index {
  std::uint64_t multiplier = 0;
  std::array<std::uint8_t, std::size_t{1} << slot_bits> command{};
  std::array<std::uint64_t, table.size()> words{};
};

/// Tries multipliers until no two names share a slot.
consteval index make_index() {
  std::uint64_t multiplier = 0x9e3779b97f4a7c15;
  for (;; multiplier = multiplier * 0x5851f42d4c957f2d + 2) {
    index made;
    made.multiplier = multiplier;
    made.command.fill(no_command);
    bool collides = false;
    for (std::size_t i = 0; i < table.size() && !collides; ++i) {
      made.words[i] = name_word(table[i].name);
      std::uint8_t& slot = made.command[slot_of(made.words[i], multiplier)];
      collides = slot != no_command;
      slot = static_cast<std::uint8_t>(i);
    }
    if (!collides) return made;
  }
}
constexpr index by_name = make_index();
static_assert(std::ranges::all_of(table, [](const command_info& c) { return c.name.size() <= name_size_max; }));
static_assert(std::ranges::is_sorted(table, {}, &command_info::name));

}  // namespace

std::span<const command_info> all_commands() noexcept { return table; }

const command_info* find_command(std::string_view name) noexcept {
  if (name.empty() || name.size() > name_size_max) return nullptr;
  std::uint64_t word = 0;
  std::memcpy(&word, name.data(), name.size());
  word |= 0x2020202020202020 >> (8 * (name_size_max - name.size()));
  std::uint8_t found = by_name.command[slot_of(word, by_name.multiplier)];
  if (found == no_command || by_name.words[found] != word) return nullptr;
  return &table[found];
}

bool takes(const command_info& info, std::size_t count) noexcept {
  if (info.arity >= 0) return count == static_cast<std::size_t>(info.arity);
  if (count < static_cast<std::size_t>(-info.arity)) return false;
  return info.id == ping ? count <= 2 : info.id != mset || count % 2 == 1;
}

void write_unknown_command(reply_buffer& out, arguments args) {
  constexpr std::size_t preview_max = 128;
  std::string preview;
  for (std::string_view arg : args.subspan(1)) {
    if (preview.size() >= preview_max) break;
    preview += '\'';
    preview += arg.substr(0, preview_max - preview.size() + 1);
    preview += "' ";
  }
  std::string text("ERR unknown command '");
  text += quoted(args[0]);
  text += "', with args beginning with: ";
  text += preview;
  write_error(out, text);
}

void write_wrong_arity(reply_buffer& out, std::string_view name) {
  std::string text("ERR wrong number of arguments for '");
  text += name;
  text += "' command";
  write_error(out, text);
}

std::optional<std::int64_t> parse_integer(std::string_view text) noexcept {
  if (text == "0") return 0;
  std::size_t sign = text.starts_with('-') ? 1 : 0;
  if (text.size() <= sign || text[sign] < '1' || text[sign] > '9') return std::nullopt;
  std::int64_t value = 0;
  auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

bool equal_ignoring_case(std::string_view text, std::string_view lower) noexcept {
  return std::ranges::equal(text, lower,
                            [](char a, char b) { return (a >= 'A' && a <= 'Z' ? static_cast<char>(a + 32) : a) == b; });
}

std::optional<scan_request> parse_scan(arguments args, reply_buffer& out) {
  scan_request request;
  // Redis reads cursors with strtoul, so a negative one wraps instead of being refused.
  std::string_view cursor = args[1];
  bool negative = cursor.starts_with('-');
  if (negative) cursor.remove_prefix(1);
  auto [stop, error] = std::from_chars(cursor.data(), cursor.data() + cursor.size(), request.cursor);
  if (cursor.empty() || error != std::errc{} || stop != cursor.data() + cursor.size()) {
    write_error(out, "ERR invalid cursor");
    return std::nullopt;
  }
  if (negative) request.cursor = 0 - request.cursor;
  for (std::size_t i = 2; i < args.size(); i += 2) {
    const bool has_value = i + 1 < args.size();
    if (has_value && equal_ignoring_case(args[i], "count")) {
      auto count = parse_integer(args[i + 1]);
      if (!count || *count < 1) {
        write_error(out, count ? error_syntax : error_not_integer);
        return std::nullopt;
      }
      request.count = static_cast<std::size_t>(*count);
    } else if (has_value && equal_ignoring_case(args[i], "match")) {
      request.pattern = args[i + 1];
    } else if (has_value && equal_ignoring_case(args[i], "type")) {
      request.type_exists = equal_ignoring_case(args[i + 1], "string");
    } else {
      write_error(out, error_syntax);
      return std::nullopt;
    }
  }
  return request;
}

bool parse_flushall(arguments args, reply_buffer& out) {
  if (args.size() == 1) return true;
  if (args.size() == 2 && (equal_ignoring_case(args[1], "async") || equal_ignoring_case(args[1], "sync"))) return true;
  write_error(out, error_syntax);
  return false;
}

}  // namespace kv_server
