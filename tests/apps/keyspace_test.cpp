// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <gtest/gtest.h>
#include <kv_server/key_hash.hpp>
#include <kv_server/keyspace.hpp>
#include <support/long_test.hpp>

namespace {

using kv_server::key_hash;
using kv_server::keyspace;
using kv_server::large_value;

constexpr std::uint64_t no_limit = std::uint64_t{1} << 40;
constexpr std::uint64_t start_ms = 1'700'000'000'000;

std::uint64_t test_seed() {
  const char* given = std::getenv("SKERRY_TEST_SEED");
  std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device{}();
  std::printf("seed: SKERRY_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

std::uint64_t hash_of(std::string_view key) { return key_hash(key, 42); }

std::string key_number(std::uint64_t i) {
  std::string key("key:");
  key += std::to_string(i);
  return key;
}

bool put(keyspace& keys, std::string_view key, std::string_view value, std::uint64_t now_ms = start_ms) {
  if (auto at = keys.find(key, hash_of(key), now_ms)) return keys.assign(at, value);
  return static_cast<bool>(keys.insert(key, hash_of(key), value));
}

std::optional<std::string> get(keyspace& keys, std::string_view key, std::uint64_t now_ms = start_ms) {
  auto at = keys.find(key, hash_of(key), now_ms);
  if (!at) return std::nullopt;
  return std::string(keys.value(at));
}

void maintain_all(keyspace& keys, std::uint64_t now_ms) {
  while (keys.maintain(now_ms, 1000) > 0) {
  }
}

TEST(key_hash, differs_by_seed_length_and_every_byte) {
  std::set<std::uint64_t> seen;
  std::string text(64, '\0');
  std::size_t count = 0;
  for (std::size_t size = 0; size <= text.size(); ++size, ++count) seen.insert(key_hash({text.data(), size}, 1));
  for (std::size_t at = 0; at < text.size(); ++at, ++count) {
    std::string changed = text;
    changed[at] = 'x';
    seen.insert(key_hash(changed, 1));
  }
  for (std::uint64_t seed = 2; seed < 100; ++seed, ++count) seen.insert(key_hash("key", seed));
  EXPECT_EQ(seen.size(), count);
}

TEST(key_hash, spreads_similar_keys_over_low_and_high_bits) {
  constexpr std::size_t keys = 100000, cells = 1024;
  std::vector<std::size_t> low(cells), high(cells);
  for (std::uint64_t i = 0; i < keys; ++i) {
    std::uint64_t hash = hash_of(key_number(i));
    ++low[hash % cells];
    ++high[hash >> 54];
  }
  for (std::size_t i = 0; i < cells; ++i) {
    EXPECT_NEAR(static_cast<double>(low[i]), 97.0, 60.0);
    EXPECT_NEAR(static_cast<double>(high[i]), 97.0, 60.0);
  }
}

struct model_value {
  std::string value;
  std::uint64_t deadline_ms = 0;
};

/// The same operations on the keyspace and on a standard map, with a clock that jumps.
class model_run {
 public:
  explicit model_run(std::uint64_t seed) : random_(seed), keys_(no_limit, start_ms), baseline_(keys_.memory_used()) {}

  void step() {
    if (random_() % 64 == 0) now_ms_ += random_() % 50;
    // The population swells and shrinks, so that buckets are split and merged.
    if (random_() % 20000 == 0) range_ = std::uint64_t{1} << (4 + random_() % 13);
    std::string key = key_number(random_() % range_);
    auto known = model_.find(key);
    if (known != model_.end() && known->second.deadline_ms != 0 && known->second.deadline_ms <= now_ms_) {
      model_.erase(known);
      known = model_.end();
    }
    auto at = keys_.find(key, hash_of(key), now_ms_);
    ASSERT_EQ(static_cast<bool>(at), known != model_.end()) << key;
    if (!at) {
      std::string value = random_value();
      ASSERT_TRUE(keys_.insert(key, hash_of(key), value));
      model_[key] = {value, 0};
    } else {
      ASSERT_EQ(keys_.value(at), known->second.value);
      ASSERT_EQ(keys_.deadline(at).value_or(0), known->second.deadline_ms);
      change(at, key, known->second);
    }
    if (random_() % 200 == 0) keys_.maintain(now_ms_, 1 + random_() % 50);
    if (random_() % 200000 == 0) {
      keys_.flush();
      model_.clear();
    }
  }

  void finish() {
    std::set<std::string> expected;
    for (const auto& [key, value] : model_) {
      if (value.deadline_ms == 0 || value.deadline_ms > now_ms_) expected.insert(key);
    }
    maintain_all(keys_, now_ms_);
    EXPECT_EQ(keys_.size(), expected.size());
    std::set<std::string> seen;
    std::uint64_t cursor = 0;
    do {
      cursor = keys_.scan(cursor, 7, now_ms_, [&](std::string_view key) { EXPECT_TRUE(seen.emplace(key).second); });
    } while (cursor != 0);
    EXPECT_EQ(seen, expected);
    keys_.flush();
    maintain_all(keys_, now_ms_);
    EXPECT_EQ(keys_.memory_used(), baseline_);
    EXPECT_EQ(keys_.expiring(), 0U);
  }

 private:
  std::string random_value() {
    std::size_t size = random_() % 40;
    if (random_() % 100 == 0) size = random_() % 3000;
    if (random_() % 5000 == 0) size = random_() % 200000;
    return std::string(size, static_cast<char>('a' + random_() % 26));
  }

  void change(keyspace::found at, const std::string& key, model_value& known) {
    std::string value = random_value();
    switch (random_() % 8) {
      case 0:
        keys_.erase(at);
        model_.erase(key);
        break;
      case 1:
      case 2:
        ASSERT_TRUE(keys_.assign(at, value));
        ASSERT_EQ(keys_.value(at), value);
        known.value = value;
        break;
      case 3:
        ASSERT_TRUE(keys_.append(at, value));
        known.value += value;
        ASSERT_EQ(keys_.value(at), known.value);
        break;
      case 4:
      case 5:
        known.deadline_ms = now_ms_ + 1 + random_() % (random_() % 10 == 0 ? 1000000 : 500);
        keys_.expire_at(at, known.deadline_ms);
        break;
      case 6:
        ASSERT_EQ(keys_.persist(at), known.deadline_ms != 0);
        known.deadline_ms = 0;
        break;
      default: break;
    }
  }

  std::mt19937_64 random_;
  keyspace keys_;
  std::uint64_t baseline_;
  std::uint64_t now_ms_ = start_ms;
  std::uint64_t range_ = 1 << 12;
  std::unordered_map<std::string, model_value> model_;
};

TEST(keyspace, a_million_random_operations_agree_with_a_map) {
  model_run run(test_seed());
  for (int i = 0; i < skerry::test::rounds(1'000'000) && !::testing::Test::HasFatalFailure(); ++i) run.step();
  run.finish();
}

TEST(keyspace, a_key_lives_until_its_deadline_and_not_a_millisecond_longer) {
  keyspace keys(no_limit, start_ms);
  put(keys, "a", "1");
  keys.expire_at(keys.find("a", hash_of("a"), start_ms), start_ms + 100);
  EXPECT_TRUE(get(keys, "a", start_ms + 99));
  EXPECT_EQ(keys.size(), 1U);
  EXPECT_FALSE(get(keys, "a", start_ms + 100));
  EXPECT_EQ(keys.size(), 0U);
  EXPECT_EQ(keys.expired_total(), 1U);
}

TEST(keyspace, maintenance_removes_expired_keys_nobody_asks_for) {
  keyspace keys(no_limit, start_ms);
  EXPECT_FALSE(keys.next_maintenance());
  for (std::uint64_t i = 0; i < 1000; ++i) {
    put(keys, key_number(i), "v");
    keys.expire_at(keys.find(key_number(i), hash_of(key_number(i)), start_ms), start_ms + 1000 + i / 100);
  }
  put(keys, "stays", "v");
  ASSERT_TRUE(keys.next_maintenance());
  EXPECT_GT(*keys.next_maintenance(), start_ms);
  EXPECT_EQ(keys.maintain(start_ms + 999, 100), 0U);
  EXPECT_EQ(keys.maintain(start_ms + 5000, 10), 10U);
  EXPECT_EQ(keys.next_maintenance(), 0U) << "more is due: come again at once";
  maintain_all(keys, start_ms + 5000);
  EXPECT_EQ(keys.size(), 1U);
  EXPECT_EQ(keys.expired_total(), 1000U);
  EXPECT_FALSE(keys.next_maintenance());
}

TEST(keyspace, a_deadline_taken_away_after_it_fired_still_counts) {
  keyspace keys(no_limit, start_ms);
  for (std::uint64_t i = 0; i < 10; ++i) {
    put(keys, key_number(i), "v");
    keys.expire_at(keys.find(key_number(i), hash_of(key_number(i)), start_ms), start_ms + 1);
  }
  EXPECT_EQ(keys.maintain(start_ms + 1, 1), 1U);  // all ten fired, one was removed
  // Written to again before the others were removed: an expired key is gone, the new one is another key.
  put(keys, key_number(9), "new", start_ms + 1);
  keys.expire_at(keys.find(key_number(9), hash_of(key_number(9)), start_ms + 1), start_ms + 500);
  maintain_all(keys, start_ms + 2);
  EXPECT_EQ(get(keys, key_number(9), start_ms + 2), "new");
  EXPECT_EQ(keys.size(), 1U);
}

TEST(keyspace, keys_without_a_deadline_pay_nothing_for_deadlines) {
  keyspace keys(no_limit, start_ms);
  put(keys, "0123456789abcdef", "01234567");
  std::uint64_t before = keys.memory_used();
  put(keys, "0123456789abcdeg", "01234567");
  EXPECT_LE(keys.memory_used() - before, 64U) << "32 bytes of header, the key, the value, the allocator's word";
}

TEST(keyspace, writes_beyond_the_limit_are_refused_and_change_nothing) {
  keyspace probe(no_limit, start_ms);
  keyspace keys(probe.memory_used() + 100'000, start_ms);
  std::uint64_t stored = 0;
  std::string value(1000, 'x');
  while (put(keys, key_number(stored), value)) ++stored;
  EXPECT_GT(stored, 80U);
  EXPECT_LT(stored, 100U);
  EXPECT_LE(keys.memory_used(), keys.memory_max());
  EXPECT_FALSE(get(keys, key_number(stored)));
  EXPECT_FALSE(put(keys, key_number(0), std::string(50'000, 'y')));
  EXPECT_EQ(get(keys, key_number(0)), value);
  EXPECT_FALSE(keys.append(keys.find(key_number(0), hash_of(key_number(0)), start_ms), std::string(90'000, 'y')));
  EXPECT_EQ(get(keys, key_number(0)), value);
  EXPECT_TRUE(put(keys, key_number(0), "smaller")) << "what gives memory back is never refused";
  keys.flush();
  EXPECT_TRUE(put(keys, "after flush", std::string(50'000, 'z'))) << "flushed memory counts as free";
}

TEST(keyspace, flush_of_many_keys_is_given_back_in_steps) {
  keyspace keys(no_limit, start_ms);
  std::uint64_t baseline = keys.memory_used();
  for (std::uint64_t i = 0; i < 100'000; ++i) {
    put(keys, key_number(i), "value");
    if (i % 2 == 0) keys.expire_at(keys.find(key_number(i), hash_of(key_number(i)), start_ms), start_ms + 50 + i % 10);
  }
  keys.flush();
  EXPECT_EQ(keys.size(), 0U);
  EXPECT_FALSE(get(keys, key_number(5)));
  EXPECT_GT(keys.memory_used(), baseline);
  put(keys, key_number(4), "new");
  EXPECT_EQ(keys.maintain(start_ms + 100, 500), 500U) << "deadlines of flushed keys come while they wait to be freed";
  maintain_all(keys, start_ms + 100);
  EXPECT_EQ(get(keys, key_number(4)), "new");
  keys.flush();
  maintain_all(keys, start_ms + 100);
  EXPECT_EQ(keys.memory_used(), baseline);
}

TEST(keyspace, scan_returns_every_lasting_key_once_while_the_table_grows_and_shrinks) {
  std::mt19937_64 random(test_seed());
  for (int round = 0; round < 8; ++round) {
    keyspace keys(no_limit, start_ms);
    std::set<std::string> lasting;
    for (std::uint64_t i = 0; i < 3000; ++i) lasting.insert(key_number(i));
    for (const std::string& key : lasting) put(keys, key, "v");
    std::uint64_t other = 1'000'000;
    std::vector<std::string> others;
    std::map<std::string, int> seen;
    std::uint64_t cursor = 0;
    do {
      cursor = keys.scan(cursor, 1 + random() % 50, start_ms, [&](std::string_view key) { ++seen[std::string(key)]; });
      ASSERT_LT(cursor, std::uint64_t{1} << keyspace::cursor_bits);
      bool grow = round % 2 == 0 ? others.size() < 60000 : random() % 2 == 0;
      for (std::uint64_t i = random() % 1000; i-- > 0 && (grow || !others.empty());) {
        if (grow) {
          others.push_back(key_number(other++));
          put(keys, others.back(), "v");
        } else {
          keys.erase(keys.find(others.back(), hash_of(others.back()), start_ms));
          others.pop_back();
        }
      }
    } while (cursor != 0);
    for (const std::string& key : lasting) ASSERT_EQ(seen[key], 1) << key;
  }
}

TEST(keyspace, a_step_of_a_scan_ends_with_the_key_that_passes_its_bytes_also_within_a_bucket) {
  std::mt19937_64 random(test_seed());
  for (const std::size_t shortest : {keyspace::scan_bytes, std::size_t{1}}) {
    keyspace keys(no_limit, start_ms);
    std::map<std::string, int, std::less<>> lasting;
    // Into 1024 buckets: every fourth of them is not alone in its own.
    for (std::uint64_t i = 0; i < 300; ++i) {
      std::string key = key_number(i);
      key.resize(shortest + key.size() + random() % 40'000, 'k');
      put(keys, key, "v");
      lasting.emplace(std::move(key), 0);
    }
    std::uint64_t cursor = 0, other = 1'000'000;
    do {
      std::size_t bytes = 0, last = 0;
      cursor = keys.scan(cursor, 1000, start_ms, [&](std::string_view key) {
        auto known = lasting.find(key);
        if (known != lasting.end()) ++known->second;
        last = key.size();
        bytes += last;
      });
      ASSERT_LT(bytes - last, keyspace::scan_bytes);
      if (cursor != 0) {
        EXPECT_GE(bytes, keyspace::scan_bytes) << "and not before";
      }
      for (int i = 0; i < 10; ++i) put(keys, key_number(other++), "v");  // buckets are split meanwhile
    } while (cursor != 0);
    for (const auto& [key, count] : lasting) ASSERT_EQ(count, 1) << key.substr(0, 20);
  }
}

TEST(keyspace, scan_leaves_expired_keys_out_and_survives_any_cursor) {
  keyspace keys(no_limit, start_ms);
  put(keys, "a", "1");
  put(keys, "b", "1");
  keys.expire_at(keys.find("a", hash_of("a"), start_ms), start_ms + 1);
  std::vector<std::string> seen;
  EXPECT_EQ(keys.scan(0, 1'000'000, start_ms + 1, [&](std::string_view key) { seen.emplace_back(key); }), 0U);
  EXPECT_EQ(seen, std::vector<std::string>{"b"});
  EXPECT_EQ(keys.scan(UINT64_MAX, 10, start_ms, [](std::string_view) {}), 0U);
  std::mt19937_64 random(1);
  for (int i = 0; i < 1000; ++i) keys.scan(random() >> (random() % 64), 10, start_ms, [](std::string_view) {});
}

TEST(keyspace, a_pinned_value_outlives_whatever_happens_to_its_key) {
  keyspace keys(no_limit, start_ms);
  std::uint64_t baseline = keys.memory_used();
  const std::string big(200'000, 'p');
  for (int way = 0; way < 5; ++way) {
    put(keys, "big", big);
    auto at = keys.find("big", hash_of("big"), start_ms);
    large_value* first = keys.pin(at);
    large_value* second = keys.pin(at);
    ASSERT_NE(first, nullptr);
    std::string_view pinned(first->data(), big.size());
    if (way == 0) keys.erase(at);
    if (way == 1) {
      EXPECT_TRUE(keys.assign(at, std::string(200'000, 'q')));
    }
    if (way == 2) {
      EXPECT_TRUE(keys.assign(at, "small"));
    }
    if (way == 3) {
      EXPECT_TRUE(keys.append(at, std::string(3'000'000, 'q')));
    }
    if (way == 4) keys.flush();
    EXPECT_EQ(pinned, big);
    keys.unpin(first);
    EXPECT_EQ(pinned, big);
    keys.unpin(second);
    keys.flush();
    maintain_all(keys, start_ms);
    EXPECT_EQ(keys.memory_used(), baseline) << way;
  }
  put(keys, "small", "value");
  EXPECT_EQ(keys.pin(keys.find("small", hash_of("small"), start_ms)), nullptr);
}

TEST(keyspace, a_value_of_similar_size_is_replaced_in_place) {
  keyspace keys(no_limit, start_ms);
  put(keys, "a", std::string(100, 'x'));
  const char* before = keys.value(keys.find("a", hash_of("a"), start_ms)).data();
  for (std::size_t size : {90U, 60U, 100U, 75U}) put(keys, "a", std::string(size, 'y'));
  EXPECT_EQ(keys.value(keys.find("a", hash_of("a"), start_ms)).data(), before);
  std::uint64_t used = keys.memory_used();
  put(keys, "a", "");
  EXPECT_LT(keys.memory_used(), used) << "far smaller values give memory back";
}

}  // namespace
