// SPDX-License-Identifier: Apache-2.0
#pragma once

/// linearizability: whether what clients saw could have come from one copy of the data that does one thing at a time.
///
/// A history says when each operation was asked for, when it was answered, and with what. It is linearizable if every
/// operation can be given a moment between the two at which it happened whole, so that a simple program (the
/// specification) that does them in that order gives the same answers. An operation without an answer may have
/// happened at any time after it was asked for, or never.
///
///     struct counter {  // the specification: one counter per name
///       struct input {
///         std::string name;
///         int add = 0;
///       };
///       using output = int;
///       using state = int;
///       state initial() const { return 0; }
///       output apply(state& now, const input& in) const { return now += in.add; }
///       const std::string& key(const input& in) const { return in.name; }
///     };
///     void check() {
///       sim::history<counter> seen;  // client, asked for at, answered at, what, result
///       seen.emplace_back(1, 10, 30, counter::input{"a", 5}, 5);
///       seen.emplace_back(2, 20, sim::never, counter::input{"a", 1});  // no answer
///       const sim::linearizability_result result = sim::check_linearizability(counter(), seen);
///       if (!result.ok()) throw std::runtime_error(result.text);
///     }
///
/// A specification has `input`, `output`, `state` (copied and compared), and as const members:
///
///   initial()        the state that a key begins with
///   apply(state&, input) -> output
///                    if a state and an input have one result; or else, as a template,
///   step(state, input, const output* seen, next)
///                    calls next(state) for each state that may follow, none if `seen` is impossible; null: no answer
///   reads_only(input, output)
///                    optional: with this answer it leaves every state as it is. Without it, many clients on one key
///                    take for ever
///   key(input)       optional: operations on different keys have nothing to do with each other; has operator<
///   hash(state)      optional: std::hash is taken without it; equal states have equal hashes
///   describe(state), describe(input, const output*)
///                    optional: for the text; say the key in the second
///
/// How the search goes: the answers are taken in their order, and at each the operation must have happened; before it
/// others that are under way may happen, as few as possible first ("just in time"). What was tried is remembered by
/// the answer reached, the operations ahead of their answers and the state. Whoever has come to the same and used up
/// fewer unanswered operations can do all that its rivals can, so those are dropped: without that, ten writes whose
/// answers were lost make a thousand sets of them that happened. What only reads happens as soon as its answer fits:
/// later would be no better.
///
/// Affinity:   none: it knows no shard, no clock and nothing of where things lie; the same history gives the same text.
/// Invariants: a history that has a valid order is never called violated, and none without one is called ok.
/// Limits:     `states_max` states per key, all of which are kept. Then the outcome is gave_up, and never ok. The time
///             is at most states times operations that are under way at once.
/// Source:     Wing and Gong, "Testing and verifying concurrent objects", 1993; Lowe, "Testing for linearizability",
///             2017 (just in time, nothing is tried twice); Horn and Kroening, "Faster linearizability checking via
///             P-compositionality", 2015 (key by key).

#include <skerry/framework/assert.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

namespace skerry::sim {

/// As the moment of an answer: there was none.
inline constexpr std::uint64_t never = std::numeric_limits<std::uint64_t>::max();

/// When an operation was under way. Moments are any numbers that only grow. One that was answered at the moment when
/// another was asked for counts as under way together with it.
struct operation_span {
  std::uint32_t client = 0;
  std::uint64_t invoked = 0;
  std::uint64_t returned = never;
};

template <class Input, class Output>
struct operation : operation_span {
  operation() = default;
  operation(std::uint32_t who, std::uint64_t from, std::uint64_t until, Input what, Output result = Output())
      : operation_span{who, from, until}, input(std::move(what)), output(std::move(result)) {}

