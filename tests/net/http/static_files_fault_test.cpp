// SPDX-License-Identifier: Apache-2.0
/// Files over HTTP when the kernel refuses, when files change under the server's hands, and when descriptors run out:
/// each request gets its whole right answer, a status that says why not, or an answer that is seen to be cut; the
/// others are served, on the same connection where it may go on, and nothing is left behind.

#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/byte_pool.hpp>
#include <skerry/net/endpoint.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/net/http/router.hpp>
#include <skerry/net/http/static_files.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <net/http/serving.hpp>
#include <support/fault_run.hpp>
#include <support/scratch_directory.hpp>
#include <sys/resource.h>
#include <unistd.h>

namespace skerry::http_tests {
namespace {

using net::http::static_files;
using test_support::fault;
using test_support::fault_plan;
using test_support::scratch_directory;

/// What the maker of handlers, which captures nothing, is to serve.
std::string served_root;

/// What became of one request.
struct outcome {
  unsigned status = 0;  ///< 0: no head came
  bool whole = false;   ///< as many bytes as the head had promised
  std::string body;
};

/// Asks on one connection, and makes a new one when that has ended.
class asker {
 public:
  explicit asker(const address& at) : at_(at) {}

  int connections() const noexcept { return connections_; }

  task<outcome> ask(std::string path) {
    if (!peer_) {
      peer_.emplace(at_);
      ++connections_;
    }
    outcome got;
    std::string head;
    bool goes_on = false;
    try {
      co_await peer_->send("GET /static/" + path + " HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
      head = co_await receive_until(*peer_, "\r\n\r\n");
      if (head.ends_with("\r\n\r\n")) {
        got.status = static_cast<unsigned>(std::stoul(head.substr(9, 3)));
        constexpr std::string_view name = "\r\nContent-Length: ";
        const std::size_t at = head.find(name);
        const std::size_t size = at == head.npos ? 0 : std::stoul(head.substr(at + name.size()));
        while (got.body.size() < size) {
          const std::string more = co_await peer_->receive(size - got.body.size());
          if (more.empty()) break;
          got.body += more;
        }
        got.whole = got.body.size() == size;
        goes_on = got.whole && head.find("Connection: close") == head.npos;
      }
    } catch (const std::system_error&) {
      // A reset.
    }
    if (!goes_on) peer_.reset();
    co_return got;
  }

 private:
  address at_;
  std::optional<raw_peer> peer_;
  int connections_ = 0;
};

/// Serves `root` on a shard whose kernel follows `plan`; tells whether that made anything fail.
bool serve_under(const fault_plan& plan, const std::string& root, const std::function<task<>(asker&)>& talk) {
  served_root = root;
  const auto body = [&]() -> task<> {
    const auto make = [] {
      net::http::router r;
      r.get("/static/{path...}", static_files(served_root));
      return net::http::handler(std::move(r));
    };
    {
      asker client(co_await net::http::serve(loopback(), make));
      co_await talk(client);
    }
    while (net::open_files() != 0 || net::this_endpoints().size() != 0) co_await turn();
    EXPECT_EQ(net::this_bytes().bytes_in_use(), 0u);
  };
  return test_support::run_with(plan, body, "off");
}

const std::string small = "a small file";
const std::string large = numbered_bytes(200'000);
const std::string packed = "as if it were gzip";

void put_files(const scratch_directory& here) {
  here.put("small.bin", small);
  here.put("large.bin", large);
  here.put("style.css", "a style");
  here.put("style.css.gz", packed);
  here.put("other.bin", "another");
}

// ---- the kernel refuses ----

struct faulty_kind {
  const char* name;
  io_uring_op opcode;
  /// The status of the request that it strikes before its head has gone; 0: none can be given any more.
  std::map<int, unsigned> told;
  std::vector<int> unnoticed;
};

const faulty_kind kinds[] = {
    {"open",
     IORING_OP_OPENAT2,
     {{EACCES, 403},
      {EPERM, 403},
      {ENOENT, 404},
      {ENOTDIR, 404},
      {ELOOP, 404},
      {EXDEV, 404},
      {ENAMETOOLONG, 404},
      {ENXIO, 404},
      {ENODEV, 404},
      {EMFILE, 503},
      {ENFILE, 503},
      {ENOMEM, 503},
      {EIO, 500},
      {ESTALE, 500},
      {EOVERFLOW, 500}},
     {EINTR, EAGAIN}},
    {"status", IORING_OP_STATX, {{EIO, 500}, {EACCES, 500}, {ENOMEM, 503}, {EAGAIN, 503}, {ESTALE, 503}}, {EINTR}},
    {"read", IORING_OP_READ, {{EIO, 500}, {EISDIR, 500}, {ENOMEM, 503}, {ESTALE, 503}}, {EINTR}},
    {"send", IORING_OP_SEND, {{EPIPE, 0}, {ECONNRESET, 0}, {ENOBUFS, 0}, {ENOMEM, 0}, {ETIMEDOUT, 0}}, {EINTR, EAGAIN}},
    {"close", IORING_OP_CLOSE, {}, {EIO, EINTR, ENOSPC}},
};

class static_file_faults : public testing::TestWithParam<faulty_kind> {
 protected:
  /// How many requests did not get their whole right answer; those get `status`, or are seen to be cut.
  static task<int> converse(asker& client, unsigned status) {
    int struck = 0;
    const auto expect = [&](const char* path, std::string_view body, std::string_view other) -> task<> {
      const outcome got = co_await client.ask(path);
      if (got.status == 200 && got.whole) {
        EXPECT_TRUE(got.body == body || got.body == other) << path << ": " << got.body.substr(0, 100);
        co_return;
      }
      ++struck;
      if (got.status == 200 || got.status == 0) {
        EXPECT_TRUE(body.starts_with(got.body) || other.starts_with(got.body)) << path << ": a part, and nothing else";
      } else {
        EXPECT_EQ(got.status, status) << path;
        EXPECT_TRUE(got.whole) << path;
      }
    };
    for (int round = 0; round < 2; ++round) {
      co_await expect("small.bin", small, small);
      co_await expect("large.bin", large, large);
      co_await expect("style.css", packed, "a style");
    }
    co_return struck;
  }
};

INSTANTIATE_TEST_SUITE_P(kinds, static_file_faults, testing::ValuesIn(kinds),
                         [](const auto& kind) { return std::string(kind.param.name); });

TEST_P(static_file_faults, at_every_place_cost_one_request_its_answer_or_none) {
  scratch_directory here;
  put_files(here);
  std::map<int, std::pair<unsigned, int>> errors;  // the status, and how many may be struck
  for (const auto& [error, status] : GetParam().told) errors[error] = {status, 1};
  for (const int error : GetParam().unnoticed) errors[error] = {0, 0};
  for (const auto& [error, expected] : errors) {
    int struck_in_all = 0;
    for (std::uint64_t nth = 1;; ++nth) {
      SCOPED_TRACE(GetParam().name + (" " + std::to_string(nth) + ": ") + std::generic_category().message(error));
      int struck = 0, connections = 0;
      const auto talk = [&, status = expected.first](asker& client) -> task<> {
        struck = co_await converse(client, status);
        connections = client.connections();
      };
      const bool hit = serve_under(test_support::fail_nth(GetParam().opcode, nth, error), here.path(), talk);
      EXPECT_TRUE(hit || nth > 1) << "there are such operations";
      EXPECT_LE(struck, expected.second);
      EXPECT_LE(connections, 1 + struck) << "a connection goes on unless its answer was cut";
      struck_in_all += struck;
      if (!hit || HasFailure()) break;
    }
    EXPECT_EQ(struck_in_all != 0, expected.second != 0) << std::generic_category().message(error);
  }
}

TEST(static_file_faults, that_last_are_answered_each_time_on_one_connection) {
  scratch_directory here;
  put_files(here);
  const std::pair<int, unsigned> rows[] = {{EMFILE, 503}, {EAGAIN, 503}, {EIO, 500}, {EACCES, 403}, {ENOENT, 404}};
  for (const auto& [error, status] : rows) {
    const auto talk = [status](asker& client) -> task<> {
      for (int i = 0; i < 20; ++i) {
        const char* path = i % 2 == 0 ? "small.bin" : "style.css";
        const outcome got = co_await client.ask(path);
        EXPECT_EQ(got.status, status);
        EXPECT_TRUE(got.whole);
      }
      EXPECT_EQ(client.connections(), 1);
    };
    EXPECT_TRUE(serve_under(test_support::fail_all(IORING_OP_OPENAT2, error), here.path(), talk));
  }
}

// ---- files change ----

/// What is done to a file between two operations on it.
struct change {
  const char* name;
  std::function<void(const std::string& path)> make;
  std::function<std::string(std::string before)> after;  ///< what it holds then
};

const change changes[] = {
    {"shrinks",
     [](const std::string& path) { std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2); },
     [](std::string before) { return before.substr(0, before.size() / 2); }},
    {"becomes_empty", [](const std::string& path) { std::filesystem::resize_file(path, 0); },
     [](const std::string&) { return ""; }},
    {"grows",
     [](const std::string& path) {
       const net::unique_fd fd(::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
       EXPECT_EQ(::write(fd.get(), "more", 4), 4);
     },
     [](std::string before) { return before + "more"; }},
    {"is_replaced", [](const std::string& path) { std::filesystem::rename(path + ".new", path); },
     [](const std::string&) { return std::string(200'000, 'n'); }},
    {"is_removed", [](const std::string& path) { std::filesystem::remove(path); }, nullptr},
    {"becomes_a_directory",
     [](const std::string& path) {
       std::filesystem::remove(path);
       std::filesystem::create_directory(path);
     },
     nullptr},
    {"becomes_a_link_that_leads_out",
     [](const std::string& path) {
       std::filesystem::remove(path);
       std::filesystem::create_symlink("/etc/passwd", path);
     },
     nullptr},
};

class static_file_that : public testing::TestWithParam<change> {};

INSTANTIATE_TEST_SUITE_P(changes, static_file_that, testing::ValuesIn(changes),
                         [](const auto& which) { return std::string(which.param.name); });

/// Right before the nth operation of each kind: what comes whole is one of the two files, never a mixture.
TEST_P(static_file_that, while_it_is_served_is_one_or_the_other_or_seen_to_be_cut) {
  for (const io_uring_op kind : {IORING_OP_OPENAT2, IORING_OP_STATX, IORING_OP_READ, IORING_OP_SEND, IORING_OP_CLOSE}) {
    for (const bool is_small : {false, true}) {
      bool reached = true;
      for (std::uint64_t nth = 1; reached && nth < 20; ++nth) {
        SCOPED_TRACE("operation " + std::to_string(kind) + ", " + std::to_string(nth));
        scratch_directory here;
        const std::string before = is_small ? large.substr(0, 10'000) : large;
        const std::string path = here.put("changing.bin", before);
        const std::string after = GetParam().after ? GetParam().after(before) : before;
        here.put("changing.bin.new", after);
        here.put("other.bin", "another");
        reached = false;
        const fault_plan meddling = [&](const submission& what, std::uint64_t n) {
          if (what.opcode == kind && n == nth && !std::exchange(reached, true)) GetParam().make(path);
          return fault{};
        };
        const auto talk = [&](asker& client) -> task<> {
          const outcome first = co_await client.ask("changing.bin");
          if (first.status == 200 && first.whole) {
            EXPECT_TRUE(first.body == before || first.body == after) << first.body.size();
          } else if (first.status == 200) {
            EXPECT_TRUE(before.starts_with(first.body)) << first.body.size();
          } else {
            EXPECT_TRUE(first.status == 404 || first.status == 503 || first.status == 301) << first.status;
            EXPECT_TRUE(first.whole);
          }
          const outcome second = co_await client.ask("other.bin");
          EXPECT_EQ(second.status, 200u);
          EXPECT_EQ(second.body, "another");
          EXPECT_EQ(client.connections(), first.whole ? 1 : 2);
        };
        serve_under(meddling, here.path(), talk);
      }
    }
  }
}

// ---- descriptors run out ----

TEST(static_file, that_finds_no_descriptor_is_503_until_there_is_one_again) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "UBSan looks at objects through a pipe, and there are no descriptors for one";
#endif
  scratch_directory here;
  put_files(here);
  rlimit before{};
  ::getrlimit(RLIMIT_NOFILE, &before);
  rlimit few = before;
  few.rlim_cur = 200;
  const fault_plan none = [](const submission&, std::uint64_t) { return fault{}; };
  serve_under(none, here.path(), [&](asker& client) -> task<> {
    EXPECT_EQ((co_await client.ask("small.bin")).body, small);
    EXPECT_EQ((co_await client.ask("style.css")).body, packed);
    while (net::open_files() != 0) co_await turn();
    ::setrlimit(RLIMIT_NOFILE, &few);
    std::vector<net::unique_fd> taken;
    for (int fd = ::dup(0); fd >= 0; fd = ::dup(0)) taken.emplace_back(fd);
    for (int i = 0; i < 10; ++i) {
      for (const char* path : {"small.bin", "large.bin", "style.css", "none.bin"}) {
        const outcome got = co_await client.ask(path);
        EXPECT_EQ(got.status, 503u) << path;
        EXPECT_TRUE(got.whole);
      }
    }
    taken.pop_back();  // one: enough for a file, not for the variant beside it
    EXPECT_EQ((co_await client.ask("small.bin")).body, small);
    while (net::open_files() != 0) co_await turn();
    EXPECT_TRUE((co_await client.ask("large.bin")).body == large);
    while (net::open_files() != 0) co_await turn();
    EXPECT_EQ((co_await client.ask("style.css")).body, "a style");
    while (net::open_files() != 0) co_await turn();
    taken.clear();
    EXPECT_EQ((co_await client.ask("style.css")).body, packed);
    EXPECT_EQ(client.connections(), 1);
    ::setrlimit(RLIMIT_NOFILE, &before);
  });
}

}  // namespace
}  // namespace skerry::http_tests
