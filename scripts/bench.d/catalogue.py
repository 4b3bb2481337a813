# SPDX-License-Identifier: Apache-2.0
"""The rows: what is measured against what, and what it may cost. A new row is one Row here, or one Experiment if
nothing that runs already gives its number; perf/README.md says how. Budgets are those of the project's performance
budget."""
from contestants import (ECHO, ECHO_LIMIT, ECHO_ON_EPOLL, ECHO_PEERS, HTTP, HTTP_LIMIT, HTTP_ON_EPOLL, KV, RAW_EPOLL,
                         RAW_RING, UDP, UDP_LIMIT, counted, memcached, nginx, redis, skerry_accepting, skerry_http,
                         skerry_kv)
from rows import SKERRY, Experiment, Row
from scenarios import (all_of, allocations, benchmark, benchmarks, clean_build_seconds, connection_bytes, counters,
                       difference, echo_load, faster, file_stream, fio, http_load, http_wrk, idle_connections_mb,
                       idle_memory, idle_wakeups, kv_load, limit, nop_ns, peer_micro, peer_on_both, scraped, spread,
                       start_ms, time_and_rate, udp_load, under)

# Open loop: per second and in all, what every contestant can serve, so that latencies are of servers that keep up. In half
# a second the slowest in a thousand are ten, so it lasts so many times as long as a closed loop.
ECHO_RATE, HTTP_RATE, KV_RATE = 20_000, 10_000, 20_000
LONGER = 4


def each(contestants, scenario, *arguments, **options):
    """The same scenario for all of them."""
    return {name: scenario(kind, *arguments, **options) for name, kind in contestants.items()}


def loaded(load, contestants, **options):
    return {name: under(load, counted(kind) if name == SKERRY else kind, **options)
            for name, kind in contestants.items()}


def stored(**options):
    """GET or SET against stores that are filled first; memcached answers its own protocol."""
    fill = {"op": "fill"}
    return {**loaded(kv_load, KV, prepare=fill, **options),
            "memcached": under(kv_load, memcached, prepare={**fill, "memcached": True}, memcached=True, **options)}


def allocations_of(group, name, what, scenario):
    return Experiment(group, {SKERRY: scenario}, (
        Row(f"allocations_{name}", f"heap allocations per second under {what}", "/s", budget=0),), rounds_max=1)


def latency_rows(name, what, rate, unit="message"):
    at = f"{what}, open loop of {rate} per second"
    return (Row(f"{name}_rate_p50", f"{at}: half are answered within", "us", "p50_us"),
            Row(f"{name}_rate_p99", f"{at}: 99 % are answered within", "us", "p99_us",
                shown_first=True),
            Row(f"{name}_rate_p999", f"{at}: 99.9 % are answered within", "us", "p999_us"),
            Row(f"{name}_rate_cpu", f"{at}: server CPU per {unit}", "us", "cpu_us"))


def closed_rows(name, what, unit, first=("throughput",)):
    """first: which of them are in README.md though they have no budget."""
    loop = f"{what}, as fast as answers come"
    kinds = (("throughput", f"{what}, {unit}s per second (the load is the slower side)", "/s", "per_second"),
             ("kernel_entries", f"{what}, kernel entries per {unit}", "", "entries"),
             ("p50", f"{loop}: half are answered within", "us", "p50_us"),
             ("p99", f"{loop}: 99 % are answered within", "us", "p99_us"),
             ("p999", f"{loop}: 99.9 % are answered within", "us", "p999_us"))
    return tuple(Row(f"{name}_{kind}", text, measure, metric, higher_is_better=kind == "throughput",
                     shown_first=kind in first) for kind, text, measure, metric in kinds)


