# SPDX-License-Identifier: Apache-2.0
"""What is done to a program to get the numbers of a row. A scenario takes the machine and gives one number, or several
by name ({metric: number}), per call, which is one round of one contestant. What returns one is called with its
parameters first."""
import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from measure import (AllocationCount, DatagramServer, Failure, NotBuilt, Server, START_SECONDS, connect, cpu_ns, free_port,
                     memory_bytes, sleeps, time_ns)

WARM_SECONDS = 0.15
STEADY_MESSAGES_MIN = 200
WRK_SECONDS = 2  # whole seconds only
SCRAPES_PER_SECOND = 200  # tried; where the load leaves no time for so many, fewer
SCRAPED_PAIRS = 5
IDLE_SECONDS = 3.0
COUNTED_SECONDS = 3
KEYS = 100_000
LATENCIES = ("p50_us", "p99_us", "p999_us")


# ---- servers under load ----

@dataclass(frozen=True)
class Load:
    """A load generator: its program, what it counts, its options, and what it loads."""
    program: str
    count: str
    options: dict
    server: type = Server

    def command(self, machine, port, seconds, **changes):
        words = [machine.program(self.program), port, "--seconds", seconds]
        for name, value in {**self.options, **changes}.items():
            words += [f"--{name}"] if value is True else [f"--{name}", value]
        return words


echo_load = Load("perf/echo_load", "messages", {"connections": 64, "size": 64})
http_load = Load("perf/http_load", "requests", {"connections": 64})
udp_load = Load("perf/udp_load", "messages", {"connections": 8, "depth": 16, "size": 64}, DatagramServer)
kv_load = Load("perf/kv_load", "commands", {"connections": 8, "pipeline": 32, "keys": KEYS, "value": 64})


def settle(pid):
    """Waits until the server's CPU time stands still (a spinning one gets at most a second)."""
    last = -1
    for _ in range(50):
        now = cpu_ns(pid)
        if now == last:
            return
        last = now
        time.sleep(0.02)


def load_once(server, machine, load, seconds, **changes):
    server.check_alive()
    entries, before = server.kernel_entries(), cpu_ns(server.pid)
    done = machine.load(load.command(machine, server.port, seconds, **changes))
    settle(server.pid)
    used = cpu_ns(server.pid) - before
    server.check_alive()
    if done[load.count] == 0:
        raise Failure(f"{load.program} got nothing done")
    if done.get("body_bytes", len("Hello, World!")) != len("Hello, World!"):
        raise Failure(f"a body of {done['body_bytes']} bytes is not Hello, World!")
    return {"cpu_us": used / done[load.count] / 1000, "per_second": done[load.count] / done["seconds"],
            **({} if entries is None else {"entries": (server.kernel_entries() - entries) / done[load.count]}),
            **{name: done[name] for name in LATENCIES if name in done}}


def under(load, kind, prepare=None, longer=1, **changes):
    """Server CPU per message, messages per second, and the latencies that the load saw. prepare: options of a load that
    goes first (filling a store). longer: how many times a load's usual seconds. `rate` makes an open loop of it:
    messages are due at fixed times, and wait at the server's cost."""
    def scenario(machine):
        with load.server(*kind(machine)) as server:
            if prepare:
                machine.load(load.command(machine, server.port, 1, **prepare))
            machine.load(load.command(machine, server.port, WARM_SECONDS, **changes))  # pages touched, caches warm
            return load_once(server, machine, load, longer * machine.effort.load_seconds, **changes)
    return scenario


def steadily_under(load, kind, prepare=None, **changes):
    """Server CPU per message without what it takes to open and close the connections, which at 10 000 of them is most
    of a short load: a long load minus a short one, over the messages that only the long one had."""
    def scenario(machine):
        with load.server(*kind(machine)) as server:
            if prepare:
                machine.load(load.command(machine, server.port, 1, **prepare))
            used, done = [], []
            more = 2 * machine.effort.load_seconds
            for seconds in (WARM_SECONDS, WARM_SECONDS, WARM_SECONDS + more):
                server.check_alive()
                before = cpu_ns(server.pid)
                done.append(machine.load(load.command(machine, server.port, seconds, **changes))[load.count])
                settle(server.pid)
                used.append(cpu_ns(server.pid) - before)
            server.check_alive()
            if done[2] - done[1] < max(STEADY_MESSAGES_MIN, changes.get("connections", 0)) or used[2] <= used[1]:
                raise Failure(f"{done[2] - done[1]} messages more in {more} s more tell too little; a busy machine?")
            return {"cpu_us": (used[2] - used[1]) / (done[2] - done[1]) / 1000}
    return scenario


