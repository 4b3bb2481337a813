// SPDX-License-Identifier: Apache-2.0
/// Files over HTTP, from a real directory over real sockets: what leads out of it is not there, what the client has is
/// not sent again, and neither slow clients nor shrinking files do harm.

#include <skerry/framework/task/spawn.hpp>
#include <skerry/net/byte_pool.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/net/file/whole_file.hpp>
#include <skerry/net/http/date.hpp>
#include <skerry/net/http/router.hpp>
#include <skerry/net/http/static_files.hpp>
#include <skerry/timers/sleep.hpp>

#include <array>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <net/http/serving.hpp>
#include <support/scratch_directory.hpp>
#include <sys/stat.h>
#include <unistd.h>

namespace skerry::http_tests {
namespace {

using net::http::static_files;
using net::http::static_options;
using test_support::scratch_directory;

/// What the maker of handlers, which captures nothing, is to serve.
std::string served_root;
static_options served_options;

/// A directory of the real disk and what is beneath it, but links and the like, which a simulated disk has not.
struct copied_tree {
  struct entry {
    std::string path;
    std::optional<std::string> bytes;  // of a file
  };
  explicit copied_tree(const std::string& root) {
    entries.push_back({root, {}});
    for (const auto& each : std::filesystem::recursive_directory_iterator(root)) {
      if (each.is_directory()) entries.push_back({each.path().string(), {}});
      if (!each.is_regular_file() || each.is_symlink()) continue;
      std::ifstream from(each.path(), std::ios::binary);
      entries.push_back({each.path().string(), std::string(std::istreambuf_iterator<char>(from), {})});
    }
  }
  /// Onto the disk of a simulated host, on a shard of it, and until all of it is old enough for strong tags.
  task<> put() const {
    for (const entry& each : entries) {
      if (!each.bytes) {
        ::mkdir(each.path.c_str(), 0700);
      } else {
        co_await net::write_file_atomically(each.path, std::string_view(*each.bytes));
      }
    }
    co_await sleep_for(2 * net::http::settled);
  }
  std::vector<entry> entries;  // directories before what is in them
};

/// Serves `root` at /static/ on one shard, and lets `talk` be its client.
void with_files(const std::string& root, std::function<task<>(const address&)> talk,
                const static_options& options = static_options()) {
  served_root = root;
  served_options = options;
  app_options quiet = quiet_options(1);
  quiet.log_level = "off";
  const std::ptrdiff_t before = test_support::open_descriptors();
  std::optional<copied_tree> tree;
  if (test_support::simulating()) tree.emplace(root);
  run_shards(quiet, [&]() -> task<> {
    if (tree) co_await tree->put();
    auto make = [] {
      net::http::router r;
      r.get("/static/{path...}", static_files(served_root, served_options));
      return net::http::handler(std::move(r));
    };
    const address at = co_await net::http::serve(loopback(), make);
    co_await talk(at);
    while (net::open_files() != 0) co_await turn();
    app::shutdown();
  });
  EXPECT_EQ(test_support::open_descriptors(), before);
}

/// The whole answer to one request; `fields` are lines with their ends.
task<std::string> get(const address& at, std::string path, std::string fields = "", std::string method = "GET") {
  co_return co_await whole_answer(
      at, fmt::format("{} {} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{}\r\n", method, path, fields));
}

unsigned status_of(std::string_view answer) {
  return answer.size() < 12 ? 0 : static_cast<unsigned>(std::stoul(std::string(answer.substr(9, 3))));
}
std::string field_of(std::string_view answer, std::string_view name) {
  const std::string_view head = answer.substr(0, answer.find("\r\n\r\n") + 2);
  const std::string line = fmt::format("\r\n{}: ", name);
  const std::size_t at = head.find(line);
  if (at == std::string_view::npos) return "";
  const std::string_view value = head.substr(at + line.size());
  return std::string(value.substr(0, value.find("\r\n")));
}

/// A time of change that is long over, so that tags are strong.
void age(const std::string& path, std::int64_t seconds = 1'000'000'000) {
  const timespec then{seconds, 5};
  const std::array times{then, then};
  EXPECT_EQ(::utimensat(AT_FDCWD, path.c_str(), times.data(), 0), 0);
}

TEST(static_files, are_sent_whole_with_their_type_and_length) {
  scratch_directory here;
  const std::string large = numbered_bytes(3'000'000);
  here.put("a.txt", "text");
  here.put("sub/page.HTML", "<p>");
  here.put("large.bin", large);
  here.put("empty.css", "");
  here.put("sp ace+.js", "x");
  here.put("own.thing", "x");
  static_options options;
  options.types.emplace_back("thing", "application/x-thing");
  with_files(
      here.path(),
      [&](const address& at) -> task<> {
        const auto expect = [&at](std::string path, std::string type, std::string_view body) -> task<> {
          const std::string got = co_await get(at, path);
          EXPECT_EQ(status_of(got), 200u) << path;
          EXPECT_EQ(field_of(got, "Content-Type"), type) << path;
          EXPECT_EQ(field_of(got, "Content-Length"), std::to_string(body.size())) << path;
          EXPECT_TRUE(body_of(got) == body) << path;
        };
        co_await expect("/static/a.txt", "text/plain; charset=utf-8", "text");
        co_await expect("/static/sub/page.HTML", "text/html; charset=utf-8", "<p>");
        co_await expect("/static/large.bin", "application/octet-stream", large);
        co_await expect("/static/empty.css", "text/css; charset=utf-8", "");
        co_await expect("/static/sp%20ace+.js?query=1", "text/javascript; charset=utf-8", "x");
        co_await expect("/static/own.thing", "application/x-thing", "x");
        EXPECT_EQ(status_of(co_await get(at, "/static/none.txt")), 404u);
        EXPECT_EQ(status_of(co_await get(at, "/static/a.txt/")), 404u);
        EXPECT_EQ(status_of(co_await get(at, "/static/a.txt/b")), 404u);
        EXPECT_EQ(status_of(co_await get(at, "/static/" + std::string(300, 'a'))), 404u);
      },
      options);
}

TEST(static_files, a_large_file_leaves_the_connection_open_for_more) {
  scratch_directory here;
  here.put("large.bin", std::string(100'000, 'l'));
  with_files(here.path(), [](const address& at) -> task<> {
    const std::string answer = co_await whole_answer(
        at, "GET /static/large.bin HTTP/1.1\r\nHost: a\r\n\r\nGET /static/large.bin HTTP/1.0\r\n\r\n");
    EXPECT_EQ(count(answer, "HTTP/1.1 200 OK"), 2u);
    EXPECT_EQ(count(answer, "Content-Length: 100000\r\n"), 2u);
    EXPECT_EQ(count(answer, "Transfer-Encoding"), 0u);
  });
}

// ---- what leads out ----

TEST(static_files, nothing_outside_of_the_root_is_reached) {
  if (test_support::simulating()) GTEST_SKIP() << "a simulated disk has no links";
  scratch_directory here;
  here.put("secret.txt", "the secret");
  here.put("root/a.txt", "inside");
  here.put("root/sub/b.txt", "inside");
  here.put("root/.hidden", "the secret");
  here.put("root/.git/config", "the secret");
  ::symlink("../secret.txt", here.file("root/out.txt").c_str());
  ::symlink("..", here.file("root/up").c_str());
  ::symlink(here.file("secret.txt").c_str(), here.file("root/absolute.txt").c_str());
  ::symlink("/proc/self/cwd", here.file("root/magic").c_str());
  ::symlink("loop", here.file("root/loop").c_str());
  ::symlink("sub/../a.txt", here.file("root/in.txt").c_str());
  with_files(here.file("root"), [&](const address& at) -> task<> {
    for (const char* path : {"/static/../secret.txt",
                             "/static/sub/../../secret.txt",
                             "/static/..",
                             "/static/../",
                             "/static/%2e%2e/secret.txt",
                             "/static/%2E%2E/secret.txt",
                             "/static/.%2e/secret.txt",
                             "/static/..%2fsecret.txt",
                             "/static/%2e%2e%2fsecret.txt",
                             "/static/sub%2fb.txt",
                             "/static/sub%2Fb.txt",
                             "/static/..%5csecret.txt",
                             "/static//etc/passwd",
                             "/static/%2fetc/passwd",
                             "/static//a.txt",
                             "/static/./a.txt",
                             "/static/sub/./b.txt",
                             "/static/sub//b.txt",
                             "/static/%252e%252e/secret.txt",
                             "/static/out.txt",
                             "/static/up/secret.txt",
                             "/static/absolute.txt",
                             "/static/magic/root",
                             "/static/magic",
                             "/static/loop",
                             "/static/.hidden",
                             "/static/%2ehidden",
                             "/static/.git/config",
                             "/static/a.txt%00",
                             "/static/a.txt%00.html",
                             "/static/%",
                             "/static/%zz",
                             "/static/a.txt%2"}) {
      const std::string got = co_await get(at, path);
      const unsigned status = status_of(got);
      EXPECT_TRUE(status == 404 || status == 400) << path << ": " << status_line(got);
      EXPECT_EQ(got.find("the secret"), std::string::npos) << path;
      EXPECT_EQ(got.find("inside"), std::string::npos) << path << " is a second name of a file";
    }
    EXPECT_EQ(status_of(co_await get(at, "/static/a.txt%00")), 400u);
    EXPECT_EQ(body_of(co_await get(at, "/static/in.txt")), "inside") << "a link that stays inside is followed";
    EXPECT_EQ(body_of(co_await get(at, "/static/sub/b.txt")), "inside");
  });
  static_options all;
  all.hidden = true;
  with_files(
      here.file("root"),
      [&](const address& at) -> task<> {
        EXPECT_EQ(status_of(co_await get(at, "/static/.git/config")), 200u);
        EXPECT_EQ(status_of(co_await get(at, "/static/../secret.txt")), 404u);
      },
      all);
}

TEST(static_files, what_is_no_file_is_not_there_and_is_not_waited_for) {
  if (test_support::simulating()) GTEST_SKIP() << "a simulated disk has files and directories only";
  scratch_directory here;
  ::mkfifo(here.file("fifo.txt").c_str(), 0600);
  ::symlink("/dev/zero", here.file("zero").c_str());
  with_files(here.path(), [](const address& at) -> task<> {
    EXPECT_EQ(status_of(co_await get(at, "/static/fifo.txt")), 404u);
    EXPECT_EQ(status_of(co_await get(at, "/static/zero")), 404u);
  });
}

TEST(static_files, directories_answer_with_their_index_and_want_their_slash) {
  scratch_directory here;
  here.put("index.html", "top");
  here.put("sub/index.html", "below");
  here.put("a:b/index.html", "colon");
  here.put("bare/file.txt", "x");
  std::filesystem::create_directories(here.file("odd/index.html"));
  with_files(here.path(), [](const address& at) -> task<> {
    EXPECT_EQ(body_of(co_await get(at, "/static/")), "top");
    EXPECT_EQ(body_of(co_await get(at, "/static/sub/")), "below");
    std::string moved = co_await get(at, "/static/sub?x=1");
    EXPECT_EQ(status_of(moved), 301u);
    EXPECT_EQ(field_of(moved, "Location"), "./sub/?x=1");
    moved = co_await get(at, "/static/a:b");
    EXPECT_EQ(field_of(moved, "Location"), "./a:b/") << "a colon makes no scheme";
    EXPECT_EQ(status_of(co_await get(at, "/static/bare/")), 404u);
    EXPECT_EQ(status_of(co_await get(at, "/static/odd/")), 404u);
  });
}

TEST(static_files, a_root_that_is_not_there_is_told_at_the_start) {
  EXPECT_THROW(static_files("/nowhere/at/all"), startup_error);
  EXPECT_THROW(static_files("/etc/passwd"), startup_error);
}

// ---- who has something already ----

TEST(static_files, what_the_client_has_is_not_sent_again) {
  if (test_support::simulating()) GTEST_SKIP() << "a simulated disk sets times of change itself";
  scratch_directory here;
  age(here.put("a.txt", "text"));
  static_options options;
  options.cache_control = "max-age=60";
  with_files(
      here.path(),
      [&](const address& at) -> task<> {
        const std::string first = co_await get(at, "/static/a.txt");
        const std::string tag = field_of(first, "ETag"), modified = field_of(first, "Last-Modified");
        EXPECT_TRUE(tag.starts_with("\"4-")) << tag;
        EXPECT_EQ(modified, "Sun, 09 Sep 2001 01:46:40 GMT");
        EXPECT_EQ(field_of(first, "Cache-Control"), "max-age=60");
        const auto status = [&](std::string fields) -> task<unsigned> {
          const std::string got = co_await get(at, "/static/a.txt", std::move(fields));
          if (status_of(got) == 304) {
            EXPECT_EQ(field_of(got, "ETag"), tag);
            EXPECT_EQ(field_of(got, "Cache-Control"), "max-age=60");
            EXPECT_EQ(body_of(got), "");
          }
          co_return status_of(got);
        };
        EXPECT_EQ(co_await status("If-None-Match: " + tag + "\r\n"), 304u);
        EXPECT_EQ(co_await status("If-None-Match: W/" + tag + "\r\n"), 304u);
        EXPECT_EQ(co_await status("If-None-Match: \"x\"\r\nIf-Modified-Since: " + modified + "\r\n"), 200u);
        EXPECT_EQ(co_await status("If-Modified-Since: " + modified + "\r\n"), 304u);
        EXPECT_EQ(co_await status("If-Modified-Since: Sunday, 09-Sep-01 01:46:40 GMT\r\n"), 304u);
        EXPECT_EQ(co_await status("If-Modified-Since: Sun, 09 Sep 2001 01:46:39 GMT\r\n"), 200u);
        EXPECT_EQ(co_await status("If-Modified-Since: nonsense\r\n"), 200u);
        EXPECT_EQ(co_await status("If-Match: \"x\"\r\n"), 412u);
        EXPECT_EQ(co_await status("If-Unmodified-Since: Sun, 09 Sep 2001 01:46:39 GMT\r\n"), 412u);
        EXPECT_EQ(co_await status("If-Unmodified-Since: " + modified + "\r\n"), 200u);
        // Same size, same second, same inode: the nanoseconds tell.
        here.put("a.txt", "next");
        age(here.file("a.txt"));
        const timespec later{1'000'000'000, 6};
        const std::array times{later, later};
        ::utimensat(AT_FDCWD, here.file("a.txt").c_str(), times.data(), 0);
        EXPECT_EQ(co_await status("If-None-Match: " + tag + "\r\n"), 200u);
      },
      options);
}

TEST(static_files, the_tag_of_what_has_just_changed_is_weak) {
  if (test_support::simulating()) GTEST_SKIP() << "a simulated disk sets times of change itself";
  scratch_directory here;
  here.put("a.txt", "text");
  here.put("future.txt", "text");
  age(here.file("future.txt"), 4'000'000'000);
  with_files(here.path(), [](const address& at) -> task<> {
    const std::string fresh = co_await get(at, "/static/a.txt");
    EXPECT_TRUE(field_of(fresh, "ETag").starts_with("W/"));
    const std::string future = co_await get(at, "/static/future.txt");
    EXPECT_TRUE(field_of(future, "ETag").starts_with("W/"));
    EXPECT_EQ(field_of(future, "Last-Modified"), field_of(future, "Date")) << "not later than now";
  });
}

TEST(static_files, one_range_is_a_part_and_several_are_the_whole) {
  scratch_directory here;
  const std::string small = "0123456789", large = numbered_bytes(500'000);
  age(here.put("small", small));
  age(here.put("large", large));
  here.put("fresh", small);
  here.put("empty", "");
  with_files(here.path(), [&](const address& at) -> task<> {
    const auto part = [&](std::string path, std::string range, std::string more = "") -> task<std::string> {
      co_return co_await get(at, "/static/" + path, "Range: bytes=" + range + "\r\n" + more);
    };
    std::string got = co_await part("small", "2-4");
    EXPECT_EQ(status_of(got), 206u);
    EXPECT_EQ(field_of(got, "Content-Range"), "bytes 2-4/10");
    EXPECT_EQ(body_of(got), "234");
    EXPECT_EQ(body_of(co_await part("small", "-3")), "789");
    EXPECT_EQ(body_of(co_await part("small", "8-100")), "89");
    got = co_await part("large", "100000-299999");
    EXPECT_EQ(status_of(got), 206u);
    EXPECT_TRUE(body_of(got) == std::string_view(large).substr(100'000, 200'000));
    got = co_await part("small", "10-");
    EXPECT_EQ(status_of(got), 416u);
    EXPECT_EQ(field_of(got, "Content-Range"), "bytes */10");
    EXPECT_EQ(status_of(co_await part("empty", "0-")), 200u);
    got = co_await part("small", "0-,0-,0-,0-,0-,0-,0-,0-,0-,0-");
    EXPECT_EQ(status_of(got), 200u) << "many ranges would make many times the bytes";
    EXPECT_EQ(body_of(got), small);

    const std::string whole = co_await get(at, "/static/small");
    EXPECT_EQ(field_of(whole, "Accept-Ranges"), "bytes");
    const std::string tag = field_of(whole, "ETag"), modified = field_of(whole, "Last-Modified");
    EXPECT_EQ(status_of(co_await part("small", "2-4", "If-Range: " + tag + "\r\n")), 206u);
    EXPECT_EQ(status_of(co_await part("small", "2-4", "If-Range: W/" + tag + "\r\n")), 200u);
    EXPECT_EQ(status_of(co_await part("small", "2-4", "If-Range: \"x\"\r\n")), 200u);
    EXPECT_EQ(status_of(co_await part("small", "2-4", "If-Range: " + modified + "\r\n")), 206u);
    EXPECT_EQ(status_of(co_await part("small", "2-4", "If-Range: Mon, 10 Sep 2001 01:46:40 GMT\r\n")), 200u);
    if (test_support::simulating()) co_return;  // there nothing is fresh any more
    const std::string fresh = field_of(co_await get(at, "/static/fresh"), "Last-Modified");
    EXPECT_EQ(status_of(co_await part("fresh", "2-4", "If-Range: " + fresh + "\r\n")), 200u)
        << "the second is not over: it may be another file by now";
  });
}

TEST(static_files, head_has_the_fields_of_get) {
  scratch_directory here;
  age(here.put("small", "0123456789"));
  age(here.put("large", std::string(100'000, 'l')));
  with_files(here.path(), [](const address& at) -> task<> {
    for (const char* path : {"/static/small", "/static/large"}) {
      const std::string got = co_await get(at, path, "", "HEAD"), whole = co_await get(at, path);
      EXPECT_EQ(body_of(got), "");
      for (const char* name : {"Content-Length", "Content-Type", "ETag", "Last-Modified", "Accept-Ranges"}) {
        EXPECT_EQ(field_of(got, name), field_of(whole, name)) << name;
      }
    }
    EXPECT_EQ(status_of(co_await get(at, "/static/small", "", "POST")), 405u);
  });
}

TEST(static_files, precompressed_variants_are_chosen_by_what_the_client_accepts) {
  scratch_directory here;
  age(here.put("a.js", "plain"));
  age(here.put("a.js.br", "brotli!"));
  age(here.put("a.js.gz", "gzip..!!"));
  age(here.put("b.js", "plain"));
  age(here.put("b.js.zst", "zstandard"));
  age(here.put("c.png", "plain"));
  age(here.put("c.png.gz", "gzip"));
  std::filesystem::create_directories(here.file("b.js.br"));
  with_files(here.path(), [](const address& at) -> task<> {
    const auto expect = [&at](std::string path, std::string accepted, std::string coding, std::string body) -> task<> {
      const std::string fields = accepted.empty() ? "" : "Accept-Encoding: " + accepted + "\r\n";
      const std::string got = co_await get(at, "/static/" + path, fields);
      EXPECT_EQ(field_of(got, "Content-Encoding"), coding) << path << " for " << accepted;
      EXPECT_EQ(body_of(got), body) << path << " for " << accepted;
      EXPECT_EQ(field_of(got, "Content-Type").substr(0, 15), "text/javascript");
      EXPECT_EQ(field_of(got, "Vary"), "Accept-Encoding");
    };
    co_await expect("a.js", "", "", "plain");
    co_await expect("a.js", "gzip, br, zstd", "br", "brotli!");
    co_await expect("a.js", "gzip", "gzip", "gzip..!!");
    co_await expect("a.js", "br;q=0.1, gzip;q=0.5", "gzip", "gzip..!!");
    co_await expect("a.js", "zstd", "", "plain");
    co_await expect("a.js", "br;q=0, gzip;q=0", "", "plain");
    co_await expect("b.js", "br, zstd, gzip", "zstd", "zstandard");
    const std::string image = co_await get(at, "/static/c.png", "Accept-Encoding: gzip\r\n");
    EXPECT_EQ(body_of(image), "plain");
    EXPECT_EQ(field_of(image, "Vary"), "");
    // Each coding is another sequence of bytes: another tag, and ranges of its own.
    const std::string plain = co_await get(at, "/static/a.js");
    const std::string small = co_await get(at, "/static/a.js", "Accept-Encoding: br\r\n");
    EXPECT_NE(field_of(plain, "ETag"), field_of(small, "ETag"));
    EXPECT_EQ(status_of(co_await get(at, "/static/a.js",
                                     "Accept-Encoding: br\r\nIf-None-Match: " + field_of(plain, "ETag") + "\r\n")),
              200u);
    const std::string part = co_await get(at, "/static/a.js", "Accept-Encoding: br\r\nRange: bytes=0-2\r\n");
    EXPECT_EQ(body_of(part), "bro");
    EXPECT_EQ(field_of(part, "Content-Encoding"), "br");
  });
  static_options without;
  without.precompressed = false;
  with_files(
      here.path(),
      [](const address& at) -> task<> {
        const std::string got = co_await get(at, "/static/a.js", "Accept-Encoding: br\r\n");
        EXPECT_EQ(body_of(got), "plain");
        EXPECT_EQ(field_of(got, "Vary"), "");
      },
      without);
}

// ---- while it is sent ----

/// Asks for /static/large and takes only the head, so that the rest waits behind small buffers.
task<raw_peer> slow_client(const address& at) {
  raw_peer peer(at, 1);
  co_await peer.send("GET /static/large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  const std::string head = co_await receive_until(peer, "\r\n\r\n");
  EXPECT_EQ(field_of(head, "Content-Length"), "20000000");
  co_return peer;
}

/// Everything that is left, quickly by now.
task<std::string> receive_rest(raw_peer& peer) {
  const int large = 4 << 20;
  ::setsockopt(peer.fd(), SOL_SOCKET, SO_RCVBUF, &large, sizeof large);
  return peer.receive_all();
}

/// The server has taken what it will while its client reads nothing.
task<> until_it_waits() {
  std::size_t seen = 0;
  for (int same = 0; same < 100;) {
    co_await turn();
    const std::size_t now = net::this_bytes().bytes_in_use();
    same = now == seen && now != 0 ? same + 1 : 0;
    seen = now;
  }
}

void resize(const std::string& path, off_t bytes) {
  const net::unique_fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  EXPECT_EQ(::ftruncate(file.get(), bytes), 0);
}

TEST(static_files, a_slow_client_holds_one_piece_and_the_marks_of_its_stream) {
  scratch_directory here;
  const std::string large = numbered_bytes(20'000'000);
  here.put("large", large);
  with_files(here.path(), [&](const address& at) -> task<> {
    raw_peer peer = co_await slow_client(at);
    co_await until_it_waits();
    EXPECT_LE(net::this_bytes().bytes_in_use(), net::http::piece_bytes + 2 * net::endpoint::high_water);
    EXPECT_EQ(net::open_files(), 1u);
    EXPECT_TRUE(co_await receive_rest(peer) == large);
  });
}

TEST(static_files, a_client_that_vanishes_leaves_no_file_and_no_block) {
  scratch_directory here;
  here.put("large", std::string(20'000'000, 'l'));
  with_files(here.path(), [](const address& at) -> task<> {
    raw_peer peer = co_await slow_client(at);
    co_await until_it_waits();
    peer.reset();
    while (net::open_files() != 0) co_await turn();
    while (net::this_endpoints().size() != 0) co_await turn();
    EXPECT_EQ(net::this_bytes().bytes_in_use(), 0u);
  });
}

TEST(static_files, a_file_that_shrinks_while_it_is_sent_ends_the_connection) {
  scratch_directory here;
  const std::string large = numbered_bytes(20'000'000);
  here.put("large", large);
  with_files(here.path(), [&](const address& at) -> task<> {
    raw_peer peer = co_await slow_client(at);
    co_await until_it_waits();
    resize(here.file("large"), 10'000'000);
    const std::string got = co_await receive_rest(peer);
    EXPECT_EQ(got.size(), 10'000'000u) << "nothing stands in for what is missing";
    EXPECT_TRUE(got == std::string_view(large).substr(0, got.size()));
  });
}

TEST(static_files, a_file_that_grows_or_is_replaced_while_it_is_sent_is_the_one_that_was_asked_for) {
  if (test_support::simulating()) GTEST_SKIP() << "the file that replaces it is put onto the real disk";
  scratch_directory here;
  const std::string large = numbered_bytes(20'000'000);
  here.put("large", large);
  with_files(here.path(), [&](const address& at) -> task<> {
    raw_peer peer = co_await slow_client(at);
    co_await until_it_waits();
    resize(here.file("large"), 30'000'000);
    std::filesystem::rename(here.put("other", "another"), here.file("large"));
    EXPECT_TRUE(co_await receive_rest(peer) == large);
  });
}

}  // namespace
}  // namespace skerry::http_tests
