// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/io/readiness.hpp>
#include <skerry/simulation/detail/machine.hpp>
#include <skerry/simulation/detail/pipes.hpp>
#include <skerry/simulation/detail/world.hpp>
#include <skerry/simulation/sim.hpp>

#include <cerrno>
#include <memory>
#include <system_error>
#include <utility>

#include <poll.h>
#include <unistd.h>

namespace skerry::sim {

using detail::world;

namespace {

/// Readable once something has happened.
class happening final : public detail::node {
 public:
  std::uint32_t events() const noexcept override { return happened_ ? POLLIN : 0; }
  bool attempt(detail::request& r) noexcept override {
    r.finish(-EOPNOTSUPP);
    return true;
  }
  void closed() noexcept override { cancel_all(); }
  void vanished() noexcept override {}
  void happen() noexcept {
    happened_ = true;
    changed();
  }

 private:
  bool happened_ = false;
};

machine& here() noexcept {
  SKERRY_ASSERT(world::current().running_shard() != nullptr, "a task of a simulated host waits for this");
  return world::current().running_shard()->of;
}

/// A descriptor that is closed with its scope.
struct open_node {
  int fd;
  ~open_node() { ::close(fd); }
};

machine& make(world& in, std::string_view name, unsigned shards) {
  machine& made = in.add(std::make_unique<machine>(in, std::string(name), static_cast<unsigned>(in.machines().size())));
  made.settings().shards = shards;
  return made;
}

}  // namespace

options& options::all_faults() {
  network.small_segment = 0.1;
  network.delayed_segment = 0.01;
  network.reset_per_segment = 0.002;
  network.refused_connect = 0.02;
  network.reset_accept = 0.01;
  network.datagram_lost = network.datagram_twice = network.datagram_late = 0.02;
  system.interrupted = 0.01;
  system.out_of_memory = 0.0005;
  system.out_of_descriptors = 0.01;
  system.short_transfer = 0.1;
  system.ended_multishot = 0.02;
  system.late_completion = 0.05;
  disk.io_error = disk.full = 0.001;
  names.unanswered = names.failed = names.unknown = 0.02;
  order = schedule::adversarial;
  shuffled_tasks = 0.05;
  return *this;
}

report run(const options& given, std::function<task<>()> fn) {
  world all(given);
  machine& first = make(all, "test", given.shards);
  if (given.settings) given.settings(first.settings());
  first.start([&fn] { return detail::checked_to_its_end(std::move(fn)); }, true);
  return all.run(first);
}

const std::string& host_handle::name() const noexcept { return of_->name(); }
std::string host_handle::ip() const { return of_->ip_text(); }
std::string host_handle::ip6() const { return of_->ip6_text(); }
app_options& host_handle::settings() noexcept { return of_->settings(); }

host_handle& host_handle::start(std::function<task<>()> main, bool auto_shutdown) {
  of_->start(std::move(main), auto_shutdown);
  return *this;
}

void host_handle::stop() { of_->stop(); }
void host_handle::signal(int number) { of_->signal(number); }
void host_handle::crash() { of_->crash(); }
void host_handle::stall(unsigned shard, std::chrono::nanoseconds how_long) { of_->stall(shard, how_long); }
void host_handle::shift_wall(std::chrono::nanoseconds by) { of_->shift_wall(by); }
host_handle& host_handle::give_input(std::string text) {
  of_->standard(0).input += text;
  return *this;
}
const std::string& host_handle::output() const noexcept { return of_->standard(1).output; }
const std::string& host_handle::error_output() const noexcept { return of_->standard(2).output; }
bool host_handle::runs() const noexcept { return of_->now() != machine::state::off; }

std::optional<int> host_handle::exit_status() const noexcept { return of_->exit_status(); }

task<> host_handle::ended() {
  if (!runs()) co_return;
  auto told = std::make_shared<happening>();
  const int fd = here().open(told);
  if (fd < 0) throw std::system_error(-fd, std::generic_category(), "wait for a host's end");
  const open_node guard{fd};
  of_->when_off([told] { told->happen(); });
  co_await readable(fd);
}

host_handle host(std::string_view name, unsigned shards) {
  world& in = world::current();
  machine* found = in.find(name);
  return host_handle(found != nullptr ? *found : make(in, name, shards));
}

void partition(std::initializer_list<std::string_view> from, std::initializer_list<std::string_view> to, bool one_way,
               protocol what) {
  world& in = world::current();
  for (const std::string_view a : from) {
    for (const std::string_view b : to) {
      machine *one = in.find(a), *other = in.find(b);
      SKERRY_ASSERT(one != nullptr && other != nullptr, "a partition names hosts that there are");
      in.cut_off(*one, *other, what);
      if (!one_way) in.cut_off(*other, *one, what);
    }
  }
}

void heal() { world::current().heal(); }

void skip(std::chrono::nanoseconds time) noexcept { world::current().skip(time); }

bool buggify(double probability) noexcept {
  world* in = world::running();
  return in != nullptr && in->chance(probability);
}

std::uint64_t draw(std::uint64_t bound) noexcept { return world::current().drawn_by_programs().uniform(bound); }
void always(std::string name, std::function<bool()> invariant) {
  world::current().always(std::move(name), std::move(invariant));
}
void fail(std::string why) { world::current().violate(std::move(why)); }
bool simulated() noexcept { return world::running() != nullptr && on_shard(); }
std::chrono::nanoseconds virtual_time() noexcept { return world::current().now(); }
std::uint64_t step() noexcept { return world::current().steps(); }

}  // namespace skerry::sim