MICRO = [
    Experiment("micro", {
        SKERRY: all_of(benchmarks("task_perf", "spawn_join", "ready_co_await", "yield", "when_all_of_8_ready",
                                  "when_any_of_2_with_a_waiting_loser"),
                       benchmarks("timeout_perf", "with_timeout"),
                       benchmarks("sync_perf", "mutex_lock_unlock", "semaphore_acquire_release"),
                       benchmarks("channel_perf", "channel_send_recv", "unbounded_channel_send_recv")),
        "Boost.Fiber": peer_micro("boost_fiber", spawn_join="spawn_join_ns", mutex_lock_unlock="mutex_ns",
                                  channel_send_recv="channel_ns", **{"yield": "yield_ns"}),
        "Asio": peer_micro("asio", spawn_join="spawn_join_ns", ready_co_await="ready_co_await_ns",
                           **{"yield": "yield_ns"}),
    }, (
        Row("spawn_join", "spawn a task and join it", "ns", "spawn_join", 15),
        Row("ready_co_await", "co_await of a task that is ready at once", "ns", "ready_co_await", 6),
        Row("yield", "yield to the run queue", "ns", "yield", 8),
        Row("when_any", "when_any of two, one of which has to be cancelled", "ns", "when_any_of_2_with_a_waiting_loser",
            30),
        Row("when_all", "when_all of eight that are ready at once", "ns", "when_all_of_8_ready", 120),
        Row("with_timeout", "with_timeout around a task that is ready at once", "ns", "with_timeout", 40),
        Row("mutex", "lock and unlock a mutex that is free", "ns", "mutex_lock_unlock", 3),
        Row("semaphore", "take units of a semaphore that has them, and give them back", "ns",
            "semaphore_acquire_release", 3),
        Row("channel", "send an item through a local channel and receive it", "ns", "channel_send_recv", 8),
    )),
    Experiment("micro", {SKERRY: benchmark("sleepers_perf", "cancel_1000_sleepers", "us", counter="us")},
               (Row("cancel_sleepers", "cancel of 1000 tasks that sleep, until all have ended", "us", budget=40),)),
    Experiment("micro", {
        SKERRY: benchmarks("wheel_perf", "arm_cancel_hot"),
        "Asio": peer_micro("asio", arm_cancel_hot="timer_hot_ns"),
        "libuv": peer_micro("libuv", arm_cancel_hot="timer_hot_ns"),
    }, (Row("timer_hot", "arm and cancel a timer, hot", "ns", "arm_cancel_hot", 5),)),
    Experiment("micro", {
        SKERRY: benchmark("wheel_perf", "rearm_random/timers:1000000/huge_pages:1", "ns"),
        "one write": benchmark("wheel_perf", "touch_random/timers:1000000/huge_pages:1", "ns"),
        "Asio": peer_micro("asio", **{"": "timer_random_ns"}),
        "libuv": peer_micro("libuv", **{"": "timer_random_ns"}),
    }, (Row("timer_random", "re-arm a random one of a million timers, in huge pages that the benchmark asks for", "ns",
             budget=40),),
        limit="one write", limit_is="a write to one random line of as many (wheel_perf touch_random)"),
    Experiment("micro", {
        SKERRY: benchmark("wheel_perf", "rearm_random/timers:10000000/huge_pages:1", "ns", one_run=True),
        "one write": benchmark("wheel_perf", "touch_random/timers:10000000/huge_pages:1", "ns", one_run=True),
    }, (Row("timer_random_10m", "re-arm a random one of 10 million timers, in huge pages that the benchmark asks for", "ns",
             budget=40),),
        limit="one write", limit_is="a write to one random line of as many (wheel_perf touch_random)", rounds_max=2),
    Experiment("micro", {
        SKERRY: benchmark("precise_perf", "precise_sleep", "us", counter="late_p50_us"),
        "nanosleep": benchmark("precise_perf", "clock_nanosleep", "us", counter="late_p50_us"),
    }, (Row("precise_sleep", "precise_sleep_for(100us), half are later by", "us", budget=15, strict=True),),
        limit="nanosleep", limit_is="a thread in clock_nanosleep (precise_perf)"),
    Experiment("micro", {SKERRY: benchmark("sim_perf", "loaded_server", "ns", counter="ns_per_step")},
               (Row("sim_step", "a step of a simulation, key-value server on 8 shards", "ns", budget=1000),)),
    Experiment("micro", {SKERRY: benchmark("sim_perf", "loaded_server", "ns", counter="cpu_s_per_hour")},
               (Row("sim_hour", "an hour of that server under load, CPU", "s", budget=36),)),
    Experiment("micro", {SKERRY: benchmark("sim_perf", "idle_day", "ms")},
               (Row("sim_idle_day", "a day of that server with nothing to do", "ms", budget=1000, strict=True),)),
] + [
    Experiment("micro", {program: scenario}, (Row(name, f"about the machine: {what}", unit),),
               limit=program, limit_is=program)
    for name, what, unit, program, scenario in (
        ("futex_round_trip", "two threads that wake each other, round trip", "us", "futex_ping_pong",
         limit("futex_ping_pong", "us")),
        ("cache_line_round_trip", "one cache line to the other CPU and back", "ns", "cache_line_ping_pong",
         limit("cache_line_ping_pong", "ns")),
        ("kernel_entry", "one io_uring kernel entry with one operation", "ns", "nop_rate 1", nop_ns(1)),
        ("uring_operation", "an io_uring operation, 64 in a kernel entry", "ns", "nop_rate 64", nop_ns(64)))
]

