# SPDX-License-Identifier: Apache-2.0
"""Growth: how a cost changes as something grows. A curve is measured point by point, and at each point every contestant
has its turn before the next round, as in rows. A point that somebody cannot reach is left out of that line and
noted."""
import re
import resource
from dataclasses import dataclass
from typing import Callable

import machine as host
import stats
from contestants import ECHO, ECHO_LIMIT, RAW_EPOLL, RAW_RING, redis, skerry_crowded, skerry_kv
from measure import Failure, time_ns
from rows import SKERRY, one_turn
from scenarios import echo_load, kv_load, steadily_under, under


@dataclass(frozen=True)
class Curve:
    name: str
    title: str
    x: str
    unit: str
    points: tuple
    contestants: dict                     # {name: function(point) that gives a scenario}
    metric: str = "cpu_us"
    long_points: tuple = ()               # with --long
    quick_points: tuple = ()              # with --quick, instead of all
    most: Callable = lambda: None         # the furthest that this machine can reach, a point like the others
    needs: Callable = lambda point: None  # raises Failure where this machine cannot reach the point
    limit: str = ""                       # the raw program: a contestant, or at each point the best of `best_of`
    best_of: tuple = ()
    rounds_max: int = 3

    def wanted(self, long, quick):
        """Whatever the machine can do; its furthest point is left out where it is next to one of the others."""
        points = self.quick_points if quick and self.quick_points else self.points
        points += self.long_points if long else ()
        most = self.most()
        near = most is None or any(0.8 < point / most < 1.25 for point in points)
        return points if near else tuple(sorted((*points, most)))


def loaded(load, kind, option, **others):
    return lambda point: steadily_under(load, kind, **{**others, option: point})


def swept(program, pattern):
    """A case of a Google Benchmark whose name has the point in it: {metric: number}, `ns` its time and each of its
    counters."""
    def at(point):
        def scenario(machine):
            case = machine.benchmark(f"perf/{program}", pattern.format(point), one_run=True)[0]
            return {"ns": time_ns(case),
                    **{name: value for name, value in case.items() if isinstance(value, (int, float))}}
        return scenario
    return at


CONNECTIONS_WANTED = 100_000
DESCRIPTORS_BESIDE = 500  # of what is no connection, on the side that has more


