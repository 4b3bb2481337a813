// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/framework/random.hpp>
#include <skerry/framework/startup_error.hpp>
#include <skerry/framework/task/yield.hpp>
#include <skerry/shards/call_batch.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/shard.hpp>
#include <skerry/shards/topology.hpp>

#include <cerrno>
#include <cstdio>
#include <string>
#include <system_error>

#include <fmt/format.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

namespace skerry {

namespace {

log_settings log_settings_from(const app_options& options) {
  log_settings settings;
  settings.level = parse_log_level(options.log_level).value_or(log_level::info);
  settings.format = parse_log_format(options.log_format).value_or(log_format::text);
  return settings;
}

/// Refuses a limit under which a server would open its listeners and never accept: it would look healthy and serve no
/// one. Per shard: a ring and an event, and where it listens, a listener and a connection.
void require_descriptors(std::size_t shards, std::size_t per_shard) {
  std::vector<int> taken;
  for (int fd = 0; fd >= 0 && taken.size() < shards * per_shard;) {
    fd = ::eventfd(0, EFD_CLOEXEC);
    if (fd >= 0) taken.push_back(fd);
  }
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
[[noreturn]] void cannot_start(shard_id id, const std::exception& refused) noexcept {
  fmt::print(stderr, "{}: cannot start shard {}: {}\n", program_invocation_short_name, id, refused.what());
  ::_exit(1);
}

/// The deadline of a stop, on each shard: lists what is left; on shard 0, a little later, ends the process.
class drain_deadline final : public timers::timer {
 public:
  explicit drain_deadline(log_writer* writer_to_flush) noexcept : writer_to_flush_(writer_to_flush) {}
  ~drain_deadline() {
    if (armed()) timers::this_timers().cancel(*this);
  }
  void expired() noexcept override {
    if (!listed_) {
      listed_ = true;
      log::error("drain deadline passed, {} tasks left", this_shard().root->size());
      this_shard().root->for_each([](const detail::chain& left) {
        const detail::leaf* wait = left.waits_for();
        log::error("left: task \"{}\" waits for {}", left.name(), wait ? wait->describe() : "the CPU");
      });
      if (writer_to_flush_ == nullptr) return;
      timers::this_timers().arm(*this, clock::now() + std::chrono::milliseconds(100));
      return;
    }
    writer_to_flush_->flush(std::chrono::seconds(1));
    ::_exit(2);
  }

 private:
  log_writer* writer_to_flush_;
  bool listed_ = false;
};

/// As control calls, which reach shards whose root scope has closed.
template <class Fn>
task<> on_every_shard(Fn fn) {
  return detail::call_everywhere(detail::handler_scope::control, fn);
}

/// This shard's messages are back. They have hardly any way left, so it is looked for rather than told.
task<> messages_home() {
  while (detail::this_mailboxes().outstanding() != 0) co_await yield();
}

}  // namespace

/// What the control task waits for: something about main, the quiet or the stop has changed.
class host::change {
 public:
  class awaiter final : public detail::leaf {
   public:
    explicit awaiter(change& owner) noexcept : owner_(owner) {}
    bool await_ready() const noexcept { return std::exchange(owner_.pending_, false); }
    void await_suspend(std::coroutine_handle<> resume_point) noexcept {
      owner_.waiter_ = this;
      suspend(resume_point);
    }
    void await_resume() const noexcept {}
    void let_go() noexcept override {
      owner_.waiter_ = nullptr;
      wake();
    }
    const char* describe() const noexcept override { return "end of main or stop"; }

   private:
    friend class change;
    change& owner_;
  };
  awaiter wait() noexcept { return awaiter(*this); }
  void signal() noexcept {
    if (waiter_ != nullptr) {
      std::exchange(waiter_, nullptr)->wake();
    } else {
      pending_ = true;
    }
  }

