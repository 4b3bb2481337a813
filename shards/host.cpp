// SPDX-License-Identifier: Apache-2.0
#include <skerry/backends/choose.hpp>
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/random.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/framework/task/combine.hpp>
#include <skerry/shards/block_on.hpp>
#include <skerry/shards/call_batch.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/shards/topology.hpp>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include <fmt/core.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

namespace skerry {

namespace {

/// Refuses a limit under which a server would open its listeners and never accept: it would look healthy and serve no
/// one. Per shard: a ring and an event, and where it listens, a listener and a connection.
void require_descriptors(std::size_t shards, std::size_t per_shard) {
  std::vector<int> taken;
  for (int fd; taken.size() < shards * per_shard && (fd = ::eventfd(0, EFD_CLOEXEC)) >= 0;) taken.push_back(fd);
  for (int fd : taken) ::close(fd);
  if (taken.size() == shards * per_shard) return;
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  throw startup_error(
      fmt::format("{} shard{} need {} file descriptors and {} are free: RLIMIT_NOFILE is {}\n"
                  "raise it (ulimit -n 65536, or LimitNOFILE=65536 in a systemd unit), or run fewer shards (--shards)",
                  shards, shards == 1 ? "" : "s", shards * per_shard, taken.size(), limit.rlim_cur));
}

/// Other shards run already and cannot do without this one.
[[noreturn]] void cannot_start(shard_id id, std::string_view why) noexcept {
  fmt::print(stderr, "{}: cannot start shard {}: {}\n", program_invocation_short_name, id, why);
  ::_exit(1);
}

/// What start() makes for itself on each shard. The resources of the application go while messages still pass: what
/// they hold may send as it goes (a foreign_ptr).
constexpr std::size_t own_resources = 2;

/// The deadline of a stop, on each shard: lists what is left; on shard 0, a little later, ends the process.
class drain_deadline final : public timers::timer {
 public:
  ~drain_deadline() {
    if (armed()) timers::this_timers().cancel(*this);
  }
  void expired() noexcept override {
    if (std::exchange(listed_, true)) {
      this_shard().host->log().flush(std::chrono::seconds(1));
      ::_exit(2);
    }
    log::error("drain deadline passed, {} tasks left", this_shard().root->size());
    this_shard().root->for_each([](const detail::chain& left) {
      const detail::leaf* wait = left.waits_for();
      log::error("left: task \"{}\" waits for {}", left.name(), wait ? wait->describe() : "the CPU");
    });
    if (this_shard_id() == 0) timers::this_timers().arm(*this, clock::now() + std::chrono::milliseconds(100));
  }

