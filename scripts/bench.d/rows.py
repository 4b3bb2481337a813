# SPDX-License-Identifier: Apache-2.0
"""The budget, one Row each. `measure(machine)` and `limit(machine)` give one number per round; they alternate.
A new row is one entry in `rows` at the end; perf/README.md says how."""
import statistics
from dataclasses import dataclass, field
from typing import Callable, Optional

import scenarios as on
from measure import NotBuilt


@dataclass
class Result:
    values: list = field(default_factory=list)
    limits: list = field(default_factory=list)
    note: str = ""

    @property
    def value(self):
        return statistics.median(self.values) if self.values else None

    @property
    def limit(self):
        return statistics.median(self.limits) if self.limits else None

    @property
    def ratio(self):
        pairs = [(value, limit) for value, limit in zip(self.values, self.limits) if limit]
        return statistics.median(value / limit for value, limit in pairs) if pairs else None

    def verdict(self, row):
        if self.note == "FAILED":
            return self.note
        if self.value is None or row.budget is None:
            return ""
        compared = self.ratio if row.is_ratio else self.value
        if compared is None:
            return "no limit"
        return "met" if (compared < row.budget if row.strict else compared <= row.budget) else "MISSED"


@dataclass
class Row:
    name: str
    what: str
    unit: str
    measure: Callable
    budget: Optional[float] = None     # a multiple of the limit if is_ratio, else in `unit`; None: for information
    limit: Optional[Callable] = None
    limit_name: str = ""
    is_ratio: bool = False
    strict: bool = False               # under the budget instead of at most
    on_request: bool = False           # only when its name is given; one round

    def budget_text(self):
        if self.budget is None:
            return "(information)"
        word = "<" if self.strict else "<="
        return f"{word} {self.budget:g} x" if self.is_ratio else f"{word} {self.budget:g} {self.unit}"

    def run(self, machine, rounds):
        result = Result()
        for _ in range(rounds):
            try:
                result.values.append(self.measure(machine))
            except NotBuilt:
                result.note = "not built"
            if self.limit is None:
                if result.note:
                    return result
                continue
            try:
                result.limits.append(self.limit(machine))
            except NotBuilt:
                pass
        return result


def ratio(name, what, unit, measure, budget, limit, limit_name, strict=False):
    return Row(name, what, unit, measure, budget, limit, limit_name, is_ratio=True, strict=strict)