def most_connections():
    """As the descriptors of a process allow, in thousands; None where they allow all that is wanted, or hardly any."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1] - DESCRIPTORS_BESIDE
    return allowed // 1000 * 1000 if 1000 <= allowed < CONNECTIONS_WANTED else None


def enough_descriptors(connections):
    if connections + DESCRIPTORS_BESIDE > host.raise_descriptor_limit():
        raise Failure(f"{connections} connections need as many descriptors on each side; as root: "
                      f"prlimit --pid $$ --nofile={connections + 1000}, then again")


def enough_memory(bytes_each):
    def needs(count):
        available = int(re.search(r"MemAvailable:\s*(\d+)", host.read("/proc/meminfo")).group(1)) * 1024
        if count * bytes_each > available * 0.8:
            raise Failure(f"{count} take about {count * bytes_each / 1e9:.0f} GB; {available / 1e9:.0f} GB are free")
    return needs


# Which of the two raw servers is the faster depends on the point: with large messages it is epoll's by far.
RAW_ECHO = {"limit": ECHO_LIMIT, "best_of": (RAW_RING, RAW_EPOLL)}


def echo_lines(option, **others):
    return {name: loaded(echo_load, kind, option, **others) for name, kind in ECHO.items()}


def get_lines(contestants, option, **others):
    return {name: loaded(kv_load, kind, option, prepare={"op": "fill"}, op="get", **others)
            for name, kind in contestants.items()}


def crowded(app, load, **others):
    return lambda shards: under(load, skerry_crowded(app, shards), **others)


CURVES = [
    Curve("shards_echo", "TCP echo by shards, all on one CPU", "shards", "us of CPU per message", (1, 2, 3, 4, 6, 8), {
        SKERRY: crowded("echo_server", echo_load)}, quick_points=(1, 2, 4, 8)),
    Curve("shards_kv", "GET by shards, all on one CPU, keys spread over them", "shards", "us of CPU per command",
          (1, 2, 3, 4, 6, 8), {SKERRY: crowded("kv_server", kv_load, prepare={"op": "fill"}, op="get")},
          quick_points=(1, 2, 4, 8)),
    Curve("connections", "TCP echo by connections", "connections", "us of CPU per message", (1, 10, 100, 1_000, 10_000),
          echo_lines("connections"), long_points=(25_000, CONNECTIONS_WANTED), quick_points=(1, 100, 10_000),
          most=most_connections, needs=enough_descriptors, **RAW_ECHO),
    Curve("message_size", "TCP echo by size of the message, 8 connections", "bytes", "us of CPU per message",
          (16, 256, 4_096, 16_384, 65_536, 262_144, 1_048_576), echo_lines("size", connections=8),
          quick_points=(16, 4_096, 65_536, 1_048_576), **RAW_ECHO),
    Curve("depth", "TCP echo by messages in flight per connection, 8 connections", "messages in flight",
          "us of CPU per message", (1, 2, 4, 8, 16, 32, 64, 128, 256), echo_lines("depth", connections=8),
          quick_points=(1, 8, 64, 256), **RAW_ECHO),
    Curve("pipeline", "GET by commands in flight per connection, 8 connections", "commands in flight",
          "us of CPU per command", (1, 2, 4, 8, 16, 32, 64, 128, 256),
          get_lines({SKERRY: skerry_kv(1), "redis": redis}, "pipeline"), quick_points=(1, 8, 64, 256)),
    Curve("timers", "Re-arm a random timer, by timers", "timers", "ns",
          (1_000, 10_000, 100_000, 1_000_000, 10_000_000), {
        SKERRY: swept("wheel_perf", "rearm_random/timers:{}/huge_pages:1"),
        "one write": swept("wheel_perf", "touch_random/timers:{}/huge_pages:1")}, metric="ns", limit="one write",
        quick_points=(1_000, 100_000, 10_000_000), needs=enough_memory(64)),
    Curve("tasks", "Spawn, suspend, wake and join a task, by tasks that live at once", "tasks", "ns per task",
          (1_000, 10_000, 100_000, 1_000_000, 10_000_000), {SKERRY: swept("live_tasks_perf", "life_of_tasks/{}")},
          metric="ns", quick_points=(1_000, 100_000, 10_000_000), needs=enough_memory(600)),
    Curve("task_memory", "Memory of a suspended task, by tasks that live at once", "tasks", "bytes per task",
          (1_000, 10_000, 100_000, 1_000_000, 10_000_000), {SKERRY: swept("live_tasks_perf", "life_of_tasks/{}")},
          metric="bytes", quick_points=(1_000, 100_000, 10_000_000), needs=enough_memory(600), rounds_max=1),
    Curve("crossing", "submit_to, 256 in flight, by the part that crosses to the other shard", "% of calls",
          "ns per call", (0, 5, 10, 25, 50, 75, 100), {SKERRY: swept("crossing_perf", "calls/percent:{}")}, metric="ns",
          quick_points=(0, 25, 50, 100)),
]


def within_reach(curve, long, quick):
    """(the points that this machine can reach, {point: why it cannot})."""
    points, notes = [], {}
    for point in curve.wanted(long, quick):
        try:
            curve.needs(point)
            points.append(point)
        except Failure as failure:
            notes[f"all at {point}"] = f"left out: {failure}"
    return points, notes


def best_lines(curve, series):
    """The lines as they are drawn: the raw programs of which the best is the limit make one line, and stand beside."""
    if not curve.best_of:
        return series, {}
    raw = {name: series[name] for name in curve.best_of if name in series}
    best = [min(stats.present(those), default=None) for those in zip(*raw.values())]
    others = {name: line for name, line in series.items() if name not in raw}
    return {**others, **({curve.limit: best} if stats.present(best) else {})}, raw


def measure(curve, machine, rounds, long=False, quick=False, each_round=lambda: None, say=lambda text: None):
    """The curve as it goes into the results: points, and for each contestant a median per point (None where there is
    none)."""
    points, notes = within_reach(curve, long, quick)
    for missing, why in notes.items():
        say(f"{curve.name}: {missing}: {why}")
    series = {name: [[] for _ in points] for name in curve.contestants}
    for number in range(min(rounds, curve.rounds_max)):
        each_round()
        for index, point in enumerate(points):
            for name, at in curve.contestants.items():
                key = f"{name} at {point}"
                if key in notes or notes.get(name):
                    continue
                said, note = one_turn(at(point), machine)
                if curve.metric in said:
                    series[name][index].append(said[curve.metric])
                    continue
                missing = note.startswith("not built")
                notes[name if missing else key] = note or "does not measure this"
                say(f"{curve.name}: {name if missing else key}: {note}")
    lines, beside = best_lines(curve, {name: [stats.median(each) for each in rounds_]
                                       for name, rounds_ in series.items() if any(rounds_)})
    return {"name": curve.name, "title": curve.title, "x": curve.x, "unit": curve.unit, "points": points,
            "limit": curve.limit if curve.limit in lines else "", "series": lines, "beside": beside, "notes": notes}


def chosen(words):
    """Curves that a word names: `growth` for all of them, else part of a curve's name as in growth_timers."""
    return [curve for curve in CURVES if any(word == "growth" or word in f"growth_{curve.name}" and
                                             word.startswith("growth_") for word in words)]
