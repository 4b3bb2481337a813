// SPDX-License-Identifier: Apache-2.0
// Something unreliable, tried again: each attempt has a time limit, and the pauses between them grow.
// Run it with: build/release/apps/15_retry
#include <skerry/shards/app.hpp>
#include <skerry/timers/sleep.hpp>
#include <skerry/timers/with_timeout.hpp>
#include <skerry/toolkit/retry.hpp>

#include <chrono>
#include <string>
#include <system_error>

#include <fmt/core.h>

namespace {

using namespace skerry;
using namespace std::chrono_literals;

/// The first time it takes for ever, the second time it fails, then it works.
task<std::string> ask(int attempt) {
  if (attempt == 1) co_await sleep_for(1h);
  if (attempt == 2) throw std::system_error(std::make_error_code(std::errc::connection_refused));
  co_return "42";
}

task<> run() {
  int attempts = 0;
  auto ask_in_time = [&attempts]() -> task<std::string> {
    fmt::print("attempt {}\n", ++attempts);
    co_return co_await with_timeout(10ms, ask(attempts));
  };

  retry_policy patient;
  patient.attempts_max = 5;
  patient.first_delay = 2ms;  // then 4, 8, …, each shortened by a random part
  std::string answer = co_await retry(patient, ask_in_time);
  fmt::print("answer {}\n", answer);

  retry_policy impatient;
  impatient.attempts_max = 1;
  attempts = 0;
  try {
    co_await retry(impatient, ask_in_time);
  } catch (const timeout_error& late) {
    fmt::print("given up: {}\n", late.code().message());
  }
}

}  // namespace

int main(int argc, char** argv) { return skerry::app("15_retry").run(argc, argv, run); }
