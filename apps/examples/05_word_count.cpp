// SPDX-License-Identifier: Apache-2.0
// Data that is spread over shards: each word is counted on the shard that owns it. shard_map says which one that is.
// Run it with: build/release/apps/05_word_count --shards 4 --overprovision < README.md
#include <skerry/shards/app.hpp>
#include <skerry/shards/shard_map.hpp>
#include <skerry/shards/sharded.hpp>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <iostream>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <fmt/core.h>

namespace {

using namespace skerry;
using word_counts = std::map<std::string, std::uint64_t>;

task<> count(std::vector<std::string> words) {
  sharded<word_counts> counts;
  co_await counts.start();

  // One message per shard, not one per word: a message costs more than counting a word does.
  shard_map owners;
  std::vector<std::vector<std::string>> by_owner(shard_count());
  for (std::string& word : words) {
    by_owner[owners.shard_of(std::hash<std::string>()(word))].push_back(std::move(word));
  }
  auto add = [](word_counts& mine, std::vector<std::string> given) {
    for (std::string& word : given) ++mine[std::move(word)];
  };
  for (shard_id owner = 0; owner < shard_count(); ++owner) {
    co_await counts.invoke_on(owner, add, std::move(by_owner[owner]));
  }

  auto most_frequent = [](word_counts& mine) -> std::string {
    auto less = [](const auto& a, const auto& b) { return a.second < b.second; };
    auto most = std::max_element(mine.begin(), mine.end(), less);
    return most == mine.end() ? "no words"
                              : fmt::format("{} words, {} times \"{}\"", mine.size(), most->second, most->first);
  };
  std::vector<std::string> found = co_await counts.map(most_frequent);
  for (shard_id shard = 0; shard < shard_count(); ++shard) fmt::print("shard {}: {}\n", shard, found[shard]);
  co_await counts.stop();
}

}  // namespace

int main(int argc, char** argv) {
  // Reading a file blocks, so it is done before there are shards.
  std::vector<std::string> words{std::istream_iterator<std::string>(std::cin), {}};
  return skerry::app("05_word_count").run(argc, argv, [&] { return count(std::move(words)); });
}
