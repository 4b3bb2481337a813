// SPDX-License-Identifier: Apache-2.0
/// Frames against a plain string, for every way in which the network can cut it. A failing random test prints its seed;
/// replay it with SKERRY_TEST_SEED=<seed> buffered_reader_test

#include <skerry/framework/random.hpp>
#include <skerry/net/io/buffered_reader.hpp>
#include <skerry/timers/with_timeout.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>
#include <net/io/sliced_stream.hpp>
#include <support/heap_count.hpp>
#include <support/long_test.hpp>
#include <support/task_steps.hpp>

namespace skerry {
namespace {

using namespace test_support;
using net::buffered_reader;
using net::framing_error;

std::uint64_t test_seed() {
  const char* given = std::getenv("SKERRY_TEST_SEED");
  const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : 1;
  std::printf("seed: SKERRY_TEST_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

/// What one call gave: its text, or "end", or the error.
struct answer {
  std::optional<std::string> text;
  int error = 0;
  std::size_t unread = 0;  // as far as the model knows: of the whole text
  bool operator==(const answer&) const = default;
};
std::ostream& operator<<(std::ostream& out, const answer& a) {
  return out << (a.text ? '"' + *a.text + '"' : "nothing") << ", error " << a.error << ", left " << a.unread;
}

enum class call { until, until_two, line, exactly, into, frame, little_frame, peek, skip, some, count };
struct step {
  call what;
  std::size_t number;
};

/// The same calls on a plain string.
class model {
 public:
  explicit model(std::string text) : rest_(std::move(text)) {}

  answer run(step s) {
    const std::size_t n = s.number;
    switch (s.what) {
      case call::until: return until("\n", n);
      case call::until_two: return until("ab", n);
      case call::line: {
        answer a = until("\n", n);
        if (a.text && a.text->ends_with('\r')) a.text->pop_back();
        return a;
      }
      case call::exactly:
      case call::into: {
        const std::size_t before = rest_.size();
        answer a = n == 0 ? answer{"", 0, before} : exactly(n);
        if (s.what == call::exactly || a.error == 0) return a;
        rest_.clear();  // it went into the memory
        return {a.text, a.error, 0};
      }
      case call::frame: return frame(n, 1, [](std::string_view l) { return std::size_t(l[0]); });
      case call::little_frame: {
        return frame(n, 2, [](std::string_view l) { return std::size_t(l[0]) + 256 * std::size_t(l[1]); });
      }
      case call::peek: return {rest_.substr(0, n), 0, rest_.size()};
      case call::skip: {
        const std::size_t there = std::min(n, rest_.size());
        return taken(std::to_string(there), there);
      }
      case call::some:
      case call::count: break;
    }
    std::abort();
  }
  /// What `read_some` gave must be the beginning of the rest.
  void accept(std::string_view some, std::size_t most) {
    EXPECT_EQ(some, std::string_view(rest_).substr(0, some.size()));
    EXPECT_LE(some.size(), most);
    EXPECT_EQ(some.empty(), rest_.empty());
    rest_.erase(0, some.size());
  }

 private:
  answer taken(std::string text, std::size_t bytes) {
    rest_.erase(0, bytes);
    return {std::move(text), 0, rest_.size()};
  }
  answer failed(std::errc why) const { return {std::nullopt, static_cast<int>(why), rest_.size()}; }
  answer cut() const { return rest_.empty() ? answer{std::nullopt, 0, 0} : failed(std::errc::bad_message); }
  answer until(std::string_view delimiter, std::size_t most) {
    const std::size_t at = rest_.find(delimiter);
    if (at != rest_.npos && at <= most) return taken(rest_.substr(0, at), at + delimiter.size());
    if (at != rest_.npos || rest_.size() >= most + delimiter.size()) return failed(std::errc::message_size);
    return cut();
  }
  answer exactly(std::size_t bytes) { return rest_.size() < bytes ? cut() : taken(rest_.substr(0, bytes), bytes); }
  template <class Decode>
  answer frame(std::size_t most, std::size_t head, Decode decode) {
    if (rest_.size() < head) return cut();
    const std::size_t length = decode(rest_);
    if (length > most) return failed(std::errc::message_size);
    if (rest_.size() < head + length) return cut();
    return taken(rest_.substr(head, length), head + length);
  }

  std::string rest_;
};

std::optional<std::string> owned(std::optional<std::string_view> view) {
  if (!view) return std::nullopt;
  return std::string(*view);
}

task<std::optional<std::string>> call_reader(buffered_reader<sliced_stream>& in, step s) {
  const std::size_t n = s.number;
  switch (s.what) {
    case call::until: co_return owned(co_await in.read_until("\n", n));
    case call::until_two: co_return owned(co_await in.read_until("ab", n));
    case call::line: co_return owned(co_await in.read_line(n));
    case call::exactly: co_return owned(co_await in.read_exactly(n));
    case call::into: {
      std::string memory(n, '?');
      const bool there = co_await in.read_exactly(std::span(memory));
      if (!there) co_return std::nullopt;
      co_return memory;
    }
    case call::frame: co_return owned(co_await in.read_frame<std::uint8_t>(n));
    case call::little_frame: {
      auto frame = co_await in.read_frame<std::uint16_t, std::endian::little>(n);
      co_return owned(frame);
    }
    case call::peek: co_return std::string(co_await in.peek(n));
    case call::skip: co_return std::to_string(co_await in.skip(n));
    case call::some:
    case call::count: break;
  }
  std::abort();
}

/// Runs `steps` on the reader and on the model, until the end.
task<> compare(buffer whole, std::vector<std::size_t> cuts, const std::vector<step>& steps) {
  model expected{std::string(text_of(whole))};
  const std::size_t size = whole.size();
  sliced_stream from(std::move(whole), std::move(cuts));
  buffered_reader in(from);
  std::size_t taken = 0;
  for (step s : steps) {
    if (s.what == call::some) {
      const std::string_view some = co_await in.read_some(s.number + 1);
      expected.accept(some, s.number + 1);
      taken += some.size();
      continue;
    }
    const answer wanted = expected.run(s);
    answer got;
    try {
      got.text = co_await call_reader(in, s);
    } catch (const framing_error& refused) {
      got.error = refused.code().value();
    }
    taken = size - wanted.unread;
    got.unread = wanted.unread;
    EXPECT_EQ(got, wanted) << "call " << static_cast<int>(s.what) << " with " << s.number;
    EXPECT_LE(in.unread(), size - taken) << "what was taken is not there again";
    if (testing::Test::HasFailure()) co_return;
  }
  // All that the calls left is still there.
  const std::string_view rest = co_await in.peek(size);
  EXPECT_EQ(rest.size(), size - taken);
}

std::vector<std::size_t> cuts_of(unsigned mask, std::size_t size) {
  std::vector<std::size_t> cuts;
  for (std::size_t at = 1; at < size; ++at) {
    if ((mask >> (at - 1) & 1) != 0) cuts.push_back(at);
  }
  return cuts;
}

TEST(buffered_reader, gives_the_same_frames_for_every_way_in_which_a_text_can_be_cut) {
  using enum call;
  const std::vector<std::vector<step>> scripts = {
      {{line, 5}, {line, 5}, {line, 5}, {line, 5}},
      {{until_two, 9}, {until_two, 9}, {until_two, 2}, {until_two, 9}},
      {{peek, 3}, {exactly, 1}, {peek, 4}, {until_two, 3}, {exactly, 2}, {peek, 9}, {skip, 2}, {line, 9}},
      {{frame, 3}, {little_frame, 20}, {some, 2}, {into, 3}, {skip, 1}, {frame, 9}},
      {{exactly, 0}, {into, 5}, {into, 9}, {exactly, 1}},
  };
  const std::vector<std::string> texts = {
      std::string("ab\r\nc\n\nbaab"),
      std::string("\x02"
                  "ab\x03\0aab\nab",
                  11),
      std::string("aaabab\raab\n"),
  };
  run_and_count([&]() -> task<> {
    for (const std::string& text : texts) {
      const buffer whole = co_await in_one_buffer(text);
      for (unsigned mask = 0; mask < 1u << (text.size() - 1); ++mask) {
        for (const auto& script : scripts) {
          co_await compare(whole, cuts_of(mask, text.size()), script);
          if (testing::Test::HasFailure()) {
            ADD_FAILURE() << "text " << testing::PrintToString(text) << ", cuts " << mask;
            co_return;
          }
        }
      }
    }
  });
}

TEST(buffered_reader, gives_the_same_frames_as_a_plain_string_for_random_texts_cuts_and_calls) {
  run_and_count([]() -> task<> {
    random_source random(test_seed());
    constexpr std::string_view letters("aabb\n\r\x01\x03\0", 9);
    for (int round = 0; round < skerry::test::rounds(1000); ++round) {
      std::string text(1 + random.uniform(300), ' ');
      for (char& letter : text) letter = letters[random.uniform(letters.size())];
      const buffer whole = co_await in_one_buffer(text);
      for (int variant = 0; variant < 10; ++variant) {
        std::vector<std::size_t> cuts;
        const std::uint64_t step_max = 1 + random.uniform(40);
        for (std::size_t at = 1 + random.uniform(step_max); at < text.size(); at += 1 + random.uniform(step_max)) {
          cuts.push_back(at);
        }
        std::vector<step> steps(1 + random.uniform(60));
        for (step& s : steps) {
          s.what = static_cast<call>(random.uniform(static_cast<std::uint64_t>(call::count)));
          s.number = random.uniform(random.uniform(4) == 0 ? 400 : 12);
        }
        co_await compare(whole, cuts, steps);
        if (testing::Test::HasFailure()) co_return;
      }
    }
  });
}

TEST(buffered_reader, copies_nothing_of_what_lies_in_one_buffer) {
  run_and_count([]() -> task<> {
    const buffer whole = co_await in_one_buffer("one\ntwo\nthree");
    sliced_stream from(whole, {10});
    buffered_reader in(from);
    const char* begin = text_of(whole).data();
    const auto one = co_await in.read_line(10);
    EXPECT_EQ(one->data(), begin);
    const auto two = co_await in.read_exactly(4);
    EXPECT_EQ(two->data(), begin + 4);
    const auto three = co_await in.read_exactly(5);
    EXPECT_EQ(*three, "three");
    EXPECT_NE(three->data(), begin + 8) << "it came in two";
    EXPECT_EQ(from.reads, 2);
  });
}

TEST(buffered_reader, holds_no_receive_buffer_while_it_waits) {
  run_and_count([]() -> task<> {
    connected pair = co_await connect_pair();
    buffered_reader in(pair.ours);
    auto reading = spawn([&]() -> task<> {
      const auto line = co_await in.read_line(100);
      EXPECT_EQ(*line, "abc");
    });
    for (const char* piece : {"a", "b", "c"}) {
      co_await pair.theirs.send(piece);
      while (in.unread() == 0 || in.unread() < static_cast<std::size_t>(piece[0] - 'a') + 1) co_await turn();
      co_await let_others_run();
      EXPECT_EQ(stats().buffers.taken, 0u);
    }
    co_await pair.theirs.send("\n");
    co_await reading;
  });
}

TEST(buffered_reader, takes_nothing_from_the_heap_for_line_after_line_that_straddles_two_buffers) {
  run_and_count([]() -> task<> {
    std::string text;
    std::vector<std::size_t> cuts;
    for (int n = 0; n < 400; ++n) {
      text += "a line that long\n";
      cuts.push_back(text.size() - 8);
    }
    const buffer whole = co_await in_one_buffer(text + "\n");
    sliced_stream from(whole, cuts);
    buffered_reader in(from);
    std::uint64_t before = 0;
    for (int n = 0; n < 400; ++n) {
      if (n == 10) before = heap_allocations();
      const auto line = co_await in.read_line(100);
      EXPECT_EQ(line, "a line that long");
    }
    EXPECT_EQ(heap_allocations(), before);
  });
}

TEST(buffered_reader, loses_nothing_to_a_reader_that_gave_up) {
  run_and_count([]() -> task<> {
    connected pair = co_await connect_pair();
    buffered_reader in(pair.ours);
    co_await pair.theirs.send("half of ");
    auto first = spawn([&]() -> task<> { co_await in.read_line(100); });
    while (in.unread() < 8) co_await turn();
    first.abort();
    EXPECT_TRUE(co_await was_cancelled(first));
    co_await pair.theirs.send("a line\n");
    const auto line = co_await in.read_line(100);
    EXPECT_EQ(*line, "half of a line");
  });
}

TEST(buffered_reader, says_what_is_wrong_with_a_frame) {
  run_and_count([]() -> task<> {
    const auto refusal = [](std::string text, auto read) -> task<std::string> {
      const buffer whole = co_await in_one_buffer(text);
      sliced_stream from(whole, {});
      buffered_reader in(from);
      try {
        co_await read(in);
      } catch (const framing_error& refused) {
        co_return refused.what();
      }
      co_return "accepted";
    };
    using reader = buffered_reader<sliced_stream>;
    const auto line = [](reader& in) -> task<> { co_await in.read_line(3); };
    const auto frame = [](reader& in) -> task<> { co_await in.read_frame<std::uint8_t>(50); };
    const auto memory = [](reader& in) -> task<> {
      std::array<char, 7> into;
      co_await in.read_exactly(std::span(into));
    };
    EXPECT_EQ(co_await refusal("too long", line), "more than 3 bytes come before the delimiter: Message too long");
    EXPECT_EQ(co_await refusal("abc", line), "the stream ended after 3 bytes, before the delimiter: Bad message");
    EXPECT_EQ(co_await refusal("abc\n", line), "accepted");
    EXPECT_EQ(co_await refusal("abc", frame),
              "a frame of 97 bytes is announced, at most 50 are taken: Message too long");
    EXPECT_EQ(co_await refusal("\x09zwei", frame),
              "the stream ended after 5 bytes, before a frame of 9 bytes: Bad message");
    EXPECT_EQ(co_await refusal("abc", memory), "the stream ended after 3 bytes, before 7 bytes: Bad message");
  });
}

TEST(buffered_reader, reads_megabytes_of_frames_and_bodies_from_the_kernel) {
  run_and_count([]() -> task<> {
    connected pair = co_await connect_pair();
    const std::string body = numbered_bytes(3'000'000);
    auto sender = spawn([&]() -> task<> {
      for (int n = 0; n < 20'000; ++n) co_await pair.theirs.send("line " + std::to_string(n) + "\r\n");
      co_await pair.theirs.send(body);
      pair.theirs.shut_down_output();
    });
    buffered_reader in(pair.ours);
    for (int n = 0; n < 20'000; ++n) {
      const auto line = co_await in.read_line(20);
      if (line != "line " + std::to_string(n)) {
        ADD_FAILURE() << "line " << n << " is " << *line;
        break;
      }
    }
    std::string memory(2'000'000, '\0');
    EXPECT_TRUE(co_await in.read_exactly(std::span(memory)));
    EXPECT_TRUE(memory == body.substr(0, memory.size()));
    const auto rest = co_await in.read_exactly(1'000'000);
    EXPECT_TRUE(*rest == body.substr(memory.size()));
    EXPECT_FALSE(co_await in.read_line(1));
    co_await sender;
  });
}

}  // namespace
}  // namespace skerry