def scraped(load, kind, rate):
    """What it costs to be watched, at a fixed rate of requests: CPU per fetch of /metrics, and what one each second adds
    to the server's CPU time, in percent. A second's fetch is lost in the noise of a second's requests. So there are
    SCRAPES_PER_SECOND in every other load of one server, and what these used more is shared among them. The kind names
    its admin port."""
    def fetch(server, machine, done, sizes):
        os.sched_setaffinity(0, {machine.load_cpu})  # of this thread
        while not done.wait(1 / SCRAPES_PER_SECOND):
            with urllib.request.urlopen(f"http://127.0.0.1:{server.admin}/metrics", timeout=START_SECONDS) as answer:
                sizes.append(len(answer.read()))

    def watched(server, machine, seconds):
        done, sizes = threading.Event(), []
        scraper = threading.Thread(target=fetch, args=(server, machine, done, sizes))
        scraper.start()
        try:
            return load_once(server, machine, load, seconds, rate=rate), sizes
        finally:
            done.set()
            scraper.join()

    def scenario(machine):
        seconds = machine.effort.load_seconds
        with Server(*kind(machine)) as server:
            machine.load(load.command(machine, server.port, WARM_SECONDS, rate=rate))
            costs, alone = [], []
            for _ in range(SCRAPED_PAIRS):
                before = load_once(server, machine, load, seconds, rate=rate)
                during, sizes = watched(server, machine, seconds)
                if len(sizes) < SCRAPES_PER_SECOND * seconds / 20 or min(sizes) < 1000:
                    raise Failure(f"{len(sizes)} scrapes in {seconds} s")
                more = during["cpu_us"] - before["cpu_us"]
                costs.append(more * during["per_second"] * seconds / len(sizes))
                alone.append(before["cpu_us"] * before["per_second"])
            cost = median(costs)
            if cost <= 0:
                raise Failure("scrapes were seen to cost nothing; a busy machine?")
            return {"scrape_us": cost, "added_percent": 100 * cost / median(alone)}
    return scenario


def http_wrk(kind):
    """Wall time per request as wrk sees it, when it is not the server's CPU that counts but who gets more done."""
    def scenario(machine):
        with Server(*kind(machine)) as server:
            command = [machine.program("wrk"), "-t1", "-c64", f"-d{WRK_SECONDS}s", f"http://127.0.0.1:{server.port}/"]
            output = subprocess.run(command, capture_output=True, text=True, timeout=60,
                                    preexec_fn=lambda: os.sched_setaffinity(0, {machine.load_cpu})).stdout
            rate = re.search(r"Requests/sec:\s*([0-9.]+)", output)
            if not rate or float(rate.group(1)) == 0 or "Socket errors" in output or "Non-2xx" in output:
                raise Failure(f"wrk: {output.strip()[-500:]}")
            return 1e6 / float(rate.group(1))
    return scenario


# ---- connections over shards ----

SPREAD_CONNECTIONS, SPREAD_OPENINGS = 64, 5  # few for a server, as it is with those that live long


def spread(kind):
    """By how much the fullest shard has more connections than an even share, in percent; the median of several times
    SPREAD_CONNECTIONS. The kind names its admin port."""
    def opened(server):
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(connect(server.port)) for _ in range(SPREAD_CONNECTIONS)]
            if not all(answered(client) for client in clients):
                raise Failure("the server did not answer")
            return server.connections()

    def scenario(machine):
        with Server(*kind(machine)) as server:
            worst = []
            for _ in range(SPREAD_OPENINGS):
                deadline = time.monotonic() + START_SECONDS
                while sum(server.connections()) > 0:  # those of before
                    if time.monotonic() > deadline:
                        raise Failure("connections do not end")
                counts = opened(server)
                if sum(counts) != SPREAD_CONNECTIONS:
                    raise Failure(f"of {SPREAD_CONNECTIONS} connections the shards have {counts}")
                worst.append(100 * (max(counts) * len(counts) / SPREAD_CONNECTIONS - 1))
            return median(worst)
    return scenario


