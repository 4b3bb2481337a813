# SPDX-License-Identifier: Apache-2.0
"""Two network namespaces with a wire between them, and programs of ours on the far side, for tests in Python."""
import os
import re
import selectors
import shutil
import signal
import subprocess
import sys
import time

SKIPPED = 77
OURS, THEIRS = "10.77.0.1", "10.77.0.2"


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class FarSide:
    """A network namespace, kept by a process that ends with us, and the programs in it."""

    def __enter__(self):
        self.keeper = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE)
        if not self.keeper.stdout.readline():
            raise OSError("unshare --net is refused")
        self.enter = ["nsenter", f"--net=/proc/{self.keeper.pid}/ns/net"]
        return self

    def __exit__(self, *_):
        self.keeper.stdin.close()
        self.keeper.wait()


def lay_wire(far, prepare):
    """`prepare(enter, device, address)`, with what a command begins with on that side, comes before a device has its address."""
    run(["ip", "link", "add", "near", "type", "veth", "peer", "name", "far", "netns", str(far.keeper.pid)])
    for enter, device, address in (([], "near", OURS), (far.enter, "far", THEIRS)):
        prepare(enter, device, address)
        run(enter + ["ip", "address", "add", f"{address}/24", "dev", device])
        run(enter + ["ip", "link", "set", "dev", device, "up"])


class Server:
    def __init__(self, far, program, options=("--shards", "2", "--overprovision"), admin="off"):
        command = [program, "--port", "0", "--bind", THEIRS, "--admin", admin, *options]
        self.process = subprocess.Popen(far.enter + command, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            listening = re.search(r"listening on [0-9.]+:(\d+)", line)
            if listening:
                self.port = int(listening.group(1))
                break
        else:
            raise AssertionError("the server ended before it listened")
        self.idle_descriptors = self.descriptors()

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def end(self):
        """Everybody has left: it closes all their descriptors, and ends when told to."""
        by = time.monotonic() + 60  # a FIN may be lost several times
        while self.descriptors() > self.idle_descriptors:
            if time.monotonic() > by:
                raise AssertionError(f"{self.descriptors()} descriptors are open, {self.idle_descriptors} were")
            select_nothing()
        self.process.send_signal(signal.SIGTERM)
        log = self.process.stderr.read()
        if self.process.wait(timeout=60) != 0:
            raise AssertionError(f"the server ended with status {self.process.returncode}: {log}")


def select_nothing():
    with selectors.DefaultSelector() as nobody:
        nobody.select(0.01)


def between_two_hosts(lay, test, packages):
    """Runs the calling program again in a namespace of its own; there `lay(far)` lays the wire, and `test(far)` is called. `packages`
    names for each tool that is called the Debian package that has it. Gives the exit status, 77 where this system makes none of it."""
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    if sys.argv[1] != "--inside":
        if not shutil.which("unshare"):
            print("needs unshare (package util-linux)")
            return SKIPPED
        as_root = [] if os.geteuid() == 0 else ["--map-root-user"]
        inside = ["unshare", *as_root, "--net"]
        if subprocess.run(inside + ["true"], capture_output=True, check=False).returncode != 0:
            print("needs network namespaces: unshare --net is refused")
            return SKIPPED
        os.execvp(inside[0], inside + [sys.executable, "-B", sys.argv[0], "--inside", *sys.argv[1:]])
    del sys.argv[1]
    missing = [tool for tool in packages if not shutil.which(tool)]
    if missing:
        print(f"needs {' and '.join(missing)} (packages {', '.join(sorted(set(packages.values())))})")
        return SKIPPED
    with FarSide() as far:
        try:
            lay(far)
        except OSError as refused:
            print(f"needs two network namespaces with a wire between: {refused}")
            return SKIPPED
        test(far)
    return 0