 private:
  awaiter* waiter_ = nullptr;
  bool pending_ = false;
};

host::host(const app_options& options, placement where, clock_source& time)
    : options_(options),
      where_(std::move(where)),
      seed_(options.seed ? *options.seed : entropy_seed()),
      log_(log_settings_from(options)),
      change_(std::make_unique<change>()) {
  auto count = static_cast<shard_id>(where_.shards.size());
  SKERRY_ASSERT(count > 0, "a host has at least one shard");
  require_descriptors(count, options_.port ? 4 : 2);
  backends_ = make_io_uring_backends(count, options_.ring_entries);
  queues_ = detail::make_queue_matrix(count, options_.mailbox_capacity);
  reactor_options loop;
  loop.task_budget = options_.task_budget;
  loop.idle_spin = options_.idle_spin;
  loop.park = options_.park;
  std::vector<reactor*> reactors;
  for (shard_id id = 0; id < count; ++id) {
    shards_.push_back(std::make_unique<shard>(*this, id, count, *backends_[id], time, seed_, loop));
    reactors.push_back(&shards_.back()->loop());
  }
  for (auto& s : shards_) s->connect(*queues_, reactors);
}

host::~host() = default;

void host::run(const std::function<task<>()>& main, bool auto_shutdown) {
  place_this_thread(where_.shards[0]);
  shard& first = *shards_[0];
  first.start(log_.open(0));
  std::vector<std::thread> threads;
  threads.reserve(size());
  for (shard_id id = 1; id < size(); ++id) {
    try {
      threads.emplace_back([this, id] { run_thread(id); });
    } catch (const std::exception& refused) {
      cannot_start(id, startup_error(fmt::format(
                           "{}\nraise the limit of threads (ulimit -u, TasksMax= in a systemd unit, --pids-limit of a "
                           "container), or run fewer shards (--shards)",
                           refused.what())));
    }
  }
  {
    auto handle = detail::spawn_in(first.control(), control(main, auto_shutdown), "control", scheduling_group::main);
    first.run();
    SKERRY_ASSERT(handle.is_finished(), "shard 0 runs as long as the task that stops the others");
  }
  first.stop();
  for (std::thread& t : threads) t.join();
  if (main_error_ != nullptr) std::rethrow_exception(main_error_);
}

void host::run_thread(shard_id id) noexcept {
  try {
    if (options_.thread_names) pthread_setname_np(pthread_self(), fmt::format("shard-{}", id).c_str());
    place_this_thread(where_.shards[id]);
    shards_[id]->start(log_.open(id));
  } catch (const std::exception& refused) {
    cannot_start(id, refused);
  }
  shards_[id]->run();
  shards_[id]->stop();
}

void host::request_stop() noexcept {
  stop_requested_.store(true, std::memory_order_release);
  if (shards_[0]->loop().bell().ring(doorbell::outside)) backends_[0]->wake_from_outside();
}

void host::noticed_outside() noexcept {
  if (stop_requested()) change_->signal();
}

task<> host::control(const std::function<task<>()>& main, bool auto_shutdown) {
  bool main_ended = false;
  auto wrapped = [this, &main, &main_ended]() -> task<> {
    try {
      co_await main();
    } catch (...) {
      main_error_ = std::current_exception();
    }
    main_ended = true;
    change_->signal();
  };
  join_handle<> main_task = spawn(wrapped, "main");
  while (!stop_requested() && !main_ended && !main_task.is_finished()) co_await change_->wait();
  if (!stop_requested() && main_error_ == nullptr) {
    join_handle<> quiet;
    if (auto_shutdown) {
      quiet = detail::spawn_in(this_assembled_shard().control(), wait_until_quiet(), "wait until quiet",
                               scheduling_group::main);
    }
    while (!stop_requested() && !quiet_) co_await change_->wait();
    if (quiet && !quiet_) {
      quiet.abort();
      try {
        co_await quiet;
      } catch (const std::system_error&) {
        // Aborted just above.
      }
    }
  }
  co_await on_every_shard([] {
    host& owner = *this_shard().host;
    auto& deadline = resources().emplace<drain_deadline>(this_shard_id() == 0 ? &owner.log_ : nullptr);
    timers::this_timers().arm(deadline, timers::saturating_add(clock::now(), owner.options_.drain_timeout));
  });
  if (stop_requested()) co_await drain();
  co_await end_everything();
}

/// All root scopes are empty at one moment: each was found empty in two rounds, and none was added to in between.
task<> host::wait_until_quiet() {
  auto until_empty = []() -> task<std::uint64_t> {
    co_await this_shard().root->until_empty();
    co_return this_shard().root->added_total();
  };
  for (std::uint64_t before = UINT64_MAX;;) {
    std::uint64_t added = 0;
    const auto counts = co_await detail::call_everywhere(detail::handler_scope::control, until_empty);
    for (std::uint64_t count : counts) added += count;
    if (added == before) break;
    before = added;
  }
  quiet_ = true;
  change_->signal();
}

task<> host::drain() {
  log::info("stopping: no new connections, up to {} s for what is in flight",
            std::chrono::duration_cast<std::chrono::seconds>(options_.drain_timeout).count());
  co_await on_every_shard([]() -> task<> {
    shard& here = this_assembled_shard();
    here.begin_drain();
    co_await here.until_drained(shard::drain_stage::accepted);
  });
}

task<> host::end_everything() {
  co_await on_every_shard([]() -> task<> {
    this_shard().root->cancel();
    co_await this_shard().root->until_empty();
    shard& here = this_assembled_shard();
    here.begin_drain();
    co_await here.until_drained(shard::drain_stage::all);
  });
  co_await on_every_shard([]() -> task<> { return this_assembled_shard().stop_services(); });
  // No task is left that could send. What objects sent while they were destroyed comes home now.
  co_await on_every_shard([]() -> task<> {
    if (this_shard_id() != 0) co_await messages_home();
  });
  co_await messages_home();
  co_await on_every_shard([] { this_assembled_shard().exit_when_flushed(); });
}

}  // namespace skerry
