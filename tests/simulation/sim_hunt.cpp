// SPDX-License-Identifier: Apache-2.0
// Looks for a bug with every scenario, each in a process of its own, and says after how many seeds it was found. Linked
// with a planted bug it must find one, without any it must not.
//
//     hunt_NN_name                  status 0 if a scenario finds something within its seeds, else 1
//     sim_hunt --nothing [--part 20]   status 0 if none of them does; a twentieth of the seeds
//
// All scenarios are tried under a few seeds before any is under many. A violation, an assertion, a crash and a turn
// that does not end are all finds. No scenario is told what it is linked with.
#include <skerry/simulation/campaign.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <simulation/scenarios.hpp>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr unsigned seconds_per_seed_max = 60;

/// What the process that hunts has come to, seen by the one that waits.
struct progress {
  std::uint64_t seed;
};

progress* shared_progress() {
  void* room = ::mmap(nullptr, sizeof(progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) {
    std::perror("mmap");
    std::exit(2);
  }
  return static_cast<progress*>(room);
}

[[noreturn]] void hunt_in_here(const scenarios::scenario& with, std::uint64_t first, std::uint64_t seeds, int told,
                               progress* at) {
  ::dup2(told, 1);
  ::dup2(told, 2);
  skerry::sim::test_case t = with.make();
  const auto configure = [&t, at, inner = t.configure](skerry::sim::options& o) {
    at->seed = o.seed;
    ::alarm(seconds_per_seed_max);
    inner(o);
  };
  t.configure = configure;
  skerry::sim::campaign_options how;
  how.first = first;
  how.seeds = seeds;
  how.shrink = false;
  const auto result = skerry::sim::run_campaign(t, how, std::string("sim_scenarios ") + with.name);
  std::printf("%s\n", result.told.c_str());
  std::fflush(nullptr);
  ::_exit(result.ok() ? 0 : 1);
}

std::string first_lines(int file, unsigned count) {
  std::string text(4096, '\0');
  const ssize_t got = ::pread(file, text.data(), text.size(), 0);
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  std::size_t end = 0;
  while (count > 0 && end < text.size()) count -= text[end++] == '\n';
  text.resize(end);
  return text;
}

/// Whether `with` finds something under these seeds; tells what.
bool finds(const scenarios::scenario& with, std::uint64_t first, std::uint64_t seeds, progress* at) {
  const int told = ::memfd_create("told", MFD_CLOEXEC);
  std::fflush(nullptr);
  const pid_t child = told < 0 ? -1 : ::fork();
  if (child < 0) {
    std::perror("fork");
    std::exit(2);
  }
  if (child == 0) hunt_in_here(with, first, seeds, told, at);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  const bool found = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
  if (found) {
    const bool endless = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
    std::printf("found by %s after %llu seeds\n%s%s\n", with.name, static_cast<unsigned long long>(at->seed),
                endless ? "a turn does not end\n" : "", first_lines(told, 6).c_str());
  }
  ::close(told);
  return found;
}

}  // namespace

int main(int argc, char** argv) {
  bool nothing = false;
  std::uint64_t part = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view word = argv[i];
    if (word == "--nothing") {
      nothing = true;
    } else if (word == "--part" && i + 1 < argc) {
      part = std::max(1ULL, std::strtoull(argv[++i], nullptr, 10));
    } else {
      std::fprintf(stderr, "usage: %s [--nothing [--part N]]\n", argv[0]);
      return 2;
    }
  }
  progress* at = shared_progress();
  std::uint64_t done = 0;
  const std::uint64_t rounds[] = {20, 200, 10'000};
  for (const std::uint64_t round : rounds) {
    for (const scenarios::scenario& each : scenarios::all()) {
      const std::uint64_t last = std::min(round, std::max<std::uint64_t>(1, each.seeds / part));
      if (last > done && finds(each, done + 1, last - done, at)) return nothing ? 1 : 0;
    }
    done = round;
  }
  std::printf("nothing was found\n");
  return nothing ? 0 : 1;
}