rows = [
    ratio("echo_cpu", "TCP echo, server CPU per message, 64 connections of 64 B", "us",
          on.echo_cpu(on.skerry_echo), 1.05, on.echo_cpu(on.raw_echo), "echo_uring"),
    ratio("submit_to_round_trip", "submit_to and back, both shards awake", "ns",
          on.benchmark("submit_to_perf", "submit_to_round_trip", "ns"), 2,
          on.raw("spsc_ping_pong", "ns"), "spsc_ping_pong"),
    ratio("submit_to_throughput", "submit_to, 256 in flight, per request", "ns",
          on.benchmark("submit_to_perf", "submit_to_256_in_flight", "ns"), 1.25,
          on.raw("spsc_batches", "ns"), "spsc_batches"),
    ratio("submit_to_sleeping", "submit_to and back, the target asleep", "us",
          on.benchmark("submit_to_perf", "submit_to_sleeping", "us"), 1.2,
          on.faster_wake, "wake_ping_pong, the faster of eventfd and msg_ring"),
    Row("submit_to_busy", "submit_to to a shard busy with tasks that yield, p99", "us",
        on.benchmark("submit_to_perf", "submit_to_busy", "us", counter="p99_us"), 100),
    Row("spawn_join", "spawn a task and join it", "ns", on.benchmark("task_perf", "spawn_join", "ns"), 15),
    Row("ready_co_await", "co_await of a task that is ready at once", "ns",
        on.benchmark("task_perf", "ready_co_await", "ns"), 6),
    Row("yield", "yield to the run queue", "ns", on.benchmark("task_perf", "yield", "ns"), 8),
    Row("timer_hot", "arm and cancel a timer, hot", "ns", on.benchmark("wheel_perf", "arm_cancel_hot", "ns"), 5),
    Row("timer_random", "re-arm a random one of 1 M to 10 M timers", "ns",
        on.benchmark("wheel_perf", "rearm_random", "ns"), 40),
    ratio("kv_get", "GET, pipeline 32, server CPU per command, one shard", "us",
          on.kv_cpu(on.skerry_kv(1), "get"), 0.5, on.kv_cpu(on.redis, "get"), "redis-server"),
    ratio("kv_set", "SET, pipeline 32, server CPU per command, one shard", "us",
          on.kv_cpu(on.skerry_kv(1), "set"), 0.5, on.kv_cpu(on.redis, "set"), "redis-server"),
    ratio("kv_get_2_shards", "GET, two shards on two CPUs, half of the keys one hop away", "us",
          on.kv_cpu(on.skerry_kv(2), "get"), None, on.kv_cpu(on.redis, "get"), "redis-server"),
    ratio("http_cpu", "HTTP plaintext, server CPU per request, 64 connections", "us",
          on.http_cpu(on.skerry_http), 1.10, on.http_cpu(on.raw_http), "http_uring"),
    ratio("http_nginx", "HTTP plaintext, server CPU per request, 64 connections", "us",
          on.http_cpu(on.skerry_http), 1, on.http_cpu(on.nginx), "nginx", strict=True),
    ratio("http_wrk", "HTTP plaintext, wrk -t1 -c64, time per request", "us",
          on.http_wrk(on.skerry_http), 1, on.http_wrk(on.nginx), "nginx", strict=True),
    ratio("http_scraped", "HTTP plaintext with /metrics scraped every second, server CPU per request", "us",
          on.scraped_http_cpu(1), 1.01, on.scraped_http_cpu(0), "the same without scraping", strict=True),
    Row("allocations_echo", "heap allocations per second under echo load", "", on.echo_allocations, 0),
    Row("allocations_http", "heap allocations per second under plaintext HTTP load", "", on.http_allocations, 0),
    Row("allocations_kv_get", "heap allocations per second under GET load", "", on.kv_allocations("get"), 0),
    Row("allocations_kv_set", "heap allocations per second under SET load, values overwritten", "",
        on.kv_allocations("set"), 0),
    Row("allocations_submit_to", "heap allocations per submit_to", "",
        on.benchmark("submit_to_perf", "submit_to_round_trip", "", counter="allocations"), 0),
    Row("idle_memory", "idle echo_server, one shard, resident", "MB", on.idle_memory(on.skerry_echo), 6,
        on.idle_memory(on.raw_echo), "echo_uring", strict=True),
    Row("idle_memory_kv", "idle kv_server, one shard, resident", "MB", on.idle_memory(on.skerry_kv(1)), 6,
        on.idle_memory(on.raw_echo), "echo_uring", strict=True),
    Row("idle_wakeups", "idle echo_server, one shard, wake-ups per second", "", on.idle_wakeups(on.skerry_echo), 0),
    Row("idle_wakeups_kv", "idle kv_server, one shard, wake-ups per second", "", on.idle_wakeups(on.skerry_kv(1)), 0),
    Row("start", "start of echo_server to first accept and echo", "ms", on.start_ms(on.skerry_echo), 10,
        on.start_ms(on.raw_echo), "echo_uring", strict=True),
    Row("start_kv", "start of kv_server to first accept and answer", "ms", on.start_ms(on.skerry_kv(1)), 10,
        on.start_ms(on.raw_echo), "echo_uring", strict=True),
    Row("connection_memory", "memory per idle connection of echo_server, user space", "B", on.connection_bytes(on.skerry_echo), 512,
        on.connection_bytes(on.raw_echo), "echo_uring", strict=True),
    Row("connection_memory_kv", "memory per idle client of kv_server, user space", "B",
        on.connection_bytes(on.skerry_kv(1)), 512, on.connection_bytes(on.redis), "redis-server", strict=True),
    Row("build", "clean release build of libraries and apps", "s", on.clean_build_seconds, 120, strict=True,
        on_request=True),
]
