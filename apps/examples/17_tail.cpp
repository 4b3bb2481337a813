// SPDX-License-Identifier: Apache-2.0
// tail -f over a Unix socket: every client, on whichever shard, gets what is added to a file from now on.
// Run it with: build/release/apps/17_tail --file /tmp/log --at unix:/tmp/tail    and: nc -U /tmp/tail
#include <skerry/framework/io/readiness.hpp>
#include <skerry/framework/task/combine.hpp>
#include <skerry/net/file/file.hpp>
#include <skerry/net/listener.hpp>
#include <skerry/shards/app.hpp>

#include <sys/inotify.h>
#include <unistd.h>
using namespace skerry;

struct followed {  // a resource: each shard has its own
  std::string path;
  net::unique_fd changes{::inotify_init1(IN_NONBLOCK | IN_CLOEXEC)};
  std::uint64_t seen = 0;
  event grown{};
  task<> past(std::uint64_t number) {  // looks first: it may have grown since the read that found nothing
    for (; seen == number; grown.reset()) co_await grown.wait();
  }
};

constexpr auto follow = [](const std::string& path) {
  followed& here = resources().emplace<followed>(path);
  if (::inotify_add_watch(here.changes.get(), path.c_str(), IN_MODIFY) < 0) throw startup_error("no file " + path);
  spawn([&here]() -> task<> {
    for (char events[4096];; co_await readable(here.changes.get())) {
      while (::read(here.changes.get(), events, sizeof events) > 0) ++here.seen;
      here.grown.set();  // wakes all who wait
    }
  });
};

task<> serve_client(net::stream client) {
  followed& here = resource<followed>();
  net::file from = co_await net::open_file(here.path);
  std::uint64_t at = co_await from.size();
  for (bool gone = false; !gone;) {
    const std::uint64_t seen = here.seen;
    const buffer news = co_await from.read(at);
    at += news.size();
    co_await client.write(news);  // waits for a slow reader, who holds up nobody else
    if (news.empty()) co_await select(on(here.past(seen), [] {}), on(client.read(), [&](auto b) { gone = b.empty(); }));
  }
}

int main(int argc, char** argv) {
  skerry::app app("17_tail", "passes on what is added to a file");
  std::string file = "/tmp/log", at = "unix:@tail";
  app.options().add_option("file", file, "the file");
  app.options().add_option("at", at, "the socket, as unix:PATH or unix:@NAME");
  return app.run(argc, argv, [&]() -> task<> {
    for (shard_id s = 0; s < shard_count(); ++s) co_await submit_to(s, follow, file);
    const auto socket = net::address::parse(at);
    if (!socket || !socket->is_unix()) throw startup_error("--at takes unix:PATH or unix:@NAME");
    co_await net::listen_on_all_shards(*socket, [](net::stream client) { return serve_client(std::move(client)); });
  });
}
