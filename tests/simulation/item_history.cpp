// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <functional>
#include <numeric>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <http_server/items.hpp>
#include <nlohmann/json.hpp>
#include <simulation/item_history.hpp>

namespace scenarios {

using namespace skerry;

namespace {

/// One item in one life of the server.
struct item_model {
  /// A change that was answered may have been sent twice, and done twice before the answer.
  enum class deed : std::uint8_t { make, show, change, remove, change_again };
  using place = std::pair<unsigned, std::uint64_t>;  // life and number
  struct input {
    place at;
    deed what = deed::show;
    std::uint64_t value = 0;
  };
  struct output {
    bool there = false;
    std::uint64_t value = 0;
    bool operator==(const output&) const = default;
  };
  using state = std::optional<std::uint64_t>;

  state initial() const { return std::nullopt; }
  template <class Next>
  void step(const state& now, const input& in, const output* seen, Next next) const {
    switch (in.what) {
      case deed::make:
        if (!now) next(state(in.value));
        break;
      case deed::show:
        if (seen == nullptr || *seen == output{now.has_value(), now.value_or(0)}) next(now);
        break;
      case deed::change:
        if (seen == nullptr || seen->there == now.has_value()) next(now ? state(in.value) : now);
        break;
      case deed::change_again:
        next(now);
        if (now) next(state(in.value));
        break;
      case deed::remove:  // who finds nothing may have removed it with the first of two attempts
        if (seen == nullptr || !seen->there || now) next(state());
        break;
    }
  }
  bool reads_only(const input& in, const output&) const { return in.what == deed::show; }
  const place& key(const input& in) const { return in.at; }
  std::string describe(const state& s) const { return s ? fmt::format("value {}", *s) : "nothing"; }
  std::string describe(const input& in, const output* out) const {
    constexpr std::string_view verbs[] = {"make", "show", "change", "remove", "perhaps change"};
    std::string text = fmt::format("life {}: {} item {}", in.at.first, verbs[static_cast<int>(in.what)], in.at.second);
    if (in.value != 0) text += fmt::format(" with {}", in.value);
    if (out == nullptr) return text + ": no answer";
    return text + (out->there ? fmt::format(": {}", out->value) : std::string(": there is none"));
  }
};

/// What an example counts as: nobody has sent it.
constexpr std::uint64_t no_value = 0;

std::string name_of(std::uint64_t value) {
  std::string name = fmt::format("item {} ", value);
  const std::uint64_t letters = value % 11 == 0 ? 20'000 : value * 37 % 600;
  for (std::uint64_t i = 0; i < letters; ++i) name += static_cast<char>('a' + (value + i / 5) % 26);
  return name;
}

}  // namespace

std::string item_history::json_of(std::uint64_t value) {
  return nlohmann::json{{"name", name_of(value)}, {"price", value}}.dump();
}

std::size_t item_history::ask(std::uint32_t client, verb what, std::uint64_t id, std::uint64_t value, bool once) {
  requests_.push_back({client, what, once, id, value, sim::step()});
  if (value != 0) sent_[value] = {what == verb::make, id, 0};
  return requests_.size() - 1;
}

void item_history::forget() {
  known_.resize(shards_);
  std::iota(known_.begin(), known_.end(), std::uint64_t{1});
}

bool item_history::denies(std::string_view body, std::uint64_t id) {
  return body.contains(fmt::format("there is no item {}\"", id));
}

void item_history::answered(std::size_t number, unsigned life, unsigned status, std::string_view body) {
  request& asked = requests_[number];
  asked.life = life;
  const bool says_no = status == 404 && asked.what != verb::make && denies(body, asked.id);
  const unsigned expected = asked.what == verb::make ? 201 : asked.what == verb::remove ? 204 : 200;
  if (status != expected && !says_no) {
    return sim::fail(fmt::format("request {} about item {} was answered with {}: {}", number, asked.id, status, body));
  }
  asked.there = !says_no;
  if (asked.there && asked.what == verb::remove && !body.empty()) sim::fail("204 with a body");
  if (asked.there && asked.what != verb::remove) {
    const auto [id, value] = read(life, body);
    if (asked.what == verb::make) {
      asked.id = id;
      known_.push_back(id);
    }
    const bool is_own = asked.what == verb::show || value == asked.value;
    if (id != asked.id || !is_own) {
      return sim::fail(fmt::format("request {} about item {} was answered with another's: {}", number, asked.id, body));
    }
    asked.seen = value;
  }
  if (asked.what == verb::remove) std::erase(known_, asked.id);
  asked.answered = sim::step();
  ++answers_;
}

void item_history::listed(unsigned life, std::string_view body) {
  const nlohmann::json all = nlohmann::json::parse(body, nullptr, false);
  if (!all.is_array()) return sim::fail("no list of items: " + std::string(body));
  std::uint64_t last = 0;
  for (const nlohmann::json& each : all) {
    const auto [id, value] = read(life, each.dump());
    if (id <= last) return sim::fail("a list is not in the order of its numbers");
    last = id;
  }
  ++answers_;
}

std::pair<std::uint64_t, std::uint64_t> item_history::read(unsigned life, std::string_view json) {
  const nlohmann::json item = nlohmann::json::parse(json, nullptr, false);
  std::uint64_t id = 0, value = 0;
  if (item.is_object()) {
    id = item.value("id", std::uint64_t{0});
    value = item.value("price", std::uint64_t{0});
    if (id - 1 < shards_) {
      const http_server::item example = http_server::example_of(static_cast<shard_id>(id - 1));
      const bool is_price = value == static_cast<std::uint64_t>(example.price);
      if (is_price && item.value("name", "") == example.name) return {id, no_value};
    }
  }
  if (!sent_.contains(value) || item.value("name", "") != name_of(value)) {
    sim::fail("an item that nobody sent: " + std::string(json));
    return {};
  }
  sighted(life, id, value);
  return {id, value};
}

void item_history::sighted(unsigned life, std::uint64_t id, std::uint64_t value) {
  sent_value& sent = sent_.at(value);
  if (sent.in_new_item && sent.id == 0) {
    sent.id = id;
    sent.life = life;
  }
  if (sent.id != id || (sent.in_new_item && sent.life != life)) {
    sim::fail(fmt::format("value {} was sent once, and is in items {} and {}", value, sent.id, id));
  }
}

void item_history::check() const {
  std::set<item_model::place> made;
  std::set<unsigned> lives;
  for (const request& each : requests_) {
    if (each.answered == sim::never) continue;
    lives.insert(each.life);
    if (each.what == verb::make) made.emplace(each.life, each.id);
  }
  sim::history<item_model> seen;
  for (const unsigned life : lives) {
    for (std::uint64_t id = 1; id <= shards_; ++id) {
      if (!made.emplace(life, id).second) return sim::fail(fmt::format("an example's number was given again: {}", id));
      const item_model::input in{{life, id}, item_model::deed::make, no_value};
      seen.emplace_back(0, 0, 0, in, item_model::output{true, no_value});
    }
  }
  for (const request& each : requests_) {
    const bool has_answer = each.answered != sim::never;
    if (!has_answer && (each.what == verb::show || each.what == verb::make)) continue;
    for (const unsigned life : lives) {
      const item_model::place at{life, each.id};
      // Of an item whose maker heard nothing nobody knows since when it is there.
      if ((has_answer && life != each.life) || !made.contains(at)) continue;
      const item_model::output out{each.there, each.there ? each.seen : 0};
      const item_model::input in{at, static_cast<item_model::deed>(each.what), each.value};
      seen.emplace_back(each.client, each.asked, each.answered, in, out);
      if (each.what != verb::change || each.once) continue;
      const item_model::input again{at, item_model::deed::change_again, each.value};
      seen.emplace_back(each.client, each.asked, each.answered, again, out);
    }
  }
  const auto order = sim::check_linearizability(item_model(), seen);
  if (order.found == sim::linearizability_result::outcome::violated) sim::fail(order.text);
}

}  // namespace scenarios
