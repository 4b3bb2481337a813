# SPDX-License-Identifier: Apache-2.0
"""What the machine is, which CPUs are used, and how noisy it is meanwhile.

Noise is watched in three ways, all cheap: a fixed spin (the same native code over the same bytes) before the run and
once per round, whose times should be equal; the time that the hypervisor gave to others (steal, /proc/stat); and before
the run, what other programs use while this one sleeps.
"""
import hashlib
import os
import re
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path

import stats

SPIN_BYTES = bytes(1 << 20)
QUIET_SECONDS = 0.5
SPIN_SPREAD_MAX = 0.05     # 9 of 10 spins are at most this much slower than the fastest
STEAL_MAX = 0.01           # of the time of all CPUs
OTHERS_MAX = 0.05


def read(path, otherwise=""):
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return otherwise


# ---- what it is ----

def cpu_model(cpuinfo):
    model = re.search(r"model name\s*: (.*)", cpuinfo)
    return model.group(1).strip() if model else "unknown CPU"


def cpu_list(text):
    """The kernel's notation of sets of CPUs: "0-2,5" is {0, 1, 2, 5}."""
    cpus = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if first:
            cpus.update(range(int(first), int(last or first) + 1))
    return cpus


def choose_cpus(allowed, siblings):
    """A CPU for the server and one for the load, on different cores where there are two; siblings: {cpu: {cpus of its
    core}}."""
    ordered = sorted(allowed)
    if len(ordered) < 2:
        raise SystemExit("bench: this needs two CPUs, one for the server and one for the load; it may use "
                         f"{len(ordered)} (see `taskset -p $$` and the limits of the container)")
    server = ordered[0]
    apart = [cpu for cpu in ordered[1:] if cpu not in siblings.get(server, {server})]
    return server, (apart or ordered[1:])[0], not apart


def virtualisation(cpuinfo, vendor):
    if not re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.MULTILINE):
        return "no hypervisor"
    return f"virtual machine ({vendor})" if vendor else "virtual machine"


def mitigations(folder="/sys/devices/system/cpu/vulnerabilities", command_line="/proc/cmdline"):
    option = re.search(r"\bmitigations=(\S+)", read(command_line))
    try:
        active = sum(read(entry).startswith("Mitigation") for entry in Path(folder).iterdir())
    except OSError:
        active = None
    said = [f"mitigations={option.group(1)}"] if option else []
    said += [f"{active} mitigations active"] if active is not None else []
    return ", ".join(said) or "mitigations unknown"


def facts(server_cpu, load_cpu, today):
    cpuinfo = read("/proc/cpuinfo")
    governor = read(f"/sys/devices/system/cpu/cpu{server_cpu}/cpufreq/scaling_governor")
    memory = re.search(r"MemTotal:\s*(\d+)", read("/proc/meminfo"))
    return {"date": today, "cpu": cpu_model(cpuinfo), "cpus": os.cpu_count(), "kernel": os.uname().release,
            "memory_gb": round(int(memory.group(1)) / 1e6) if memory else None,
            "governor": governor or "no frequency control visible", "mitigations": mitigations(),
            "virtualisation": virtualisation(cpuinfo, read("/sys/class/dmi/id/sys_vendor")),
            "server_cpu": server_cpu, "load_cpu": load_cpu}


def in_words(f):
    return (f"{f['cpu']}, {f['cpus']} CPUs, {f['memory_gb']} GB, Linux {f['kernel']}, {f['virtualisation']}; "
            f"{f['governor']}; {f['mitigations']}")


# ---- how noisy it is ----

def cpu_times(text=None):
    """(busy, stolen, all) of all CPUs together since boot, in ticks."""
    ticks = [int(word) for word in (text or read("/proc/stat")).split("\n", 1)[0].split()[1:9]]
    idle, stolen = ticks[3] + ticks[4], ticks[7]
    return sum(ticks) - idle - stolen, stolen, sum(ticks)


def spin_ns():
    start = time.perf_counter_ns()
    hashlib.sha256(SPIN_BYTES)
    return time.perf_counter_ns() - start


@dataclass
class Noise:
    cpus: tuple                                  # where to spin
    spins: list = field(default_factory=list)    # ns
    others: float = 0.0                          # part of the machine that other programs used before the run
    start: tuple = ()

    def calibrate(self):
        self.start = before = cpu_times()
        own = time.process_time()
        time.sleep(QUIET_SECONDS)
        busy, _, total = (now - then for now, then in zip(cpu_times(), before))
        own_ticks = (time.process_time() - own) * os.sysconf("SC_CLK_TCK")
        self.others = max(0.0, busy - own_ticks) / max(total, 1)
        for _ in range(10):
            self.spin()

    def spin(self):
        """Once on each CPU that is used; the first of two warms it up."""
        mine = os.sched_getaffinity(0)
        try:
            for cpu in self.cpus:
                os.sched_setaffinity(0, {cpu})
                spin_ns()
                self.spins.append(spin_ns())
        finally:
            os.sched_setaffinity(0, mine)

    def spin_spread(self):
        return stats.percentile(self.spins, 0.9) / min(self.spins) - 1 if self.spins else 0.0

    def stolen(self):
        _, stolen, total = (now - then for now, then in zip(cpu_times(), self.start))
        return stolen / max(total, 1)

    def summary(self):
        return {"spin_spread": round(self.spin_spread(), 4), "steal": round(self.stolen(), 4),
                "others_before": round(self.others, 4)}


def warnings(noise, same_core):
    """What a reader of the figures must know, one sentence each. noise: a Noise's summary."""
    said = []
    if same_core:
        said.append("server and load are two hardware threads of one core; each takes time from the other")
    if noise["others_before"] > OTHERS_MAX:
        said.append(f"other programs used {noise['others_before']:.0%} of the machine before the run; end them first")
    if noise["steal"] > STEAL_MAX:
        said.append(f"the hypervisor gave {noise['steal']:.1%} of the time to others")
    if noise["spin_spread"] > SPIN_SPREAD_MAX:
        said.append(f"the same spin took up to {noise['spin_spread']:.0%} longer (9 of 10 spins)")
    return said


def raise_descriptor_limit():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def siblings_of(cpus):
    return {cpu: cpu_list(read(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", str(cpu)))
            for cpu in cpus}