RAW_ECHO = {"limit": ECHO_LIMIT, "best_of": (RAW_RING, RAW_EPOLL), "beside": (RAW_RING, RAW_EPOLL),
            "limit_is": "in each round the faster of echo_uring and epoll_echo"}

# What tells the two backends apart stands in README.md for both.
BESIDE_EPOLL = ("kernel_entries", "p50")
ON_EPOLL = {"limit": RAW_EPOLL, "limit_is": "epoll_echo"}

NET = [
    Experiment("net", loaded(echo_load, ECHO), (
        Row("echo_cpu", "TCP echo, server CPU per message, 64 connections of 64 B", "us", "cpu_us", 1.05, ECHO_LIMIT),
        *closed_rows("echo", "TCP echo, 64 connections of 64 B", "message", (*BESIDE_EPOLL, "throughput"))),
        **RAW_ECHO),
    Experiment("net", loaded(echo_load, ECHO, rate=ECHO_RATE, longer=LONGER),
               latency_rows("echo", "TCP echo, 64 connections of 64 B", ECHO_RATE),
               limit=RAW_RING, limit_is="echo_uring", beside=(RAW_EPOLL,)),  # the best tail of two is no server's
    Experiment("net", loaded(echo_load, ECHO, short=True), (
        Row("short_cpu", "TCP echo of one message per connection, server CPU per connection", "us", "cpu_us", 1.10,
            ECHO_LIMIT),
        *closed_rows("short", "TCP echo of one message per connection, 64 at a time", "connection")), **RAW_ECHO),
    Experiment("net", loaded(echo_load, ECHO_ON_EPOLL), (
        Row("epoll_echo_cpu", "TCP echo on epoll, server CPU per message, 64 connections of 64 B", "us", "cpu_us", 1.10,
            RAW_EPOLL),
        *closed_rows("epoll_echo", "TCP echo on epoll, 64 connections of 64 B", "message", BESIDE_EPOLL)), **ON_EPOLL),
    Experiment("net", loaded(echo_load, ECHO_ON_EPOLL, short=True), (
        Row("epoll_short_cpu", "TCP echo on epoll of one message per connection, server CPU per connection", "us",
            "cpu_us", 1.10, RAW_EPOLL),
        *closed_rows("epoll_short", "TCP echo on epoll of one message per connection, 64 at a time", "connection",
                     ())), **ON_EPOLL),
    Experiment("net", loaded(udp_load, UDP), (
        Row("udp_cpu", "UDP echo, server CPU per datagram, 128 of 64 B in flight", "us", "cpu_us", 1.10, UDP_LIMIT),
        *closed_rows("udp", "UDP echo, 128 datagrams of 64 B in flight", "datagram", ())),
        limit=UDP_LIMIT, limit_is="udp_mmsg"),
]

BY_HASH = "reuseport"


def accepting(scenario, policy, crowded, row, **options):
    """One accept policy beside the kernel's own choice, which costs nothing: the same server with --accept reuseport."""
    return Experiment("net", {SKERRY: scenario(skerry_accepting(policy, crowded), **options),
                              BY_HASH: scenario(skerry_accepting(BY_HASH, crowded), **options)}, (row,),
                      limit=BY_HASH, limit_is="the same with --accept reuseport")


