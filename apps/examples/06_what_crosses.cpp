// SPDX-License-Identifier: Apache-2.0
// What may cross between shards: values, what nobody changes any more, and things that are used at home only.
// Run it with: build/release/apps/06_what_crosses --shards 2 --overprovision
#include <skerry/shards/app.hpp>
#include <skerry/shards/foreign_ptr.hpp>
#include <skerry/shards/submit_to.hpp>
#include <skerry/shards/transferable.hpp>

#include <memory>
#include <string>
#include <utility>

#include <fmt/core.h>

namespace {

using namespace skerry;

/// Owns all it refers to, and says so; without the line the compiler refuses to send it.
struct settings {
  using crosses_shards = settings;
  std::string greeting;
};

class session {
 public:
  void greet(const std::string& text) { fmt::print("session on shard {}: {}\n", this_shard_id(), text); }
  ~session() { fmt::print("session ends on shard {}\n", this_shard_id()); }
};

/// Runs elsewhere: it may keep a session of another shard, and asks that shard to use it.
task<> keep(foreign_ptr<session> held, shared_immutable<settings> common) {
  std::string text = fmt::format("{} from shard {}", common->greeting, this_shard_id());
  auto greet = [](borrowed<foreign_ptr<session>> at_home, std::string t) { at_home->get()->greet(t); };
  co_await submit_to(held.home(), greet, borrowed(held), text);
}  // `held` goes here, and the session at home

task<> run() {
  shared_immutable<settings> common(settings{"hello"});  // one object, read by all, changed by none
  foreign_ptr<session> mine(std::make_unique<session>());
  shard_id other = shard_count() - 1;
  auto keep_there = [](foreign_ptr<session> s, shared_immutable<settings> c) { return keep(std::move(s), c); };
  co_await submit_to(other, keep_there, std::move(mine), common);
}

}  // namespace

int main(int argc, char** argv) { return skerry::app("06_what_crosses").run(argc, argv, run); }