# ---- programs that measure themselves ----

def case_name(case):
    """`BM_yield_median` and `yield` are both yield; arguments stay."""
    return re.sub(r"(_median)?$", "", case["name"]).removeprefix("BM_").removesuffix("/real_time")


def benchmarks(program, *names):
    """Several Google Benchmarks of one program: {name: ns}, of those with arguments the worst."""
    def scenario(machine):
        found = {}
        for case in machine.benchmark(f"perf/{program}", "|".join(names)):
            name = max((each for each in names if f"{case_name(case)}/".startswith(f"{each}/")), key=len)
            found[name] = max(found.get(name, 0.0), time_ns(case))
        return found
    return scenario


def benchmark(program, name, unit, counter=None, one_run=False):
    """The worst case of a Google Benchmark, in `unit`, or its counter."""
    def scenario(machine):
        cases = machine.benchmark(f"perf/{program}", name, one_run)
        if counter is not None:
            if any(counter not in case for case in cases):
                raise Failure(f"{program} {name} has no counter {counter}")
            return max(case[counter] for case in cases)
        return max(map(time_ns, cases)) / {"ns": 1, "us": 1e3, "ms": 1e6}[unit]
    return scenario


def time_and_rate(program, name):
    """Of one Google Benchmark that counts bytes: {"ns", "gb_per_second"}."""
    def scenario(machine):
        case, = machine.benchmark(f"perf/{program}", name)
        return {"ns": time_ns(case), "gb_per_second": case["bytes_per_second"] / 1e9}
    return scenario


def counters(program, name, one_run=False, **metrics):
    """Several counters of one Google Benchmark: {metric: counter}, of several cases the worst."""
    def scenario(machine):
        cases = machine.benchmark(f"perf/{program}", name, one_run)
        return {metric: max(case[counter] for case in cases) for metric, counter in metrics.items()}
    return scenario


DIFFERENCE_PAIRS = 5


def difference(with_it, without, pairs=DIFFERENCE_PAIRS):
    """By how many ns one Google Benchmark, (program, name), is slower than another: in turns, the median of pairs."""
    def scenario(machine):
        ns = [[time_ns(machine.benchmark(f"perf/{program}", name)[0]) for program, name in (with_it, without)]
              for _ in range(pairs)]
        return median(more - less for more, less in ns)
    return scenario


def all_of(*scenarios):
    """The numbers of several scenarios under their names; one that is not built leaves its own out."""
    def scenario(machine):
        found = {}
        for each in scenarios:
            try:
                found.update(each(machine))
            except NotBuilt:
                continue
        return found
    return scenario


def limit(program, result, *arguments):
    """A raw program on both CPUs that prints one line of JSON."""
    return lambda machine: machine.run([machine.program(f"perf/{program}"), *arguments, machine.server_cpu,
                                        machine.load_cpu])[result]


def faster(*scenarios):
    return lambda machine: min(scenario(machine) for scenario in scenarios)


def nop_ns(batch):
    return lambda machine: machine.run([machine.program("perf/nop_rate"), batch], {machine.server_cpu})["ns"]


def peer_micro(name, **renamed):
    """A peer's own micro benchmark, on the server's CPU: {metric: key in its JSON}."""
    def scenario(machine):
        said = machine.run([machine.program(f"perf/peer_{name}_micro")], {machine.server_cpu})
        return {metric: said[key] for metric, key in renamed.items() if key in said}
    return scenario


def peer_on_both(program, result):
    """One number of a peer's own benchmark, on both CPUs."""
    return lambda machine: machine.run([machine.program(f"perf/peer_{program}")],
                                       {machine.server_cpu, machine.load_cpu})[result]


# ---- files: one from end to end, 128 KiB at a time, 8 in flight ----

FILE_BYTES, FILE_BLOCK, FILE_DEPTH = 128 << 20, 128 << 10, 8
FILE_PASSES = {True: 1, False: 16}  # of O_DIRECT, of the page cache, which is so fast that fio's clock of 1 ms is coarse
_files = []  # the folder with the file, until the end of the run


