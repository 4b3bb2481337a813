// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/this_shard.hpp>
#include <skerry/toolkit/pool/executor.hpp>

#include <string>

namespace skerry::detail {

job_slots::job_slots(std::string_view name, std::shared_ptr<executor> does, std::uint64_t jobs_max)
    : home_(foreign_inbox::here().stack()), does_(std::move(does)), jobs_max_(jobs_max), slots_(jobs_max) {
  SKERRY_ASSERT(jobs_max > 0, "a shard may give at least one job to an executor");
  observe::registry* metrics = this_shard().metrics;
  if (metrics == nullptr) return;
  auto info = [name](const char* what, const char* help, observe::unit unit = observe::unit::none) {
    return observe::metric_info{.name = std::string("skerry_").append(name) + what, .help = help, .unit = unit};
  };
  published_.push_back(metrics->add_gauge([this] { return static_cast<std::int64_t>(jobs()); },
                                          info("_jobs", "Jobs of this shard that wait or are under way.")));
  published_.push_back(metrics->add_gauge([this] { return static_cast<std::int64_t>(does_->waiting()); },
                                          info("_queued", "Jobs that wait for a thread.")));
  published_.push_back(metrics->add_gauge([this] { return static_cast<std::int64_t>(does_->threads()); },
                                          info("_threads", "Threads that do the jobs.")));
  published_.push_back(metrics->add(withdrawn_total_, info("_withdrawn_total", "Jobs cancelled before they began.")));
  published_.push_back(
      metrics->add(wait_, info("_wait_seconds", "From the call to its begin.", observe::unit::nanoseconds)));
  published_.push_back(
      metrics->add(run_, info("_run_seconds", "From its begin to its end.", observe::unit::nanoseconds)));
}

}  // namespace skerry::detail