  Input input{};
  Output output{};  ///< of one that has returned
};

template <class Specification>
using history = std::vector<operation<typename Specification::input, typename Specification::output>>;

struct linearizability_options {
  std::uint64_t states_max = 1'000'000;  ///< per key
  /// What one client has under way at once happens in the order of the history, as on one connection in a pipeline. An
  /// operation whose connection broke must then not share its number with later ones: give each connection one of its
  /// own.
  bool clients_in_order = false;
};

struct linearizability_result {
  enum class outcome : std::uint8_t { linearizable, violated, gave_up };
  outcome found = outcome::linearizable;
  std::uint64_t states = 0;  ///< that were looked at
  /// What fits in no order, among what, or where the search gave up; empty when all is well.
  std::string text;
  /// Places in the history: the operation at whose answer no order was left, then those that were under way with it.
  std::vector<std::size_t> culprits;

  bool ok() const noexcept { return found == outcome::linearizable; }
};

template <class Specification>
linearizability_result check_linearizability(const Specification& specification,
                                             const history<Specification>& operations,
                                             linearizability_options options = {});

namespace detail {

/// A set of operations, of a size that the timeline knows.
using operation_set = std::vector<std::uint64_t>;

/// Operations as the search sees them: numbers. Positions count events (something is asked for, something answered) in
/// the order of their moments; at the same moment what is asked for comes first.
struct timeline {
  static constexpr std::uint32_t none = std::numeric_limits<std::uint32_t>::max();

  struct entry {
    std::uint32_t asked = 0;           ///< the position
    std::uint32_t answered = none;     ///< the number of its answer; none: there is none
    std::uint32_t bit = 0;             ///< in a set of answered or of unanswered operations
    std::uint32_t predecessor = none;  ///< must have happened before
  };

  timeline(std::span<const operation_span> spans, bool clients_in_order);

  std::vector<entry> entries;
  std::vector<std::uint32_t> answers;            ///< the operation of each answer, in their order
  std::vector<std::uint32_t> position;           ///< of each answer
  std::vector<std::uint32_t> unanswered;         ///< in the order they were asked for
  std::vector<std::vector<std::uint32_t>> open;  ///< at each answer, the others that will be answered
  std::size_t answered_words = 0;                ///< of a set: as many as are open at once
  operation_set expected;                        ///< those without an answer that others may only come after
};

inline bool contains(const operation_set& set, std::uint32_t bit) noexcept {
  return (set[bit / 64] >> bit % 64 & 1) != 0;
}
inline void flip(operation_set& set, std::uint32_t bit) noexcept { set[bit / 64] ^= std::uint64_t{1} << bit % 64; }
/// Whether who has used up `less` of the unanswered operations can do all that who has used up `more` can.
bool is_no_worse(const operation_set& less, const operation_set& more, const operation_set& expected) noexcept;
std::uint64_t mix_hash(std::uint64_t hash, std::uint64_t value) noexcept;

/// "client 3 [120, 180]": who and when.
std::string describe_span(const operation_span& span);

/// One key's search.
template <class Specification>
class order_search {
 public:
  using state = typename Specification::state;
  using op = operation<typename Specification::input, typename Specification::output>;

  order_search(const Specification& specification, const history<Specification>& operations,
               std::span<const std::size_t> chosen, const linearizability_options& options)
      : specification_(specification),
        operations_(operations),
        chosen_(chosen),
        line_(spans(), options.clients_in_order) {}

  /// False when there is no order. True when one was found, or the limit reached: see `gave_up`.
  bool run(std::uint64_t states_max);
  bool gave_up() const noexcept { return gave_up_; }
  std::uint64_t states() const noexcept { return nodes_.size(); }
  std::string explain() const;
  std::vector<std::size_t> culprits() const;

 private:
  static constexpr std::uint32_t none = timeline::none;

  /// A point of the search: all answers before `level` are accounted for.
  struct node {
    std::uint32_t level;
    std::uint32_t parent;
    std::uint32_t happened;      ///< the operation that led here
    std::uint32_t same_hash;     ///< the next one in its bucket
    std::uint32_t next_in_line;  ///< at its level
    state now;
    operation_set ahead;  ///< happened, will be answered
    operation_set used;   ///< happened, will not be answered
  };
  struct line {
    std::uint32_t first = none, last = none;
  };
  /// Those at one level: not looked at, and looked at without other operations than the one that is answered.
  struct waiting_nodes {
    line fresh, tried;
  };

