// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <map>
#include <string_view>
#include <utility>

#include <support/kv_model.hpp>

namespace kv_test {

namespace {

using verb = kv_command::verb;
using kind = resp_reply::kind;

constexpr std::uint64_t no_end = ~std::uint64_t{0};
constexpr std::uint64_t rounding_ms = 1;  // the server's milliseconds need not begin when ours do

std::optional<std::int64_t> integer(const std::string& text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || std::to_string(value) != text) return std::nullopt;
  return value;
}

/// When an operation may have happened, by the server's clock.
struct moments {
  std::uint64_t from, until;
};

std::uint64_t sum(std::uint64_t a, std::uint64_t b) noexcept { return a > no_end - b ? no_end : a + b; }
std::uint64_t difference(std::uint64_t a, std::uint64_t b) noexcept { return a > b ? a - b : 0; }

bool is(const resp_reply& r, std::string_view simple) { return r.what == kind::simple && r.text == simple; }
bool is(const resp_reply& r, std::int64_t number) { return r.what == kind::integer && r.number == number; }
bool is_error(const resp_reply& r, std::string_view begin) {
  return r.what == kind::error && r.text.starts_with(begin);
}

/// One command on a key of which it is known whether it has expired.
class at_work {
 public:
  at_work(kv_state key, const kv_command& in, moments when) : key_(std::move(key)), in_(in), when_(when) {}

  /// Whether `seen` (null: no answer) is what it gives; `after` is then the key.
  bool fits(const resp_reply* seen) {
    switch (in_.what) {
      case verb::get: return gives_value(seen);
      case verb::set: return set(seen);
      case verb::getdel: return gives_value(seen) && remove();
      case verb::getex: return gives_value(seen) && touch();
      case verb::del: return gives(seen, key_.there ? 1 : 0) && remove();
      case verb::exists: return gives(seen, key_.there ? 1 : 0);
      case verb::type: return seen == nullptr || is(*seen, key_.there ? "string" : "none");
      case verb::incr: return add(seen);
      case verb::append: return append(seen);
      case verb::strlen: return gives(seen, static_cast<std::int64_t>(key_.value.size()));
      case verb::expire: return expire(seen);
      case verb::persist: return persist(seen);
      case verb::ttl: return tells_time(seen, true);
      case verb::pttl: return tells_time(seen, false);
      case verb::flush: return (seen == nullptr || is(*seen, "OK")) && remove();
    }
    return false;
  }
  kv_state after() && { return std::move(key_); }

 private:
  static bool gives(const resp_reply* seen, std::int64_t number) { return seen == nullptr || is(*seen, number); }
  bool gives_value(const resp_reply* seen) const {
    if (seen == nullptr) return true;
    return key_.there ? seen->what == kind::bulk && seen->text == key_.value : seen->what == kind::null;
  }
  bool remove() {
    key_ = {};
    return true;
  }
  void dies_in(std::int64_t ms) {
    const auto wait = static_cast<std::uint64_t>(ms);
    key_.dies_earliest = difference(sum(when_.from, wait), rounding_ms);
    key_.dies_latest = sum(sum(when_.until, wait), rounding_ms);
  }
  void lasts() { key_.dies_earliest = key_.dies_latest = 0; }