def file_for(machine, direct):
    """A file of the build tree, whose file system is a disk's where /tmp may not be, in the page cache or not."""
    if not _files:
        _files.append(tempfile.TemporaryDirectory(prefix="bench-file-", dir=machine.build))
    path = Path(_files[0].name) / "data"
    if not path.exists():
        path.write_bytes(bytes(FILE_BYTES))
        os.sync()
    with path.open("rb") as data:
        if direct:
            os.posix_fadvise(data.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        else:
            while data.read(FILE_BLOCK):
                pass
    return path


def file_stream(how, direct):
    def scenario(machine):
        program, path = machine.program("perf/file_stream"), file_for(machine, direct)
        return machine.run([program, how, path, FILE_BYTES, FILE_BLOCK, FILE_DEPTH, FILE_PASSES[direct],
                            *(["direct"] if direct else [])])["us_per_mib"]
    return scenario


def fio(how, direct):
    """The same with Debian's fio, which leaves the page cache as it finds it."""
    def scenario(machine):
        program, path = machine.program("fio"), file_for(machine, direct)
        said = machine.run([program, "--name=bench", f"--filename={path}", "--ioengine=io_uring", f"--rw={how}",
                            f"--iodepth={FILE_DEPTH}", f"--bs={FILE_BLOCK}", f"--size={FILE_BYTES}",
                            f"--loops={FILE_PASSES[direct]}", f"--direct={int(direct)}", "--invalidate=0",
                            "--fallocate=none", "--output-format=json"])["jobs"][0][how]
        if said["io_bytes"] != FILE_BYTES * FILE_PASSES[direct]:
            raise Failure(f"fio moved {said['io_bytes']} bytes")
        return 1e6 / (said["bw_bytes"] / (1 << 20))
    return scenario


# ---- heap allocations: counted over the middle of a load, when every connection is up ----

def allocations(load, kind, prepare=None, **changes):
    """Per second, the median of COUNTED_SECONDS. Pools keep as much as was ever in use at once, and something that stops
    the server for a moment may raise that at any time, once; what a request or a message takes shows in each second."""
    def scenario(machine):
        count = AllocationCount(machine)
        with load.server(*kind(machine), count.environment()) as server:
            if prepare:
                machine.load(load.command(machine, server.port, 1, **prepare))
            if count.read() == 0:
                raise Failure("the program was not seen to allocate at all; is it linked statically?")
            words = [str(word) for word in load.command(machine, server.port, COUNTED_SECONDS + 1.2, **changes)]
            running = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       preexec_fn=lambda: os.sched_setaffinity(0, {machine.load_cpu}))
            time.sleep(0.8)
            per_second = []
            for _ in range(COUNTED_SECONDS):
                before, start = count.read(), time.monotonic()
                time.sleep(1)
                per_second.append((count.read() - before) / (time.monotonic() - start))
            _, errors = running.communicate(timeout=60)
            if running.returncode != 0:
                raise Failure(errors.decode())
            return median(per_second)
    return scenario


# ---- idle ----

def answered(client):
    """Whether one request, which an echo server sends back and a key-value server answers, brought something."""
    client.sendall(b"PING\r\n")
    return client.recv(16) in (b"PING\r\n", b"+PONG\r\n")


def answer_once(port):
    with connect(port) as client:
        if not answered(client):
            raise Failure("the server did not answer")


def idle_memory(kind):
    def scenario(machine):
        with Server(*kind(machine)) as server:
            answer_once(server.port)
            settle(server.pid)
            return memory_bytes(server.pid, ["Rss"]) / 1e6
    return scenario


def idle_wakeups(kind):
    def scenario(machine):
        with Server(*kind(machine)) as server:
            answer_once(server.port)
            time.sleep(1)  # a timer looks after the closed connection for half a second
            before, used = sleeps(server.pid), cpu_ns(server.pid)
            time.sleep(IDLE_SECONDS)
            if cpu_ns(server.pid) - used > IDLE_SECONDS * 1e9 / 2:
                raise Failure("the idle server spins")  # it never sleeps, so it is never woken either
            return (sleeps(server.pid) - before) / IDLE_SECONDS
    return scenario


