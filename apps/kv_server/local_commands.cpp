// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <string>

#include <kv_server/glob.hpp>
#include <kv_server/local_commands.hpp>

namespace kv_server {
namespace {

using skerry::net::resp::write_array_header;
using skerry::net::resp::write_bulk;
using skerry::net::resp::write_error;
using skerry::net::resp::write_integer;
using skerry::net::resp::write_null;
using skerry::net::resp::write_null_array;
using skerry::net::resp::write_ok;
using skerry::net::resp::write_simple;

void write_unknown_subcommand(reply_buffer& out, std::string_view command, std::string_view given) {
  std::string text("ERR unknown subcommand '");
  text += quoted(given);
  text += "'. Try ";
  for (char c : command) text += static_cast<char>(c - 32);
  text += " HELP.";
  write_error(out, text);
}

/// One subcommand: `arity` counts the command's name too, negative means at least. `run` answers it.
template <class Run>
struct subcommand {
  std::string_view name;
  int arity;
  Run run;
};

/// Finds args[1] among the rows, checks its arity and runs it.
template <class Run, std::size_t Count>
void dispatch(const subcommand<Run> (&rows)[Count], std::string_view command, arguments args, reply_buffer& out,
              auto&... context) {
  for (const subcommand<Run>& row : rows) {
    if (!equal_ignoring_case(args[1], row.name)) continue;
    const auto count = static_cast<int>(args.size());
    if (row.arity >= 0 ? count == row.arity : count >= -row.arity) return row.run(context..., args, out);
    std::string name(command);
    name += '|';
    name += row.name;
    return write_wrong_arity(out, name);
  }
  write_unknown_subcommand(out, command, args[1]);
}

/// Printable, without spaces, so that it can stand in a line of CLIENT LIST.
bool set_client_name(client_state& client, std::string_view name, reply_buffer& out) {
  bool clean = std::ranges::all_of(name, [](char c) { return c >= '!' && c <= '~'; });
  if (!clean) {
    write_error(out, "ERR Client names cannot contain spaces, newlines or special characters.");
    return false;
  }
  if (name.size() > client_name_size_max) {
    write_error(out, "ERR Client names cannot be longer than 1024 bytes.");
    return false;
  }
  client.name = name.empty() ? nullptr : std::make_unique<std::string>(name);
  return true;
}

void client_setname(client_state& client, arguments args, reply_buffer& out) {
  if (set_client_name(client, args[2], out)) write_ok(out);
}
void client_getname(client_state& client, arguments, reply_buffer& out) {
  client.name == nullptr ? write_null(out) : write_bulk(out, *client.name);
}
void client_id(client_state& client, arguments, reply_buffer& out) {
  write_integer(out, static_cast<std::int64_t>(client.id));
}
void client_setinfo(client_state&, arguments, reply_buffer& out) { write_ok(out); }
void client_no_evict(client_state&, arguments args, reply_buffer& out) {
  // Clients are never evicted here, whatever they ask for.
  bool known = equal_ignoring_case(args[2], "on") || equal_ignoring_case(args[2], "off");
  known ? write_ok(out) : write_error(out, error_syntax);
}

using run_client = void (*)(client_state&, arguments, reply_buffer&);
constexpr subcommand<run_client> client_rows[] = {{"setname", 3, client_setname},
                                                  {"getname", 2, client_getname},
                                                  {"id", 2, client_id},
                                                  {"setinfo", 4, client_setinfo},
                                                  {"no-evict", 3, client_no_evict}};

void config_get(const server_facts& server, arguments args, reply_buffer& out) {
  const std::string memory_max = std::to_string(server.memory_max);
  const std::array<std::pair<std::string_view, std::string_view>, 5> known = {{{"appendonly", "no"},
                                                                               {"databases", "1"},
                                                                               {"maxmemory", memory_max},
                                                                               {"maxmemory-policy", "noeviction"},
                                                                               {"save", ""}}};
  std::array<bool, known.size()> told{};
  std::array<std::pair<std::string_view, std::size_t>, known.size()> answer;
  std::size_t count = 0;
  for (std::string_view pattern : args.subspan(2)) {
    const bool exact = pattern.find_first_of("*?[") == std::string_view::npos;
    for (std::size_t i = 0; i < known.size(); ++i) {
      bool same =
          exact ? equal_ignoring_case(pattern, known[i].first) : glob_matches_ignoring_case(pattern, known[i].first);
      if (told[i] || !same) continue;
      told[i] = true;
      answer[count++] = {exact ? pattern : known[i].first, i};  // a name is given back as it was asked for
    }
  }
  write_array_header(out, 2 * count);
  for (std::size_t i = 0; i < count; ++i) {
    write_bulk(out, answer[i].first);
    write_bulk(out, known[answer[i].second].second);
  }
}
void config_set(const server_facts&, arguments args, reply_buffer& out) {
  std::string text("ERR Unknown option or number of arguments for CONFIG SET - '");
  text += quoted(args[2]);
  text += '\'';
  write_error(out, text);
}
void config_resetstat(const server_facts&, arguments, reply_buffer& out) { write_ok(out); }

using run_config = void (*)(const server_facts&, arguments, reply_buffer&);
constexpr subcommand<run_config> config_rows[] = {
    {"get", -3, config_get}, {"set", -4, config_set}, {"resetstat", 2, config_resetstat}};

void describe(const command_info& info, reply_buffer& out) {
  constexpr std::array<std::pair<std::uint8_t, std::string_view>, 4> flags = {
      {{flag_readonly, "readonly"}, {flag_write, "write"}, {flag_denyoom, "denyoom"}, {flag_fast, "fast"}}};
  const bool keyed = info.key_step > 0;
  write_array_header(out, 10);
  write_bulk(out, info.name);
  write_integer(out, info.arity);
  write_array_header(out, static_cast<std::size_t>(std::ranges::count_if(
                              flags, [&](const auto& f) { return (info.flags & f.first) != 0; })));
  for (const auto& [bit, name] : flags) {
    if ((info.flags & bit) != 0) write_simple(out, name);
  }
  write_integer(out, keyed ? 1 : 0);
  write_integer(out, !keyed ? 0 : info.route == routing::multi_key ? -1 : 1);
  write_integer(out, info.key_step);
  // Categories, tips, key specifications and subcommands: clients treat empty as unknown.
  for (int i = 0; i < 4; ++i) write_array_header(out, 0);
}

void describe_all(arguments, reply_buffer& out) {
  write_array_header(out, all_commands().size());
  for (const command_info& info : all_commands()) describe(info, out);
}
void command_count(arguments, reply_buffer& out) {
  write_integer(out, static_cast<std::int64_t>(all_commands().size()));
}
void command_docs(arguments, reply_buffer& out) { write_array_header(out, 0); }
void command_info_of(arguments args, reply_buffer& out) {
  if (args.size() == 2) return describe_all(args, out);
  write_array_header(out, args.size() - 2);
  for (std::string_view name : args.subspan(2)) {
    const command_info* info = find_command(name);
    info != nullptr ? describe(*info, out) : write_null_array(out);
  }
}
void command_list(arguments args, reply_buffer& out) {
  if (args.size() > 2) return write_error(out, error_syntax);
  write_array_header(out, all_commands().size());
  for (const command_info& info : all_commands()) write_bulk(out, info.name);
}

using run_command = void (*)(arguments, reply_buffer&);
constexpr subcommand<run_command> command_rows[] = {
    {"count", 2, command_count}, {"docs", -2, command_docs}, {"info", -2, command_info_of}, {"list", -2, command_list}};

void do_hello(client_state& client, arguments args, reply_buffer& out) {
  if (args.size() > 1) {
    auto version = parse_integer(args[1]);
    if (!version) return write_error(out, "ERR Protocol version is not an integer or out of range");
    if (*version != 2) return write_error(out, "NOPROTO unsupported protocol version");
  }
  const std::string* name = nullptr;
  std::string given;
  for (std::size_t i = 2; i < args.size(); ++i) {
    const std::size_t more = args.size() - 1 - i;
    if (more >= 2 && equal_ignoring_case(args[i], "auth")) {
      // There are no passwords: the default user may give any.
      if (args[i + 1] != "default") {
        return write_error(out, "WRONGPASS invalid username-password pair or user is disabled.");
      }
      i += 2;
    } else if (more >= 1 && equal_ignoring_case(args[i], "setname")) {
      given = args[++i];
      name = &given;
    } else {
      std::string text("ERR Syntax error in HELLO option '");
      text += quoted(args[i]);
      text += '\'';
      return write_error(out, text);
    }
  }
  if (name != nullptr && !set_client_name(client, *name, out)) return;
  write_array_header(out, 14);
  const std::string_view head[] = {"server", "redis", "version", spoken_version, "proto"};
  for (std::string_view text : head) write_bulk(out, text);
  write_integer(out, 2);
  write_bulk(out, "id");
  write_integer(out, static_cast<std::int64_t>(client.id));
  for (std::string_view text : {"mode", "standalone", "role", "master", "modules"}) write_bulk(out, text);
  write_array_header(out, 0);
}

void do_select(arguments args, reply_buffer& out) {
  auto index = parse_integer(args[1]);
  if (!index) return write_error(out, error_not_integer);
  *index == 0 ? write_ok(out) : write_error(out, "ERR DB index is out of range");
}

}  // namespace

void execute_local(client_state& client, const server_facts& server, const command_info& info, arguments args,
                   reply_buffer& out) {
  SKERRY_ASSERT(info.route == routing::local, "execute_local() is for commands without a key");
  SKERRY_ASSERT(takes(info, args.size()), "the number of arguments is checked before a command is executed");
  switch (info.id) {
    case command_id::ping: return args.size() == 1 ? write_simple(out, "PONG") : write_bulk(out, args[1]);
    case command_id::echo: return write_bulk(out, args[1]);
    case command_id::select: return do_select(args, out);
    case command_id::hello: return do_hello(client, args, out);
    case command_id::client: return dispatch(client_rows, info.name, args, out, client);
    case command_id::config: return dispatch(config_rows, info.name, args, out, server);
    case command_id::command:
      return args.size() == 1 ? describe_all(args, out) : dispatch(command_rows, info.name, args, out);
    case command_id::quit: client.closing = true; return write_ok(out);
    default: SKERRY_ASSERT(false, "the table calls a command local that nobody executes");
  }
}

}  // namespace kv_server