  std::vector<operation_span> spans() const {
    std::vector<operation_span> all;
    for (std::size_t i : chosen_) all.push_back(operations_[i]);
    return all;
  }
  const op& operation_of(std::uint32_t number) const { return operations_[chosen_[number]]; }

  void put(line& where, std::uint32_t number) {
    nodes_[number].next_in_line = none;
    (where.first == none ? where.first : nodes_[where.last].next_in_line) = number;
    where.last = number;
  }
  std::uint32_t take(line& where) {
    const std::uint32_t number = where.first;
    where.first = nodes_[number].next_in_line;
    return number;
  }

  std::uint64_t hash_of(const state& s) const {
    if constexpr (requires { specification_.hash(s); }) {
      return static_cast<std::uint64_t>(specification_.hash(s));
    } else {
      return std::hash<state>()(s);
    }
  }
  void happen(std::uint32_t from, std::uint32_t number);
  bool may_happen(const node& n, std::uint32_t number) const noexcept;
  template <class Next>
  void apply(const state& now, std::uint32_t number, Next next) const;
  void pass_answers(node& n) const;
  bool let_read(node& n, std::uint32_t number) const;
  void reach(node&& made);
  std::string describe_state(const state& s) const {
    if constexpr (requires { specification_.describe(s); }) {
      return specification_.describe(s);
    } else {
      return "(a state without describe())";
    }
  }
  std::string describe_operation(std::uint32_t number) const;

