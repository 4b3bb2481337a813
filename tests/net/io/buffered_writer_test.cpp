// SPDX-License-Identifier: Apache-2.0
/// When small writes leave, and in how many pieces; and buffers that are one text without being put together.

#include <skerry/framework/random.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/net/io/buffer_chain.hpp>
#include <skerry/net/io/buffered_reader.hpp>
#include <skerry/net/io/buffered_writer.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <system_error>
#include <vector>

#include <gtest/gtest.h>
#include <net/io/sliced_stream.hpp>
#include <support/scratch_directory.hpp>
#include <support/task_steps.hpp>
#include <support/test_seed.hpp>

namespace skerry {
namespace {

using namespace test_support;
using net::buffer_chain;
using net::buffered_reader;
using net::buffered_writer;

template <class... Text>
std::vector<std::string> pieces(Text... each) {
  return {std::string(each)...};
}

TEST(buffered_writer, puts_small_writes_together_until_they_are_pushed) {
  run_and_count([]() -> task<> {
    sliced_stream to(buffer(), {});
    buffered_writer out(to);
    for (int n = 0; n < 100; ++n) co_await out.write(std::to_string(n % 10));
    EXPECT_EQ(out.held(), 100u);
    EXPECT_TRUE(to.written.empty());
    co_await out.push();
    EXPECT_EQ(out.held(), 0u);
    EXPECT_EQ(to.written.size(), 1u);
    EXPECT_EQ(to.flushes, 0);
    co_await out.flush();
    EXPECT_EQ(to.written.size(), 1u);
    EXPECT_EQ(to.flushes, 1);
  });
}

TEST(buffered_writer, holds_no_more_than_its_limit_and_copies_no_piece_beyond_it) {
  run_and_count([]() -> task<> {
    sliced_stream to(buffer(), {});
    buffered_writer out(to, 8);
    co_await out.write("12345");
    EXPECT_FALSE(out.try_write("6789"));
    co_await out.write("6789");
    EXPECT_EQ(to.written, pieces("12345"));
    co_await out.write("a piece that is larger");
    EXPECT_EQ(to.written, pieces("12345", "6789", "a piece that is larger"));
    EXPECT_TRUE(out.try_write("12345678"));
    EXPECT_FALSE(out.try_write("9"));
    co_await out.push();
    EXPECT_EQ(to.written.back(), "12345678");
  });
}

TEST(buffered_writer, answers_all_lines_of_a_piece_at_once_and_before_its_reader_waits) {
  run_and_count([]() -> task<> {
    const buffer lines = co_await in_one_buffer("a\nb\nc\nd\n");
    sliced_stream peer(lines, {4});
    buffered_writer out(peer);
    buffered_reader in(peer, out);
    while (auto line = co_await in.read_line(10)) co_await out.write(*line);
    EXPECT_EQ(peer.written, pieces("ab", "cd"));
  });
}

TEST(buffered_writer, writes_frames_that_its_reader_reads) {
  run_and_count([]() -> task<> {
    sliced_stream to(buffer(), {});
    buffered_writer out(to);
    co_await out.write_frame<std::uint8_t>("one");
    auto little = out.write_frame<std::uint16_t, std::endian::little>("two");
    co_await std::move(little);
    co_await out.write_frame<std::uint32_t>("");
    co_await out.push();
    EXPECT_EQ(to.written, pieces(std::string("\3one\3\0two\0\0\0\0", 13)));
    const buffer frames = co_await in_one_buffer(to.written.front());
    sliced_stream from(frames, {2, 5, 8});
    buffered_reader in(from);
    const auto one = co_await in.read_frame<std::uint8_t>(3);
    EXPECT_EQ(one, "one");
    const auto two = co_await in.read_frame<std::uint16_t, std::endian::little>(3);
    EXPECT_EQ(two, "two");
    const auto three = co_await in.read_frame<std::uint32_t>(3);
    EXPECT_EQ(three, "");
    int refused = 0;
    try {
      co_await out.write_frame<std::uint8_t>(std::string(256, 'x'));
    } catch (const net::framing_error& error) {
      refused = error.code().value();
    }
    EXPECT_EQ(refused, EMSGSIZE);
    EXPECT_EQ(out.held(), 0u);
  });
}

TEST(buffered_writer, takes_nothing_after_a_write_that_ended_in_its_middle) {
  run_and_count([]() -> task<> {
    sliced_stream to(buffer(), {});
    buffered_writer out(to);
    event room;
    to.wait_before_write = &room;
    co_await out.write("half");
    auto pushing = spawn([&]() -> task<> { co_await out.push(); });
    co_await let_others_run();
    pushing.abort();
    EXPECT_TRUE(co_await was_cancelled(pushing));
    int refused = 0;
    try {
      co_await out.write("more");
    } catch (const std::system_error& error) {
      refused = error.code().value();
    }
    EXPECT_EQ(refused, EPIPE);
  });
}

TEST(buffered_writer, passes_the_streams_error_on_and_refuses_what_comes_after_it) {
  run_and_count([]() -> task<> {
    sliced_stream to(buffer(), {});
    buffered_writer out(to);
    to.fails = true;
    co_await out.write("lost");
    std::vector<int> errors;
    for (int n = 0; n < 2; ++n) {
      try {
        co_await out.push();
      } catch (const std::system_error& error) {
        errors.push_back(error.code().value());
      }
    }
    EXPECT_EQ(errors.size(), 2u);
    EXPECT_EQ(errors.front(), ECONNRESET);
    EXPECT_EQ(errors.back(), EPIPE);
  });
}

// --- buffer_chain ---

/// `text` over pieces of random sizes, some of them empty.
buffer_chain cut(const buffer& text, random_source& random) {
  buffer_chain made;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t bytes = random.uniform(5);
    made.append(text.slice(at, bytes));
    at += bytes;
  }
  return made;
}

TEST(buffer_chain, is_a_string_under_random_joins_and_cuts_and_gives_every_buffer_back) {
  const std::uint64_t seed = test_seed();
  run_and_count([seed]() -> task<> {
    random_source random(seed);
    const std::string letters = "abcdefghijklmnopqrstuvwxyz";
    {  // the end of the shard asserts that all buffers are back
      const buffer text = co_await in_one_buffer(letters);
      buffer_chain chain;
      std::string model;
      for (int n = 0; n < 20'000; ++n) {
        const std::size_t some = random.uniform(model.size() + 1);
        const std::size_t more = random.uniform(40);
        switch (random.uniform(8)) {
          case 0:
          case 1:
            chain.append(cut(text, random));
            model += letters;
            break;
          case 2:
            chain.prepend(text.slice(more % 26, 3));
            model.insert(0, letters.substr(more % 26, 3));
            break;
          case 3:
            if (model.size() < 500) chain.append(chain);
            if (model.size() < 500) model += model;
            break;
          case 4:
            EXPECT_EQ(chain.split(some).text(), model.substr(0, some));
            model.erase(0, some);
            break;
          case 5: EXPECT_EQ(chain.slice(some, more).text(), model.substr(some, more)); break;
          default: chain.drop(std::min(more, model.size())); model.erase(0, more);
        }
        EXPECT_EQ(chain.size(), model.size());
        if (chain.text() != model) {
          ADD_FAILURE() << chain.text() << " is not " << model;
          break;
        }
        for (const buffer& each : chain) EXPECT_FALSE(each.empty());
      }
      std::string some(10, '.');
      const std::size_t copied = chain.copy_to(std::as_writable_bytes(std::span(some)));
      EXPECT_EQ(some.substr(0, copied), model.substr(0, 10));
    }
  });
}

TEST(buffer_chain, is_gathered_into_a_file_and_written_to_a_stream) {
  const scratch_directory here;
  run_and_count([&here]() -> task<> {
    random_source random(1);
    const buffer text = co_await in_one_buffer("gathered from pieces");
    buffer_chain chain = cut(text, random);
    net::file file = co_await net::open_file(here.file("made"), net::open_options(O_RDWR | O_CREAT));
    co_await file.write_vectored(chain.pieces(), 0);
    std::string read;
    while (true) {  // a kernel may give less at a time
      const buffer piece = co_await file.read(read.size());
      if (piece.empty()) break;
      read += text_of(piece);
    }
    EXPECT_EQ(read, "gathered from pieces");
    sliced_stream to(buffer(), {});
    chain.drop(9);
    co_await net::write(to, chain);
    std::string written;
    for (const std::string& each : to.written) written += each;
    EXPECT_EQ(written, "from pieces");
    co_await file.close();
  });
}

}  // namespace
}  // namespace skerry
