// SPDX-License-Identifier: Apache-2.0
#include <skerry/backends/detail/ring_trial.hpp>
#include <skerry/backends/features.hpp>

#include <cstdint>
#include <exception>

#include <fmt/core.h>
#include <sys/utsname.h>

namespace skerry {

namespace {

using namespace detail::io_uring_names;

/// Figures are CPU time per message of a server, beside the same one without (perf/limits/echo_uring_depth.cpp), unless
/// they say otherwise.
void examine_set_up(std::vector<io_uring_feature>& into, const io_uring_extras& asked) {
  const auto flag = [](std::uint32_t flags) { return detail::sets_up(flags); };
  const bool issuer = flag(IORING_SETUP_SINGLE_ISSUER);
  const bool deferred = flag(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
  const bool cooperative = flag(IORING_SETUP_COOP_TASKRUN);
  into.push_back({"single issuer", issuer, deferred, "a ring belongs to its shard, so the kernel locks nothing"});
  into.push_back({"deferred task work", deferred, deferred,
                  "completions run in our entries only, never in the middle of a task; 0.98 to 1.05 x without"});
  into.push_back({"cooperative task work", cooperative, cooperative && !deferred,
                  "stands in where task work cannot be deferred; beside that it changes nothing"});
  const bool word = flag(IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
  into.push_back({"task work flag", word, word, "a word in memory says that completions wait: no entry to find out"});
  const bool all = flag(IORING_SETUP_SUBMIT_ALL);
  into.push_back({"submit all", all, all, "one refused submission does not hold up the rest of its batch"});
  const bool sized = flag(IORING_SETUP_CQSIZE);
  into.push_back({"sized completion ring", sized, sized, "4 to 16 completions per submission: overflow is slow"});
  const bool polls = flag(IORING_SETUP_SQPOLL);
  into.push_back({"kernel thread submits", polls, polls && asked.sqpoll_idle.count() != 0,
                  "--sqpoll-idle-ms N: SQPOLL burns a second CPU per shard and rules out deferred task work: 2.7 x",
                  true});
}

void examine_registrations(std::vector<io_uring_feature>& into, detail::bare_ring& bare, const io_uring_extras& asked) {
  const bool own = bare.registers_own_descriptor();
  into.push_back({"registered ring", own, own, "spares looking the ring's descriptor up at each entry"});
  const bool lent = bare.registers_buffer_ring(0);
  into.push_back(
      {"ring of buffers", lent, lent, "the kernel picks a buffer when bytes have come: idle connections hold none"});
  into.push_back({"incremental buffers", bare.registers_buffer_ring(buffer_ring_incremental), false,
                  "0.81 x in messages of 64 KiB, as bundles; but one unread byte would hold 64 KiB instead of 8"});
  const bool memory = bare.registers_empty(IORING_REGISTER_BUFFERS2);
  into.push_back({"registered memory", memory, memory,
                  "transfers of O_DIRECT files: 4 KiB take 10 to 20 % less CPU time, 64 KiB a third"});
  into.push_back({"direct descriptors", bare.registers_empty(IORING_REGISTER_FILES2), false,
                  "0.97 to 1.01 x, and nothing but the ring could use such a descriptor"});
  const bool napi = bare.registers_napi();
  into.push_back(
      {"NAPI busy polling", napi, napi && asked.napi_busy_poll.count() != 0,
       "--napi-busy-poll-us N: a wait burns CPU to save an interrupt; veth 1.3 x, loopback, which has no NAPI, 1.01 x",
       true});
}

void examine_requests(std::vector<io_uring_feature>& into, const detail::bare_ring& bare, backend& on,
                      const io_uring_extras& asked) {
  const bool accept = detail::multishot_accept_works(on), receive = detail::multishot_receive_works(on);
  const bool poll = detail::multishot_poll_works(on), bundles = detail::bundles_work(on);
  into.push_back({"multishot accept", accept, accept, "one submission for all who connect"});
  into.push_back({"multishot receive", receive, receive,
                  "one submission for all that comes; without, 1.06 to 1.13 x of 16 B messages, 2.2 x of 64 KiB"});
  into.push_back({"multishot poll", poll, poll, "one submission for all wake-ups from threads that have no ring"});
  into.push_back({"receive bundles", bundles, bundles,
                  "up to 128 KiB with one completion: 0.85 x in messages of 64 KiB, 1.00 x in small ones"});
  const bool zero_copy = bare.knows(IORING_OP_SEND_ZC) && detail::zero_copy_works(on);
  into.push_back(
      {"zero-copy send", zero_copy, zero_copy && asked.zero_copy_from != 0,
       "--send-zc-bytes N: not on loopback, which copies after all: 2.1 x of 64 KiB; to a bridge 0.85 x of 60 KB",
       true});
  const bool message = bare.knows(IORING_OP_MSG_RING);
  into.push_back({"message to a ring", message, message,
                  "wakes a sleeping shard from within an entry: a round trip of 68 us, 87 by eventfd"});
  const bool truncate = bare.knows(op_ftruncate);
  into.push_back(
      {"truncate", truncate, truncate, "files are cut without the shard making the call, as it does before 6.9"});
  into.push_back({"splice", bare.knows(IORING_OP_SPLICE), false,
                  "0.6 s of CPU time per GB of a file to a socket, 0.2 by reading and sending"});
}

void examine_features(std::vector<io_uring_feature>& into, std::uint32_t features) {
  const auto has = [features](std::uint32_t bit) { return (features & bit) != 0; };
  const bool deadline = has(IORING_FEAT_EXT_ARG), skip = has(IORING_FEAT_CQE_SKIP), no_iowait = has(feature_no_iowait);
  into.push_back({"deadline of a wait", deadline, deadline, "timers need no submission of their own"});
  into.push_back({"skipped completions", skip, skip, "a message to a ring that arrived tells its sender nothing"});
  into.push_back({"no iowait", no_iowait, no_iowait, "or an idle shard would count as a CPU that waits for a disk"});
  into.push_back({"minimum of a wait", has(feature_min_timeout), false,
                  "would hold back what has come already; batches form by themselves under load"});
}

}  // namespace

io_uring_report examine_io_uring(const io_uring_extras& asked) {
  io_uring_report found;
  utsname kernel{};
  ::uname(&kernel);
  found.kernel = kernel.release;
  try {
    constexpr unsigned entries = 64;
    const auto made = make_io_uring_backends(1, entries);
    detail::bare_ring bare(0);
    examine_set_up(found.features, asked);
    examine_registrations(found.features, bare, asked);
    examine_requests(found.features, bare, *made.front(), asked);
    examine_features(found.features, bare.features());
  } catch (const std::exception& refused) {
    found.refusal = refused.what();
  }
  return found;
}

std::string as_text(const io_uring_report& found) {
  std::string text = fmt::format("io_uring of Linux {}\n", found.kernel);
  if (!found.refusal.empty()) {
    return text + found.refusal + "\nprograms run on epoll instead, unless --backend io_uring forbids it\n";
  }
  text += fmt::format("{:<23} {:<7} {:<11} {}\n", "feature", "kernel", "Skerry", "why");
  for (const io_uring_feature& each : found.features) {
    const char* chosen = each.used ? "uses it" : "does not";
    if (each.opt_in) chosen = each.used ? "opt-in, on" : "opt-in, off";
    text += fmt::format("{:<23} {:<7} {:<11} {}\n", each.name, each.in_kernel ? "has it" : "lacks", chosen, each.why);
  }
  return text;
}

}  // namespace skerry