  const Specification& specification_;
  const history<Specification>& operations_;
  std::span<const std::size_t> chosen_;
  timeline line_;
  std::vector<node> nodes_;
  std::unordered_map<std::uint64_t, std::uint32_t> known_;  // the newest of each hash; only ever asked, never walked
  std::vector<waiting_nodes> levels_;
  std::uint32_t highest_ = 0;  // no level above has a node in line
  std::uint32_t reached_ = 0;  // the highest level that had a node
  bool gave_up_ = false;
};

template <class Specification>
bool order_search<Specification>::run(std::uint64_t states_max) {
  const auto answers = static_cast<std::uint32_t>(line_.answers.size());
  levels_.assign(answers + 1, {});
  node root{0,
            none,
            none,
            none,
            none,
            specification_.initial(),
            operation_set(line_.answered_words),
            operation_set(line_.expected.size())};
  pass_answers(root);
  reach(std::move(root));
  while (true) {
    if (reached_ == answers) return true;
    if (nodes_.size() > states_max) return gave_up_ = true;
    while (highest_ > 0 && levels_[highest_].fresh.first == none && levels_[highest_].tried.first == none) --highest_;
    waiting_nodes& here = levels_[highest_];
    const std::uint32_t level = highest_;
    if (here.fresh.first != none) {
      const std::uint32_t number = take(here.fresh);
      put(here.tried, number);
      happen(number, line_.answers[level]);
    } else if (here.tried.first != none) {
      const std::uint32_t number = take(here.tried);
      for (std::uint32_t other : line_.open[level]) happen(number, other);
      for (std::uint32_t other : line_.unanswered) {
        if (line_.entries[other].asked > line_.position[level]) break;
        happen(number, other);
      }
    } else {
      return false;
    }
  }
}

template <class Specification>
bool order_search<Specification>::may_happen(const node& n, std::uint32_t number) const noexcept {
  const timeline::entry& e = line_.entries[number];
  if (e.answered == none ? contains(n.used, e.bit) : contains(n.ahead, e.bit)) return false;
  if (e.predecessor == none) return true;
  const timeline::entry& before = line_.entries[e.predecessor];
  if (before.answered == none) return contains(n.used, before.bit);
  return before.answered < n.level || contains(n.ahead, before.bit);
}

/// Calls next(state) for each state that operation `number` may leave behind.
template <class Specification>
template <class Next>
void order_search<Specification>::apply(const state& now, std::uint32_t number, Next next) const {
  const op& wanted = operation_of(number);
  const bool answered = line_.entries[number].answered != none;
  if constexpr (requires(state s) { specification_.apply(s, wanted.input); }) {
    state after = now;
    const auto result = specification_.apply(after, wanted.input);
    if (!answered || result == wanted.output) next(std::move(after));
  } else {
    specification_.step(now, wanted.input, answered ? &wanted.output : nullptr, std::move(next));
  }
}

/// Everything that may follow when operation `number` happens at node `from`.
template <class Specification>
void order_search<Specification>::happen(std::uint32_t from, std::uint32_t number) {
  if (!may_happen(nodes_[from], number)) return;
  const timeline::entry& e = line_.entries[number];
  const state now = nodes_[from].now;  // what follows is stored beside it
  apply(now, number, [&](state after) {
    const node& before = nodes_[from];
    node made{before.level, from, number, none, none, std::move(after), before.ahead, before.used};
    flip(e.answered == none ? made.used : made.ahead, e.bit);
    pass_answers(made);
    reach(std::move(made));
  });
}

/// Passes the answers of what has happened; their bits are free for others then. What only reads happens here.
template <class Specification>
void order_search<Specification>::pass_answers(node& n) const {
  while (n.level < line_.answers.size()) {
    const std::uint32_t next = line_.answers[n.level];
    const std::uint32_t bit = line_.entries[next].bit;
    if (!contains(n.ahead, bit)) {
      bool any = let_read(n, next);
      for (std::uint32_t other : line_.open[n.level]) any |= let_read(n, other);
      if (!any) return;
      continue;  // it may be the answer's own, or one that another had to come after
    }
    flip(n.ahead, bit);
    ++n.level;
  }
}

template <class Specification>
bool order_search<Specification>::let_read(node& n, std::uint32_t number) const {
  if constexpr (requires(const op& o) { specification_.reads_only(o.input, o.output); }) {
    const op& wanted = operation_of(number);
    if (!may_happen(n, number) || !specification_.reads_only(wanted.input, wanted.output)) return false;
    std::size_t results = 0, same = 0;
    apply(n.now, number, [&](const state& after) {
      ++results;
      same += after == n.now ? 1 : 0;
    });
    if (results != 1 || same != 1) return false;
    flip(n.ahead, line_.entries[number].bit);
    return true;
  }
  return false;
}

/// Keeps it, unless one that can do as much was there before.
template <class Specification>
void order_search<Specification>::reach(node&& made) {
  std::uint64_t hash = mix_hash(made.level, hash_of(made.now));
  for (std::uint64_t word : made.ahead) hash = mix_hash(hash, word);
  const auto number = static_cast<std::uint32_t>(nodes_.size());
  auto [known, is_new] = known_.try_emplace(hash, number);
  if (!is_new) {
    for (std::uint32_t i = known->second; i != none; i = nodes_[i].same_hash) {
      const node& other = nodes_[i];
      if (other.level == made.level && other.ahead == made.ahead && other.now == made.now &&
          is_no_worse(other.used, made.used, line_.expected)) {
        return;
      }
    }
    made.same_hash = std::exchange(known->second, number);
  }
  const std::uint32_t level = made.level;
  nodes_.push_back(std::move(made));
  put(levels_[level].fresh, number);
  highest_ = std::max(highest_, level);
  reached_ = std::max(reached_, level);
}

template <class Specification>
std::string order_search<Specification>::describe_operation(std::uint32_t number) const {
  const op& o = operation_of(number);
  std::string text = describe_span(o);
  if constexpr (requires { specification_.describe(o.input, &o.output); }) {
    text += "  " + std::string(specification_.describe(o.input, o.returned == never ? nullptr : &o.output));
  }
  return text;
}

template <class Specification>
std::vector<std::size_t> order_search<Specification>::culprits() const {
  std::vector<std::size_t> found{chosen_[line_.answers[reached_]]};
  for (std::uint32_t number : line_.open[reached_]) found.push_back(chosen_[number]);
  for (std::uint32_t number : line_.unanswered) {
    if (line_.entries[number].asked < line_.position[reached_]) found.push_back(chosen_[number]);
  }
  return found;
}

template <class Specification>
std::string order_search<Specification>::explain() const {
  constexpr std::size_t shown_max = 8;
  const std::uint32_t refused = line_.answers[reached_];
  std::string text = gave_up_ ? "no order found so far gives" : "no order of the operations gives";
  text += " the answer of\n    " + describe_operation(refused) + '\n';
  // The ways in which everything before could have gone: those that came from a lower level, in the order found.
  std::vector<std::uint32_t> ways;
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    const node& n = nodes_[i];
    const bool arrived = n.level == reached_ && (n.parent == none || nodes_[n.parent].level < reached_);
    if (arrived) ways.push_back(i);
  }
  text += "  before it the state was one of " + std::to_string(ways.size()) + ":\n";
  for (std::size_t i = 0; i < std::min(ways.size(), shown_max); ++i) {
    text += "    " + describe_state(nodes_[ways[i]].now) + '\n';
  }
  std::vector<std::uint32_t> path;
  for (std::uint32_t at = ways.front(); nodes_[at].parent != none && path.size() < shown_max; at = nodes_[at].parent) {
    path.push_back(nodes_[at].happened);
  }
  if (!path.empty()) text += "  the first of them by this order (its end; what only reads is left out):\n";
  for (std::size_t i = path.size(); i-- > 0;) text += "    " + describe_operation(path[i]) + '\n';
  std::string open;
  std::size_t count = 0;
  auto under_way = [&](std::uint32_t number) {
    if (++count <= shown_max) open += "    " + describe_operation(number) + '\n';
  };
  for (std::uint32_t number : line_.open[reached_]) under_way(number);
  for (std::size_t i = line_.unanswered.size(); i-- > 0;) {
    if (line_.entries[line_.unanswered[i]].asked < line_.position[reached_]) under_way(line_.unanswered[i]);
  }
  if (count != 0) text += "  under way with it, or never answered, are " + std::to_string(count) + ":\n" + open;
  return text;
}

/// The places in the history of the operations on each key, in the order of the keys.
template <class Specification>
auto operations_by_key(const Specification& specification, const history<Specification>& operations) {
  if constexpr (requires { specification.key(operations[0].input); }) {
    std::map<std::decay_t<decltype(specification.key(operations[0].input))>, std::vector<std::size_t>> keys;
    for (std::size_t i = 0; i < operations.size(); ++i) keys[specification.key(operations[i].input)].push_back(i);
    return keys;
  } else {
    std::map<int, std::vector<std::size_t>> one;
    for (std::size_t i = 0; i < operations.size(); ++i) one[0].push_back(i);
    return one;
  }
}

}  // namespace detail

template <class Specification>
linearizability_result check_linearizability(const Specification& specification,
                                             const history<Specification>& operations,
                                             linearizability_options options) {
  using outcome = linearizability_result::outcome;
  linearizability_result result;
  for (const auto& [key, chosen] : detail::operations_by_key(specification, operations)) {
    detail::order_search<Specification> search(specification, operations, chosen, options);
    const bool found = search.run(options.states_max);
    result.states += search.states();
    if (!found) {  // one violation is proof enough, whatever was given up before
      result.found = outcome::violated;
      result.text = search.explain();
      result.culprits = search.culprits();
      return result;
    }
    if (search.gave_up() && result.found == outcome::linearizable) {
      result.found = outcome::gave_up;
      result.text = "gave up after " + std::to_string(search.states()) + " states of one key: " + search.explain();
      result.culprits = search.culprits();
    }
  }
  return result;
}

}  // namespace skerry::sim
