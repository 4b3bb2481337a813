// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/signals.hpp>
#include <skerry/shards/topology.hpp>

#include <cstdio>
#include <cstdlib>

#include <fcntl.h>
#include <unistd.h>

namespace skerry {

namespace {

/// A process started without them would give their numbers to its sockets, and a log line could go to a client.
void occupy_standard_descriptors() {
  int fd = 0;
  while (fd >= 0 && fd <= 2) fd = ::open("/dev/null", O_RDWR);
  if (fd > 2) ::close(fd);
}

}  // namespace

int app::run(int argc, const char* const* argv, const std::function<task<>()>& main) {
  occupy_standard_descriptors();
  std::optional<host> running;
  stop_signals guard;
  std::string failure;
  try {
    command_line::outcome parsed = line_.parse(argc, argv, defaults_);
    if (auto* stop = std::get_if<exit_request>(&parsed)) {
      std::fputs(stop->text.c_str(), stop->status == 0 ? stdout : stderr);
      return stop->status;
    }
    const auto& options = std::get<app_options>(parsed);
    running.emplace(options, decide(discover(options), options));
    running->log().serve_other_threads();
    const std::string choice = running->where().explain() + "; " + running->backend_reason();
    running->io_uring_refused() ? log::warning("{}", choice) : log::info("{}", choice);
    guard.serve(*running);
    running->run(main, auto_shutdown_);
  } catch (const std::exception& error) {
    failure = error.what();
  } catch (...) {
    failure = "main ended with an exception that is no std::exception";
  }
  // Nobody reads our standard error: the lines are lost, and the process ends all the same.
  if (running && !running->log().flush(std::chrono::seconds(1))) std::exit(failure.empty() ? 0 : 1);
  if (failure.empty()) return 0;
  std::fprintf(stderr, "%s: %s\n", program_.c_str(), failure.c_str());
  return 1;
}

void app::shutdown() noexcept { this_shard().host->request_stop(); }

const app_options& app::running_options() noexcept { return this_shard().host->options(); }

}  // namespace skerry
