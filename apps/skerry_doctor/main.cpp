// SPDX-License-Identifier: Apache-2.0
// What this machine has, what Skerry would do with it and why, and what to change: build/release/apps/skerry_doctor
//
// It takes the options of every program, so `skerry_doctor --shards 8 --cpuset 0-3` tells what they lead to; --json is
// for programs. Exit status: 0 if a program would start here, 1 if not.
#include <skerry/framework/startup_error.hpp>
#include <skerry/shards/command_line.hpp>

#include <cstdio>
#include <exception>
#include <variant>

#include <skerry_doctor/examine.hpp>

int main(int argc, char** argv) {
  bool json = false;
  skerry::command_line line("skerry_doctor", "tells what this machine has and what Skerry would do with it", "0.1.0");
  line.add_option("json", json, "print JSON");
  skerry::command_line::outcome parsed = line.parse(argc, argv);
  if (auto* stop = std::get_if<skerry::exit_request>(&parsed)) {
    std::fputs(stop->text.c_str(), stop->status == 0 ? stdout : stderr);
    return stop->status;
  }
  try {
    const skerry_doctor::report found = skerry_doctor::examine(std::get<skerry::app_options>(parsed));
    std::fputs((json ? as_json(found) : as_text(found)).c_str(), stdout);
    return found.starts_here() ? 0 : 1;
  } catch (const std::exception& failed) {
    std::fprintf(stderr, "skerry_doctor: %s\n", failed.what());
    return 1;
  }
}
