// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/observe/log.hpp>
#include <skerry/shards/app.hpp>
#include <skerry/shards/command_line.hpp>
#include <skerry/shards/host.hpp>
#include <skerry/shards/signals.hpp>
#include <skerry/shards/topology.hpp>

#include <cstdio>

namespace skerry {

app::app(std::string program, std::string description, std::string version, std::optional<std::uint16_t> default_port)
    : program_(program),
      line_(std::make_unique<command_line>(std::move(program), std::move(description), std::move(version),
                                           default_port)) {}

app::~app() = default;

int app::run(int argc, const char* const* argv, const std::function<task<>()>& main) {
  try {
    command_line::outcome parsed = line_->parse(argc, argv, defaults_);
    if (auto* stop = std::get_if<exit_request>(&parsed)) {
      std::fputs(stop->text.c_str(), stop->status == 0 ? stdout : stderr);
      return stop->status;
    }
    const auto& options = std::get<app_options>(parsed);
    placement_request wanted = to_placement_request(options);
    placement where = decide(discover(wanted), wanted);
    host running(options, where);
    stop_signals guard(running);
    running.run(
        [&]() -> task<> {
          log::info("{}", this_shard().host->where().explain());
          return main();
        },
        auto_shutdown_);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", program_.c_str(), error.what());
    return 1;
  }
}

void app::shutdown() noexcept { this_shard().host->request_stop(); }

const app_options& app::running_options() noexcept { return this_shard().host->options(); }

}  // namespace skerry
