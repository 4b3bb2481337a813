// SPDX-License-Identifier: Apache-2.0
#include <skerry/simulation/linearizability.hpp>

#include <algorithm>

namespace skerry::sim::detail {

namespace {

struct event {
  std::uint64_t moment;
  bool answer;  // at one moment, what is asked for comes before what is answered
  std::uint32_t number;
};

std::vector<event> events_of(std::span<const operation_span> spans) {
  std::vector<event> events;
  events.reserve(2 * spans.size());
  for (std::uint32_t i = 0; i < spans.size(); ++i) {
    const operation_span& s = spans[i];
    SKERRY_ASSERT(s.invoked <= s.returned, "an operation is answered after it was asked for");
    events.push_back({s.invoked, false, i});
    if (s.returned != never) events.push_back({s.returned, true, i});
  }
  std::ranges::sort(events, [](const event& a, const event& b) {
    if (a.moment != b.moment) return a.moment < b.moment;
    if (a.answer != b.answer) return b.answer;
    return a.number < b.number;
  });
  return events;
}

/// Gives numbers from zero on, the least that is free.
class bit_numbers {
 public:
  std::uint32_t take() {
    if (free_.empty()) return used_++;
    std::ranges::pop_heap(free_, std::greater<>());
    const std::uint32_t bit = free_.back();
    free_.pop_back();
    return bit;
  }
  void give_back(std::uint32_t bit) {
    free_.push_back(bit);
    std::ranges::push_heap(free_, std::greater<>());
  }
  std::size_t words() const noexcept { return (std::size_t{used_} + 63) / 64; }

 private:
  std::uint32_t used_ = 0;
  std::vector<std::uint32_t> free_;
};

}  // namespace

timeline::timeline(std::span<const operation_span> spans, bool clients_in_order) : entries(spans.size()) {
  SKERRY_ASSERT(spans.size() < none / 2, "events are counted in 32 bits");
  const std::vector<event> events = events_of(spans);
  bit_numbers bits;
  std::vector<std::uint32_t> open_now;                       // will be answered
  std::unordered_map<std::uint32_t, std::uint32_t> last_of;  // by client: the last one asked for
  for (std::uint32_t at = 0; at < events.size(); ++at) {
    const event& e = events[at];
    entry& here = entries[e.number];
    if (e.answer) {
      here.answered = static_cast<std::uint32_t>(answers.size());
      answers.push_back(e.number);
      position.push_back(at);
      std::erase(open_now, e.number);
      open.push_back(open_now);
      bits.give_back(here.bit);
      continue;
    }
    here.asked = at;
    if (clients_in_order) {
      auto [before, is_first] = last_of.try_emplace(spans[e.number].client, e.number);
      if (!is_first) here.predecessor = std::exchange(before->second, e.number);
    }
    if (spans[e.number].returned == never) {
      here.bit = static_cast<std::uint32_t>(unanswered.size());
      unanswered.push_back(e.number);
    } else {
      here.bit = bits.take();
      open_now.push_back(e.number);
    }
  }
  answered_words = bits.words();
  expected.resize((unanswered.size() + 63) / 64);
  for (const entry& e : entries) {
    if (e.predecessor == none || entries[e.predecessor].answered != none) continue;
    const std::uint32_t bit = entries[e.predecessor].bit;
    if (!contains(expected, bit)) flip(expected, bit);
  }
}

/// What others wait for must have happened for both or for neither: to let it happen now would change the state.
bool is_no_worse(const operation_set& less, const operation_set& more, const operation_set& expected) noexcept {
  for (std::size_t i = 0; i < less.size(); ++i) {
    if ((less[i] & ~more[i]) != 0 || ((less[i] ^ more[i]) & expected[i]) != 0) return false;
  }
  return true;
}

std::uint64_t mix_hash(std::uint64_t hash, std::uint64_t value) noexcept {
  hash = (hash ^ value) * 0x9e3779b97f4a7c15;
  return hash ^ (hash >> 29);
}

std::string describe_span(const operation_span& span) {
  std::string text = "client " + std::to_string(span.client) + " [" + std::to_string(span.invoked) + ", ";
  text += span.returned == never ? "never answered" : std::to_string(span.returned);
  return text + ']';
}

}  // namespace skerry::sim::detail
