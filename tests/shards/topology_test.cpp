// SPDX-License-Identifier: Apache-2.0
#include <skerry/framework/startup_error.hpp>
#include <skerry/shards/topology.hpp>

#include <string>
#include <thread>

#include <gtest/gtest.h>
#include <linux/mempolicy.h>
#include <sched.h>
#include <support/fake_root.hpp>
#include <sys/syscall.h>
#include <unistd.h>

namespace skerry {
namespace {

using test_support::fake_root;

constexpr const char* version2_mount =
    "22 1 0:20 / /proc rw - proc proc rw\n"
    "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
constexpr const char* version1_mounts =
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n";

discovery_source described(const std::string& layout, cpu_list allowed, const fake_root& root) {
  discovery_source source = root.source();
  source.layout = layout;
  source.online = 256;
  source.allowed = std::move(allowed);
  return source;
}

TEST(cgroup, version2_without_limits_has_none) {
  fake_root root;
  root.write("/proc/self/mountinfo", version2_mount);
  root.write("/proc/self/cgroup", "0::/\n");
  root.write("/sys/fs/cgroup/cpu.max", "max 100000\n");
  root.write("/sys/fs/cgroup/memory.max", "max\n");
  EXPECT_FALSE(root.quota().has_value());
  EXPECT_EQ(root.memory(), ~std::uint64_t{0});
}

TEST(cgroup, version2_quota_and_memory_are_read) {
  fake_root root;
  root.write("/proc/self/mountinfo", version2_mount);
  root.write("/proc/self/cgroup", "0::/app\n");
  root.write("/sys/fs/cgroup/app/cpu.max", "50000 100000\n");
  root.write("/sys/fs/cgroup/app/memory.max", "1073741824\n");
  EXPECT_EQ(root.quota(), 0.5);
  EXPECT_EQ(root.memory(), 1073741824u);
}

TEST(cgroup, the_tightest_limit_on_the_way_up_holds) {
  fake_root root;
  root.write("/proc/self/mountinfo", version2_mount);
  root.write("/proc/self/cgroup", "0::/slice/pod/app\n");
  root.write("/sys/fs/cgroup/slice/pod/app/cpu.max", "800000 100000\n");
  root.write("/sys/fs/cgroup/slice/pod/app/memory.max", "1000\n");
  root.write("/sys/fs/cgroup/slice/cpu.max", "250000 100000\n");
  root.write("/sys/fs/cgroup/slice/memory.max", "4000\n");
  root.write("/sys/fs/cgroup/cpu.max", "900000 100000\n");
  EXPECT_EQ(root.quota(), 2.5);
  EXPECT_EQ(root.memory(), 1000u);
}

TEST(cgroup, version1_trees_are_read_each_by_its_own_path) {
  fake_root root;
  root.write("/proc/self/mountinfo", version1_mounts);
  root.write("/proc/self/cgroup", "4:memory:/m/app\n2:cpuacct,cpu:/c\n1:name=systemd:/x\n");
  root.write("/sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us", "150000\n");
  root.write("/sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_period_us", "100000\n");
  root.write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
  root.write("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
  root.write("/sys/fs/cgroup/memory/m/app/memory.limit_in_bytes", "9223372036854771712\n");
  root.write("/sys/fs/cgroup/memory/m/memory.limit_in_bytes", "536870912\n");
  EXPECT_EQ(root.quota(), 1.5);
  EXPECT_EQ(root.memory(), 536870912u);
}

TEST(cgroup, a_mount_that_shows_only_our_group_is_matched_by_its_root) {
  fake_root root;
  root.write("/proc/self/mountinfo",
             "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
             "33 31 0:29 /docker/ab /elsewhere rw - cgroup cgroup rw,cpu\n");
  root.write("/proc/self/cgroup", "2:cpu:/docker/abc/inner\n");
  root.write("/sys/fs/cgroup/cpu/inner/cpu.cfs_quota_us", "300000\n");
  root.write("/sys/fs/cgroup/cpu/inner/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(root.quota(), 3.0);
}

TEST(cgroup, a_mount_of_a_sibling_with_a_similar_name_is_not_ours) {
  fake_root root;
  root.write("/proc/self/mountinfo",
             "32 31 0:29 / /all rw - cgroup cgroup rw,cpu\n"
             "33 31 0:29 /docker/abc /sibling rw - cgroup cgroup rw,cpu\n");
  root.write("/proc/self/cgroup", "2:cpu:/docker/abcd\n");
  root.write("/all/docker/abcd/cpu.cfs_quota_us", "300000\n");
  root.write("/all/docker/abcd/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(root.quota(), 3.0);
}

TEST(cgroup, a_path_of_another_namespace_leaves_the_limits_of_the_mount) {
  for (const char* path : {"0::/../other\n", "0::/docker/abc\n"}) {
    fake_root root;
    root.write("/proc/self/mountinfo", version2_mount);
    root.write("/proc/self/cgroup", path);
    root.write("/sys/fs/cgroup/cpu.max", "200000 100000\n");
    EXPECT_EQ(root.quota(), 2.0) << path;
  }
}

TEST(cgroup, a_mount_point_with_blanks_is_found) {
  fake_root root;
  root.write("/proc/self/mountinfo", "31 23 0:28 / /sys/c\\040g rw - cgroup2 cgroup2 rw\n");
  root.write("/proc/self/cgroup", "0::/\n");
  root.write("/sys/c g/cpu.max", "200000 100000\n");
  EXPECT_EQ(root.quota(), 2.0);
}

TEST(cgroup, missing_and_malformed_files_are_no_limit) {
  fake_root root;
  EXPECT_FALSE(root.quota().has_value());
  root.write("/proc/self/mountinfo", std::string("x\n - \n1 2 3 - cgroup2\n") + version2_mount);
  root.write("/proc/self/cgroup", "nonsense\n:\n0:\n0::\n0::/\n");
  for (const char* text : {"", "0 0\n", "-5 100000\n", "100000\n", "a b\n", "1 2 3\n", "nan 1\n"}) {
    root.write("/sys/fs/cgroup/cpu.max", text);
    EXPECT_FALSE(root.quota().has_value()) << text;
  }
}

TEST(memory_limit, is_the_groups_or_all_there_is) {
  fake_root root;
  discovery_source source = root.source();
  root.write("/proc/meminfo", "MemTotal:       1024 kB\nMemFree: 1 kB\n");
  EXPECT_EQ(memory_limit_bytes(source), 1048576u);
  root.write("/proc/self/mountinfo", version2_mount);
  root.write("/proc/self/cgroup", "0::/\n");
  root.write("/sys/fs/cgroup/memory.max", "65536\n");
  EXPECT_EQ(memory_limit_bytes(source), 65536u);
  root.write("/sys/fs/cgroup/memory.max", "9999999999\n");
  EXPECT_EQ(memory_limit_bytes(source), 1048576u);
}

TEST(memory_limit, of_this_machine_is_plausible) {
  EXPECT_GT(memory_limit_bytes(), 16u << 20);
  EXPECT_LT(memory_limit_bytes(), std::uint64_t{1} << 50);
}

TEST(discover, reads_two_packages_of_64_cores_with_two_threads) {
  fake_root root;
  cpu_list all = parse_cpu_list("0-255");
  // hwloc numbers threads of one core 2n and 2n + 1 in its own descriptions.
  machine found = discover({}, described("pack:2 [numa] core:64 pu:2", all, root));
  ASSERT_EQ(found.cpus.size(), 256u);
  EXPECT_TRUE(found.layout_known);
  EXPECT_EQ(found.nodes, 2u);
  EXPECT_EQ(found.cpus[0].core, found.cpus[1].core);
  EXPECT_NE(found.cpus[1].core, found.cpus[2].core);
  EXPECT_EQ(found.cpus[127].package, 0u);
  EXPECT_EQ(found.cpus[128].package, 1u);
  EXPECT_EQ(found.cpus[255].node, 1u);
  placement chosen = decide(found, {});
  ASSERT_EQ(chosen.shards.size(), 128u);
  EXPECT_EQ(chosen.shards[1].cpus, cpu_list{2});
  EXPECT_EQ(chosen.shards[64].node, 1u);
}

TEST(discover, a_single_core_is_one_shard_and_with_smt_one_per_thread) {
  fake_root root;
  for (const bool smt : {false, true}) {
    app_options options;
    options.smt = smt;
    discovery_source source = described("core:1 pu:2", {0, 1}, root);
    source.online = 2;
    const placement chosen = decide(discover(options, source), options);
    ASSERT_EQ(chosen.shards.size(), smt ? 2u : 1u);
    EXPECT_EQ(chosen.shards[0].cpus, cpu_list{0});
    EXPECT_TRUE(chosen.pinned);
  }
  discovery_source alone = described("pack:1 core:1 pu:1", {0}, root);
  alone.online = 1;
  EXPECT_EQ(decide(discover({}, alone), {}).shards.size(), 1u);
  app_options two;
  two.shards = 2;
  EXPECT_THROW(decide(discover(two, alone), two), startup_error);
  two.overprovision = true;
  const placement shared = decide(discover(two, alone), two);
  EXPECT_EQ(shared.shards.size(), 2u);
  EXPECT_FALSE(shared.pinned);
}

TEST(discover, keeps_only_allowed_cpus) {
  fake_root root;
  machine found = discover({}, described("pack:2 core:4 pu:2", {1, 4, 5, 9}, root));
  placement chosen = decide(found, {});
  EXPECT_EQ(found.nodes, 1u);
  ASSERT_EQ(chosen.shards.size(), 3u);
  EXPECT_EQ(chosen.shards[0].cpus, cpu_list{1});
  EXPECT_EQ(chosen.shards[1].cpus, cpu_list{4});
  EXPECT_EQ(chosen.shards[2].cpus, cpu_list{9});
}

TEST(discover, takes_a_cpu_that_the_layout_lacks_for_a_core_of_its_own) {
  fake_root root;
  machine found = discover({}, described("core:2 pu:2", {0, 1, 40, 41}, root));
  EXPECT_EQ(decide(found, {}).shards.size(), 3u);
}

TEST(discover, reads_the_quota) {
  fake_root root;
  root.write("/proc/self/mountinfo", version2_mount);
  root.write("/proc/self/cgroup", "0::/\n");
  root.write("/sys/fs/cgroup/cpu.max", "250000 100000\n");
  discovery_source source = described("core:8 pu:1", parse_cpu_list("0-7"), root);
  source.online = 8;
  placement chosen = decide(discover({}, source), {});
  EXPECT_EQ(chosen.shards.size(), 2u);
  EXPECT_FALSE(chosen.pinned);
}

TEST(discover, leaves_the_layout_out_where_nothing_depends_on_it) {
  app_options request;
  request.shards = 1;
  EXPECT_FALSE(discover(request).layout_known);
}

TEST(discover, survives_a_layout_that_cannot_be_read) {
  fake_root root;
  machine found = discover({}, described("no such machine", {0, 1}, root));
  EXPECT_FALSE(found.layout_known);
  EXPECT_EQ(decide(found, {}).shards.size(), 2u);
}

TEST(discover, leaves_the_environment_as_it_was) {
  fake_root root;
  discover({}, described("core:2 pu:1", {0, 1}, root));
  EXPECT_EQ(std::getenv("HWLOC_PLUGINS_PATH"), nullptr);
  EXPECT_EQ(std::getenv("HWLOC_COMPONENTS"), nullptr);
}

TEST(this_machine, can_be_decided_and_threads_be_placed) {
  app_options request;
  request.pin = pin_mode::on;
  machine here = discover(request);
  placement chosen = decide(here, request);
  std::printf("%s\n", chosen.explain().c_str());
  for (const place& where : chosen.shards) {
    std::thread([&] {
      place_this_thread(where);
      EXPECT_EQ(static_cast<unsigned>(sched_getcpu()), where.cpus.at(0));
    }).join();
  }
}

TEST(this_machine, keeps_a_thread_inside_a_set) {
  machine here = discover({});
  unsigned last = here.cpus.back().id;
  std::thread([&] {
    place_this_thread({{last}, {}});
    EXPECT_EQ(static_cast<unsigned>(sched_getcpu()), last);
  }).join();
}

TEST(this_machine, refuses_to_pin_to_a_cpu_that_is_not_there) {
  std::thread([] {
    try {
      place_this_thread({{cpu_id_max}, {}});
      ADD_FAILURE() << "pinned";
    } catch (const startup_error& error) {
      EXPECT_NE(std::string(error.what()).find("CPU 8191 is not available"), std::string::npos) << error.what();
    }
  }).join();
}

TEST(this_machine, prefers_memory_of_a_node_where_it_may) {
  std::thread([] {
    place_this_thread({{}, 0});
    int mode = MPOL_DEFAULT;
    bool may = syscall(SYS_get_mempolicy, &mode, nullptr, 0, nullptr, 0) == 0;
    EXPECT_TRUE(!may || mode == MPOL_PREFERRED) << mode;
    // No node of this machine, and one that no machine has: neither is an error.
    place_this_thread({{}, 1023});
    place_this_thread({{}, 1u << 20});
  }).join();
}

}  // namespace
}  // namespace skerry
