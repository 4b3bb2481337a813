# SPDX-License-Identifier: Apache-2.0
"""What a loaded shard asks the kernel for: io_uring_enter and nothing else, less than once in ten messages where
connections have 16 in flight. strace counts, attached to the shard's thread from before the first connection until
after the last has gone, so accepting, closing and lingering are in it.

system_calls_test.py ECHO_SERVER ECHO_LOAD. Exit status 77 where strace is not installed or may not attach."""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from http_program import Program, expect  # noqa: E402

SKIPPED = 77
MESSAGES = 20_000


def calls_of(report):
    """{system call: how often} from the table of strace -c."""
    calls = {}
    for line in report.splitlines():
        words = line.split()
        if len(words) >= 5 and words[0].replace(".", "").isdigit() and words[-1] != "total":
            calls[words[-1]] = int(words[3])
    return calls


def traced(pid, work):
    """The system calls of one thread while work() is done, and what it returned."""
    with tempfile.NamedTemporaryFile(mode="r", prefix="skerry-strace-") as out:
        strace = subprocess.Popen(["strace", "-c", "-o", out.name, "-p", str(pid)], stderr=subprocess.PIPE, text=True)
        said = strace.stderr.readline()  # it says so when it has attached
        if "attached" not in said:
            strace.kill()
            print(f"strace may not attach: {said.strip()}")
            sys.exit(SKIPPED)
        try:
            done = work()
        finally:
            strace.send_signal(signal.SIGINT)
            strace.communicate(timeout=30)
        return calls_of(out.read()), done


def main():
    echo_server, echo_load = sys.argv[1:]
    if shutil.which("strace") is None:
        print("strace is not installed (scripts/setup clients)")
        sys.exit(SKIPPED)
    with Program(echo_server, "--shards", "1", "--admin", "off", "--stall-threshold", "0") as server:
        def load(seconds):
            ran = subprocess.run([echo_load, str(server.port), "--connections", "8", "--depth", "16", "--seconds",
                                  str(seconds)], capture_output=True, text=True, timeout=60, check=False)
            expect(ran.returncode == 0, ran.stderr)
            return json.loads(ran.stdout)["messages"]

        # The main thread is shard 0. However slow the machine: a load is as long as it has to be.
        seconds, messages, calls = 0.5, 0, {}
        while messages < MESSAGES and seconds <= 32:
            calls, messages = traced(server.process.pid, lambda: load(seconds))
            seconds *= 2
        calls.pop("restart_syscall", None)  # strace's own doing: it interrupts the call that it finds
        expect(set(calls) == {"io_uring_enter"}, calls)
        expect(calls["io_uring_enter"] * 10 < messages, f"{calls} for {messages} messages")
        print(f"{messages} messages, {calls}")


if __name__ == "__main__":
    main()
