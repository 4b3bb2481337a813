// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/assert.hpp>
#include <skerry/simulation/campaign.hpp>
#include <skerry/simulation/detail/machine.hpp>
#include <skerry/simulation/detail/world.hpp>
#include <skerry/simulation/sim.hpp>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <fcntl.h>
#include <fmt/core.h>
#include <sys/wait.h>
#include <unistd.h>

namespace skerry::sim {

using detail::world;

namespace {

constexpr unsigned attempts_max = 200;        // of shrinking
constexpr unsigned attempt_seconds_max = 60;  // of one

// What a process that is about to abort tells: written before each seed, read by the signal handler.
constinit const char* replay_of_this_run = nullptr;
constinit std::uint64_t seed_of_this_run = 0;

/// "3,9-40", or "none".
std::set<std::uint64_t> parse_numbers(std::string_view text) {
  std::set<std::uint64_t> all;
  if (text == "none") return all;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find(','));
    text.remove_prefix(std::min(part.size() + 1, text.size()));
    const auto number = [&](std::string_view digits, std::uint64_t& into) {
      const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), into);
      return !digits.empty() && read.ec == std::errc() && read.ptr == digits.data() + digits.size();
    };
    const std::size_t dash = part.find('-');
    std::uint64_t first = 0, last = 0;
    const bool valid = number(part.substr(0, dash), first) &&
                       number(dash == std::string_view::npos ? part : part.substr(dash + 1), last);
    if (!valid || last < first || last - first > 10'000'000) {
      throw CLI::ValidationError("--only",
                                 fmt::format("takes numbers and ranges, as in 3,9-40, or none; not \"{}\"", part));
    }
    for (std::uint64_t n = first; n <= last; ++n) all.insert(n);
  }
  return all;
}

std::string write_numbers(const std::set<std::uint64_t>& all) {
  std::string text;
  if (all.empty()) return "none";
  for (auto at = all.begin(); at != all.end();) {
    const std::uint64_t first = *at;
    std::uint64_t last = first;
    while (++at != all.end() && *at == last + 1) last = *at;
    text += fmt::format("{}{}", text.empty() ? "" : ",", first);
    if (last != first) text += fmt::format("-{}", last);
  }
  return text;
}

void tell_before_the_end(int number) {
  char text[512];
  const world* in = world::running();
  const int length = std::snprintf(
      text, sizeof text,
      "the simulation ended with signal %d: seed %llu, step %llu, %lld ns of virtual time\n  replay: %s --seed %llu\n",
      number, static_cast<unsigned long long>(seed_of_this_run),
      in == nullptr ? 0ULL : static_cast<unsigned long long>(in->steps()),
      in == nullptr ? 0LL : static_cast<long long>(in->now().count()), replay_of_this_run,
      static_cast<unsigned long long>(seed_of_this_run));
  [[maybe_unused]] const auto written =
      ::write(2, text, static_cast<std::size_t>(std::min(length, int{sizeof text} - 1)));
  ::signal(number, SIG_DFL);
  ::raise(number);
}

/// Says how to replay the run in which the process dies.
class last_words {
 public:
  explicit last_words(const std::string& replay) {
    replay_of_this_run = replay.c_str();
    struct sigaction action{};
    action.sa_handler = &tell_before_the_end;
    for (std::size_t i = 0; i < std::size(kinds); ++i) ::sigaction(kinds[i], &action, &before_[i]);
  }
  ~last_words() {
    for (std::size_t i = 0; i < std::size(kinds); ++i) ::sigaction(kinds[i], &before_[i], nullptr);
  }
  last_words(const last_words&) = delete;
  last_words& operator=(const last_words&) = delete;

 private:
  static constexpr int kinds[] = {SIGABRT, SIGSEGV, SIGBUS};
  struct sigaction before_[std::size(kinds)];
};

using fault_numbers = std::optional<std::set<std::uint64_t>>;

report run_once(const test_case& t, std::uint64_t seed, const campaign_options& how, const fault_numbers& only) {
  options o;
  o.seed = seed;
  if (t.configure) t.configure(o);
  o.until = how.until;
  o.trace_file = how.trace;
  o.only = only;
  return run(o, t.body);
}

