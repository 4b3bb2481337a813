// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/random.hpp>
#include <skerry/simulation/linearizability.hpp>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <support/long_test.hpp>
#include <support/test_seed.hpp>

namespace {

using namespace skerry;
using sim::never;
using outcome = sim::linearizability_result::outcome;

/// Registers that can be read, written, and written if they hold a certain value. Zero at first.
template <bool TellsReads>
struct basic_registers {
  enum class kind { read, write, swap };
  struct input {
    int key = 0;
    kind what = kind::read;
    int value = 0, expected = 0;
  };
  using output = int;  // of read: the value; of swap: whether it was written
  using state = int;

  state initial() const { return 0; }
  output apply(state& now, const input& in) const {
    switch (in.what) {
      case kind::read: return now;
      case kind::write: return now = in.value, 0;
      default:
        if (now != in.expected) return 0;
        now = in.value;
        return 1;
    }
  }
  bool reads_only(const input& in, int out) const
    requires TellsReads
  {
    return in.what == kind::read || (in.what == kind::swap && out == 0);
  }
  int key(const input& in) const { return in.key; }
  /// All states of one hash, where std::hash is not taken.
  std::size_t hash(const state&) const
    requires(!TellsReads)
  {
    return 1;
  }
  std::string describe(const state& s) const { return std::to_string(s); }
  std::string describe(const input& in, const output* out) const {
    std::string text = in.what == kind::read ? "read" : in.what == kind::write ? "write " : "swap ";
    if (in.what == kind::swap) text += std::to_string(in.expected) + " for ";
    if (in.what != kind::read) text += std::to_string(in.value);
    return out == nullptr ? text : text + " -> " + std::to_string(*out);
  }
};

using registers = basic_registers<true>;
using register_history = sim::history<registers>;
using register_operation = register_history::value_type;

register_operation read(std::uint32_t client, std::uint64_t from, std::uint64_t until, int value, int key = 0) {
  return {client, from, until, {.key = key}, value};
}
register_operation write(std::uint32_t client, std::uint64_t from, std::uint64_t until, int value, int key = 0) {
  return {client, from, until, {.key = key, .what = registers::kind::write, .value = value}};
}
register_operation swap(std::uint32_t client, std::uint64_t from, std::uint64_t until, int expected, int value,
                        int done) {
  return {client, from, until, {.what = registers::kind::swap, .value = value, .expected = expected}, done};
}

outcome verdict(const register_history& seen, sim::linearizability_options options = {}) {
  return sim::check_linearizability(registers(), seen, options).found;
}

TEST(linearizability, nothing_and_one_client_after_itself_are_linearizable) {
  EXPECT_EQ(verdict({}), outcome::linearizable);
  EXPECT_EQ(verdict({write(1, 1, 2, 5), read(1, 3, 4, 5), write(1, 5, 6, 7), read(1, 7, 8, 7)}), outcome::linearizable);
}

TEST(linearizability, a_read_of_what_was_overwritten_before_it_is_refused) {
  EXPECT_EQ(verdict({write(1, 1, 2, 5), write(1, 3, 4, 6), read(2, 5, 6, 5)}), outcome::violated);
  EXPECT_EQ(verdict({write(1, 1, 2, 5), write(1, 3, 5, 6), read(2, 4, 6, 5)}), outcome::linearizable) << "they overlap";
}

TEST(linearizability, two_reads_may_not_see_two_writes_in_different_orders) {
  const register_history agreed{write(1, 1, 10, 5), write(2, 1, 10, 6), read(3, 2, 3, 5),
                                read(3, 4, 5, 6),   read(4, 2, 4, 5),   read(4, 6, 7, 6)};
  EXPECT_EQ(verdict(agreed), outcome::linearizable);
  const register_history torn{write(1, 1, 10, 5), write(2, 1, 10, 6), read(3, 2, 3, 5),
                              read(3, 4, 5, 6),   read(4, 2, 4, 6),   read(4, 6, 7, 5)};
  EXPECT_EQ(verdict(torn), outcome::violated);
}

TEST(linearizability, a_new_value_that_was_seen_does_not_go_away) {
  EXPECT_EQ(verdict({write(1, 1, 10, 5), read(2, 2, 3, 5), read(3, 4, 5, 0)}), outcome::violated);
}

TEST(linearizability, of_two_swaps_from_one_value_only_one_succeeds) {
  EXPECT_EQ(verdict({swap(1, 1, 4, 0, 5, 1), swap(2, 2, 3, 0, 6, 0)}), outcome::linearizable);
  EXPECT_EQ(verdict({swap(1, 1, 4, 0, 5, 1), swap(2, 2, 3, 0, 6, 1)}), outcome::violated);
}

TEST(linearizability, what_was_answered_when_another_was_asked_for_overlaps_it) {
  EXPECT_EQ(verdict({write(1, 1, 2, 5), read(2, 2, 3, 0)}), outcome::linearizable);
  EXPECT_EQ(verdict({write(1, 1, 2, 5), read(2, 3, 3, 0)}), outcome::violated);
}

TEST(linearizability, an_operation_without_an_answer_may_have_happened_late_or_never) {
  EXPECT_EQ(verdict({write(1, 1, never, 5), read(2, 2, 3, 0)}), outcome::linearizable) << "never";
  EXPECT_EQ(verdict({write(1, 1, never, 5), read(2, 2, 3, 0), read(2, 4, 5, 5)}), outcome::linearizable) << "late";
  EXPECT_EQ(verdict({write(1, 1, never, 5), read(2, 2, 3, 5), read(2, 4, 5, 0)}), outcome::violated) << "not undone";
  EXPECT_EQ(verdict({read(2, 2, 3, 5), write(1, 4, never, 5)}), outcome::violated) << "not before it was asked for";
  EXPECT_EQ(verdict({write(1, 1, never, 5), write(2, 2, 3, 6), read(2, 4, 5, 5), write(2, 6, 7, 6), read(2, 8, 9, 5)}),
            outcome::violated)
      << "not twice";
}

TEST(linearizability, which_of_two_lost_answers_made_a_state_matters_for_what_may_still_happen) {
  // Either makes the first 1, but only the write makes the second.
  EXPECT_EQ(verdict({write(1, 1, never, 1), swap(2, 1, never, 0, 1, 0), read(3, 2, 3, 1), write(3, 4, 5, 7),
                     read(3, 6, 7, 1)}),
            outcome::linearizable);
}

TEST(linearizability, keys_have_nothing_to_do_with_each_other) {
  EXPECT_EQ(verdict({write(1, 1, 2, 5, 1), read(2, 3, 4, 0, 2), read(2, 5, 6, 5, 1)}), outcome::linearizable);
  EXPECT_EQ(verdict({write(1, 1, 2, 5, 1), read(2, 3, 4, 0, 2), read(2, 5, 6, 0, 1)}), outcome::violated);
}

TEST(linearizability, in_order_a_clients_second_operation_never_overtakes_its_first) {
  const register_history overtaken{write(1, 1, 9, 5), write(1, 2, 8, 6), read(2, 10, 11, 5)};
  EXPECT_EQ(verdict(overtaken), outcome::linearizable);
  EXPECT_EQ(verdict(overtaken, {.clients_in_order = true}), outcome::violated);
  // The second one's answer proves that the first one happened, answered or not.
  const register_history unanswered{write(1, 1, never, 5), read(1, 2, 3, 0)};
  EXPECT_EQ(verdict(unanswered), outcome::linearizable);
  EXPECT_EQ(verdict(unanswered, {.clients_in_order = true}), outcome::violated);
}

TEST(linearizability, the_text_names_who_fits_nowhere_and_who_was_under_way) {
  const register_history seen{write(1, 1, 2, 5), write(2, 3, never, 6), write(3, 4, 9, 7), read(4, 5, 6, 8)};
  const auto result = sim::check_linearizability(registers(), seen);
  EXPECT_EQ(result.found, outcome::violated);
  EXPECT_EQ(result.culprits, (std::vector<std::size_t>{3, 2, 1}));
  EXPECT_EQ(result.text,
            "no order of the operations gives the answer of\n"
            "    client 4 [5, 6]  read -> 8\n"
            "  before it the state was one of 1:\n"
            "    5\n"
            "  the first of them by this order (its end; what only reads is left out):\n"
            "    client 1 [1, 2]  write 5 -> 0\n"
            "  under way with it, or never answered, are 2:\n"
            "    client 3 [4, 9]  write 7 -> 0\n"
            "    client 2 [3, never answered]  write 6\n");
}

TEST(linearizability, a_search_that_is_too_long_says_so_and_is_not_ok) {
  register_history seen;
  for (int i = 0; i < 40; ++i) seen.push_back(write(static_cast<std::uint32_t>(i), 1, 100, i + 1));
  seen.push_back(read(90, 101, 102, 77));
  const auto result = sim::check_linearizability(registers(), seen, {.states_max = 1000});
  EXPECT_EQ(result.found, outcome::gave_up);
  EXPECT_FALSE(result.ok());
  EXPECT_LT(result.states, 1100U);
  EXPECT_NE(result.text.find("gave up after"), std::string::npos) << result.text;
}

/// By definition: any order that time allows, with any of those that were not answered.
class every_order {
 public:
  every_order(const register_history& seen, bool in_order) : seen_(seen), in_order_(in_order), done_(seen.size()) {}
  bool exists(int state = 0) {
    bool all = true;
    for (std::size_t i = 0; i < seen_.size(); ++i) all = all && (done_[i] || seen_[i].returned == never);
    if (all) return true;
    for (std::size_t i = 0; i < seen_.size(); ++i) {
      if (done_[i] || !may_be_next(i)) continue;
      int next = state;
      const int result = registers().apply(next, seen_[i].input);
      if (seen_[i].returned != never && result != seen_[i].output) continue;
      done_[i] = true;
      const bool found = exists(next);
      done_[i] = false;
      if (found) return true;
    }
    return false;
  }

