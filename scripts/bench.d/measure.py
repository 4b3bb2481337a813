# SPDX-License-Identifier: Apache-2.0
"""What is measured with: programs on fixed CPUs, their CPU time and memory, and Google Benchmark's output."""
import glob
import json
import mmap
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

UNIT_NS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}
START_SECONDS = 10  # how long a server may take to answer before the run is given up


class Failure(Exception):
    """Something that makes the run meaningless: a wrong reply, a program that died, a machine that is too small."""


class NotBuilt(Exception):
    """The program of a row does not exist yet."""


def cpu_ns(pid):
    """CPU time of every thread of a process. schedstat counts nanoseconds where /proc/PID/stat counts 10 ms ticks."""
    total = 0
    for task in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        total += int(Path(task).read_text().split()[0])
    return total


def sleeps(pid):
    """How often the threads of a process went to sleep, which is how often they were woken."""
    return sum(int(line.split()[1]) for status in glob.glob(f"/proc/{pid}/task/*/status")
               for line in open(status) if line.startswith("voluntary_ctxt_switches"))


def memory_bytes(pid, fields):
    wanted = tuple(f"{field}:" for field in fields)
    return sum(int(line.split()[1]) * 1024 for line in open(f"/proc/{pid}/smaps_rollup") if line.startswith(wanted))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def connect(port, still_there=lambda: None):
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS)
        except ConnectionRefusedError:
            still_there()
            if time.monotonic() > deadline:
                raise Failure(f"nothing listens on port {port} after {START_SECONDS} s") from None
            time.sleep(0.005)


class ConfigurationFile:
    """A word of a command: the name of a file with this text, in which $port and $folder (its own) are filled in."""

    def __init__(self, text):
        self.text = text

    def write(self, folder, port):
        path = Path(folder) / "configuration"
        path.write_text(self.text.replace("$port", str(port)).replace("$folder", folder))
        return str(path)


class Server:
    """A server process. `command` may contain {port}, {admin} (the port of Skerry's admin endpoint) and one
    ConfigurationFile. Ends with the `with` block."""

    def __init__(self, command, cpus, environment=None):
        self.port = free_port()
        self.admin = free_port() if any("{admin}" in str(word) for word in command) else None
        self.log = tempfile.TemporaryFile()
        self.folder = tempfile.TemporaryDirectory(prefix="skerry-bench-")
        words = [word.write(self.folder.name, self.port) if isinstance(word, ConfigurationFile) else
                 str(word).format(port=self.port, admin=self.admin) for word in command]
        self.process = subprocess.Popen(words, stdout=self.log,
                                        stderr=self.log, stdin=subprocess.DEVNULL, cwd=self.folder.name,
                                        env={**os.environ, **(environment or {})},
                                        preexec_fn=lambda: os.sched_setaffinity(0, cpus))
        self.pid = self.process.pid

    def __enter__(self):
        try:
            self.wait_until_there()
        except Failure:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        self.folder.cleanup()

    def wait_until_there(self):
        connect(self.port, self.check_alive).close()

    def ask(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}{path}", timeout=START_SECONDS) as answer:
            return answer.read().decode()

    def kernel_entries(self):
        """System calls of all loops so far, as Skerry counts them itself; None for servers without the endpoint."""
        return None if self.admin is None else sum(shard["kernel_entries"] for shard in json.loads(self.ask("/shards")))

    def connections(self):
        """Of the server's port, by shard."""
        gauge = rf'^skerry_server_connections{{[^}}]*:{self.port}"[^}}]*}} (\d+)'
        return [int(count) for count in re.findall(gauge, self.ask("/metrics"), re.MULTILINE)]

    def check_alive(self):
        if self.process.poll() is not None:
            self.log.seek(0)
            raise Failure(f"{self.process.args[0]} ended: {self.log.read()[-500:].decode(errors='replace')}")


class DatagramServer(Server):
    """One that sends datagrams back."""

    def wait_until_there(self):
        deadline = time.monotonic() + START_SECONDS
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.settimeout(0.02)
            probe.connect(("127.0.0.1", self.port))
            while True:
                self.check_alive()
                try:
                    probe.send(b"there?")
                    if probe.recv(16) == b"there?":
                        return
                except (ConnectionRefusedError, TimeoutError):
                    if time.monotonic() > deadline:
                        raise Failure(f"no datagram came back from port {self.port} within {START_SECONDS} s") from None


