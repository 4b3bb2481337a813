// SPDX-License-Identifier: Apache-2.0
/// skerry_doctor: on described machines, and as a program under limits that are made for real.
#include <skerry/shards/topology.hpp>

#include <algorithm>
#include <cerrno>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <skerry_doctor/examine.hpp>
#include <skerry_doctor/report.hpp>
#include <support/child_faults.hpp>
#include <support/fake_root.hpp>
#include <support/server_process.hpp>

namespace skerry_doctor {
namespace {

using skerry::app_options;
using skerry::cpu_list;
using skerry::discovery_source;
using skerry::test::finished_program;
using skerry::test::launch;
using skerry::test::run_program;
using skerry::test_support::fake_root;

/// Two packages of `cores` cores with two hardware threads each, all allowed.
discovery_source two_packages(const fake_root& root, unsigned cores) {
  discovery_source source = root.source();
  source.layout = "pack:2 [numa] core:" + std::to_string(cores) + " pu:2";
  source.allowed = cpu_list(4 * cores);
  std::iota(source.allowed->begin(), source.allowed->end(), 0u);
  source.online = 4 * cores;
  return source;
}

app_options two_shards() {
  app_options options;
  options.shards = 2;
  return options;
}

bool advises(const report& found, std::string_view words) {
  for (const report::advice& each : found.advices) {
    if (each.what.find(words) != each.what.npos) return true;
  }
  return false;
}

TEST(doctor, counts_cores_packages_and_nodes_and_names_the_cpus_of_each_node) {
  fake_root root;
  const report found = examine(two_shards(), two_packages(root, 64));
  const json& machine = found.sections["machine"];
  EXPECT_EQ(machine["CPUs online"], 256);
  EXPECT_EQ(machine["cores allowed"], 128);
  EXPECT_EQ(machine["packages allowed"], 2);
  EXPECT_EQ(machine["NUMA nodes"], 2);
  EXPECT_EQ(machine["CPUs of node 1"], "128-255");
  const json& choice = found.sections["choice"];
  EXPECT_EQ(choice["shards"], 2);
  EXPECT_EQ(choice["pinned"], true);
  EXPECT_EQ(choice["CPUs of shards"], json({"0", "2"}));
  EXPECT_TRUE(found.starts_here());
}

TEST(doctor, tells_what_a_quota_leads_to) {
  fake_root root;
  root.write("/proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  root.write("/proc/self/cgroup", "0::/\n");
  root.write("/sys/fs/cgroup/cpu.max", "50000 100000\n");
  root.write("/sys/fs/cgroup/memory.max", "1073741824\n");
  const report found = examine({}, two_packages(root, 4));
  EXPECT_EQ(found.sections["limits"]["CPU quota"], 0.5);
  EXPECT_EQ(found.sections["limits"]["memory"], "1024 MiB");
  EXPECT_EQ(found.sections["choice"]["shards"], 1);
  EXPECT_EQ(found.sections["choice"]["pinned"], false);
  EXPECT_TRUE(advises(found, "the quota is 0.5 CPUs"));
}

TEST(doctor, names_processes_that_are_pinned_to_the_cpus_of_its_shards) {
  fake_root root;
  auto process = [&root](const std::string& pid, const std::string& name, const std::string& cpus) {
    root.write("/proc/" + pid + "/cmdline", name);
    root.write("/proc/" + pid + "/comm", name + "\n");
    root.write("/proc/" + pid + "/task/" + pid + "/status", "Name:\t" + name + "\nCpus_allowed_list:\t" + cpus + "\n");
  };
  process("4001", "database", "0-1");
  process("4002", "elsewhere", "7");
  process("4003", "anywhere", "0-15");
  const report found = examine(two_shards(), two_packages(root, 4));
  const json& shared = found.sections["pinned to the same CPUs"];
  EXPECT_EQ(shared["processes"], 1);
  EXPECT_EQ(shared["pid 4001"], "database on CPU 0");
  EXPECT_TRUE(advises(found, "1 other process is pinned"));
}

TEST(doctor, lists_what_slows_entries_into_the_kernel_and_nothing_else) {
  fake_root root;
  root.write("/sys/devices/system/cpu/vulnerabilities/meltdown", "Mitigation: PTI\n");
  root.write("/sys/devices/system/cpu/vulnerabilities/mds", "Not affected\n");
  root.write("/sys/devices/system/cpu/vulnerabilities/l1tf", "Mitigation: PTE Inversion\n");
  root.write("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n");
  const report found = examine(two_shards(), two_packages(root, 2));
  EXPECT_EQ(found.sections["machine"]["mitigations"], json({"meltdown: PTI"}));
  EXPECT_TRUE(advises(found, "governor is powersave"));
}

TEST(doctor, calls_options_that_this_machine_cannot_satisfy_a_problem_with_its_fix) {
  fake_root root;
  app_options options;
  options.shards = 100;
  const report found = examine(options, two_packages(root, 4));
  EXPECT_FALSE(found.starts_here());
  ASSERT_EQ(found.advices.size(), 1u);
  EXPECT_NE(found.advices[0].fix.find("--overprovision"), std::string::npos) << found.advices[0].fix;
}

TEST(doctor, writes_json_although_a_process_has_a_name_that_is_no_utf8) {
  report found;
  found.sections["s"]["name"] = "\xff";
  EXPECT_NO_THROW(EXPECT_EQ(json::parse(as_json(found))["starts_here"], true));
}

TEST(doctor, as_a_program_says_that_this_machine_will_do) {
  const finished_program text = run_program(SKERRY_DOCTOR, {"--shards", "1"});
  EXPECT_EQ(text.status, 0) << text.output;
  EXPECT_NE(text.output.find("Skerry starts here."), std::string::npos) << text.output;
  const finished_program machine_readable = run_program(SKERRY_DOCTOR, {"--shards", "1", "--json"});
  const json said = json::parse(machine_readable.output);
  EXPECT_EQ(said["choice"]["shards"], 1);
  if (said["io_uring"]["usable"] == true) {
    const json& features = said["io_uring features"];
    EXPECT_TRUE(features["multishot receive"].get<std::string>().starts_with("used: one submission")) << features;
    EXPECT_TRUE(features["direct descriptors"].get<std::string>().starts_with("not used: ")) << features;
    EXPECT_TRUE(features["kernel thread submits"].get<std::string>().starts_with("opt-in, off: ")) << features;
  }
}

TEST(doctor, as_a_program_calls_what_only_io_uring_has_beside_epoll_a_problem) {
  const std::vector<std::string> arguments{"--shards", "1", "--json", "--sqpoll-idle-ms", "1"};
  const json said = json::parse(run_program(SKERRY_DOCTOR, arguments).output);
  if (said["io_uring"]["usable"] != true) GTEST_SKIP() << "io_uring is not usable here";
  EXPECT_TRUE(said["io_uring features"]["kernel thread submits"].get<std::string>().starts_with("opt-in, on: "))
      << said;
  EXPECT_EQ(said["starts_here"], true);
  std::vector<std::string> beside_epoll = arguments;
  beside_epoll.insert(beside_epoll.end(), {"--backend", "epoll"});
  const finished_program refused = run_program(SKERRY_DOCTOR, beside_epoll);
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.output.find("--sqpoll-idle-ms is for io_uring"), std::string::npos) << refused.output;
}

TEST(doctor, as_a_program_names_the_backend_and_why_it_is_not_io_uring) {
  if (!skerry::test::seccomp_works()) GTEST_SKIP() << "this system has no seccomp filters";
  launch how;
  how.before_exec = [] { skerry::test::forbid(SYS_io_uring_setup, EPERM); };
  for (const auto& [backend, weight] : {std::pair{"auto", "hint"}, {"io_uring", "problem"}}) {
    const bool problem = weight == std::string_view("problem");
    const std::vector<std::string> arguments{"--shards", "1", "--json", "--backend", backend};
    const finished_program run = run_program(SKERRY_DOCTOR, arguments, how);
    EXPECT_EQ(run.status, problem ? 1 : 0);
    const json said = json::parse(run.output);
    EXPECT_EQ(said["io_uring"]["usable"], false);
    EXPECT_EQ(said["choice"]["backend"], "epoll");
    EXPECT_EQ(said["starts_here"], !problem);
    const auto about_rings = [](const json& advice) {
      return advice["what"].get<std::string>().starts_with("io_uring is not usable here");
    };
    const auto found = std::ranges::find_if(said["advice"], about_rings);
    ASSERT_NE(found, said["advice"].end()) << run.output;
    EXPECT_EQ((*found)["weight"], weight);
    EXPECT_NE((*found)["fix"].get<std::string>().find("seccomp"), std::string::npos) << run.output;
  }
  const finished_program asked = run_program(SKERRY_DOCTOR, {"--shards", "1", "--json", "--backend", "epoll"});
  EXPECT_EQ(json::parse(asked.output)["choice"]["backend"], "epoll") << asked.output;
}

TEST(doctor, as_a_program_finds_too_few_descriptors) {
  launch how;
  how.before_exec = [] { skerry::test::limit(RLIMIT_NOFILE, 256); };
  const finished_program run = run_program(SKERRY_DOCTOR, {"--shards", "1"}, how);
  EXPECT_EQ(run.status, 0) << run.output;
  EXPECT_NE(run.output.find("256 descriptors"), std::string::npos) << run.output;
  EXPECT_NE(run.output.find("ulimit -n"), std::string::npos) << run.output;
}

}  // namespace
}  // namespace skerry_doctor
