// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/reactor/poller.hpp>
#include <skerry/framework/reactor/reactor.hpp>
#include <skerry/framework/reactor/run_queue.hpp>
#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/branch.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/toolkit/observe/symbols.hpp>
#include <skerry/toolkit/observe/task_dump.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <coroutine>
#include <csignal>
#include <iterator>
#include <memory>
#include <system_error>
#include <utility>

#include <fmt/core.h>
#include <poll.h>
#include <sched.h>
#include <unistd.h>

namespace skerry {

using detail::chain;
using detail::chain_state;
using detail::leaf;

namespace detail {

std::chrono::nanoseconds time_since(std::uint32_t stamp) noexcept {
  return std::chrono::nanoseconds(std::int64_t{chain::stamp() - stamp} << 24);
}

std::string_view name_of(chain_state state) noexcept {
  switch (state) {
    case chain_state::unstarted:
    case chain_state::queued: return "ready";
    case chain_state::running:
    case chain_state::rising: return "running";
    case chain_state::suspended: return "waiting";
    case chain_state::cancelling:
    case chain_state::destroying: return "ending";
    case chain_state::done: break;
  }
  return "done";
}

namespace {
/// Where a combinator's branches are put, which are asked for without a word about where: a resource, since a function
/// has no other memory of its shard.
struct branches_seen {
  branches_seen() { all.reserve(tasks_told_max); }
  std::vector<chain*> all;
};
}  // namespace

std::vector<chain*> live_branches(const leaf* wait) {
  auto* several = dynamic_cast<fork*>(const_cast<leaf*>(wait));  // to ask for branches changes nothing
  if (several == nullptr) return {};
  auto* here = resources().find<branches_seen>();
  if (here == nullptr) here = &resources().emplace<branches_seen>();
  here->all.clear();
  several->for_each_branch([](chain& each) noexcept {
    std::vector<chain*>& all = resource<branches_seen>().all;
    const bool lives = each.state() != chain_state::done;
    if (lives && all.size() < tasks_told_max) all.push_back(&each);
  });
  return here->all;
}

// Of promises only what those of tasks and generators have in common is looked at, whatever they return: two words, of
// which the second is who goes on after it.
std::vector<const void*> coroutines_of(const chain& task) {
  std::vector<const void*> all;
  for (std::coroutine_handle<> at = task.resume_point(); at != nullptr && at != end_of_chain();) {
    if (all.size() == coroutines_told_max) break;
    all.push_back(*static_cast<void**>(at.address()));
    at = std::coroutine_handle<promise<void>>::from_address(at.address()).promise().parent;
  }
  return all;
}

}  // namespace detail

namespace {

std::string in_words(std::chrono::nanoseconds time) {
  const double seconds = std::chrono::duration<double>(time).count();
  if (seconds < 1) return fmt::format("{:.0f} ms", 1000 * seconds);
  if (seconds < 120) return fmt::format("{:.1f} s", seconds);
  if (seconds < 7200) return fmt::format("{:.1f} min", seconds / 60);
  if (seconds < 172'800) return fmt::format("{:.1f} h", seconds / 3600);
  return fmt::format("{:.1f} days", seconds / 86'400);
}

class text_writer {
 public:
  std::string out;

  void add(const chain& task) { write(task, 0); }

 private:
  static constexpr unsigned branches_depth_max = 32;

  void write(const chain& task, unsigned depth) {
    if (told_++ >= tasks_told_max) return;
    const std::string indent(4 * std::size_t{depth}, ' ');
    const char* group = this_shard().ready->name(task.group());
    fmt::format_to(std::back_inserter(out), "{}{}#{} \"{}\" of group {}, {} old, ", indent, depth > 0 ? "branch " : "",
                   task.id(), task.name(), group, in_words(detail::time_since(task.started_at())));
    const leaf* wait = task.waits_for();
    if (wait == nullptr) {
      fmt::format_to(std::back_inserter(out), "{}\n", detail::name_of(task.state()));
    } else {
      fmt::format_to(std::back_inserter(out), "{} {} for {}\n",
                     task.state() == chain_state::cancelling ? "is cancelled and waits" : "waits",
                     in_words(detail::time_since(task.waits_since())), wait->describe());
      const char* place = "in";
      for (const void* each : detail::coroutines_of(task)) {
        fmt::format_to(std::back_inserter(out), "{}      {} {}\n", indent, place, names_.name_of(each));
        place = "of";
      }
      if (depth == branches_depth_max) return;
      for (const chain* each : detail::live_branches(wait)) write(*each, depth + 1);
    }
  }

  observe::symbol_table names_;
  std::size_t told_ = 0;
};

/// As much as standard error takes without waiting.
void write_to_standard_error(std::string_view text) noexcept {
  constexpr std::size_t piece_max = 4096;  // a pipe that is writable has room for so much
  while (!text.empty()) {
    pollfd error_output{2, POLLOUT, 0};
    if (::poll(&error_output, 1, 0) != 1) return;
    const ssize_t written = ::write(2, text.data(), std::min(text.size(), piece_max));
    if (written <= 0 && errno != EINTR) return;
    text.remove_prefix(static_cast<std::size_t>(std::max<ssize_t>(written, 0)));
  }
}

/// What the shards of one host share.
struct dump_wishes {
  struct wish {
    reactor* loop = nullptr;  // of a shard; lives as long as the host
    // Set by shard 0 (release) before it rings, taken by the shard (acquire) in its poll.
    std::atomic<bool> wanted{false};

    void want() noexcept {
      wanted.store(true, std::memory_order_release);
      if (loop->bell().ring(doorbell::outside)) loop->kernel().wake_from_outside();
    }
  };
  explicit dump_wishes(shard_id shards) : of_shard(shards) {}
  std::vector<wish> of_shard;
  // Set by the handler (release) before it rings shard 0, taken by that (acquire).
  std::atomic<bool> signalled{false};
};

// The wishes that the handler serves, or none: written by shard 0 (seq_cst), read by the handler on any thread, which
// counts itself before it reads; shard 0 frees them when it has written and no handler runs. In a section of their own,
// for the hosts of a simulation are processes in one.
[[gnu::section("skerry_process")]] constinit std::atomic<dump_wishes*> served{nullptr};
[[gnu::section("skerry_process")]] constinit std::atomic<unsigned> handlers_running{0};

void on_sigquit(int) {
  const int saved = errno;
  handlers_running.fetch_add(1);
  if (dump_wishes* wishes = served.load(); wishes != nullptr) {
    wishes->signalled.store(true, std::memory_order_release);
    reactor& first = *wishes->of_shard[0].loop;
    if (first.bell().ring(doorbell::outside)) first.kernel().wake_from_outside();
  }
  handlers_running.fetch_sub(1);
  errno = saved;
}

/// On each shard: writes its tasks when they are wanted.
class task_dumper final : private poller {
 public:
  explicit task_dumper(std::shared_ptr<dump_wishes> wishes)
      : wishes_(std::move(wishes)), mine_(wishes_->of_shard[this_shard_id()]) {
    this_shard().loop->add(*this);
  }
  ~task_dumper() {
    this_shard().loop->remove(*this);
    if (!serves_) return;
    ::sigaction(SIGQUIT, &before_, nullptr);
    served.store(nullptr);
    while (handlers_running.load() != 0) ::sched_yield();  // some instructions of another thread
  }

  /// On shard 0, when every shard has one.
  void serve() {
    dump_wishes* none = nullptr;
    if (!served.compare_exchange_strong(none, wishes_.get())) {
      throw std::system_error(EBUSY, std::generic_category(), "another host of this process has SIGQUIT");
    }
    serves_ = true;
    struct sigaction action{};
    action.sa_handler = &on_sigquit;
    action.sa_flags = SA_RESTART;
    ::sigaction(SIGQUIT, &action, &before_);
  }

 private:
  void poll() noexcept override {
    if (serves_ && wishes_->signalled.load(std::memory_order_relaxed)) [[unlikely]] {
      wishes_->signalled.exchange(false, std::memory_order_acquire);
      for (dump_wishes::wish& each : wishes_->of_shard) each.want();
    }
    if (mine_.wanted.load(std::memory_order_relaxed)) [[unlikely]] {
      mine_.wanted.exchange(false, std::memory_order_acquire);
      try {
        write_to_standard_error(tasks_as_text());
      } catch (const std::bad_alloc&) {
        write_to_standard_error("no memory to list tasks\n");
      }
    }
  }

  const std::shared_ptr<dump_wishes> wishes_;
  dump_wishes::wish& mine_;
  bool serves_ = false;
  struct sigaction before_{};
};

/// Crosses on purpose: its parts are atomics, and pointers to what lives as long as the host.
struct shared_wishes {
  using crosses_shards = shared_wishes;
  std::shared_ptr<dump_wishes> wishes;
};

}  // namespace

std::string tasks_as_text() {
  text_writer writer;
  scope& root = *this_shard().root;
  fmt::format_to(std::back_inserter(writer.out), "shard {}: {} tasks\n", this_shard_id(), root.size());
  root.for_each([&](const chain& task) { writer.add(task); });
  if (root.size() > tasks_told_max) writer.out += "and more\n";
  return std::move(writer.out);
}

task<> dump_tasks_on_sigquit() {
  const bool there = co_await submit_to(0, [] { return resources().find<task_dumper>() != nullptr; });
  if (there) co_return;
  shared_wishes shared{std::make_shared<dump_wishes>(shard_count())};
  const auto make = [](shared_wishes given) {
    given.wishes->of_shard[this_shard_id()].loop = this_shard().loop;
    resources().emplace<task_dumper>(std::move(given.wishes));
  };
  for (shard_id s = 0; s < shard_count(); ++s) co_await submit_to(s, make, shared);
  co_await submit_to(0, [] { resource<task_dumper>().serve(); });
}

}  // namespace skerry
