// SPDX-License-Identifier: Apache-2.0
// Random operations on files of a simulated disk, with crashes, against a model that says what may be found afterwards:
// a name leads to something it led to since its directory was synced, a file has in each sector what it had there since
// it was synced, and what was synced is there.
#include <skerry/net/file/directory.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/net/file/whole_file.hpp>
#include <skerry/simulation/sim.hpp>
#include <skerry/timers/sleep.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace {

using namespace skerry;

constexpr std::size_t sector = 512, size_max = 4000, names_max = 6;

/// What is now, and every step since the last sync. A write may be done in part: a step has all between its two ends.
struct known_file {
  struct step {
    std::string before, after;
  };
  std::string now;
  std::vector<step> steps{step{}};

  void begin(const std::string& next) { steps.push_back({now, next}); }
  void synced() { steps = {step{now, now}}; }

  static char at(const std::string& of, std::size_t place) { return place < of.size() ? of[place] : '\0'; }
  /// Whether a crash may leave these bytes: each sector as some step made it, or zeros behind an earlier end.
  bool may_be(const std::string& found) const {
    std::size_t least = size_max, most = 0;
    for (const step& each : steps) {
      least = std::min({least, each.before.size(), each.after.size()});
      most = std::max({most, each.before.size(), each.after.size()});
    }
    if (found.size() < least || found.size() > most) return false;
    for (std::size_t first = 0; first < found.size(); first += sector) {
      const std::size_t end = std::min(first + sector, found.size());
      const auto made_it = [&](const step& by) {
        const auto is = [&](std::size_t i, const std::string& of) { return found[i] == at(of, i) || found[i] == '\0'; };
        std::size_t i = first;
        while (i < end && is(i, by.after)) ++i;
        while (i < end && is(i, by.before)) ++i;
        return i == end;
      };
      if (std::ranges::none_of(steps, made_it)) return false;
    }
    return true;
  }
};

using file_ptr = std::shared_ptr<known_file>;

/// The names of one directory.
struct model {
  std::map<std::string, file_ptr> now;
  std::map<std::string, std::set<file_ptr>> before;  // since the last sync of the directory; null: it was not there

  void become(const std::string& name, file_ptr what) {
    before[name].insert(what);
    now[name] = std::move(what);
    if (now[name] == nullptr) now.erase(name);
  }
  /// What may be although nobody knows whether it is.
  void may_become(const std::string& name, file_ptr what) { before[name].insert(std::move(what)); }
  void synced() {
    for (auto& [name, all] : before) {
      const auto found = now.find(name);
      all = {found != now.end() ? found->second : nullptr};
    }
  }
};

class session {
 public:
  explicit session(model& of) : of_(of) {}

  task<> act() {
    const std::string name = fmt::format("f{}", sim::draw(names_max));
    const auto found = of_.now.find(name);
    const file_ptr file = found != of_.now.end() ? found->second : nullptr;
    switch (sim::draw(10)) {
      case 0: return remove(name, file);
      case 1: return rename(name, file, fmt::format("f{}", sim::draw(names_max)));
      case 2: return sync_directory();
      case 3: return check(name, file);
      case 4: return check_names();
      case 5: return replace(name, file);
      default: return change(name, file);
    }
  }

 private:
  static std::string path(const std::string& name) { return "/d/" + name; }

  task<> change(std::string name, file_ptr file) {
    auto made = file != nullptr ? file : std::make_shared<known_file>();
    of_.may_become(name, made);
    net::file opened = co_await net::open_file(path(name), net::open_options(O_RDWR | O_CREAT));
    of_.become(name, made);
    for (auto left = 1 + sim::draw(4); left != 0; --left) {
      std::string next = made->now;
      switch (sim::draw(6)) {
        case 0:
          next.resize(sim::draw(size_max));
          made->begin(next);
          co_await opened.truncate(next.size());
          made->now = next;
          break;
        case 1:
          co_await opened.sync();
          made->synced();
          break;
        case 2:
          co_await opened.sync_data();
          made->synced();
          break;
        default: {
          const std::size_t offset = sim::draw(size_max - 1);
          const std::string bytes(1 + sim::draw(size_max - offset), static_cast<char>('a' + sim::draw(26)));
          if (next.size() < offset + bytes.size()) next.resize(offset + bytes.size());
          next.replace(offset, bytes.size(), bytes);
          made->begin(next);
          co_await opened.write(bytes, offset);
          made->now = next;
        }
      }
    }
    co_await opened.close();
  }

