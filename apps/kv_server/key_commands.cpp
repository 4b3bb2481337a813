// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <limits>
#include <string>

#include <kv_server/key_commands.hpp>

namespace kv_server {
namespace {

using skerry::net::resp::write_bulk;
using skerry::net::resp::write_bulk_header;
using skerry::net::resp::write_error;
using skerry::net::resp::write_integer;
using skerry::net::resp::write_null;
using skerry::net::resp::write_ok;
using skerry::net::resp::write_simple;

constexpr std::int64_t integer_max = std::numeric_limits<std::int64_t>::max();
constexpr std::int64_t integer_min = std::numeric_limits<std::int64_t>::min();
constexpr std::size_t value_size_max = 512U << 20;

/// One command at work: what every function below needs.
struct call {
  keyspace& keys;
  const command_info& info;
  arguments args;
  std::uint64_t hash;
  std::uint64_t now_ms;
  reply_buffer& out;
  pinned_value* pin;

  std::string_view key() const { return args[1]; }
  keyspace::found find() const { return keys.find(key(), hash, now_ms); }
};

void write_value(keyspace& keys, keyspace::found at, reply_buffer& out, pinned_value* pin) {
  std::string_view value = keys.value(at);
  large_value* large = pin != nullptr && value.size() > keyspace::large_value_min ? keys.pin(at) : nullptr;
  if (large == nullptr) return write_bulk(out, value);
  SKERRY_ASSERT(pin->value == nullptr, "one reply borrows one value");
  *pin = {large, static_cast<std::uint32_t>(value.size())};
  write_bulk_header(out, value.size());
}

bool store(keyspace& keys, keyspace::found at, std::string_view key, std::uint64_t hash, std::string_view value) {
  return at ? keys.assign(at, value) : static_cast<bool>(keys.insert(key, hash, value));
}

void write_invalid_expire(const call& c) {
  std::string text("ERR invalid expire time in '");
  text += c.info.name;
  text += "' command";
  write_error(c.out, text);
}

/// What SET and GETEX understand behind their values.
struct options {
  bool nx = false, xx = false, get = false, keep_ttl = false, persist = false;
  enum class unit : std::uint8_t { none, ex, px, exat, pxat } expire = unit::none;
  std::string_view time;
};

options::unit unit_named(std::string_view name) noexcept {
  if (equal_ignoring_case(name, "ex")) return options::unit::ex;
  if (equal_ignoring_case(name, "px")) return options::unit::px;
  if (equal_ignoring_case(name, "exat")) return options::unit::exat;
  if (equal_ignoring_case(name, "pxat")) return options::unit::pxat;
  return options::unit::none;
}

/// False on a syntax error. The same unit twice is no error: the last one counts, as with Redis.
bool parse_options(const call& c, std::size_t first, options& parsed) {
  const bool is_set = c.info.id == command_id::set;
  for (std::size_t i = first; i < c.args.size(); ++i) {
    std::string_view name = c.args[i];
    const options::unit unit = unit_named(name);
    const bool timed = parsed.expire != options::unit::none;
    if (is_set && !parsed.xx && equal_ignoring_case(name, "nx")) {
      parsed.nx = true;
    } else if (is_set && !parsed.nx && equal_ignoring_case(name, "xx")) {
      parsed.xx = true;
    } else if (is_set && equal_ignoring_case(name, "get")) {
      parsed.get = true;
    } else if (is_set && !timed && equal_ignoring_case(name, "keepttl")) {
      parsed.keep_ttl = true;
    } else if (!is_set && !timed && equal_ignoring_case(name, "persist")) {
      parsed.persist = true;
    } else if (unit != options::unit::none && (!timed || parsed.expire == unit) && !parsed.keep_ttl &&
               !parsed.persist && i + 1 < c.args.size()) {
      parsed.expire = unit;
      parsed.time = c.args[++i];
    } else {
      return false;
    }
  }
  return true;
}

/// The deadline the options name; empty when it is none that can be, with the error written.
std::optional<std::uint64_t> parse_deadline(const call& c, const options& parsed) {
  auto time = parse_integer(parsed.time);
  if (!time) {
    write_error(c.out, error_not_integer);
    return std::nullopt;
  }
  const bool seconds = parsed.expire == options::unit::ex || parsed.expire == options::unit::exat;
  const bool relative = parsed.expire == options::unit::ex || parsed.expire == options::unit::px;
  const std::int64_t base = relative ? static_cast<std::int64_t>(c.now_ms) : 0;
  std::int64_t value = *time;
  bool possible = value > 0 && (!seconds || value <= integer_max / 1000);
  if (possible && seconds) value *= 1000;
  if (!possible || value > integer_max - base) {
    write_invalid_expire(c);
    return std::nullopt;
  }
  return static_cast<std::uint64_t>(value + base);
}

void do_set(const call& c) {
  options parsed;
  if (c.args.size() > 3 && !parse_options(c, 3, parsed)) return write_error(c.out, error_syntax);
  std::uint64_t deadline = 0;
  if (parsed.expire != options::unit::none) {
    auto given = parse_deadline(c, parsed);
    if (!given) return;
    deadline = *given;
  }
  keyspace::found at = c.find();
  const std::size_t reply_begin = c.out.size();
  if (parsed.get) at ? write_value(c.keys, at, c.out, c.pin) : write_null(c.out);
  if ((parsed.nx && at) || (parsed.xx && !at)) {
    if (!parsed.get) write_null(c.out);
    return;
  }
  if (at) {
    if (!c.keys.assign(at, c.args[2])) at = {};
  } else {
    at = c.keys.insert(c.key(), c.hash, c.args[2]);
  }
  if (!at) {
    c.out.truncate(reply_begin);
    if (c.pin != nullptr && c.pin->value != nullptr) {
      c.keys.unpin(c.pin->value);
      *c.pin = {};
    }
    return write_error(c.out, error_out_of_memory);
  }
  if (deadline != 0) {
    c.keys.expire_at(at, deadline);
  } else if (!parsed.keep_ttl) {
    c.keys.persist(at);
  }
  if (!parsed.get) write_ok(c.out);
}

void do_get(const call& c) {
  keyspace::found at = c.find();
  at ? write_value(c.keys, at, c.out, c.pin) : write_null(c.out);
}

void do_getdel(const call& c) {
  keyspace::found at = c.find();
  if (!at) return write_null(c.out);
  write_value(c.keys, at, c.out, c.pin);
  c.keys.erase(at);
}

void do_getex(const call& c) {
  options parsed;
  if (!parse_options(c, 2, parsed)) return write_error(c.out, error_syntax);
  keyspace::found at = c.find();
  if (!at) return write_null(c.out);
  std::uint64_t deadline = 0;
  if (parsed.expire != options::unit::none) {
    auto given = parse_deadline(c, parsed);
    if (!given) return;
    deadline = *given;
  }
  write_value(c.keys, at, c.out, c.pin);
  if (parsed.persist) c.keys.persist(at);
  if (deadline == 0) return;
  if (deadline <= c.now_ms) {
    c.keys.erase(at);
  } else {
    c.keys.expire_at(at, deadline);
  }
}

void add(const call& c, std::int64_t by) {
  keyspace::found at = c.find();
  std::int64_t value = 0;
  if (at) {
    auto stored = parse_integer(c.keys.value(at));
    if (!stored) return write_error(c.out, error_not_integer);
    value = *stored;
  }
  if (__builtin_add_overflow(value, by, &value)) {
    return write_error(c.out, "ERR increment or decrement would overflow");
  }
  char digits[24];
  const char* end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  if (!store(c.keys, at, c.key(), c.hash, {digits, static_cast<std::size_t>(end - digits)})) {
    return write_error(c.out, error_out_of_memory);
  }
  write_integer(c.out, value);
}

void do_add_by(const call& c, bool negative) {
  auto by = parse_integer(c.args[2]);
  if (!by) return write_error(c.out, error_not_integer);
  if (negative && *by == integer_min) return write_error(c.out, "ERR decrement would overflow");
  add(c, negative ? -*by : *by);
}

void do_append(const call& c) {
  keyspace::found at = c.find();
  std::size_t size = (at ? c.keys.value(at).size() : 0) + c.args[2].size();
  if (size > value_size_max) {
    return write_error(c.out, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
  }
  bool stored = at ? c.keys.append(at, c.args[2]) : static_cast<bool>(c.keys.insert(c.key(), c.hash, c.args[2]));
  if (!stored) return write_error(c.out, error_out_of_memory);
  write_integer(c.out, static_cast<std::int64_t>(size));
}

struct expire_conditions {
  bool nx = false, xx = false, gt = false, lt = false;
};

bool parse_conditions(const call& c, expire_conditions& parsed) {
  for (std::string_view name : c.args.subspan(3)) {
    if (equal_ignoring_case(name, "nx")) {
      parsed.nx = true;
    } else if (equal_ignoring_case(name, "xx")) {
      parsed.xx = true;
    } else if (equal_ignoring_case(name, "gt")) {
      parsed.gt = true;
    } else if (equal_ignoring_case(name, "lt")) {
      parsed.lt = true;
    } else {
      std::string text("ERR Unsupported option ");
      text += quoted(name);
      write_error(c.out, text);
      return false;
    }
  }
  if (parsed.nx && (parsed.xx || parsed.gt || parsed.lt)) {
    write_error(c.out, "ERR NX and XX, GT or LT options at the same time are not compatible");
    return false;
  }
  if (parsed.gt && parsed.lt) {
    write_error(c.out, "ERR GT and LT options at the same time are not compatible");
    return false;
  }
  return true;
}

void do_expire(const call& c, std::int64_t unit_ms) {
  expire_conditions only_if;
  if (!parse_conditions(c, only_if)) return;
  auto time = parse_integer(c.args[2]);
  if (!time) return write_error(c.out, error_not_integer);
  if (*time > integer_max / unit_ms || *time < integer_min / unit_ms) return write_invalid_expire(c);
  std::int64_t when = *time * unit_ms;
  const auto now = static_cast<std::int64_t>(c.now_ms);
  if (when > integer_max - now) return write_invalid_expire(c);
  when += now;
  keyspace::found at = c.find();
  if (!at) return write_integer(c.out, 0);
  // A key that lives for ever counts as one with an infinite deadline.
  auto current = c.keys.deadline(at);
  const bool later = current && when > static_cast<std::int64_t>(*current);
  const bool earlier = !current || when < static_cast<std::int64_t>(*current);
  bool refused = (only_if.nx && current) || (only_if.xx && !current);
  refused = refused || (only_if.gt && !later) || (only_if.lt && !earlier);
  if (refused) return write_integer(c.out, 0);
  if (when <= now) {
    c.keys.erase(at);
  } else {
    c.keys.expire_at(at, static_cast<std::uint64_t>(when));
  }
  write_integer(c.out, 1);
}

void do_ttl(const call& c, bool seconds) {
  keyspace::found at = c.find();
  if (!at) return write_integer(c.out, -2);
  auto deadline = c.keys.deadline(at);
  if (!deadline) return write_integer(c.out, -1);
  std::uint64_t left = *deadline - c.now_ms;
  write_integer(c.out, static_cast<std::int64_t>(seconds ? (left + 500) / 1000 : left));
}

}  // namespace

void execute(keyspace& keys, const command_info& info, arguments args, std::uint64_t hash, std::uint64_t now_ms,
             reply_buffer& out, pinned_value* pin) {
  SKERRY_ASSERT(info.route == routing::single_key, "execute() is for commands with one key");
  SKERRY_ASSERT(takes(info, args.size()), "the number of arguments is checked before a command travels");
  const call c{keys, info, args, hash, now_ms, out, pin};
  switch (info.id) {
    case command_id::get: return do_get(c);
    case command_id::set: return do_set(c);
    case command_id::incr: return add(c, 1);
    case command_id::decr: return add(c, -1);
    case command_id::incrby: return do_add_by(c, false);
    case command_id::decrby: return do_add_by(c, true);
    case command_id::append: return do_append(c);
    case command_id::getdel: return do_getdel(c);
    case command_id::getex: return do_getex(c);
    case command_id::expire: return do_expire(c, 1000);
    case command_id::pexpire: return do_expire(c, 1);
    case command_id::ttl: return do_ttl(c, true);
    case command_id::pttl: return do_ttl(c, false);
    case command_id::strlen: {
      keyspace::found at = c.find();
      return write_integer(out, at ? static_cast<std::int64_t>(keys.value(at).size()) : 0);
    }
    case command_id::type: return write_simple(out, c.find() ? "string" : "none");
    case command_id::persist: {
      keyspace::found at = c.find();
      return write_integer(out, at && keys.persist(at) ? 1 : 0);
    }
    default: SKERRY_ASSERT(false, "the table routes a command to a key's shard that nobody executes there");
  }
}

bool execute_piece(keyspace& keys, const command_info& info, arguments args, std::uint64_t hash, std::uint64_t now_ms,
                   reply_buffer& out, pinned_value* pin) {
  SKERRY_ASSERT(info.route == routing::multi_key, "execute_piece() is for commands that were taken apart");
  SKERRY_ASSERT(args.size() == info.key_step, "a piece is one key with what belongs to it");
  keyspace::found at = keys.find(args[0], hash, now_ms);
  switch (info.id) {
    case command_id::mget:
      at ? write_value(keys, at, out, pin) : skerry::net::resp::write_null(out);
      return static_cast<bool>(at);
    case command_id::mset:
      if (at) {
        if (!keys.assign(at, args[1])) return false;
        keys.persist(at);
        return true;
      }
      return static_cast<bool>(keys.insert(args[0], hash, args[1]));
    case command_id::del:
      if (at) keys.erase(at);
      return static_cast<bool>(at);
    case command_id::exists: return static_cast<bool>(at);
    default: SKERRY_ASSERT(false, "the table takes a command apart that nobody executes in pieces");
  }
  return false;
}

}  // namespace kv_server
