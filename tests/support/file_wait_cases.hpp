// SPDX-License-Identifier: Apache-2.0
#pragma once

/// file_wait_cases: what of files is waited for beyond open, read and write, for the matrix that cancels it.

#include <skerry/skerry.hpp>

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <support/wait_cases.hpp>

namespace skerry::test_support::waits {

struct vectored_read_of_a_file : with_fifo {
  std::vector<std::span<std::byte>> pieces{std::as_writable_bytes(std::span(byte))};
  auto wait() { return file->read_vectored(pieces, 0); }
};

struct vectored_write_of_a_file : write_of_a_file {
  std::vector<std::span<const std::byte>> pieces{std::as_bytes(std::span(byte))};
  auto wait() { return file->write_vectored(pieces, 0); }
};

struct append_to_a_file : with_open_file {
  task<> prepare() {
    file.emplace(co_await net::open_file(here.file("made"), net::open_options(O_RDWR | O_CREAT | O_APPEND)));
  }
  auto wait() { return file->append("x"); }
};

struct truncate_of_a_file : with_open_file {
  auto wait() { return file->truncate(5000); }
};

struct allocate_of_a_file : with_open_file {
  auto wait() { return file->allocate(0, 5000); }
};

struct alignment_of_a_file : with_open_file {
  auto wait() { return file->alignment(); }
};

/// A wait that was cancelled may have done it.
struct make_of_a_directory : with_files {
  task<> wait() {
    try {
      co_await net::make_directory(here.file("d"));
    } catch (const std::system_error& there) {
      EXPECT_EQ(there.code(), std::errc::file_exists);
    }
  }
};

struct remove_of_a_directory : with_files {
  task<> prepare() { co_await net::make_directory(here.file("d")); }
  task<> wait() {
    try {
      co_await net::remove_directory(here.file("d"));
    } catch (const std::system_error& gone) {
      EXPECT_EQ(gone.code(), std::errc::no_such_file_or_directory);
    }
  }
};

struct list_of_a_directory : with_files {
  auto wait() { return net::list_directory(here.path(), 10); }
};

/// Of a pipe, whose bytes come when a case says so.
struct block_of_a_reader : usual {
  static constexpr bool by_itself_simulated = true;
  with_fifo pipe;
  std::optional<net::file_reader> blocks;
  task<> prepare() {
    co_await pipe.prepare();
    blocks.emplace(*pipe.file);
    if (simulated()) co_return;  // it has read nothing yet, so that the first block is waited for
    pipe.serve();
    co_await blocks->next();  // from now on it knows what it reads
  }
  auto wait() { return blocks->next(); }
  void serve() { pipe.serve(); }
};

/// To a pipe that is full.
struct with_full_pipe : usual {
  static constexpr bool by_itself_simulated = true;
  write_of_a_file pipe;
  std::optional<net::file_writer> to;
  task<> prepare() {
    co_await pipe.prepare();
    net::file_writer_options options;
    options.block_bytes = 4096;
    options.depth = 1;
    to.emplace(*pipe.file, options);
    co_await to->write(std::string(4096, 'x'));
  }
  void serve() { pipe.serve(); }
};

struct room_of_a_writer : with_full_pipe {
  auto wait() { return to->room(); }
};

struct flush_of_a_writer : with_full_pipe {
  auto wait() { return to->flush(); }
};

struct sync_of_a_writer : with_open_file {
  std::optional<net::file_writer> to;
  task<> prepare() {
    co_await with_open_file::prepare();
    to.emplace(*file);
    co_await to->write("x");
  }
  auto wait() { return to->sync(); }
};

struct with_watch : usual {
  scratch_directory here = directory_of_a_case();
  std::optional<net::file_watch> changes;
  int number = 0;
  task<> prepare() {
    changes.emplace();
    co_await changes->add(here.path(), IN_CREATE);
  }
  void serve() { here.put("f" + std::to_string(++number), ""); }
};

struct change_of_a_file : with_watch {
  auto wait() { return changes->next(); }
};

struct add_of_a_watch : with_watch {
  static constexpr bool by_itself = true;
  auto wait() { return changes->add(here.path(), IN_CREATE); }
};

}  // namespace skerry::test_support::waits