 private:
  bool listed_ = false;
};

/// As control calls, which reach shards whose root scope has closed.
template <class Fn>
auto on_every_shard(Fn fn) {
  return detail::call_everywhere(detail::handler_scope::control, fn);
}

/// All root scopes are empty at one moment: each was found empty in two rounds, and none was added to in between.
task<> until_quiet() {
  auto until_empty = []() -> task<std::uint64_t> {
    co_await this_shard().root->until_empty();
    co_return this_shard().root->added_total();
  };
  std::vector<std::uint64_t> before, added;
  do {
    before = std::move(added);
    added = co_await on_every_shard(until_empty);
  } while (added != before);
}

}  // namespace

host::host(const app_options& options, placement where, clock_source& time,
           std::vector<std::unique_ptr<backend>> backends)
    : options_(options),
      where_(std::move(where)),
      log_({.level = parse_log_level(options.log_level).value_or(log_level::info),
            .format = parse_log_format(options.log_format).value_or(log_format::text)},
           static_cast<shard_id>(where_.shards.size())),
      backends_(std::move(backends)) {
  auto count = static_cast<shard_id>(where_.shards.size());
  SKERRY_ASSERT(count > 0, "a host has at least one shard");
  require_descriptors(count, options_.port ? 4 : 2);
  if (backends_.empty()) {
    chosen_backends chosen = make_backends(options_.backend, count, options_.ring_entries,
                                           {options_.sqpoll_idle, options_.napi_busy_poll, options_.send_zc_bytes});
    backends_ = std::move(chosen.all);
    backend_reason_ = std::move(chosen.reason);
    io_uring_refused_ = chosen.refused;
  }
  SKERRY_ASSERT(backends_.size() == count, "each shard has a backend");
  queues_ = detail::make_queue_matrix(count, options_.mailbox_capacity);
  reactor_options loop{.task_budget = options_.task_budget, .idle_spin = options_.idle_spin, .park = options_.park};
  std::uint64_t seed = options_.seed ? *options_.seed : entropy_seed();
  std::vector<reactor*> reactors;
  for (shard_id id = 0; id < count; ++id) {
    shards_.push_back(std::make_unique<shard>(*this, id, count, *backends_[id], time, seed, loop));
    reactors.push_back(&shards_.back()->loop());
  }
  for (auto& s : shards_) s->connect(*queues_, reactors);
}

host::~host() = default;

void host::run(const std::function<task<>()>& main, bool auto_shutdown) {
  place_this_thread(where_.shards[0]);
  start(0);
  std::vector<std::thread> threads;
  threads.reserve(shards_.size());
  for (shard_id id = 1; id < shards_.size(); ++id) {
    try {
      threads.emplace_back([this, id] { run_thread(id); });
    } catch (const std::exception& refused) {
      cannot_start(id, fmt::format("{}\nraise the limit of threads (ulimit -u, TasksMax= in a systemd unit, "
                                   "--pids-limit of a container), or run fewer shards (--shards)",
                                   refused.what()));
    }
  }
  run_first(main, auto_shutdown);
  for (std::thread& t : threads) t.join();
  if (main_error_ != nullptr) std::rethrow_exception(main_error_);
}

/// Shard 0 and, on it, what stops the others.
void host::run_first(const std::function<task<>()>& main, bool auto_shutdown) {
  shard& first = *shards_[0];
  {
    auto handle = detail::spawn_in(first.control(), control(main, auto_shutdown), "control", scheduling_group::main);
    first.run();
    SKERRY_ASSERT(handle.is_finished(), "shard 0 runs as long as the task that stops the others");
  }
  first.stop();
}

void host::start(shard_id id) {
  shards_[id]->start(log_.channel(id));
  resources().emplace<drain_deadline>();
  SKERRY_ASSERT(resources().size() == own_resources, "what a shard makes for itself comes first");
}

void host::run_thread(shard_id id) noexcept {
  try {
    if (options_.thread_names) pthread_setname_np(pthread_self(), fmt::format("shard-{}", id).c_str());
    place_this_thread(where_.shards[id]);
    start(id);
  } catch (const std::exception& refused) {
    cannot_start(id, refused.what());
  }
  shards_[id]->run();
  shards_[id]->stop();
}

void host::request_stop() noexcept {
  stop_requested_.store(true, std::memory_order_release);
  if (shards_[0]->loop().bell().ring(doorbell::outside)) backends_[0]->wake_from_outside();
}

task<> host::control(const std::function<task<>()>& main, bool auto_shutdown) {
  stop_.emplace("request to stop");
  noticed_outside();  // it may have been rung before
  auto keep_error = [this, &main]() -> task<> {
    try {
      const bool named = options_.admin != "auto" && options_.admin != "off";
      if (named && !open_admin_endpoint) throw startup_error("this program has no admin endpoint: link skerry::net");
      if (named) co_await open_admin_endpoint();
      co_await main();
    } catch (...) {
      main_error_ = std::current_exception();
    }
  };
  auto until_over = [this, &keep_error, auto_shutdown]() -> task<> {
    try {
      co_await spawn(keep_error, "main");
    } catch (const std::system_error&) {
      // It was cancelled, which is no error of its own.
    }
    if (main_error_ != nullptr) co_return;
    if (auto_shutdown) co_return co_await until_quiet();
    co_await stop_->wait();
  };
  co_await when_any(until_over, stop_->wait());
  co_await on_every_shard([] {
    std::chrono::nanoseconds timeout = this_shard().host->options().drain_timeout;
    timers::this_timers().arm(resource<drain_deadline>(), timers::saturating_add(clock::now(), timeout));
  });
  if (stop_requested()) co_await drain();
  co_await end_everything();
}

task<> host::drain() {
  log::info("stopping: no new connections, up to {} s for what is in flight",
            std::chrono::duration_cast<std::chrono::seconds>(options_.drain_timeout).count());
  co_await on_every_shard([]() -> task<> {
    shard& here = this_assembled_shard();
    here.begin_drain();
    co_await here.until_drained(&drainable::drained);
  });
}

task<> host::end_everything() {
  co_await on_every_shard([]() -> task<> {
    this_shard().root->cancel();
    co_await this_shard().root->until_empty();
    this_assembled_shard().begin_drain();
  });
  co_await on_every_shard([]() -> task<> { return this_assembled_shard().stop_services(); });
  co_await on_every_shard([]() -> task<> { return this_assembled_shard().until_drained(&drainable::empty); });
  co_await on_every_shard([]() -> task<> { co_return resources().clear(own_resources); });
  // Nothing is left that could send. What objects sent while they were destroyed comes home now.
  co_await on_every_shard([]() -> task<> {
    if (this_shard_id() != 0) co_await detail::this_mailboxes().until_home();
  });
  co_await detail::this_mailboxes().until_home();
  co_await on_every_shard([] { this_assembled_shard().exit_when_flushed(); });
}

void detail::block_on_host(const std::function<task<>()>& main) {
  app_options options;
  options.log_level = "warning";
  if (const char* named = std::getenv("SKERRY_BACKEND")) options.backend = named;
  host one(options, {.shards = {{}}, .count_reason = "block_on"});
  auto main_alone = [&main, &one]() -> task<> {
    co_await main();
    this_shard().root->cancel();  // what main left behind is not waited for, as a drain would
    one.request_stop();
  };
  one.run(main_alone, false);
}

}  // namespace skerry