/// Whether it fails with these faults alone, in a child whose output nobody sees.
bool fails_with(const test_case& t, std::uint64_t seed, const std::set<std::uint64_t>& only,
                const std::function<bool()>& failed_otherwise) {
  std::fflush(nullptr);
  const pid_t child = ::fork();
  if (child < 0) return false;
  if (child == 0) {
    const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    ::dup2(nowhere, 1);
    ::dup2(nowhere, 2);
    ::alarm(attempt_seconds_max);
    const report made = run_once(t, seed, {}, only);
    ::_exit(made.ok() && !(failed_otherwise && failed_otherwise()) ? 0 : 1);
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

/// Leaves out faults while the failure stays: halves first, single ones last.
std::set<std::uint64_t> shrink(const test_case& t, std::uint64_t seed, std::set<std::uint64_t> needed,
                               const std::function<bool()>& failed_otherwise) {
  unsigned attempts = 0;
  for (std::size_t size = needed.size(); size > 0 && attempts < attempts_max;) {
    bool removed = false;
    for (std::size_t at = 0; at < needed.size() && attempts < attempts_max; ++attempts) {
      std::set<std::uint64_t> fewer = needed;
      const auto first = std::next(fewer.begin(), static_cast<std::ptrdiff_t>(at));
      fewer.erase(first, std::next(first, static_cast<std::ptrdiff_t>(std::min(size, fewer.size() - at))));
      if (fails_with(t, seed, fewer, failed_otherwise)) {
        needed = std::move(fewer);
        removed = true;
      } else {
        at += size;
      }
    }
    if (!removed || size > 1) size /= 2;
  }
  return needed;
}

}  // namespace

campaign_result run_campaign(const test_case& t, const campaign_options& how, const std::string& replay,
                             const std::function<bool()>& failed_otherwise) {
  const last_words words(replay);
  campaign_result result;
  const std::uint64_t first = how.seed.value_or(how.first);
  const std::uint64_t count = how.seed ? 1 : how.seeds;
  for (std::uint64_t seed = first; seed - first < count; ++seed) {
    seed_of_this_run = seed;
    result.last = run_once(t, seed, how, how.only);
    ++result.seeds_run;
    const bool otherwise = failed_otherwise && failed_otherwise();
    if (result.last.ok() && !otherwise) continue;
    if (result.last.ok()) result.last.violation = fmt::format("an expectation failed\n  seed {}", seed);
    result.told = fmt::format("{}: {}\n  replay: {} --seed {}", t.name, result.last.violation, replay, seed);
    if (how.only) result.told += " --only " + write_numbers(*how.only);
    if (how.shrink && result.last.faults != 0) {
      std::set<std::uint64_t> happened;
      for (std::uint64_t n = 1; n <= result.last.faults; ++n) {
        if (!how.only || how.only->contains(n)) happened.insert(n);
      }
      const std::size_t all = happened.size();
      const std::set<std::uint64_t> needed = shrink(t, seed, std::move(happened), failed_otherwise);
      result.told += fmt::format("\n  it fails with {} of its {} faults: {} --seed {} --only {}", needed.size(), all,
                                 replay, seed, write_numbers(needed));
    }
    break;
  }
  return result;
}

campaign_options parse_campaign(int argc, const char* const* argv, const std::string& description, bool others) {
  campaign_options given;
  CLI::App line(description);
  line.allow_extras(others);
  std::uint64_t seed = 0;
  std::string only;
  line.add_option("--seeds", given.seeds, "how many seeds");
  line.add_option("--first", given.first, "the first of them");
  CLI::Option* one = line.add_option("--seed", seed, "this one alone");
  line.add_option("--trace", given.trace, "write the log of all that happens to this file");
  line.add_option("--until", given.until, "raise SIGTRAP before this step");
  line.add_option("--only", only, "of the faults only these happen, as in 3,9-40, or none");
  line.add_flag("!--no-shrink", given.shrink, "do not look for the faults that matter");
  if (others) line.set_help_flag();
  try {
    line.parse(argc, argv);
    if (!only.empty()) given.only = parse_numbers(only);
  } catch (const CLI::ParseError& wrong) {
    std::exit(line.exit(wrong) == 0 ? 0 : 2);
  }
  if (one->count() != 0) given.seed = seed;
  return given;
}

int main(int argc, const char* const* argv, const test_case& t) {
  const campaign_options how = parse_campaign(argc, argv, t.name + " under simulation", false);
  const campaign_result result = run_campaign(t, how, argv[0]);
  if (!result.ok()) {
    std::fprintf(stderr, "%s\n", result.told.c_str());
  } else {
    std::printf("%llu seed%s, no violation; the last: %llu steps, %.3f s of virtual time\n",
                static_cast<unsigned long long>(result.seeds_run), result.seeds_run == 1 ? "" : "s",
                static_cast<unsigned long long>(result.last.steps),
                std::chrono::duration<double>(result.last.virtual_time).count());
  }
  if (how.seed) std::printf("trace hash: %016llx\n", static_cast<unsigned long long>(result.last.trace_hash));
  return result.ok() ? 0 : 1;
}

namespace detail {

namespace {
std::vector<std::string> words_of_this_process() {
  std::vector<std::string> words;
  std::ifstream line("/proc/self/cmdline");
  for (std::string word; std::getline(line, word, '\0');) words.push_back(word);
  return words;
}
}  // namespace

campaign_options options_of_this_process() {
  const std::vector<std::string> words = words_of_this_process();
  std::vector<const char*> pointers;
  for (const std::string& each : words) pointers.push_back(each.c_str());
  return parse_campaign(static_cast<int>(pointers.size()), pointers.data(), "", true);
}

std::string program_of_this_process() { return words_of_this_process().at(0); }

}  // namespace detail

exploration explore(options given, unsigned preemptions_max, std::uint64_t runs_max,
                    const std::function<task<>()>& fn) {
  exploration all;
  detail::turn_explorer by;
  by.preemptions_max = preemptions_max;
  do {
    world in(given);
    in.choose_turns_by(by);
    machine& first = in.add(std::make_unique<machine>(in, "test", 0));
    first.settings().shards = given.shards;
    if (given.settings) given.settings(first.settings());
    first.start([&fn] { return detail::checked_to_its_end(fn); }, true);
    all.first_violation = in.run(first);
    by.on = 0;
    ++all.runs;
    if (!all.first_violation.ok()) return all;
    all.complete = !by.advance();
  } while (!all.complete && all.runs < runs_max);
  return all;
}

exploring::exploring() noexcept {
  if (detail::turn_explorer* by = world::current().explorer()) ++by->on;
}

exploring::~exploring() {
  world* in = world::running();
  if (in != nullptr && in->explorer() != nullptr && in->explorer()->on > 0) --in->explorer()->on;
}

}  // namespace skerry::sim
