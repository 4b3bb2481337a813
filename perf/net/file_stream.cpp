// SPDX-License-Identifier: Apache-2.0
// A file from one end to the other through net::file_reader or net::file_writer, as fast as it goes: what is held
// against fio with the same block size and depth. What is read is not looked at, and each block is filled once and then
// written again and again, as fio does it: memory that nobody has touched is one page of zeros many times over, which
// a device takes in more and smaller pieces.
//
//     build/release/perf/file_stream read|write FILE BYTES BLOCK_BYTES DEPTH PASSES [direct]
//     {"us_per_mib": 52.1}                                  wall time; opening and closing are not part of it
#include <skerry/framework/task/task.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/net/file/file_reader.hpp>
#include <skerry/net/file/file_writer.hpp>
#include <skerry/shards/block_on.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include <fcntl.h>

namespace {

using namespace skerry;

struct job {
  bool writes = false;
  std::string path;
  std::uint64_t bytes = 0;
  std::size_t block = 0;
  std::size_t depth = 0;
  std::uint64_t passes = 0;
  int flags = 0;
};

task<std::uint64_t> read_all(net::file& from, const job& what) {
  net::file_reader_options options;
  options.block_bytes = what.block;
  options.depth = what.depth;
  options.bytes_max = what.bytes;
  net::file_reader blocks(from, options);
  std::uint64_t done = 0;
  while (true) {
    const std::span<const std::byte> block = co_await blocks.next();
    if (block.empty()) co_return done;
    done += block.size();
  }
}

task<std::uint64_t> write_all(net::file& to, const job& what) {
  net::file_writer_options options;
  options.block_bytes = what.block;
  options.depth = what.depth;
  net::file_writer out(to, options);
  for (std::uint64_t left = what.bytes; left != 0;) {
    const std::span<std::byte> room = co_await out.room();
    const std::size_t part = static_cast<std::size_t>(std::min<std::uint64_t>(room.size(), left));
    const bool untouched = what.bytes - left < what.block * what.depth;
    if (untouched) std::ranges::fill(room, std::byte{0x5a});
    out.commit(part);
    left -= part;
  }
  co_await out.flush();
  co_return out.position();
}

task<double> run(const job& what) {
  const int flags = (what.writes ? O_WRONLY | O_CREAT : O_RDONLY) | what.flags;
  net::file f = co_await net::open_file(what.path, net::open_options(flags, 0600));
  const auto start = std::chrono::steady_clock::now();
  for (std::uint64_t pass = 0; pass < what.passes; ++pass) {
    std::uint64_t done = 0;
    if (what.writes) {
      done = co_await write_all(f, what);
    } else {
      done = co_await read_all(f, what);
    }
    if (done != what.bytes) throw std::runtime_error("moved " + std::to_string(done) + " bytes of " + what.path);
  }
  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
  co_await f.close();
  co_return took.count() / (static_cast<double>(what.bytes * what.passes) / (1 << 20));
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string_view> words(argv + 1, argv + argc);
  const bool known =
      (words.size() == 6 || (words.size() == 7 && words[6] == "direct")) && (words[0] == "read" || words[0] == "write");
  job what;
  if (known) {
    what.writes = words[0] == "write";
    what.path = words[1];
    what.bytes = std::strtoull(argv[3], nullptr, 10);
    what.block = std::strtoull(argv[4], nullptr, 10);
    what.depth = std::strtoull(argv[5], nullptr, 10);
    what.passes = std::strtoull(argv[6], nullptr, 10);
    if (words.size() == 7) what.flags = O_DIRECT;
  }
  if (!known || what.bytes == 0 || what.block == 0 || what.depth == 0 || what.passes == 0) {
    std::fprintf(stderr, "usage: file_stream read|write FILE BYTES BLOCK_BYTES DEPTH PASSES [direct]\n");
    return 1;
  }
  try {
    std::printf("{\"us_per_mib\": %.3f}\n", block_on([&]() -> task<double> { return run(what); }));
  } catch (const std::exception& failed) {
    std::fprintf(stderr, "file_stream: %s\n", failed.what());
    return 1;
  }
}