 private:
  bool may_be_next(std::size_t i) const {
    for (std::size_t j = 0; j < seen_.size(); ++j) {
      if (j == i || done_[j]) continue;
      if (seen_[j].returned < seen_[i].invoked) return false;
      if (!in_order_ || seen_[j].client != seen_[i].client) continue;
      if (std::pair(seen_[j].invoked, j) < std::pair(seen_[i].invoked, i)) return false;
    }
    return true;
  }

  const register_history& seen_;
  bool in_order_;
  std::vector<bool> done_;
};

/// Random operations in random spans; what they answer is what some order gives, but for a few.
register_history random_history(random_source& random, std::size_t count, std::size_t clients) {
  register_history seen;
  const std::uint64_t lost_one_in = random.uniform(2) == 0 ? 2 : 5;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t from = random.uniform(2 * count);
    const auto client = static_cast<std::uint32_t>(random.uniform(clients));
    const std::uint64_t until = random.uniform(lost_one_in) == 0 ? never : from + random.uniform(count);
    register_operation made(client, from, until, {});
    made.input.what = static_cast<registers::kind>(random.uniform(3));
    made.input.value = static_cast<int>(1 + random.uniform(3));
    made.input.expected = static_cast<int>(random.uniform(4));
    seen.push_back(made);
  }
  std::vector<std::pair<std::uint64_t, std::size_t>> moments;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t latest = seen[i].returned == never ? seen[i].invoked + count : seen[i].returned;
    moments.emplace_back(seen[i].invoked + random.uniform(latest - seen[i].invoked + 1), i);
  }
  std::ranges::sort(moments);
  int state = 0;
  for (const auto& [moment, i] : moments) {
    if (seen[i].returned == never && random.uniform(2) == 0) continue;
    seen[i].output = registers().apply(state, seen[i].input);
    if (random.uniform(2 * count) == 0) seen[i].output = static_cast<int>(random.uniform(4));
  }
  return seen;
}