def short_connections(kind):
    return under(echo_load, kind, short=True)


BALANCE = [
    experiment for policy, where, crowded, cost, above in (
        ("round-robin", "4 shards on one CPU", True, 1.2, 1), ("least-loaded", "4 shards on one CPU", True, 1.2, 25),
        ("steered", "a shard on each CPU, clients on one", False, 1.05, None))
    for name, of in ((f"accept_{policy.replace('-', '_')}", f"--accept {policy}, {where}"),)
    for experiment in (
        accepting(short_connections, policy, crowded,
                  Row(f"{name}_cpu", f"{of}: server CPU per connection with one message", "us", "cpu_us", cost, BY_HASH)),
        accepting(spread, policy, crowded,
                  Row(f"{name}_spread", f"{of}: of 64 connections the fullest shard has more than an even share, by",
                      "%", budget=above)))
]

WEB = [
    Experiment("http", loaded(http_load, HTTP), (
        Row("http_cpu", "HTTP plaintext, server CPU per request, 64 connections", "us", "cpu_us", 1.10, HTTP_LIMIT),
        Row("http_nginx", "the same, beside nginx", "us", "cpu_us", 1, "nginx", strict=True),
        *closed_rows("http", "HTTP plaintext, 64 connections", "request", (*BESIDE_EPOLL, "throughput"))),
        limit=HTTP_LIMIT, limit_is="http_uring"),
    Experiment("http", loaded(http_load, HTTP_ON_EPOLL), (
        Row("epoll_http_cpu", "HTTP plaintext on epoll, server CPU per request, 64 connections", "us", "cpu_us",
            shown_first=True),
        *closed_rows("epoll_http", "HTTP plaintext on epoll, 64 connections", "request", BESIDE_EPOLL))),
    Experiment("http", loaded(http_load, HTTP, rate=HTTP_RATE, longer=LONGER),
               latency_rows("http", "HTTP plaintext, 64 connections", HTTP_RATE, "request"),
               limit=HTTP_LIMIT, limit_is="http_uring"),
    Experiment("http", {SKERRY: scraped(http_load, counted(skerry_http), HTTP_RATE)}, (
        Row("http_scraped", f"HTTP plaintext, open loop of {HTTP_RATE} per second: what a fetch of /metrics each second "
            "adds to the server's CPU", "%", "added_percent", 1, strict=True),
        Row("scrape_cpu", "one fetch of /metrics in that load, server CPU", "us", "scrape_us"))),
    Experiment("http", {SKERRY: http_wrk(skerry_http), "nginx": http_wrk(nginx)}, (
        Row("http_wrk", "HTTP plaintext, wrk -t1 -c64, time per request", "us", budget=1, against="nginx",
            strict=True),)),
    Experiment("http", {
        SKERRY: time_and_rate("http_parser_perf", "skerry_head/browser"),
        "http-parser": time_and_rate("http_parser_perf", "http_parser_head/browser"),
        "Beast": time_and_rate("http_parser_perf", "beast_head/browser"),
    }, (Row("http_head", "parse the head of a browser's HTTP request, beside http-parser", "ns", "ns", 1, "http-parser",
            strict=True),
        Row("http_head_beast", "the same, beside Beast", "ns", "ns", 1, "Beast", strict=True),
        Row("http_head_rate", "the same, as bytes per second", "GB/s", "gb_per_second", 2, higher_is_better=True))),
    allocations_of("http", "http", "plaintext HTTP load", allocations(http_load, HTTP[SKERRY])),
    Experiment("http", {SKERRY: difference(("observe_perf", "trace_off"), ("observe_perf", "trace_absent"))}, (
        Row("trace_off", "an event of the recorder while it is off, beside no event (a request costs thousands of ns)",
            "ns", budget=1, strict=True),)),
]

