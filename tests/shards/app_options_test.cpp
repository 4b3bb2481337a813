// SPDX-License-Identifier: Apache-2.0
#include <skerry/shards/app_options.hpp>
#include <skerry/shards/command_line.hpp>
#include <skerry/shards/placement.hpp>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <initializer_list>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

namespace skerry {
namespace {

using namespace std::chrono_literals;
using strings = std::vector<std::string>;

struct variable_setting {
  std::string name;
  std::string value;
};

/// Sets variables and takes them back.
class environment {
 public:
  explicit environment(std::initializer_list<variable_setting> variables) : variables_(variables) {
    for (const auto& [name, value] : variables_) setenv(name.c_str(), value.c_str(), 1);
  }
  ~environment() {
    for (const auto& [name, value] : variables_) unsetenv(name.c_str());
  }
  environment(const environment&) = delete;
  environment& operator=(const environment&) = delete;

 private:
  std::vector<variable_setting> variables_;
};

class config_file {
 public:
  explicit config_file(const std::string& text) {
    char name[] = "/tmp/skerry-options-XXXXXX";
    int fd = mkstemp(name);
    if (fd >= 0) close(fd);
    path_ = name;
    std::ofstream(path_) << text;
  }
  ~config_file() { std::remove(path_.c_str()); }
  config_file(const config_file&) = delete;
  config_file& operator=(const config_file&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

command_line::outcome parse(command_line& line, const strings& arguments, app_options defaults = app_options()) {
  std::vector<const char*> argv{"server"};
  for (const std::string& argument : arguments) argv.push_back(argument.c_str());
  return line.parse(static_cast<int>(argv.size()), argv.data(), std::move(defaults));
}

command_line::outcome parse(const strings& arguments, app_options defaults = app_options()) {
  command_line line("server", "Serves.", "1.2.3", 6379);
  return parse(line, arguments, std::move(defaults));
}

app_options accepted(const command_line::outcome& parsed) {
  if (auto* stop = std::get_if<exit_request>(&parsed)) {
    ADD_FAILURE() << stop->text;
    return app_options();
  }
  return std::get<app_options>(parsed);
}

/// The text of a refusal, after checking what holds for all of them.
std::string refused(const command_line::outcome& parsed) {
  auto* stop = std::get_if<exit_request>(&parsed);
  if (stop == nullptr) return "accepted";
  EXPECT_EQ(stop->status, 1);
  EXPECT_LE(std::count(stop->text.begin(), stop->text.end(), '\n'), 3) << stop->text;
  EXPECT_TRUE(stop->text.ends_with('\n'));
  EXPECT_TRUE(stop->text.starts_with("server: ")) << stop->text;
  return stop->text;
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

struct sample {
  const char* name;
  const char* value;
  bool (*holds)(const app_options&);
};

const std::vector<sample> samples{
    {"port", "7001", [](const app_options& o) { return o.port == 7001; }},
    {"bind", "::1", [](const app_options& o) { return o.bind == "::1"; }},
    {"shards", "3", [](const app_options& o) { return o.shards == 3u; }},
    {"cpuset", "0-3,8,10-12:2", [](const app_options& o) { return o.cpuset == "0-3,8,10-12:2"; }},
    {"pin", "off", [](const app_options& o) { return o.pin == pin_mode::off; }},
    {"smt", "on", [](const app_options& o) { return o.smt; }},
    {"overprovision", "on", [](const app_options& o) { return o.overprovision; }},
    {"backend", "io_uring", [](const app_options& o) { return o.backend == "io_uring"; }},
    {"idle-spin-us", "20", [](const app_options& o) { return o.idle_spin == 20us; }},
    {"task-budget-us", "250", [](const app_options& o) { return o.task_budget == 250us; }},
    {"ring-entries", "1024", [](const app_options& o) { return o.ring_entries == 1024; }},
    {"sqpoll-idle-ms", "10000", [](const app_options& o) { return o.sqpoll_idle == 10s; }},
    {"napi-busy-poll-us", "50", [](const app_options& o) { return o.napi_busy_poll == 50us; }},
    {"send-zc-bytes", "65536", [](const app_options& o) { return o.send_zc_bytes == 65536; }},
    {"mailbox-capacity", "64", [](const app_options& o) { return o.mailbox_capacity == 64; }},
    {"drain-timeout", "2m", [](const app_options& o) { return o.drain_timeout == 2min; }},
    {"admin", "127.0.0.1:9180", [](const app_options& o) { return o.admin == "127.0.0.1:9180"; }},
    {"log-level", "debug", [](const app_options& o) { return o.log_level == "debug"; }},
    {"log-format", "json", [](const app_options& o) { return o.log_format == "json"; }},
    {"seed", "0xffffffffffffffff", [](const app_options& o) { return o.seed == ~std::uint64_t{0}; }},
};

std::string variable(std::string name) {
  for (char& c : name) c = c == '-' ? '_' : static_cast<char>(std::toupper(c));
  return std::string("SKERRY_").append(name);
}

TEST(options, have_the_documented_defaults) {
  app_options o = accepted(parse({}));
  EXPECT_FALSE(o.shards.has_value());
  EXPECT_EQ(o.cpuset, "");
  EXPECT_EQ(o.pin, pin_mode::automatic);
  EXPECT_FALSE(o.smt);
  EXPECT_FALSE(o.overprovision);
  EXPECT_EQ(o.backend, "auto");
  EXPECT_EQ(o.idle_spin, 0us);
  EXPECT_EQ(o.task_budget, 500us);
  EXPECT_EQ(o.ring_entries, 512u);
  EXPECT_EQ(o.sqpoll_idle, 0ms);
  EXPECT_EQ(o.napi_busy_poll, 0us);
  EXPECT_EQ(o.send_zc_bytes, 0u);
  EXPECT_EQ(o.mailbox_capacity, 128u);
  EXPECT_EQ(o.drain_timeout, 10s);
  EXPECT_EQ(o.admin, "auto");
  EXPECT_EQ(o.log_level, "info");
  EXPECT_EQ(o.log_format, "text");
  EXPECT_FALSE(o.seed.has_value());
  EXPECT_EQ(o.port, 6379);
  EXPECT_EQ(o.bind, "127.0.0.1");
  EXPECT_TRUE(o.thread_names);
  EXPECT_TRUE(o.park);
}

TEST(options, are_all_sampled_here) {
  app_options o;
  EXPECT_EQ(samples.size(), detail::standard_options(o).size());
}

TEST(options, are_read_from_the_command_line) {
  for (const sample& s : samples) {
    std::string name = std::string("--") + s.name;
    EXPECT_TRUE(s.holds(accepted(parse({name + '=' + s.value})))) << s.name;
    if (std::string(s.value) == "on") {
      EXPECT_TRUE(s.holds(accepted(parse({name}))));
    } else {
      EXPECT_TRUE(s.holds(accepted(parse({name, s.value})))) << s.name;
    }
  }
}

TEST(options, are_read_from_the_environment) {
  for (const sample& s : samples) {
    environment set{{variable(s.name), s.value}};
    EXPECT_TRUE(s.holds(accepted(parse({})))) << s.name;
  }
}

TEST(options, are_read_from_a_file) {
  for (const sample& s : samples) {
    for (const char* quote : {"", "\"", "'"}) {
      config_file file(std::string("# a comment\n\n") + s.name + " = " + quote + s.value + quote + "  # why\n");
      EXPECT_TRUE(s.holds(accepted(parse({"--config", file.path()})))) << s.name << quote;
      environment set{{"SKERRY_CONFIG", file.path()}};
      EXPECT_TRUE(s.holds(accepted(parse({})))) << s.name << quote;
    }
  }
}

TEST(options, a_flag_may_stand_alone_in_a_file) {
  config_file file("overprovision\n");
  EXPECT_TRUE(accepted(parse({"--config", file.path()})).overprovision);
}

TEST(options, the_command_line_beats_the_environment_beats_the_file_beats_the_program) {
  app_options program;
  program.ring_entries = 64;
  program.mailbox_capacity = 1;
  program.idle_spin = 1us;
  program.task_budget = 11us;
  config_file file("mailbox-capacity = 2\nidle-spin-us = 2\ntask-budget-us = 12\n");
  environment set{{"SKERRY_IDLE_SPIN_US", "3"}, {"SKERRY_TASK_BUDGET_US", "13"}};
  app_options o = accepted(parse({"--task-budget-us", "14", "--config", file.path()}, program));
  EXPECT_EQ(o.ring_entries, 64u);
  EXPECT_EQ(o.mailbox_capacity, 2u);
  EXPECT_EQ(o.idle_spin, 3us);
  EXPECT_EQ(o.task_budget, 14us);
}

TEST(options, a_flag_set_elsewhere_can_be_cleared) {
  environment set{{"SKERRY_OVERPROVISION", "1"}};
  EXPECT_TRUE(accepted(parse({})).overprovision);
  EXPECT_FALSE(accepted(parse({"--overprovision=off"})).overprovision);
  EXPECT_FALSE(accepted(parse({"--overprovision=false"})).overprovision);
}

TEST(options, auto_takes_back_a_number) {
  environment set{{"SKERRY_SHARDS", "4"}, {"SKERRY_SEED", "4"}};
  EXPECT_FALSE(accepted(parse({"--shards", "auto"})).shards.has_value());
  EXPECT_FALSE(accepted(parse({"--seed", "auto"})).seed.has_value());
}

TEST(options, the_last_mention_in_one_place_wins) {
  EXPECT_EQ(accepted(parse({"--port", "1", "--port", "2"})).port, 2);
  config_file file("port = 3\nshards = 1\nport = 4\nport = 5\n");
  EXPECT_EQ(accepted(parse({"--config", file.path()})).port, 5);
}

TEST(options, an_empty_variable_counts_as_absent_and_others_are_left_alone) {
  environment set{{"SKERRY_PORT", ""}, {"SKERRY_NO_SUCH_THING", "1"}};
  EXPECT_EQ(accepted(parse({})).port, 6379);
}

TEST(options, the_edges_of_each_range_are_accepted) {
  for (const char* argument : {"--port=0",
                               "--port=65535",
                               "--shards=1",
                               "--shards=1024",
                               "--idle-spin-us=0",
                               "--idle-spin-us=1000000",
                               "--task-budget-us=10",
                               "--task-budget-us=1000000",
                               "--ring-entries=64",
                               "--ring-entries=32768",
                               "--mailbox-capacity=1",
                               "--mailbox-capacity=65536",
                               "--drain-timeout=0s",
                               "--drain-timeout=0",
                               "--drain-timeout=24h",
                               "--drain-timeout=1.5s",
                               "--bind=0.0.0.0",
                               "--bind=[::]",
                               "--bind=fe80::1%eth0",
                               "--seed=0"}) {
    accepted(parse({argument}));
  }
}

TEST(options, what_is_outside_its_range_is_refused_with_the_valid_values) {
  const std::vector<std::array<const char*, 3>> cases{
      {"--port", "65536", "from 0 to 65535"},
      {"--port", "-1", "from 0 to 65535"},
      {"--port", "80x", "from 0 to 65535"},
      {"--bind", "localhost", "IP address"},
      {"--shards", "0", "use --shards auto"},
      {"--shards", "1025", "auto or a number from 1 to 1024"},
      {"--shards", "many", "auto or a number from 1 to 1024"},
      {"--shards", "4294967297", "auto or a number from 1 to 1024"},
      {"--cpuset", "1-", "looks like 0-3"},
      {"--pin", "yes", "auto, on, off"},
      {"--backend", "kqueue", "use one of auto, io_uring, epoll"},
      {"--idle-spin-us", "1000001", "from 0 to 1000000"},
      {"--task-budget-us", "9", "from 10 to 1000000"},
      {"--ring-entries", "1000", "power of two from 64 to 32768"},
      {"--ring-entries", "32", "power of two from 64 to 32768"},
      {"--ring-entries", "65536", "power of two from 64 to 32768"},
      {"--mailbox-capacity", "0", "from 1 to 65536"},
      {"--mailbox-capacity", "65537", "from 1 to 65536"},
      {"--drain-timeout", "10", "such as 10s"},
      {"--drain-timeout", "25h", "from 0 to 24h"},
      {"--drain-timeout", "-1s", "from 0 to 24h"},
      {"--admin", "9180", "must be ADDR:PORT, off or auto"},
      {"--log-level", "trace", "debug, info, warning, error, off"},
      {"--log-format", "xml", "text, json"},
      {"--seed", "18446744073709551616", "below 2^64"},
  };
  for (const auto& [name, value, expected] : cases) {
    std::string text = refused(parse({name, value}));
    EXPECT_TRUE(contains(text, expected)) << text;
    EXPECT_TRUE(contains(text, std::string(name) + ' ' + value)) << text;
    // The same value is refused the same way wherever it stands, and the message says where that is.
    std::string option = std::string(name).substr(2);
    {
      environment set{{variable(option), value}};
      text = refused(parse({}));
      EXPECT_TRUE(contains(text, expected)) << text;
      EXPECT_TRUE(contains(text, variable(option) + '=' + value)) << text;
    }
    config_file file(option + " = " + value + '\n');
    text = refused(parse({"--config", file.path()}));
    EXPECT_TRUE(contains(text, expected)) << text;
    EXPECT_TRUE(contains(text, file.path() + ": " + option + " = " + value)) << text;
  }
}

TEST(options, an_overprovision_that_is_no_switch_is_refused) {
  EXPECT_TRUE(contains(refused(parse({"--overprovision=4"})), "on or off"));
  environment set{{"SKERRY_OVERPROVISION", "maybe"}};
  EXPECT_TRUE(contains(refused(parse({})), "SKERRY_OVERPROVISION=maybe: must be on or off"));
}

TEST(options, an_unknown_one_is_refused_with_those_there_are) {
  std::string text = refused(parse({"--shard", "4"}));
  EXPECT_TRUE(contains(text, "unknown option --shard\n  valid: port bind shards")) << text;
  EXPECT_TRUE(contains(text, "mailbox-capacity")) << text;
  EXPECT_TRUE(contains(refused(parse({"--zebra=4"})), "unknown option --zebra=4"));
  EXPECT_TRUE(contains(refused(parse({"-x"})), "unknown option -x"));
  EXPECT_TRUE(contains(refused(parse({"stray"})), "\"stray\" is no option"));
  config_file file("prot = 5\n");
  text = refused(parse({"--config", file.path()}));
  EXPECT_TRUE(contains(text, "unknown option prot in " + file.path() + "\n")) << text;
}

TEST(options, a_missing_value_is_refused) {
  EXPECT_TRUE(contains(refused(parse({"--shards"})), "--shards needs a value"));
  EXPECT_TRUE(contains(refused(parse({"--shards", "--port", "1"})), "--shards needs a value before --port"));
  EXPECT_TRUE(contains(refused(parse({"--shards", "--port=1"})), "--shards needs a value before --port=1"));
  EXPECT_TRUE(contains(refused(parse({"--shards="})), "--shards"));
  EXPECT_TRUE(contains(refused(parse({"--config="})), "--config"));
  EXPECT_TRUE(contains(refused(parse({"--config", ""})), "must name a file"));
}

TEST(options, a_file_that_cannot_be_read_is_named) {
  EXPECT_TRUE(contains(refused(parse({"--config", "/no/such/file"})), "/no/such/file"));
  EXPECT_TRUE(contains(refused(parse({"--config", "/tmp"})), "/tmp"));
  config_file large(std::string((1 << 20) + 1, '#'));
  EXPECT_TRUE(contains(refused(parse({"--config", large.path()})), "larger than 1 MiB"));
  config_file nothing("port = []\n");
  EXPECT_TRUE(contains(refused(parse({"--config", nothing.path()})), "port = : must be"));
  config_file nested("config = /tmp/other\n");
  EXPECT_TRUE(contains(refused(parse({"--config", nested.path()})), "unknown option config in " + nested.path()));
  config_file sections("[net]\nport = 5\n");
  EXPECT_TRUE(contains(refused(parse({"--config", sections.path()})), "[net]"));
}

TEST(options, no_file_breaks_its_reader) {
  const char* given = std::getenv("SKERRY_TEST_SEED");
  unsigned long seed = given != nullptr ? std::strtoul(given, nullptr, 0) : std::random_device()();
  SCOPED_TRACE("replay with SKERRY_TEST_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  const strings pieces{"[", "]",  "=",  ",",    "'",   "\"", "#", " ",  "\n", "\n",
                       ".", "++", "--", "port", "pin", "\r", "5", "\t", "x"};
  for (int round = 0; round < 1000; ++round) {
    std::string text;
    for (auto n = random() % 30; n > 0; --n) text += pieces[random() % pieces.size()];
    config_file file(text + std::string(random() % 2, '\0'));
    command_line::outcome parsed = parse({"--config", file.path()});
    if (std::holds_alternative<exit_request>(parsed)) refused(parsed);
  }
}

TEST(options, values_cannot_stretch_or_garble_a_message) {
  for (const std::string& value : {std::string("a\nb\nc\nd\ne"), std::string(5000, 'x'), std::string("\x1b[2J")}) {
    for (const char* name : {"--bind", "--cpuset", "--shards", "--config", "--log-level"}) {
      std::string text = refused(parse({name, value}));
      EXPECT_LT(text.size(), 700u);
      EXPECT_FALSE(contains(text, "\x1b"));
    }
    EXPECT_LT(refused(parse({std::string("--").append(value)})).size(), 700u);
    EXPECT_LT(refused(parse({value})).size(), 700u);
  }
}

TEST(options, what_the_program_set_is_checked_too) {
  app_options program;
  program.ring_entries = 1000;
  EXPECT_TRUE(contains(refused(parse({}, program)), "ring-entries = 1000: must be a power of two"));
  EXPECT_THROW(validate(program), startup_error);
  const std::vector<std::function<void(app_options&)>> wrongs{
      [](app_options& o) { o.shards = 0; },
      [](app_options& o) { o.cpuset = std::string("x"); },
      [](app_options& o) { o.backend = std::string("kqueue"); },
      [](app_options& o) { o.idle_spin = -1us; },
      [](app_options& o) { o.task_budget = 0us; },
      [](app_options& o) { o.mailbox_capacity = 0; },
      [](app_options& o) { o.drain_timeout = -1s; },
      [](app_options& o) { o.admin = std::string("on"); },
      [](app_options& o) { o.log_level = std::string(""); },
      [](app_options& o) { o.log_format = "TEXT"; },
      [](app_options& o) { o.bind = std::string(""); },
  };
  validate(app_options());
  for (const auto& wrong : wrongs) {
    app_options o;
    wrong(o);
    EXPECT_THROW(validate(o), startup_error);
  }
}

TEST(options, help_and_version_end_with_status_0) {
  auto help = std::get<exit_request>(parse({"--help", "--no-such-option"}));
  EXPECT_EQ(help.status, 0);
  app_options o;
  for (const detail::option& option : detail::standard_options(o)) {
    EXPECT_TRUE(contains(help.text, "--" + option.name)) << option.name;
  }
  EXPECT_TRUE(contains(help.text, "6379")) << "defaults are shown: " << help.text;
  auto version = std::get<exit_request>(parse({"--version"}));
  EXPECT_EQ(version.status, 0);
  EXPECT_EQ(version.text, "server 1.2.3\n");
}

TEST(options, help_wins_over_a_bad_environment) {
  environment set{{"SKERRY_PORT", "x"}};
  EXPECT_EQ(std::get<exit_request>(parse({"--help"})).status, 0);
}

TEST(options, a_program_without_a_port_has_no_port) {
  command_line line("server", "Computes.", "1");
  EXPECT_TRUE(contains(refused(parse(line, {"--port", "1"})), "unknown option --port"));
  command_line other("server", "Computes.", "1");
  EXPECT_FALSE(accepted(parse(other, {})).port.has_value());
}

TEST(options, decide_what_is_placed) {
  machine here;
  for (unsigned id = 0; id < 6; ++id) here.cpus.push_back({.id = id, .core = id});
  app_options o = accepted(parse({"--shards", "3", "--cpuset", "4-5", "--pin", "on", "--overprovision"}));
  cpu_list used;
  for (const place& each : decide(here, o).shards) used.insert(used.end(), each.cpus.begin(), each.cpus.end());
  EXPECT_EQ(used, (cpu_list{4, 5, 4}));
}

struct own_values {
  std::string text = "one";
  std::uint64_t number = 5;
  byte_size size{1024};
  std::chrono::nanoseconds time = 5s;
  bool flag = false;
};

command_line::outcome parse_own(own_values& own, const strings& arguments) {
  command_line line("server", "Serves.", "1");
  line.add_option("word", own.text, "a word");
  line.add_option("count", own.number, "a count", 1, 9);
  line.add_option("maxmemory", own.size, "a size", {1}, {1 << 30});
  line.add_option("patience", own.time, "a time", 1s, 10s);
  line.add_option("verbose", own.flag, "a flag");
  return parse(line, arguments);
}

TEST(own_options, keep_their_defaults) {
  own_values own;
  accepted(parse_own(own, {}));
  EXPECT_EQ(own.text, "one");
  EXPECT_EQ(own.number, 5u);
  EXPECT_FALSE(own.flag);
}

TEST(own_options, are_read_from_every_place) {
  own_values own;
  config_file file("word = two\ncount = 9\nmaxmemory = 64mb\n");
  environment set{{"SKERRY_COUNT", "7"}, {"SKERRY_PATIENCE", "1500ms"}};
  accepted(parse_own(own, {"--verbose", "--config", file.path()}));
  EXPECT_EQ(own.text, "two");
  EXPECT_EQ(own.number, 7u);
  EXPECT_EQ(own.size.bytes, 64u << 20);
  EXPECT_EQ(own.time, 1500ms);
  EXPECT_TRUE(own.flag);
}

TEST(own_options, are_held_to_their_limits) {
  own_values own;
  EXPECT_TRUE(contains(refused(parse_own(own, {"--count", "10"})), "--count 10: must be a number from 1 to 9"));
  EXPECT_TRUE(contains(refused(parse_own(own, {"--maxmemory", "2gb"})), "must be a size such as 64mb, from 1b to 1gb"));
  EXPECT_TRUE(
      contains(refused(parse_own(own, {"--patience", "11s"})), "must be a duration such as 500ms, from 1s to 10s"));
  EXPECT_TRUE(contains(refused(parse_own(own, {"--verbose=x"})), "on or off"));
}

TEST(own_options, are_in_the_help) {
  own_values own;
  std::string text = std::get<exit_request>(parse_own(own, {"--help"})).text;
  for (const char* name :
       {"--word", "--count", "--maxmemory", "--patience", "--verbose", "a flag", "BYTES=1kb", "TIME=5s"}) {
    EXPECT_TRUE(contains(text, name)) << text;
  }
}

TEST(own_options, that_clash_are_a_bug) {
  std::string text;
  command_line line("server", "Serves.", "1");
  EXPECT_DEATH(line.add_option("shards", text, ""), "share a name");
  EXPECT_DEATH(line.add_option("Bad Name", text, ""), "lower case");
  EXPECT_DEATH(line.add_option("config", text, ""), "share a name");
  EXPECT_DEATH(line.add_option("help", text, ""), "fixed meaning");
}

/// What a program's own option makes of a text.
template <class T>
std::optional<T> as_own(const std::string& written, T highest) {
  T value{};
  command_line line("server", "Serves.", "1");
  line.add_option("own", value, "a value", T{}, highest);
  if (std::holds_alternative<exit_request>(parse(line, {"--own=" + written}))) return std::nullopt;
  return value;
}
auto bytes(const std::string& written) { return as_own(written, byte_size{~std::uint64_t{0}}); }
auto duration(const std::string& written) { return as_own(written, std::chrono::nanoseconds::max()); }

/// The default as --help shows it.
template <class T>
std::string shown(T value) {
  command_line line("server", "Serves.", "1");
  line.add_option("own", value, "a value");
  std::string help = std::get<exit_request>(parse(line, {"--help"})).text;
  std::string rest = help.substr(help.find('=', help.find("--own")) + 1);
  return rest.substr(0, rest.find_first_of(" \n"));
}

TEST(option_texts, sizes_and_durations_are_exact_or_declined) {
  EXPECT_EQ(bytes("4096"), byte_size{4096});
  EXPECT_EQ(bytes("1k"), byte_size{1000});
  EXPECT_EQ(bytes("1KB"), byte_size{1024});
  EXPECT_EQ(bytes("1.5gib"), byte_size{1610612736});
  EXPECT_EQ(bytes("18446744073709551615"), byte_size{~std::uint64_t{0}});
  for (const char* text : {"", "mb", "-1", "1.5", "1x", "1 mb", "1e3mb", "99999999999gb", "0.0001k", "1..5k"}) {
    EXPECT_EQ(bytes(text), std::nullopt) << text;
  }
  EXPECT_EQ(duration("1.5s"), 1500ms);
  EXPECT_EQ(duration("7us"), 7us);
  EXPECT_EQ(duration("2h"), 2h);
  for (const char* text : {"", "s", "10", "-1s", "1d", "1e9s", "0.5ns", "99999999999h", "9223372036854775808ns"}) {
    EXPECT_EQ(duration(text), std::nullopt) << text;
  }
}

TEST(option_texts, are_read_as_they_are_shown) {
  for (auto time : {0ns, 1ns, 1500ns, 2'000'000ns, 90'000'000'000ns}) EXPECT_EQ(duration(shown(time)), time);
  for (std::uint64_t size : {0ull, 1ull, 1000ull, 1024ull, 3ull << 40, ~0ull}) {
    EXPECT_EQ(bytes(shown(byte_size{size})), byte_size{size});
  }
  EXPECT_EQ(shown(byte_size{3 << 20}), "3mb");
  EXPECT_EQ(shown(std::chrono::nanoseconds(90s)), "90s");
}

}  // namespace
}  // namespace skerry