  task<> replace(std::string name, file_ptr) {
    auto made = std::make_shared<known_file>();
    const std::string bytes(1 + sim::draw(size_max - 1), static_cast<char>('A' + sim::draw(26)));
    made->now = bytes;
    made->synced();
    of_.may_become(name, made);
    co_await net::write_file_atomically(path(name), bytes);
    of_.become(name, made);
    of_.synced();
  }

  task<> remove(std::string name, file_ptr file) {
    if (file == nullptr) co_return;
    of_.may_become(name, nullptr);
    co_await net::remove_file(path(name));
    of_.become(name, nullptr);
  }

  task<> rename(std::string from, file_ptr file, std::string to) {
    if (file == nullptr || from == to) co_return;
    of_.may_become(from, nullptr);
    of_.may_become(to, file);
    co_await net::rename_file(path(from), path(to));
    of_.become(to, file);
    of_.become(from, nullptr);
  }

  task<> sync_directory() {
    net::file d = co_await net::open_file("/d", net::open_options(O_DIRECTORY));
    co_await d.sync();
    of_.synced();
  }

  task<> check(std::string name, file_ptr file) {
    if (file == nullptr) co_return;
    const std::string now = co_await net::read_file(path(name), 1 << 20);
    if (now != file->now) sim::fail("a file does not have what was written to it: " + name);
  }

  task<> check_names() {
    std::set<std::string> there;
    const std::vector<net::directory_entry> all = co_await net::list_directory("/d", 1000);
    for (const net::directory_entry& each : all) there.insert(each.name);
    for (const auto& [name, what] : of_.now) {
      if (there.erase(name) == 0) sim::fail("a name is missing: " + name);
    }
    for (const std::string& each : there) {
      if (!each.starts_with(".skerry-") && !each.starts_with("f")) sim::fail("a name that nobody gave: " + each);
      if (each.starts_with("f")) sim::fail("a name that was taken away: " + each);
    }
  }

  model& of_;
};

/// What a crash has left, which from now on is what there is.
task<> look_again(model& of) {
  std::set<std::string> there;
  const std::vector<net::directory_entry> all = co_await net::list_directory("/d", 1000);
  for (const net::directory_entry& each : all) there.insert(each.name);
  for (auto& [name, could_be] : of.before) {
    if (!there.contains(name)) {
      if (!could_be.contains(nullptr)) sim::fail("a synced name is gone: " + name);
      of.now.erase(name);
      continue;
    }
    const std::string found = co_await net::read_file("/d/" + name, 1 << 20);
    const bool allowed =
        std::ranges::any_of(could_be, [&](const file_ptr& each) { return each != nullptr && each->may_be(found); });
    if (!allowed) sim::fail(fmt::format("{} has {} bytes that it cannot have", name, found.size()));
    auto file = std::make_shared<known_file>();
    file->now = found;
    file->synced();
    of.now[name] = file;
  }
  of.synced();
}

struct counted {
  int crashes = 0;
  int ends = 0;
};

task<> live(model& of, int& acts) {
  if (acts == 0) {
    co_await net::make_directory("/d");
    net::file root = co_await net::open_file("/", net::open_options(O_DIRECTORY));
    co_await root.sync();
    for (std::size_t i = 0; i < names_max; ++i) of.before[fmt::format("f{}", i)] = {nullptr};
  } else {
    co_await look_again(of);
  }
  session now(of);
  while (true) {
    ++acts;
    co_await now.act();
  }
}

TEST(sim_disk_model, holds_under_random_operations_and_crashes) {
  int acts_of_all = 0;
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    sim::options o;
    o.seed = seed;
    o.system.short_transfer = 0.2;
    o.system.interrupted = 0.02;
    o.system.late_completion = 0.1;
    const sim::report ended = sim::run(o, [&]() -> task<> {
      model of;
      int acts = 0;
      sim::host_handle store = sim::host("store");
      for (int life = 0; life < 4; ++life) {
        store.start([&]() -> task<> { return live(of, acts); });
        // The first life's preparations are kept.
        do co_await sleep_for(std::chrono::microseconds(10'000 + sim::draw(200'000)));
        while (acts == 0);
        store.crash();
        co_await store.ended();
      }
      acts_of_all += acts;
    });
    ASSERT_EQ(ended.violation, "") << "seed " << seed;
  }
  EXPECT_GT(acts_of_all, 500 * 4 * 5);
}

}  // namespace