  bool set(const resp_reply* seen) {
    const bool refused = (in_.nx && key_.there) || (in_.xx && !key_.there);
    if (in_.get) {
      if (!gives_value(seen)) return false;
    } else if (seen != nullptr && (refused ? seen->what != kind::null : !is(*seen, "OK"))) {
      return false;
    }
    if (refused) return true;
    key_.there = true;
    key_.value = in_.value;
    if (in_.expire_ms) {
      dies_in(*in_.expire_ms);
    } else if (!in_.keep_ttl) {
      lasts();
    }
    return true;
  }
  /// GETEX; without a time the deadline goes (PERSIST).
  bool touch() {
    if (!key_.there) return true;
    in_.expire_ms ? dies_in(*in_.expire_ms) : lasts();
    return true;
  }
  bool add(const resp_reply* seen) {
    std::int64_t value = 0;
    if (key_.there) {
      const std::optional<std::int64_t> stored = integer(key_.value);
      if (!stored) return seen == nullptr || is_error(*seen, "ERR value is not an integer");
      value = *stored;
    }
    if (__builtin_add_overflow(value, in_.amount, &value)) {
      return seen == nullptr || is_error(*seen, "ERR increment or decrement would overflow");
    }
    key_.there = true;
    key_.value = std::to_string(value);
    return gives(seen, value);
  }
  bool append(const resp_reply* seen) {
    key_.there = true;
    key_.value += in_.value;
    return gives(seen, static_cast<std::int64_t>(key_.value.size()));
  }
  bool expire(const resp_reply* seen) {
    const bool done = key_.there && !(in_.nx && !key_.lasts()) && !(in_.xx && key_.lasts());
    if (!gives(seen, done ? 1 : 0)) return false;
    if (!done) return true;
    if (in_.expire_ms.value_or(0) <= 0) return remove();
    dies_in(*in_.expire_ms);
    return true;
  }
  bool persist(const resp_reply* seen) {
    if (!gives(seen, key_.there && !key_.lasts() ? 1 : 0)) return false;
    lasts();
    return true;
  }
  bool tells_time(const resp_reply* seen, bool seconds) const {
    if (seen == nullptr) return true;
    if (!key_.there) return is(*seen, -2);
    if (key_.lasts()) return is(*seen, -1);
    if (seen->what != kind::integer) return false;
    std::uint64_t least = std::max<std::uint64_t>(difference(key_.dies_earliest, sum(when_.until, rounding_ms)), 1);
    std::uint64_t most = sum(difference(key_.dies_latest, when_.from), rounding_ms);
    if (seconds) {
      least = (least + 500) / 1000;
      most = sum(most, 500) / 1000;
    }
    const auto told = static_cast<std::uint64_t>(seen->number);
    return seen->number >= 0 && least <= told && told <= most;
  }

  kv_state key_;
  const kv_command& in_;
  moments when_;
};

std::string quoted(const std::string& text) {
  resp_reply as_reply;
  as_reply.what = kind::bulk;
  as_reply.text = text;
  return describe(as_reply);
}

bool changes(const kv_command& c) noexcept {
  switch (c.what) {
    case verb::get:
    case verb::exists:
    case verb::type:
    case verb::strlen:
    case verb::ttl:
    case verb::pttl: return false;
    default: return true;
  }
}

}  // namespace

std::vector<std::string> words_of(const kv_command& c) {
  auto timed = [&c](std::vector<std::string> words) {
    const bool seconds = *c.expire_ms % 1000 == 0;
    words.insert(words.end(), {seconds ? "EX" : "PX", std::to_string(seconds ? *c.expire_ms / 1000 : *c.expire_ms)});
    return words;
  };
  switch (c.what) {
    case verb::get: return {"GET", c.key};
    case verb::set: {
      std::vector<std::string> words{"SET", c.key, c.value};
      if (c.expire_ms) words = timed(std::move(words));
      if (c.nx) words.emplace_back("NX");
      if (c.xx) words.emplace_back("XX");
      if (c.keep_ttl) words.emplace_back("KEEPTTL");
      if (c.get) words.emplace_back("GET");
      return words;
    }
    case verb::getdel: return {"GETDEL", c.key};
    case verb::getex:
      return c.expire_ms ? timed({"GETEX", c.key}) : std::vector<std::string>{"GETEX", c.key, "PERSIST"};
    case verb::del: return {"DEL", c.key};
    case verb::exists: return {"EXISTS", c.key};
    case verb::type: return {"TYPE", c.key};
    case verb::incr:
      if (c.amount == 1) return {"INCR", c.key};
      if (c.amount == -1) return {"DECR", c.key};
      if (c.amount < -1) return {"DECRBY", c.key, std::to_string(-c.amount)};
      return {"INCRBY", c.key, std::to_string(c.amount)};
    case verb::append: return {"APPEND", c.key, c.value};
    case verb::strlen: return {"STRLEN", c.key};
    case verb::expire: {
      const std::int64_t ms = c.expire_ms.value_or(0);
      std::vector<std::string> words{"PEXPIRE", c.key, std::to_string(ms)};
      if (ms % 1000 == 0) words = {"EXPIRE", c.key, std::to_string(ms / 1000)};
      if (c.nx) words.emplace_back("NX");
      if (c.xx) words.emplace_back("XX");
      return words;
    }
    case verb::persist: return {"PERSIST", c.key};
    case verb::ttl: return {"TTL", c.key};
    case verb::pttl: return {"PTTL", c.key};
    case verb::flush: return {"FLUSHALL"};
  }
  return {};
}