/// The same, not told which operations only read, and with a hash that tells no states apart.
bool unhinted(const register_history& seen, bool in_order) {
  using plain = basic_registers<false>;
  sim::history<plain> same;
  for (const register_operation& o : seen) {
    const plain::input in{o.input.key, static_cast<plain::kind>(o.input.what), o.input.value, o.input.expected};
    same.emplace_back(o.client, o.invoked, o.returned, in, o.output);
  }
  return sim::check_linearizability(plain(), same, {.clients_in_order = in_order}).ok();
}

TEST(linearizability, agrees_with_the_definition_on_small_random_histories) {
  random_source random(test_support::test_seed());
  const int rounds = test::rounds(20'000);
  int violated = 0;
  for (int round = 0; round < rounds; ++round) {
    const register_history seen = random_history(random, 1 + random.uniform(8), 1 + random.uniform(4));
    for (bool in_order : {false, true}) {
      const auto result = sim::check_linearizability(registers(), seen, {.clients_in_order = in_order});
      violated += result.ok() ? 0 : 1;
      ASSERT_EQ(result.ok(), every_order(seen, in_order).exists()) << "round " << round << '\n' << result.text;
      ASSERT_NE(result.found, outcome::gave_up);
      ASSERT_EQ(unhinted(seen, in_order), result.ok()) << "round " << round << '\n' << result.text;
    }
  }
  EXPECT_GT(violated, rounds / 20) << "the histories should be of both kinds";
  EXPECT_LT(violated, 2 * rounds * 19 / 20);
}

/// Clients one operation after the other; each happens at one moment of its span.
register_history served_history(random_source& random, std::size_t count, std::uint32_t clients, bool lose_answers) {
  struct client {
    std::uint64_t free_at = 0;
    std::uint32_t number = 0;
  };
  std::vector<client> all(clients);
  register_history seen;
  std::vector<std::pair<std::uint64_t, std::size_t>> moments;
  while (seen.size() < count) {
    client& c = *std::ranges::min_element(all, {}, &client::free_at);
    const std::uint64_t from = c.free_at + 1 + random.uniform(20), until = from + 1 + random.uniform(30);
    register_operation made(c.number, from, until, {});
    made.input.what = static_cast<registers::kind>(random.uniform(3));
    made.input.value = static_cast<int>(random.uniform(1000));
    made.input.expected = seen.empty() ? 0 : seen.back().input.value;
    c.free_at = until;
    if (lose_answers && random.uniform(100) == 0) made.returned = never;
    moments.emplace_back(from + random.uniform(until - from), seen.size());
    seen.push_back(made);
  }
  std::ranges::sort(moments);
  int state = 0;
  for (const auto& [moment, i] : moments) {
    if (seen[i].returned == never && i % 2 == 0) continue;
    seen[i].output = registers().apply(state, seen[i].input);
  }
  return seen;
}

TEST(linearizability, ten_thousand_operations_of_sixteen_clients_take_a_few_states_each) {
  random_source random(test_support::test_seed());
  for (bool lose_answers : {false, true}) {
    const register_history seen = served_history(random, 10'000, 16, lose_answers);
    const auto result = sim::check_linearizability(registers(), seen);
    EXPECT_TRUE(result.ok()) << result.text;
    EXPECT_LT(result.states, 1'000'000U);
    std::cout << result.states << " states" << std::endl;
  }
}

TEST(linearizability, one_stale_read_among_ten_thousand_operations_is_found_where_it_is) {
  random_source random(test_support::test_seed());
  register_history seen = served_history(random, 10'000, 8, false);
  const std::uint64_t end = seen.back().returned + 1000;
  seen.push_back(write(1, end, end + 1, 5000));
  seen.push_back(write(1, end + 2, end + 3, 5001));
  seen.push_back(read(2, end + 4, end + 5, 5000));
  const auto result = sim::check_linearizability(registers(), seen);
  EXPECT_EQ(result.found, outcome::violated);
  ASSERT_FALSE(result.culprits.empty());
  EXPECT_EQ(result.culprits[0], seen.size() - 1) << result.text;
  std::cout << result.states << " states" << std::endl;
}

TEST(linearizability, hundreds_of_lost_answers_do_not_multiply) {
  register_history seen;
  for (int i = 0; i < 300; ++i) seen.push_back(write(static_cast<std::uint32_t>(i), 1, never, i + 1));
  seen.push_back(read(400, 2, 3, 77));
  seen.push_back(read(400, 4, 5, 300));
  EXPECT_EQ(verdict(seen), outcome::linearizable);
  seen.push_back(read(400, 6, 7, 1000));
  const auto result = sim::check_linearizability(registers(), seen);
  EXPECT_EQ(result.found, outcome::violated);
  EXPECT_LT(result.states, 100'000U);
  std::cout << result.states << " states" << std::endl;
}

TEST(linearizability, the_same_history_gives_the_same_text_and_count) {
  random_source random(test_support::test_seed());
  register_history seen = served_history(random, 500, 8, true);
  seen[400].output = 12345;
  const auto once = sim::check_linearizability(registers(), seen);
  register_history elsewhere = seen;
  const auto again = sim::check_linearizability(registers(), elsewhere);
  EXPECT_EQ(once.states, again.states);
  EXPECT_EQ(once.text, again.text);
}

/// A bag that gives back any of what was put in: one input has many results.
struct bag {
  using input = std::optional<int>;  // a value to put in, or none to take one out
  using output = int;
  using state = std::vector<int>;

  state initial() const { return {}; }
  std::size_t hash(const state& s) const { return s.size(); }
  template <class Next>
  void step(const state& now, const input& in, const output* seen, Next next) const {
    state after = now;
    if (in) {
      after.insert(std::ranges::upper_bound(after, *in), *in);
      return next(after);
    }
    for (int each : now) {
      if (seen != nullptr && *seen != each) continue;
      after = now;
      after.erase(std::ranges::find(after, each));
      next(after);
    }
  }
};

TEST(linearizability, a_specification_may_allow_many_results) {
  sim::history<bag> seen;
  seen.emplace_back(1, 1, 2, 5);
  seen.emplace_back(1, 3, 4, 6);
  seen.emplace_back(2, 5, never, std::nullopt);
  seen.emplace_back(2, 6, 7, std::nullopt, 6);
  EXPECT_TRUE(sim::check_linearizability(bag(), seen).ok());
  seen.emplace_back(2, 8, 9, std::nullopt, 6);
  EXPECT_EQ(sim::check_linearizability(bag(), seen).found, outcome::violated);
}

}  // namespace