STORE = [
    Experiment("kv", stored(op=op), (
        Row(f"kv_{op}", f"{op.upper()}, pipeline 32, server CPU per command, one shard", "us", "cpu_us", 0.5, "redis"),
        *closed_rows(f"kv_{op}", f"{op.upper()}, pipeline 32, 8 connections", "command", ())))
    for op in ("get", "set")
] + [
    Experiment("kv", stored(op="get", rate=KV_RATE, longer=LONGER, pipeline=1),
               latency_rows("kv", "GET, pipeline 1, 8 connections", KV_RATE, "command")),
    Experiment("kv", {SKERRY: under(kv_load, skerry_kv(2), prepare={"op": "fill"}, op="get"),
                      "redis": under(kv_load, redis, prepare={"op": "fill"}, op="get")}, (
        Row("kv_get_2_shards", "GET, two shards on two CPUs, half of the keys one hop away, server CPU per command",
            "us", "cpu_us"),)),
]

SHARDS = [
    Experiment("shards", {SKERRY: benchmark("submit_to_perf", "submit_to_round_trip", "ns"),
                          "spsc": limit("spsc_ping_pong", "ns"), "cache line": limit("cache_line_ping_pong", "ns"),
                          "spsc, message, bell": limit("spsc_ping_pong", "bell_ns")}, (
        Row("submit_to_round_trip", "submit_to and back, both shards awake", "ns", budget=2, against="spsc"),),
        limit="spsc", limit_is="spsc_ping_pong", beside=("cache line", "spsc, message, bell")),
    Experiment("shards", {SKERRY: benchmark("submit_to_perf", "submit_to_256_in_flight", "ns"),
                          "spsc batches": limit("spsc_batches", "ns"),
                          "bare coroutines": limit("spsc_batches", "coroutine_ns"),
                          "one way": limit("spsc_stream", "ns")}, (
        Row("submit_to_throughput", "submit_to, 256 in flight, per request", "ns", budget=1.25,
            against="spsc batches"),),
        limit="spsc batches", limit_is="spsc_batches", beside=("bare coroutines", "one way")),
    Experiment("shards", {SKERRY: benchmark("submit_to_perf", "submit_to_sleeping", "us"),
                          "raw wake": faster(limit("wake_ping_pong", "us", "eventfd"),
                                             limit("wake_ping_pong", "us", "msg_ring")),
                          "futex": limit("futex_ping_pong", "us")}, (
        Row("submit_to_sleeping", "submit_to and back, the target asleep", "us", budget=1.2, against="raw wake"),),
        limit="raw wake", limit_is="wake_ping_pong, the faster of eventfd and msg_ring", beside=("futex",)),
    Experiment("shards", {SKERRY: benchmark("submit_to_perf", "submit_to_busy", "us", counter="p99_us")}, (
        Row("submit_to_busy", "submit_to to a shard busy with tasks that yield, p99", "us", budget=100),)),
    Experiment("shards", {SKERRY: difference(("submit_to_perf", "submit_to_256_in_flight"),
                                             ("submit_to_unaccounted_perf", "submit_to_256_in_flight"))}, (
        Row("hop_accounting", "what counting and timing a message between shards adds to it, 256 in flight", "ns",
            budget=2, strict=True),)),
    Experiment("shards", {SKERRY: benchmarks("shard_channel_perf", "spsc_channel", "mpsc_channel")}, (
        Row("spsc_channel", "an item through spsc_channel to another shard, both awake", "ns", "spsc_channel", 15),
        Row("mpsc_channel", "an item through mpsc_channel to another shard, both awake", "ns", "mpsc_channel", 22))),
]

ALIEN = [
    Experiment("alien", {SKERRY: benchmark("alien_perf", "alien_round_trip", "us", counter="us"),
                         "eventfd": limit("eventfd_ping_pong", "us")}, (
        Row("alien_round_trip", "a foreign thread's call to a sleeping shard and its future", "us", budget=1.3,
            against="eventfd"),), limit="eventfd", limit_is="eventfd_ping_pong"),
    Experiment("alien", {SKERRY: benchmark("alien_perf", "alien_post", "ns", counter="ns")}, (
        Row("alien_post", "a foreign thread's post to a shard that is awake", "ns", budget=80, strict=True),)),
]