std::string describe(const kv_command& command) {
  std::string text;
  for (const std::string& word : words_of(command)) {
    if (!text.empty()) text += ' ';
    text += word.size() <= 40 ? word : quoted(word);
  }
  if (command.what == verb::flush) text += " (" + command.key + ')';
  return text;
}

std::vector<kv_state> kv_model::outcomes(const kv_state& now, const kv_command& in, const kv_answer* seen) const {
  const moments when{difference(in.sent_ms, clock_lag_ms_), seen == nullptr ? no_end : seen->received_ms};
  std::vector<kv_state> all;
  auto add = [&](const kv_state& before) {
    at_work one(before, in, when);
    if (!one.fits(seen == nullptr ? nullptr : &seen->reply)) return;
    kv_state after = std::move(one).after();
    if (std::ranges::find(all, after) == all.end()) all.push_back(std::move(after));
  };
  const bool timed = now.there && !now.lasts();
  if (!timed || when.from < now.dies_latest) add(now);
  if (timed && when.until >= now.dies_earliest) add({});
  return all;
}

bool kv_model::reads_only(const kv_command& in, const kv_answer& out) const {
  if (!changes(in)) return true;
  switch (in.what) {
    case verb::del:
    case verb::expire:
    case verb::persist: return is(out.reply, 0);
    case verb::getdel:
    case verb::getex: return out.reply.what == kind::null;
    case verb::set: return !in.get && out.reply.what == kind::null;
    case verb::incr: return out.reply.what == kind::error;
    default: return false;
  }
}

std::string kv_model::describe(const kv_state& s) const {
  if (!s.there) return "(not there)";
  std::string text = quoted(s.value);
  if (!s.lasts()) text += " until " + std::to_string(s.dies_earliest) + ".." + std::to_string(s.dies_latest) + " ms";
  return text;
}

std::string kv_model::describe(const kv_command& in, const kv_answer* out) const {
  std::string text = kv_test::describe(in);
  if (out != nullptr) text += "  -> " + kv_test::describe(out->reply);
  return text;
}

std::optional<std::string> find_lost_write(const kv_history& seen) {
  struct on_key {
    std::vector<const kv_history::value_type*> changes, reads;
    std::vector<std::uint64_t> over;  // when every change up to this one had been answered
  };
  std::map<std::string, on_key> keys;
  for (const auto& o : seen) {
    on_key& k = keys[o.input.key];
    if (changes(o.input)) k.changes.push_back(&o);
    if (o.input.what == verb::get && o.returned != skerry::sim::never) k.reads.push_back(&o);
  }
  for (auto& [key, k] : keys) {
    std::ranges::sort(k.changes, {}, [](const auto* o) { return o->invoked; });
    for (const auto* o : k.changes) k.over.push_back(std::max(k.over.empty() ? 0 : k.over.back(), o->returned));
    for (const auto* read : k.reads) {
      // Of the changes that were sent before the answer the last one must be a plain SET, and all others over by then.
      const auto end =
          std::ranges::upper_bound(k.changes, read->returned, {}, [](const auto* o) { return o->invoked; });
      const auto count = static_cast<std::size_t>(end - k.changes.begin());
      if (count == 0) continue;
      const auto& last = *k.changes[count - 1];
      if (last.returned >= read->invoked || (count > 1 && k.over[count - 2] >= last.invoked)) continue;
      const kv_command& set = last.input;
      if (set.what != verb::set || set.nx || set.xx || set.expire_ms || set.keep_ttl) continue;
      if (!set.get && !is(last.output.reply, "OK")) continue;
      if (read->output.reply.what == kind::bulk && read->output.reply.text == set.value) continue;
      const kv_model model;
      return "acknowledged and lost: nobody changed the key after\n    " + skerry::sim::detail::describe_span(last) +
             "  " + model.describe(set, &last.output) + "\n  and yet\n    " +
             skerry::sim::detail::describe_span(*read) + "  " + model.describe(read->input, &read->output) + '\n';
    }
  }
  return std::nullopt;
}

}  // namespace kv_test