def connection_bytes(kind):
    """Growth of private memory over many connections that were answered once and now say nothing."""
    def scenario(machine):
        count = min(machine.effort.idle_connections, machine.descriptors - 500)
        with Server(*kind(machine)) as server:
            for _ in range(100):
                answer_once(server.port)
            settle(server.pid)
            before = memory_bytes(server.pid, ["Private_Dirty", "Private_Clean"])
            clients = []
            try:
                for _ in range(count):
                    clients.append(connect(server.port))
                    if not answered(clients[-1]):
                        raise Failure("the server did not answer")
                settle(server.pid)
                return (memory_bytes(server.pid, ["Private_Dirty", "Private_Clean"]) - before) / count
            finally:
                for client in clients:
                    client.close()
    return scenario


def idle_connections_mb(kind):
    """Resident memory with 100 000 connections that were answered once and now say nothing. Few machines let two
    processes have as many descriptors, so as many as fit are opened, and the line through the memory with half of them
    and with all is followed to 100 000; what a quarter of them took must lie on it."""
    def scenario(machine):
        wanted = 100_000
        most = min(wanted, machine.descriptors - 500)
        resident = {}
        with Server(*kind(machine)) as server:
            clients = []
            try:
                for count in (most // 4, most // 2, most):
                    while len(clients) < count:
                        clients.append(connect(server.port))
                        if not answered(clients[-1]):
                            raise Failure("the server did not answer")
                    settle(server.pid)
                    resident[count] = memory_bytes(server.pid, ["Rss"])
            finally:
                for client in clients:
                    client.close()
        quarter, half, all_of_them = resident.values()
        each_takes = (all_of_them - half) / (most - most // 2)
        on_the_line = half - each_takes * (most // 2 - most // 4)
        if abs(quarter - on_the_line) > 0.03 * quarter:
            raise Failure(f"no line to follow: {', '.join(f'{count} took {used}' for count, used in resident.items())}")
        return (all_of_them + each_takes * (wanted - most)) / 1e6
    return scenario


# ---- start ----

def first_answer(port, deadline):
    """Connects in a tight loop until a request was answered."""
    while time.monotonic() < deadline:
        with socket.socket() as client:
            client.settimeout(START_SECONDS)
            if client.connect_ex(("127.0.0.1", port)) != 0:
                continue
            if answered(client):
                return
    raise Failure(f"no answer within {START_SECONDS} s of the start")


def start_ms(kind):
    def scenario(machine):
        command, cpus = kind(machine)
        port = free_port()
        words = [str(word).format(port=port) for word in command]
        quiet = [(os.POSIX_SPAWN_OPEN, stream, "/dev/null", os.O_RDWR, 0) for stream in (0, 1, 2)]
        mine = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cpus)  # inherited: nothing but the server runs between here and its first accept
        start = time.monotonic()
        pid = os.posix_spawn(words[0], words, os.environ, file_actions=quiet)
        os.sched_setaffinity(0, {machine.load_cpu})
        try:
            first_answer(port, start + START_SECONDS)
            return (time.monotonic() - start) * 1000
        finally:
            os.sched_setaffinity(0, mine)
            os.kill(pid, 15)
            os.waitpid(pid, 0)
    return scenario


# ---- build ----

def clean_build_seconds(machine):
    if not (machine.root / "scripts" / "build").exists():
        raise NotBuilt("scripts/build")
    with tempfile.TemporaryDirectory(prefix="skerry-build-") as folder:
        copy = Path(folder) / "skerry"
        leave_out = {"build", ".git"}  # there; scripts/build comes along
        shutil.copytree(machine.root, copy, symlinks=True,
                        ignore=lambda where, _: leave_out if Path(where) == Path(machine.root) else ())
        # A compiler's cache would make it the time of a copy.
        uncached = {name: value for name, value in os.environ.items() if not name.endswith("_COMPILER_LAUNCHER")}
        start = time.monotonic()
        done = subprocess.run([str(copy / "scripts" / "build")], cwd=copy, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, env={**uncached, "CCACHE_DISABLE": "1"})
        if done.returncode != 0:
            raise Failure(f"a clean build failed: {done.stdout[-2000:]}")
        return time.monotonic() - start