COMPUTE = [
    Experiment("compute", {SKERRY: benchmark("compute_perf", f"compute_{work}", "ms", counter="ms", one_run=True),
                           "oneTBB": peer_on_both("tbb_compute", f"{work}_ms")}, (
        Row(f"compute_{work}", what, "ms", budget=1, against="oneTBB"),))
    for work, what in (("fib", "fib(35) by fork and join on two threads, 15 million forks"),
                       ("reduce", "a sum over 20 million elements in pieces of 4096, two threads"))
]

FILES = [
    Experiment("file", {SKERRY: file_stream(how, direct), "fio": fio(how, direct)}, (
        Row(f"file_{how}_{where}", f"{how} a file from end to end, 8 blocks of 128 KiB in flight, {place}, per MiB",
            "us", budget=1.05, against="fio"),))
    for how in ("read", "write") for where, place, direct in (("cached", "page cache", False),
                                                              ("direct", "O_DIRECT", True))
]

# A raw server that is short is not small, nor soon there: others take less. So it is a peer here, and there is no limit.
ECHO_AT_REST = {name: ECHO[name] for name in (SKERRY, RAW_RING, *ECHO_PEERS)}

MEMORY = [
    allocations_of("memory", name, what, scenario)
    for name, what, scenario in (
        ("echo", "echo load", allocations(echo_load, ECHO[SKERRY])),
        ("kv_get", "GET load", allocations(kv_load, KV[SKERRY], prepare={"op": "fill"}, op="get")),
        ("kv_set", "SET load, values overwritten", allocations(kv_load, KV[SKERRY], prepare={"op": "fill"}, op="set")))
] + [
    Experiment("memory", {SKERRY: counters("sleepers_perf", "sleeping_tasks", one_run=True, resident="resident",
                                           own="own")}, (
        Row("sleeping_tasks", "10 million tasks that sleep, resident", "GiB", "resident", 2.5),
        Row("small_task", "what the frame pool has for one of them: frame, promise and timer", "B", "own", 256,
            strict=True)), rounds_max=1),
] + [
    Experiment("memory", {SKERRY: benchmark(program, case, "", counter="allocations")}, (
        Row(f"allocations_{name}", f"heap allocations per {what}", "", budget=0),), rounds_max=1)
    for name, what, program, case in (
        ("submit_to", "submit_to", "submit_to_perf", "submit_to_round_trip"),
        ("post_to", "post_to", "post_to_perf", "post_to"),
        ("spsc_channel", "item through spsc_channel", "shard_channel_perf", "spsc_channel"),
        ("mpsc_channel", "item through mpsc_channel", "shard_channel_perf", "mpsc_channel"),
        ("alien_post", "post of a foreign thread", "alien_perf", "alien_post"))
] + [
    experiment for suffix, app, contestants in (("", "echo_server", ECHO_AT_REST), ("_kv", "kv_server", KV))
    for experiment in (
        Experiment("memory", each(contestants, idle_memory), (
            Row(f"idle_memory{suffix}", f"idle {app}, one shard, resident", "MB", budget=6, strict=True),),
            rounds_max=3),
        Experiment("memory", {SKERRY: idle_wakeups(contestants[SKERRY])}, (
            Row(f"idle_wakeups{suffix}", f"idle {app}, one shard, wake-ups per second", "/s", budget=0),),
            rounds_max=1),
        Experiment("memory", each(contestants, start_ms), (
            Row(f"start{suffix}", f"start of {app} to first accept and answer", "ms", budget=10, strict=True),)),
        Experiment("memory", each(contestants, connection_bytes), (
            Row(f"connection_memory{suffix}", f"memory per idle connection of {app}, user space", "B", budget=512,
                strict=True),), rounds_max=2),
    )
] + [
    Experiment("memory", {SKERRY: idle_connections_mb(ECHO[SKERRY])}, (
        Row("idle_100k", "echo_server with 100 000 idle connections, one shard, resident, along the line of those that fit",
            "MB", budget=60, strict=True),), rounds_max=1),
] + [
    Experiment("build", {SKERRY: clean_build_seconds}, (
        Row("build", "clean release build of libraries and apps", "s", budget=120, strict=True),), rounds_max=1,
        on_request=True),
]

EXPERIMENTS = MICRO + NET + BALANCE + WEB + STORE + FILES + SHARDS + ALIEN + COMPUTE + MEMORY