@dataclass(frozen=True)
class Effort:
    """How long each measurement takes. Short ones in many rounds tell more than a long one: what disturbs comes in
    bursts."""
    load_seconds: float
    repetitions: int        # of a Google Benchmark, of which the median counts
    idle_connections: int
    run_seconds: int        # how long a program that measures and ends may take: spinning pairs crawl beside other work


THOROUGH = Effort(load_seconds=1.0, repetitions=7, idle_connections=10_000, run_seconds=300)
QUICK = Effort(load_seconds=0.5, repetitions=3, idle_connections=2_000, run_seconds=60)


class Machine:
    """The build that is measured, the two CPUs it is measured on, and the effort that is spent."""

    def __init__(self, root, build, server_cpu, load_cpu, descriptors, effort):
        self.root, self.build = root, build
        self.server_cpu, self.load_cpu = server_cpu, load_cpu
        self.descriptors, self.effort = descriptors, effort

    def program(self, path):
        """A program of the build tree, or of the system when the name has no slash."""
        found = shutil.which(path) if "/" not in path else self.build / path
        if not found or not os.access(found, os.X_OK):
            raise NotBuilt(path)
        return str(found)

    def source(self, path):
        """A file of the source tree, for what an interpreter runs."""
        if not (self.root / path).exists():
            raise NotBuilt(path)
        return str(self.root / path)

    def run(self, command, cpus=None):
        """Runs a program that prints one line of JSON."""
        shown = " ".join(map(str, command))
        try:
            done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=self.effort.run_seconds,
                                  stdin=subprocess.DEVNULL,
                                  preexec_fn=(lambda: os.sched_setaffinity(0, cpus)) if cpus else None)
            if done.returncode != 0:
                raise Failure(f"{shown}: exit status {done.returncode}: {done.stderr.strip()[-500:]}")
            return json.loads(done.stdout) if done.stdout else {}
        except subprocess.TimeoutExpired:
            raise Failure(f"{shown}: not done after {self.effort.run_seconds} s") from None
        except json.JSONDecodeError:
            raise Failure(f"{shown} printed no JSON but: {done.stdout[:200]}") from None

    def load(self, command):
        return self.run(command, {self.load_cpu})

    def benchmark(self, path, pattern, one_run=False):
        """Cases of a Google Benchmark whose names match (`BM_` in front is optional), each the median of short
        repetitions, so that one that was disturbed is outvoted. one_run: a single repetition, for what takes seconds to
        prepare."""
        repetitions = 1 if one_run else self.effort.repetitions
        output = self.run([self.program(path), f"--benchmark_filter=^(BM_)?({pattern})(/|$)", "--benchmark_format=json",
                           f"--benchmark_repetitions={repetitions}", "--benchmark_min_time=0.05",
                           f"--benchmark_report_aggregates_only={'true' if repetitions > 1 else 'false'}"],
                          {self.server_cpu, self.load_cpu})
        cases = [case for case in output.get("benchmarks", [])
                 if repetitions == 1 or case.get("aggregate_name") == "median"]
        if not cases:
            raise NotBuilt(f"{path} {pattern}")
        for case in cases:
            if case.get("error_occurred"):
                raise Failure(f"{path} {case['name']}: {case.get('error_message')}")
        return cases


def time_ns(case):
    """Per item where the benchmark counts items, per iteration otherwise. CPU time, which other programs on the CPU do
    not lengthen, unless the benchmark asks for real time because several threads are at work."""
    if case.get("items_per_second"):
        return 1e9 / case["items_per_second"]
    return case["real_time" if "/real_time" in case["name"] else "cpu_time"] * UNIT_NS[case["time_unit"]]


class AllocationCount:
    """Counts heap allocations of a child process through perf/load/allocation_counter.cpp."""

    def __init__(self, machine):
        self.library = machine.program("perf/allocation_counter.so")
        self.file = tempfile.NamedTemporaryFile()
        self.file.truncate(mmap.PAGESIZE)
        self.page = mmap.mmap(self.file.fileno(), mmap.PAGESIZE)

    def environment(self):
        return {"LD_PRELOAD": self.library, "ALLOCATION_COUNT_FILE": self.file.name}

    def read(self):
        return int.from_bytes(self.page[:8], "little")
