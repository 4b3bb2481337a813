// SPDX-License-Identifier: Apache-2.0
/// A long chunked upload goes to a file in flat memory: 256 MB, and with `scripts/test --long` 10 GB. A client that
/// vanishes in the middle leaves nothing behind.

#include <skerry/framework/resources.hpp>
#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/byte_pool.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/net/http/server.hpp>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <net/http/serving.hpp>
#include <support/long_test.hpp>
#include <support/scratch_directory.hpp>
#include <unistd.h>

namespace skerry::http_tests {
namespace {

using test_support::scratch_directory;

std::string upload_path;  // for the handler, which captures nothing

task<response> store(request& r) {
  r.limit_body(std::uint64_t{1} << 40);
  net::file to = co_await net::open_file(upload_path, net::open_options(O_WRONLY | O_CREAT | O_TRUNC));
  std::uint64_t size = 0;
  while (true) {
    const buffer piece = co_await r.read();
    if (piece.empty()) break;
    co_await to.write(piece, size);
    size += piece.size();
  }
  co_await to.close();
  co_return response::text(std::to_string(size));
}

void with_store(std::function<task<>(const address&)> talk) {
  app_options quiet = quiet_options(1);
  quiet.log_level = "off";
  const std::ptrdiff_t before = test_support::open_descriptors();
  run_shards(quiet, [&]() -> task<> {
    const address at = co_await net::http::serve(loopback(), [] { return net::http::handler(store); });
    co_await talk(at);
    app::shutdown();
  });
  EXPECT_EQ(test_support::open_descriptors(), before);
}

std::size_t resident_bytes() {
  std::size_t total = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> total >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

constexpr std::string_view head =
    "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";

TEST(upload, of_any_length_is_stored_in_flat_memory) {
  if (test_support::simulating()) GTEST_SKIP() << "a simulated disk and its network are in the memory that is measured";
  scratch_directory here;
  upload_path = here.file("stored");
  const std::uint64_t chunks = test::is_long_run() ? 160'000 : 4'096;  // of 64'001 bytes: no piece lies like the last
  const std::string block = numbered_bytes(64'001);
  const std::string chunk = fmt::format("{:x}\r\n{}\r\n", block.size(), block);
  with_store([&](const address& at) -> task<> {
    raw_peer peer(at);
    co_await peer.send(head);
    for (int i = 0; i < 100; ++i) co_await peer.send(chunk);  // pools and buffers have their size by now
    const std::size_t before = resident_bytes();
    std::size_t most = before;
    for (std::uint64_t sent = 100; sent < chunks; ++sent) {
      co_await peer.send(chunk);
      if (sent % 64 == 0) most = std::max(most, resident_bytes());
    }
    co_await peer.send("0\r\n\r\n");
    const std::string answer = co_await peer.receive_all();
    EXPECT_EQ(body_of(answer), std::to_string(chunks * block.size()));
    std::printf("%llu MB stored, resident memory %zu KB before and %zu KB at most\n",
                static_cast<unsigned long long>(chunks * block.size() / 1'000'000), before / 1000, most / 1000);
#if defined(__SANITIZE_ADDRESS__)  // keeps for a while what is freed, which the backend that disturbs does all the time
    const bool is_kept = test_support::disturbed();
#else
    const bool is_kept = false;
#endif
    EXPECT_TRUE(is_kept || most - before <= std::size_t{16} << 20) << most - before;
  });
  ASSERT_EQ(std::filesystem::file_size(upload_path), chunks * block.size());
  std::ifstream stored(upload_path, std::ios::binary);
  std::string found(block.size(), '\0');
  for (std::uint64_t i = 0; i < chunks; ++i) {
    stored.read(found.data(), static_cast<std::streamsize>(found.size()));
    ASSERT_TRUE(found == block) << "chunk " << i;
  }
}

TEST(upload, a_client_that_vanishes_leaves_no_descriptor_and_no_buffer) {
  scratch_directory here;
  const std::string block = numbered_bytes(500'000);
  with_store([&](const address& at) -> task<> {
    upload_path = here.file("stored");  // on a shard, whose disk may be a simulated one
    for (const bool politely : {true, false}) {
      const std::ptrdiff_t descriptors = test_support::open_descriptors();
      raw_peer peer(at);
      co_await peer.send(head);
      co_await peer.send(fmt::format("{:x}\r\n{}", 2 * block.size(), block));  // half a chunk
      while (net::open_files() == 0) co_await turn();
      politely ? peer.close() : peer.reset();
      while (net::open_files() != 0 || net::this_endpoints().size() != 0) co_await turn();
      EXPECT_EQ(resource<buffer_pool>().stats().taken, 0u);
      EXPECT_EQ(net::this_bytes().bytes_in_use(), 0u);
      EXPECT_EQ(test_support::open_descriptors(), descriptors);
    }
  });
}

}  // namespace
}  // namespace skerry::http_tests
