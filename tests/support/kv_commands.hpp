// SPDX-License-Identifier: Apache-2.0
#pragma once

/// kv_commands: what one client of a key-value server asks for, from a seed.
///
/// Few keys, so that clients meet; values that name their client and number, so that a stale one is known; counters on
/// keys of their own, for an INCR of words teaches nothing. Deadlines are short enough to pass during a run.
///
/// Affinity: none; the numbers come from a source of its own, so that what a client asks does not depend on when it is
///           answered.

#include <skerry/framework/random.hpp>

#include <cstdint>
#include <string>
#include <utility>

#include <support/kv_model.hpp>

namespace kv_test {

struct kv_command_options {
  std::uint64_t words = 8;     ///< keys that hold words
  std::uint64_t counters = 4;  ///< keys that hold numbers
  std::uint64_t deadline_ms_max = 2000;
  std::uint64_t large_one_in = 64;       ///< so many values are large enough to be sent from where they lie; 0: none
  std::size_t large_bytes = 70U * 1024;  ///< more than keyspace::large_value_min
  std::uint64_t medium_one_in =
      0;  ///< so many of the others are so large that a pipeline's replies take turns; 0: none
  std::size_t medium_bytes = 6U * 1024;
};

class kv_commands {
 public:
  kv_commands(std::uint64_t seed, std::uint32_t client, kv_command_options options = {})
      : random_(seed, client), client_(client), options_(options) {}

  kv_command next(std::uint64_t now_ms) {
    kv_command c = random_.uniform(options_.words + options_.counters) < options_.words ? on_word() : on_counter();
    c.sent_ms = now_ms;
    return c;
  }

 private:
  using verb = kv_command::verb;

  bool one_in(std::uint64_t n) { return n != 0 && random_.uniform(n) == 0; }
  std::string value() {
    std::string text = "c" + std::to_string(client_);
    text += '-';
    text += std::to_string(++values_);
    if (one_in(options_.large_one_in)) return repeated(std::move(text), options_.large_bytes);
    if (one_in(options_.medium_one_in)) return repeated(std::move(text), options_.medium_bytes);
    return text;
  }
  /// Names its writer all along, so that half of one and half of another is known.
  static std::string repeated(std::string text, std::size_t bytes) {
    const std::size_t once = text.size();
    text.reserve(bytes);
    while (text.size() < bytes) text += text[text.size() - once];
    return text;
  }
  std::int64_t deadline() { return static_cast<std::int64_t>(1 + random_.uniform(options_.deadline_ms_max)); }

  kv_command make(verb what, std::string key) {
    kv_command c;
    c.what = what;
    c.key = std::move(key);
    return c;
  }
  kv_command on_word() {
    std::string key("word");
    key += std::to_string(random_.uniform(options_.words));
    switch (random_.uniform(20)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4: return make(verb::get, std::move(key));
      case 5:
      case 6:
      case 7:
      case 8: {
        kv_command c = make(verb::set, std::move(key));
        c.value = value();
        return c;
      }
      case 9:
      case 10: {
        kv_command c = make(verb::set, std::move(key));
        c.value = value();
        const std::uint64_t condition = random_.uniform(3);
        c.nx = condition == 0;
        c.xx = condition == 1;
        c.get = one_in(2);
        const std::uint64_t time = random_.uniform(3);
        if (time == 0) c.expire_ms = deadline();
        c.keep_ttl = time == 1;
        return c;
      }
      case 11: {
        kv_command c = make(verb::append, std::move(key));
        c.value = one_in(8) ? value() : "+";
        return c;
      }
      case 12: {
        kv_command c = make(verb::expire, std::move(key));
        c.expire_ms = one_in(8) ? 0 : deadline();
        c.nx = one_in(4);
        c.xx = !c.nx && one_in(4);
        return c;
      }
      case 13: {
        kv_command c = make(verb::getex, std::move(key));
        if (one_in(2)) c.expire_ms = deadline();
        return c;
      }
      case 14: return make(verb::getdel, std::move(key));
      case 15: return make(verb::del, std::move(key));
      case 16: return make(one_in(2) ? verb::ttl : verb::pttl, std::move(key));
      case 17: return make(verb::persist, std::move(key));
      case 18: return make(one_in(2) ? verb::exists : verb::type, std::move(key));
      default: return make(verb::strlen, std::move(key));
    }
  }
  kv_command on_counter() {
    std::string key("counter");
    key += std::to_string(random_.uniform(options_.counters));
    switch (random_.uniform(8)) {
      case 0: return make(verb::get, std::move(key));
      case 1: return make(one_in(4) ? verb::getdel : verb::get, std::move(key));
      default: {
        kv_command c = make(verb::incr, std::move(key));
        c.amount = static_cast<std::int64_t>(random_.uniform(7)) - 3;
        if (c.amount <= 0) --c.amount;
        return c;
      }
    }
  }

  skerry::random_source random_;
  std::uint32_t client_;
  kv_command_options options_;
  std::uint64_t values_ = 0;
};

}  // namespace kv_test
