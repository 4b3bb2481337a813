// SPDX-License-Identifier: Apache-2.0
#pragma once

/// campaign: one test under many seeds, and what to do about the first that fails.
///
///     int main(int argc, char** argv) {
///       skerry::sim::test_case t{"counter", [](skerry::sim::options& o) { o.all_faults(); }, count_and_check};
///       return skerry::sim::main(argc, argv, t);
///     }
///
///     program --seeds 1000            seeds 1 to 1000; the first violation ends it, is shrunk and told
///     program --seed 17               one; the last line is `trace hash: ` and 16 hexadecimal digits
///     program --seed 17 --trace FILE  writes the log of all that happens
///     program --seed 17 --until 4711  raises SIGTRAP before that step: run it in a debugger
///     program --seed 17 --only 3,9-40  the same, but of the faults only these happen (none: none do)
///
/// A violation is told with its seed, step, virtual time and the one command that replays it. Then it is shrunk: faults
/// are left out, many at a time and then one by one, while some violation stays; each attempt runs in a child process,
/// so failed assertions and sanitizers' reports count, too.
///
/// Exit status: 0, or 1 on any violation; 2 for wrong options.
/// Affinity:    a thread that runs no shard; shrinking forks, so no other thread holds a lock meanwhile.
/// Ownership:   a test case is referred to until its campaign has returned.
/// Limits:      200 attempts at shrinking, each at most 60 s; an exploration's own `runs_max`.

#include <skerry/framework/task/task.hpp>
#include <skerry/simulation/options.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>

namespace skerry::sim {

struct test_case {
  std::string name;
  std::function<void(options&)> configure;  ///< what the test is like, for the seed that is set; may be empty
  std::function<task<>()> body;
};

/// What a command line says.
struct campaign_options {
  std::uint64_t seeds = 100;  ///< from `first` on
  std::uint64_t first = 1;
  std::optional<std::uint64_t> seed;  ///< this one alone
  std::string trace;
  std::uint64_t until = 0;
  std::optional<std::set<std::uint64_t>> only;  ///< of the faults
  bool shrink = true;
};

/// What a campaign came to; `last` is of the seed that failed, or of the last.
struct campaign_result {
  std::uint64_t seeds_run = 0;
  report last;
  std::string told;  ///< for people: the violation, how to replay it, and what is left of its faults
  bool ok() const noexcept { return last.ok(); }
};

/// Runs it. `replay` is the command that the report names, without the seed; `failed_otherwise` says whether something
/// else has noticed a failure since it was asked last (expectations of a test framework).
campaign_result run_campaign(const test_case& t, const campaign_options& how, const std::string& replay,
                             const std::function<bool()>& failed_otherwise = {});

/// Reads the options from a command line; those it does not know are left alone where `others` is true, else an error
/// that ends the process with status 2.
campaign_options parse_campaign(int argc, const char* const* argv, const std::string& description, bool others);

/// A whole program. For more than one test case, run campaigns.
int main(int argc, const char* const* argv, const test_case& t);

/// What came of trying all ways to take turns.
struct exploration {
  std::uint64_t runs = 0;  ///< different ways
  bool complete = false;   ///< none is left; else `runs_max` ended it, or a violation
  report first_violation;  ///< or of the last run
};

/// Runs `fn` once for each way in which shards can take turns while an `exploring` lives, with at most
/// `preemptions_max` turns that end though the shard could go on. Everything else is the seed's and stays.
exploration explore(options given, unsigned preemptions_max, std::uint64_t runs_max, const std::function<task<>()>& fn);

/// From here to its end, all ways are tried.
class exploring {
 public:
  exploring() noexcept;
  ~exploring();
  exploring(const exploring&) = delete;
  exploring& operator=(const exploring&) = delete;
};

}  // namespace skerry::sim
